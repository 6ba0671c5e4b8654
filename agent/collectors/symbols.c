/* SPDX-License-Identifier: Apache-2.0 */
/* Collector "symbols": where the names of frames came from, and how the symbolizers fare. */
#include "collector.h"
#include "metric.h"

static const char *const sources[] = {
#define SOURCE(id, label) label,
	SYMBOL_SOURCE_LIST(SOURCE)
#undef SOURCE
};

static int collect(const struct host_view *view, struct metric_set *set)
{
	int error = metric_family_open(set, METRIC_GAUGE, "wick_frames_symbolized",
				       "Distinct frames answered, by the source of the name or the reason for none. A late name moves one.");

	for (unsigned source = 0; source < SYMBOL_SOURCE_COUNT; source++)
		error = error ?: metric_add_count(set, view->symbols[source], "source", sources[source], NULL);
	error = error ?: metric_family_open(set, METRIC_GAUGE, "wick_symbolizers", "Symbolizer processes alive.");
	error = error ?: metric_add_count(set, view->symbolizer_children, NULL);
	error = error ?: metric_family_open(set, METRIC_COUNTER, "wick_symbolizer_deaths_total",
					    "Symbolizer processes that ended before they were told to.");
	error = error ?: metric_add_count(set, view->symbolizer_deaths, NULL);
	error = error ?: metric_family_open(set, METRIC_COUNTER, "wick_symbolizer_timeouts_total",
					    "Symbolizer processes ended because their answer took too long.");
	error = error ?: metric_add_count(set, view->symbolizer_timeouts, NULL);
	error = error ?: metric_family_open(set, METRIC_COUNTER, "wick_images_quarantined_total",
					    "Times an image was left alone for a while because it killed its symbolizer.");
	return error ?: metric_add_count(set, view->symbolizer_quarantined, NULL);
}

const struct collector symbols_collector = { "symbols", "where the names of frames came from", collect };

/* SPDX-License-Identifier: Apache-2.0 */
/* Collector "samples": where every sample went. taken = stored + lost + pending, at every scrape. */
#include "collector.h"
#include "metric.h"

#include <math.h>

static const char *const reasons[] = {
#define REASON(id, label, sentence) label,
	REASON_LIST(REASON)
#undef REASON
};

static int collect(const struct host_view *view, struct metric_set *set)
{
	const struct view_accounting *accounting = &view->accounting;
	int error = metric_family_open(set, METRIC_COUNTER, "wick_samples_taken_total",
				       "Samples the handler began, its own count.");

	error = error ?: metric_add_count(set, accounting->taken, NULL);
	error = error ?: metric_family_open(set, METRIC_COUNTER, "wick_samples_stored_total",
					    "Samples that reached a window.");
	error = error ?: metric_add_count(set, accounting->stored, NULL);
	error = error ?: metric_family_open(set, METRIC_COUNTER, "wick_samples_lost_total",
					    "Samples that reached no window, by reason.");
	for (unsigned reason = REASON_NONE + 1; reason < REASON_COUNT; reason++)
		error = error ?: metric_add_count(set, accounting->lost[reason], "reason", reasons[reason], NULL);
	error = error ?: metric_family_open(set, METRIC_GAUGE, "wick_samples_pending",
					    "Samples still in the kernel's maps.");
	error = error ?: metric_add_count(set, accounting->pending, NULL);
	error = error ?: metric_family_open(set, METRIC_GAUGE, "wick_sampler_frequency_hertz",
					    "Samples asked for, per second and busy CPU.");
	error = error ?: metric_add_count(set, view->frequency, NULL);
	if (error || isnan(view->coverage_ratio))
		return error;
	error = metric_family_open(set, METRIC_GAUGE, "wick_sampler_coverage_ratio",
				   "Samples taken times their period, over the CPUs' busy time.");
	return error ?: metric_add(set, view->coverage_ratio, NULL);
}

const struct collector samples_collector = { "samples", "where every sample went", collect };

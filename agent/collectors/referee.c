/* SPDX-License-Identifier: Apache-2.0 */
/* Collector "referee": how often stacks are read alike by libunwind. */
#include "collector.h"
#include "metric.h"

static int collect(const struct host_view *view, struct metric_set *set)
{
	const struct { const char *outcome; uint64_t count; } outcomes[] = {
		{ "agree", view->comparisons_agree }, { "disagree", view->comparisons_disagree },
		{ "short", view->comparisons_short }, { "lost", view->comparisons_lost },
	};
	uint64_t compared = view->comparisons_agree + view->comparisons_disagree;
	int error = metric_family_open(set, METRIC_COUNTER, "wick_unwind_comparisons_total",
				       "Stacks that libunwind was asked about too, by what came of it.");

	for (size_t i = 0; i < sizeof(outcomes) / sizeof(outcomes[0]); i++)
		error = error ?: metric_add_count(set, outcomes[i].count, "outcome", outcomes[i].outcome, NULL);
	error = error ?: metric_family_open(set, METRIC_COUNTER, "wick_unwind_comparisons_root_total",
					    "Comparisons in which both reached the outermost frame.");
	error = error ?: metric_add_count(set, view->comparisons_root, NULL);
	if (error || !compared)
		return error;
	error = metric_family_open(set, METRIC_GAUGE, "wick_unwind_agreement_ratio",
				   "Share of the stacks compared since start on which libunwind agrees.");
	return error ?: metric_add(set, (double)view->comparisons_agree / (double)compared, NULL);
}

const struct collector referee_collector = { "referee", "how often stacks are read alike by libunwind", collect };

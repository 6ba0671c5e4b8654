/* SPDX-License-Identifier: Apache-2.0 */
/* Collector "stacks": how stacks ended, and the unwind rows they were walked with. */
#include "collector.h"
#include "metric.h"

static const char *const reasons[] = {
#define REASON(id, label, sentence) label,
	REASON_LIST(REASON)
#undef REASON
};

static int add_stacks(struct metric_set *set, const char *kind, const uint64_t *counts)
{
	int error = metric_add_count(set, counts[REASON_NONE], "kind", kind, "outcome", "complete", "reason",
				     reasons[REASON_NONE], NULL);

	for (unsigned reason = REASON_NONE + 1; reason < REASON_COUNT; reason++)
		error = error ?: metric_add_count(set, counts[reason], "kind", kind, "outcome", "truncated",
						  "reason", reasons[reason], NULL);
	return error;
}

static int add_copies(const struct host_view *view, struct metric_set *set)
{
	const struct { const char *outcome; uint64_t count; } outcomes[] = {
		{ "finished", view->copies_finished },          { "useless", view->copies_useless },
		{ "missing", view->copies_missing },            { "refused", view->copies_refused },
		{ "limited", view->accounting.copies_limited }, { "ring_full", view->accounting.copies_full },
	};
	int error = metric_family_open(set, METRIC_COUNTER, "wick_stack_copies_total",
				       "Stacks of processes not yet known: copied and then unwound, or why not.");

	for (size_t i = 0; i < sizeof(outcomes) / sizeof(outcomes[0]); i++)
		error = error ?: metric_add_count(set, outcomes[i].count, "outcome", outcomes[i].outcome, NULL);
	return error;
}

static int collect(const struct host_view *view, struct metric_set *set)
{
	const struct view_accounting *accounting = &view->accounting;
	int error = metric_family_open(set, METRIC_COUNTER, "wick_stacks_total",
				       "Stacks walked, by whether they reached the outermost frame, and why not.");

	error = error ?: add_stacks(set, "user", accounting->user);
	error = error ?: add_stacks(set, "kernel", accounting->kernel);
	error = error ?: metric_family_open(set, METRIC_COUNTER, "wick_user_frames_total", "User frames walked.");
	error = error ?: metric_add_count(set, accounting->frames, NULL);
	error = error ?: metric_family_open(set, METRIC_COUNTER, "wick_user_frames_searched_total",
					    "User frames whose rule had to be searched for: three look-ups, else one.");
	error = error ?: metric_add_count(set, accounting->searched, NULL);
	error = error ?: metric_family_open(set, METRIC_GAUGE, "wick_unwind_rows", "Unwind rows published.");
	error = error ?: metric_add_count(set, view->rows, NULL);
	error = error ?: metric_family_open(set, METRIC_GAUGE, "wick_unwind_row_bytes",
					    "Memory of the unwind rows published.");
	error = error ?: metric_add_count(set, view->row_bytes, NULL);
	error = error ?: metric_family_open(set, METRIC_COUNTER, "wick_unwind_rows_refused_total",
					    "Unwind rows for which there was no room.");
	error = error ?: metric_add_count(set, view->rows_refused, NULL);
	error = error ?: metric_family_open(set, METRIC_COUNTER, "wick_unwind_images_evicted_total",
					    "Files whose rows were given up for others; they come back when needed.");
	error = error ?: metric_add_count(set, view->images_evicted, NULL);
	return error ?: add_copies(view, set);
}

const struct collector stacks_collector = { "stacks", "how stacks ended, and the rows behind them", collect };

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
		{ "finished_slowly", view->copies_slow },       { "useless_slowly", view->copies_slow_useless },
		{ "missing", view->copies_missing },            { "refused", view->copies_refused },
		{ "limited", view->accounting.copies_limited }, { "ring_full", view->accounting.copies_full },
	};
	int error = metric_family_open(set, METRIC_COUNTER, "wick_stack_copies_total",
				       "Stacks that were copied to be unwound later (slowly: by libunwind), or why not.");

	for (size_t i = 0; i < sizeof(outcomes) / sizeof(outcomes[0]); i++)
		error = error ?: metric_add_count(set, outcomes[i].count, "outcome", outcomes[i].outcome, NULL);
	return error;
}

static int add_rows(const struct host_view *view, struct metric_set *set)
{
	const struct {
		enum metric_type type;
		const char *name, *help;
		uint64_t value;
	} families[] = {
		{ METRIC_GAUGE, "wick_unwind_rows", "Unwind rows published.", view->rows },
		{ METRIC_GAUGE, "wick_unwind_row_bytes", "Memory of the unwind rows published.", view->row_bytes },
		{ METRIC_GAUGE, "wick_unwind_pages", "Pages of text whose rows are published.", view->row_pages },
		{ METRIC_COUNTER, "wick_unwind_pages_wanted_total", "Pages of text whose rows were asked for.",
		  view->row_pages_wanted },
		{ METRIC_COUNTER, "wick_unwind_pages_built_total", "Pages of text whose rows were made when wanted.",
		  view->row_pages_built },
		{ METRIC_COUNTER, "wick_unwind_pages_evicted_total",
		  "Pages of text whose rows were given up for others; they come back when needed.",
		  view->row_pages_evicted },
		{ METRIC_COUNTER, "wick_unwind_rows_refused_total", "Unwind rows for which there was no room.",
		  view->rows_refused },
		{ METRIC_COUNTER, "wick_unwind_images_evicted_total",
		  "Files whose rows were given up for others; they come back when needed.", view->images_evicted },
	};
	int error = 0;

	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]) && !error; i++) {
		error = metric_family_open(set, families[i].type, families[i].name, families[i].help);
		error = error ?: metric_add_count(set, families[i].value, NULL);
	}
	error = error ?: metric_family_open(set, METRIC_COUNTER, "wick_unwind_page_wait_seconds_total",
					    "From the first sample that wanted a page's rows to when they were there.");
	error = error ?: metric_add(set, (double)view->row_page_wait_ns / 1e9, NULL);
	error = error ?: metric_family_open(set, METRIC_GAUGE, "wick_unwind_page_longest_wait_seconds",
					    "The longest of these times.");
	return error ?: metric_add(set, (double)view->row_page_longest_ns / 1e9, NULL);
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
	error = error ?: add_rows(view, set);
	return error ?: add_copies(view, set);
}

const struct collector stacks_collector = { "stacks", "how stacks ended, and the rows behind them", collect };

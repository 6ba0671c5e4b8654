/* SPDX-License-Identifier: Apache-2.0 */
/* Collector "self": what the agent costs, kernel side included, and what it had to switch off. */
#include "collector.h"
#include "metric.h"

#include <math.h>

static int add_programs(const struct host_view *view, struct metric_set *set)
{
	int error = metric_family_open(set, METRIC_COUNTER, "wick_bpf_run_seconds_total",
				       "Time the kernel spent in a program, while its statistics were on.");

	for (size_t i = 0; i < view->program_count; i++)
		error = error ?: metric_add(set, (double)view->programs[i].run_ns / 1e9, "program",
					    view->programs[i].name, NULL);
	error = error ?: metric_family_open(set, METRIC_COUNTER, "wick_bpf_runs_total",
					    "Runs of a program, while the kernel's statistics were on.");
	for (size_t i = 0; i < view->program_count; i++)
		error = error ?: metric_add_count(set, view->programs[i].run_count, "program",
						  view->programs[i].name, NULL);
	return error;
}

static int add_maps(const struct host_view *view, struct metric_set *set)
{
	int error = metric_family_open(set, METRIC_GAUGE, "wick_bpf_map_bytes", "Kernel memory of a map.");

	for (size_t i = 0; i < view->map_count; i++)
		error = error ?: metric_add_count(set, view->maps[i].bytes, "map", view->maps[i].name, NULL);
	return error;
}

static int collect(const struct host_view *view, struct metric_set *set)
{
	const struct view_accounting *accounting = &view->accounting;
	int error = metric_family_open(set, METRIC_GAUGE, "wick_build_info", "The program's version; always 1.");

	error = error ?: metric_add_count(set, 1, "version", WICK_VERSION, NULL);
	error = error ?: metric_family_open(set, METRIC_GAUGE, "wick_degraded",
					    "1 for each thing that is switched off or lowered.");
	for (size_t i = 0; i < view->degraded_count; i++)
		error = error ?: metric_add_count(set, 1, "cause", view->degraded[i], NULL);
	if (!isnan(view->overhead_ratio)) {
		error = error ?: metric_family_open(set, METRIC_GAUGE, "wick_overhead_ratio",
						    "CPU time of the agent and its programs, over the machine's.");
		error = error ?: metric_add(set, view->overhead_ratio, NULL);
	}
	error = error ?: add_programs(view, set);
	error = error ?: add_maps(view, set);
	if (error || !accounting->runs_timed)
		return error;
	error = metric_family_open(set, METRIC_GAUGE, "wick_sample_duration_seconds",
				   "Mean time the handler took for a sample, over those that were timed.");
	return error ?: metric_add(set, (double)accounting->run_ns / (double)accounting->runs_timed / 1e9, NULL);
}

const struct collector self_collector = { "self", "what the agent costs", collect };

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
	error = error ?: metric_family_open(set, METRIC_GAUGE, "wick_bpf_verified_instructions",
					    "Instructions the kernel's verifier walked to accept a program.");
	for (size_t i = 0; i < view->program_count; i++)
		error = error ?: metric_add_count(set, view->programs[i].verified, "program",
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

/* Powers of two in ns, so that the kernel's finer buckets add up to these without a rest. */
static int add_durations(const struct view_accounting *accounting, struct metric_set *set)
{
	static const unsigned bits[] = { 10, 11, 12, 13, 14, 16, 18 };
	struct metric_histogram histogram = { .sum = (double)accounting->run_ns / 1e9 };
	int error;

	for (size_t i = 0; i < sizeof(bits) / sizeof(bits[0]); i++) {
		uint64_t count = 0;

		for (uint32_t bucket = 0; bucket < DURATION_BUCKETS - 1 && duration_bound(bucket) <= 1ULL << bits[i]; bucket++)
			count += accounting->runs[bucket];
		histogram.bounds[histogram.bucket_count] = (double)(1ULL << bits[i]) / 1e9;
		histogram.counts[histogram.bucket_count++] = count;
	}
	for (uint32_t bucket = 0; bucket < DURATION_BUCKETS; bucket++)
		histogram.count += accounting->runs[bucket];
	error = metric_family_open(set, METRIC_HISTOGRAM, "wick_sample_duration_seconds",
				   "Time the handler took for a sample.");
	error = error ?: metric_add_histogram(set, &histogram, NULL);
	error = error ?: metric_family_open(set, METRIC_GAUGE, "wick_sample_duration_max_seconds",
					    "The longest time the handler took for a sample.");
	return error ?: metric_add(set, (double)accounting->run_max_ns / 1e9, NULL);
}

static int collect(const struct host_view *view, struct metric_set *set)
{
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
	return error ?: add_durations(&view->accounting, set);
}

const struct collector self_collector = { "self", "what the agent costs", collect };

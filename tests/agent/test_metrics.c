/* SPDX-License-Identifier: Apache-2.0 */
/* Stage "metrics": sets, label repair, the merging of equal series, and every collector over one view. */
#include "base/buf.h"
#include "base/label.h"
#include "exporter.h"
#include "metrics.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct metric_family *find_family(const struct metric_set *set, const char *name)
{
	const struct metric_family *found = NULL;

	for (size_t i = 0; i < set->family_count; i++)
		if (!strcmp(set->families[i].name, name)) {
			assert_null(found);
			found = &set->families[i];
		}
	return found;
}

static const char *label_of(const struct metric_sample *sample, const char *name)
{
	for (size_t i = 0; i < sample->label_count; i++)
		if (!strcmp(sample->labels[i].name, name))
			return sample->labels[i].value;
	return NULL;
}

/* The sample that has this label value; NULL: none. */
static const struct metric_sample *find_sample(const struct metric_set *set, const char *family, const char *label,
					       const char *value)
{
	const struct metric_family *in = find_family(set, family);

	for (size_t i = 0; in && i < in->sample_count; i++) {
		const char *have = label ? label_of(&in->samples[i], label) : "";

		if (have && !strcmp(have, value))
			return &in->samples[i];
	}
	return NULL;
}

static double value_of(const struct metric_sample *sample)
{
	assert_non_null(sample);
	return sample->is_integer ? (double)sample->integer : sample->value;
}

static void test_label_repair(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{ "", "" },
		{ "nginx", "nginx" },
		{ "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\xb3", "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\xb3" },
		{ "a\xff" "b", "a\xef\xbf\xbd" "b" },
		{ "a\xc3", "a\xef\xbf\xbd" },
		{ "\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd" },                     /* overlong */
		{ "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },     /* surrogate */
		{ "\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" }, /* past U+10FFFF */
		{ "a\nb\x01\x7f", "a\xef\xbf\xbd" "b\xef\xbf\xbd\xef\xbf\xbd" },
		{ "a\xc2\x85", "a\xef\xbf\xbd" },                               /* C1 */
		{ "a\\\"", "a\\\"" },
	};
	char out[LABEL_BYTES + 1];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_int_equal(label_repair(cases[i].in, out), strlen(cases[i].out));
		assert_string_equal(out, cases[i].out);
	}
}

static void test_label_cut(void **state)
{
	char in[1001], out[LABEL_BYTES + 1], other[LABEL_BYTES + 1];
	size_t length;

	(void)state;
	memset(in, 'x', LABEL_BYTES);
	in[LABEL_BYTES] = '\0';
	assert_int_equal(label_repair(in, out), LABEL_BYTES);
	assert_string_equal(in, out);
	memset(in, 'x', 1000);
	in[1000] = '\0';
	memcpy(in + 990, "one", 3);
	assert_int_equal(label_repair(in, out), LABEL_BYTES);
	memcpy(in + 990, "two", 3);
	label_repair(in, other);
	assert_string_not_equal(out, other); /* the end is kept */
	for (size_t shift = 0; shift < 4; shift++) { /* every way a three-byte character can meet the cut */
		memset(in, 'y', shift);
		for (size_t at = shift; at + 3 < 700; at += 3)
			memcpy(in + at, "\xe2\x82\xac", 4);
		length = label_repair(in, out);
		assert_in_range(length, LABEL_BYTES - 4, LABEL_BYTES);
		assert_null(strstr(out, "\xef\xbf\xbd"));
		label_repair(out, other);
		assert_string_equal(out, other);
	}
}

static void test_set(void **state)
{
	struct metric_set *set = metric_set_new();
	char name[32];

	(void)state;
	assert_non_null(set);
	assert_true(metric_add(set, 1, NULL) < 0); /* no family yet */
	for (unsigned family = 0; family < 100; family++) {
		snprintf(name, sizeof(name), "f%u", family);
		assert_int_equal(metric_family_open(set, METRIC_COUNTER, name, "help"), 0);
		for (unsigned i = 0; i < 50; i++) {
			char value[16];

			snprintf(value, sizeof(value), "%u", i);
			assert_int_equal(metric_add_count(set, i, "i", value, NULL), 0);
		}
	}
	assert_int_equal(set->family_count, 100);
	assert_string_equal(set->families[99].name, "f99");
	assert_int_equal(set->families[42].sample_count, 50);
	assert_int_equal(set->families[42].samples[49].integer, 49);
	assert_string_equal(set->families[42].samples[49].labels[0].value, "49");
	metric_set_free(set);
	metric_set_free(NULL);
}

static void test_equal_series(void **state)
{
	struct metric_set *set = metric_set_new();

	(void)state;
	metric_family_open(set, METRIC_COUNTER, "c_total", "c");
	metric_add_count(set, 1ULL << 60, "a", "x", "b", "y", NULL);
	metric_add_count(set, 1, "a", "x", "b", "y", NULL);
	metric_add_count(set, 5, "a", "y", "b", "x", NULL);
	metric_add(set, 0.5, "a", "\x01", "b", "", NULL);
	metric_add(set, 0.25, "a", "\x02", "b", "", NULL); /* repaired, it is the same series */
	metric_family_open(set, METRIC_GAUGE, "g", "g");
	metric_add_count(set, 1, "a", "x", "b", "y", NULL);
	metric_add_count(set, 1, "a", "x", "b", "y", NULL);
	assert_int_equal(set->families[0].sample_count, 3);
	assert_int_equal(set->families[0].samples[0].integer, (1ULL << 60) + 1);
	assert_int_equal(set->families[0].samples[1].integer, 5);
	assert_true(set->families[0].samples[2].value == 0.75);
	assert_int_equal(set->families[1].sample_count, 1);
	assert_int_equal(set->families[1].samples[0].integer, 1);
	metric_set_free(set);
}

static const struct view_container containers[] = {
	{ .container = "_host", .user_ns = 1500000000, .system_ns = 250000000, .cgroup = "/" },
	{ .container = "web", .pod = "p", .namespace_ = "n", .id = "1", .user_ns = 1000000000, .start_seconds = 5,
	  .runtime = "docker", .image = "nginx" },
	{ .container = "web", .pod = "p", .namespace_ = "n", .id = "2", .user_ns = 2000000000, .gone = true },
	{ .container = NULL, .user_ns = 99 },
};
static const struct view_program programs[] = { { "sample", 1500000000, 10, 4000 } };
static const struct view_map maps[] = { { "counts", 4096 } };
static const char *const degraded[] = { "no_debuginfo" };

static struct host_view make_view(void)
{
	return (struct host_view){
		.accounting = { .taken = 110, .stored = 100, .pending = 3, .lost[REASON_COUNTS_MAP_FULL] = 7,
				.user[REASON_NONE] = 60, .user[REASON_NO_RULE] = 4, .kernel[REASON_NONE] = 50,
				.run_ns = 8000, .run_max_ns = 5000,
				.runs = { [0] = 1, [DURATION_BUCKETS - 1] = 8 } },
		.containers = containers, .container_count = 4, .programs = programs, .program_count = 1,
		.maps = maps, .map_count = 1, .degraded = degraded, .degraded_count = 1,
		.coverage_ratio = NAN, .overhead_ratio = 0.004, .frequency = 99, .windows = 12,
		.symbols[SYMBOL_DWARF] = 8, .http_refused = 2,
	};
}

static void test_samples_and_stacks(void **state)
{
	struct host_view view = make_view();
	struct metric_set *set = metrics_collect(&view);

	(void)state;
	assert_non_null(set);
	assert_true(value_of(find_sample(set, "wick_samples_taken_total", NULL, "")) == 110);
	assert_true(value_of(find_sample(set, "wick_samples_stored_total", NULL, "")) == 100);
	assert_true(value_of(find_sample(set, "wick_samples_pending", NULL, "")) == 3);
	assert_true(value_of(find_sample(set, "wick_samples_lost_total", "reason", "counts_map_full")) == 7);
	assert_true(value_of(find_sample(set, "wick_samples_lost_total", "reason", "stack_missing")) == 0);
	assert_null(find_sample(set, "wick_samples_lost_total", "reason", "none"));
	assert_int_equal(find_family(set, "wick_samples_lost_total")->sample_count, REASON_COUNT - 1);
	assert_null(find_family(set, "wick_sampler_coverage_ratio"));
	assert_int_equal(find_family(set, "wick_stacks_total")->sample_count, 2 * REASON_COUNT);
	assert_true(value_of(find_sample(set, "wick_stacks_total", "reason", "no_unwind_rule")) == 4);
	metric_set_free(set);
	view.coverage_ratio = 0.98;
	set = metrics_collect(&view);
	assert_true(value_of(find_sample(set, "wick_sampler_coverage_ratio", NULL, "")) == 0.98);
	metric_set_free(set);
}

static void test_containers(void **state)
{
	struct host_view view = make_view();
	struct metric_set *set = metrics_collect(&view);
	const struct metric_family *cpu = find_family(set, "wick_container_cpu_seconds_total");

	(void)state;
	assert_int_equal(cpu->type, METRIC_COUNTER);
	assert_int_equal(cpu->sample_count, 4); /* two names, two modes; the forgotten index shows nowhere */
	assert_true(value_of(find_sample(set, "wick_container_cpu_seconds_total", "container", "_host")) == 1.5);
	assert_true(value_of(find_sample(set, "wick_container_cpu_seconds_total", "container", "web")) == 3);
	assert_int_equal(cpu->samples[0].label_count, 4);
	assert_string_equal(label_of(&cpu->samples[0], "namespace"), "");
	assert_string_equal(label_of(&cpu->samples[1], "mode"), "system");
	assert_int_equal(find_family(set, "wick_container_info")->sample_count, 3);
	assert_non_null(find_sample(set, "wick_container_info", "image", "nginx"));
	assert_int_equal(find_family(set, "wick_container_start_time_seconds")->sample_count, 1);
	metric_set_free(set);
}

static void test_agent(void **state)
{
	static const char *const process[] = {
		"process_cpu_seconds_total", "process_open_fds", "process_max_fds", "process_virtual_memory_bytes",
		"process_resident_memory_bytes", "process_threads", "process_start_time_seconds",
	};
	struct host_view view = make_view();
	const struct metric_histogram *durations;
	struct metric_set *set;

	(void)state;
	view.accounting.runs[duration_bucket(1024)] = 2;
	view.accounting.runs[duration_bucket(1025)] = 4;
	set = metrics_collect(&view);
	assert_string_equal(label_of(find_sample(set, "wick_build_info", NULL, ""), "version"), WICK_VERSION);
	assert_true(value_of(find_sample(set, "wick_degraded", "cause", "no_debuginfo")) == 1);
	assert_true(value_of(find_sample(set, "wick_bpf_run_seconds_total", "program", "sample")) == 1.5);
	assert_true(value_of(find_sample(set, "wick_bpf_verified_instructions", "program", "sample")) == 4000);
	assert_true(value_of(find_sample(set, "wick_bpf_map_bytes", "map", "counts")) == 4096);
	durations = find_sample(set, "wick_sample_duration_seconds", NULL, "")->histogram;
	assert_true(durations->bounds[0] == 1.024e-6 && durations->sum == 8e-6);
	assert_int_equal(durations->counts[0], 3);
	assert_int_equal(durations->counts[1], 7);
	assert_int_equal(durations->counts[durations->bucket_count - 1], 7);
	assert_int_equal(durations->count, 15);
	assert_true(value_of(find_sample(set, "wick_sample_duration_max_seconds", NULL, "")) == 5e-6);
	assert_true(value_of(find_sample(set, "wick_overhead_ratio", NULL, "")) == 0.004);
	assert_true(value_of(find_sample(set, "wick_frames_symbolized", "source", "dwarf")) == 8);
	assert_true(value_of(find_sample(set, "wick_store_windows", NULL, "")) == 12);
	assert_true(value_of(find_sample(set, "wick_http_requests_refused_total", NULL, "")) == 2);
	assert_true(value_of(find_sample(set, "wick_collector_failures_total", NULL, "")) == 0);
	for (size_t i = 0; i < sizeof(process) / sizeof(*process); i++)
		assert_true(value_of(find_sample(set, process[i], NULL, "")) > 0);
	metric_set_free(set);
}

/* A name nobody can print: the collector fails, its families are left out whole, and it is counted. */
static void test_failing_collector(void **state)
{
	static const struct view_program nameless[] = { { "sample", 1, 1 }, { NULL, 1, 1 } };
	struct host_view view = make_view();
	struct metric_set *set;

	(void)state;
	view.degraded = (const char *const[]){ NULL };
	view.programs = nameless;
	set = metrics_collect(&view);
	assert_null(find_family(set, "wick_build_info"));
	assert_null(find_family(set, "wick_degraded"));
	assert_non_null(find_family(set, "wick_samples_taken_total"));
	assert_true(value_of(find_sample(set, "wick_collector_failures_total", NULL, "")) == 1);
	metric_set_free(set);
}

/* Every family of every collector, with a hostile container, under Prometheus's own linter. */
static void test_promtool(void **state)
{
	static const struct view_container hostile[] = {
		{ .container = "\xff\n\"\\", .pod = "\x01", .namespace_ = "{}=,", .cgroup = "/a\r\nwick_up 1" },
	};
	struct host_view view = make_view();
	auto_buf struct buf out = { 0 };
	struct metric_set *set;
	FILE *tool;

	(void)state;
	if (system("promtool --version >/dev/null 2>&1")) {
		print_message("promtool is not installed (package prometheus)\n");
		skip();
	}
	view.containers = hostile;
	view.container_count = 1;
	view.coverage_ratio = 1;
	set = metrics_collect(&view);
	assert_int_equal(exporter_find("prometheus")->encode_metrics(set, &out), 0);
	metric_set_free(set);
	tool = popen("r=$(promtool check metrics 2>&1); echo \"$r\"; test -z \"$r\"", "w");
	assert_non_null(tool);
	assert_int_equal(fwrite(out.data, 1, out.length, tool), out.length);
	assert_int_equal(pclose(tool), 0);
}

static void what_was_refused_is_told_apart(void **state)
{
	struct host_view view = make_view();
	const struct { const char *name; uint64_t *value; } numbers[] = {
		{ "wick_processes_refused_total", &view.processes_refused },
		{ "wick_process_repairs_total", &view.process_repairs },
		{ "wick_mappings_refused_total", &view.mappings_refused },
		{ "wick_mapping_tables_shared_total", &view.tables_shared },
		{ "wick_kernel_symbols_refused_total", &view.ksymbols_refused },
		{ "wick_generated_code_refused_total", &view.jits_refused },
		{ "wick_cgroup_events_lost_total", &view.cgroup_events_lost },
		{ "wick_images_refused_total", &view.images_refused },
		{ "wick_opens_stuck", &view.opens_stuck },
		{ "wick_frames_waiting", &view.frames_waiting },
		{ "wick_frame_cache_hits_total", &view.frame_hits },
		{ "wick_frame_cache_misses_total", &view.frame_misses },
		{ "wick_frame_cache_evictions_total", &view.frame_evictions },
		{ "wick_symbolizer_timeouts_total", &view.symbolizer_timeouts },
	};
	struct metric_set *set;

	(void)state;
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		*numbers[i].value = 1000 + i;
	set = metrics_collect(&view);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		assert_int_equal(value_of(find_sample(set, numbers[i].name, NULL, "")), 1000 + i);
	metric_set_free(set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_refused_is_told_apart),
		cmocka_unit_test(test_label_repair), cmocka_unit_test(test_label_cut),
		cmocka_unit_test(test_set),          cmocka_unit_test(test_equal_series),
		cmocka_unit_test(test_samples_and_stacks), cmocka_unit_test(test_containers),
		cmocka_unit_test(test_agent),        cmocka_unit_test(test_failing_collector),
		cmocka_unit_test(test_promtool),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

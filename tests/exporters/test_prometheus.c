/* SPDX-License-Identifier: Apache-2.0 */
/* Exporter "prometheus": the bytes of the text format, hostile labels, and promtool as the judge. */
#include "base/buf.h"
#include "exporter.h"
#include "metric.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void encode(struct metric_set *set, struct buf *out)
{
	const struct exporter *exporter = exporter_find("prometheus");

	assert_non_null(exporter);
	assert_null(exporter->encode);
	assert_string_equal(exporter->route, "/metrics");
	assert_int_equal(exporter->encode_metrics(set, out), 0);
	metric_set_free(set);
}

static void test_text(void **state)
{
	struct metric_set *set = metric_set_new();
	auto_buf struct buf out = { 0 };

	(void)state;
	metric_family_open(set, METRIC_COUNTER, "wick_a_total", "Back\\slash,\nline \"quote\".");
	metric_add_count(set, 18446744073709551615ULL, NULL);
	metric_family_open(set, METRIC_GAUGE, "wick_empty", "Not shown.");
	metric_family_open(set, METRIC_GAUGE, "wick_b", "B.");
	metric_add(set, 0.1, "x", "a\"b\\c", NULL);
	metric_add(set, 1.0 / 3, "x", "", NULL);
	metric_add(set, 1e300, "x", "big", NULL);
	metric_add(set, NAN, "x", "nan", NULL);
	metric_add(set, INFINITY, "x", "inf", "y", "two", NULL);
	metric_add(set, -INFINITY, "x", "-inf", NULL);
	encode(set, &out);
	assert_string_equal(out.data, "# HELP wick_a_total Back\\\\slash,\\nline \"quote\".\n"
				      "# TYPE wick_a_total counter\n"
				      "wick_a_total 18446744073709551615\n"
				      "# HELP wick_b B.\n"
				      "# TYPE wick_b gauge\n"
				      "wick_b{x=\"a\\\"b\\\\c\"} 0.1\n"
				      "wick_b{x=\"\"} 0.3333333333333333\n"
				      "wick_b{x=\"big\"} 1e+300\n"
				      "wick_b{x=\"nan\"} NaN\n"
				      "wick_b{x=\"inf\",y=\"two\"} +Inf\n"
				      "wick_b{x=\"-inf\"} -Inf\n");
}

static const struct metric_histogram histogram = { .bucket_count = 2, .bounds = { 1.024e-06, 0.5 }, .counts = { 3, 5 },
						   .count = 18446744073709551615ULL, .sum = 2.5 };

static void test_histogram(void **state)
{
	struct metric_set *set = metric_set_new();
	auto_buf struct buf out = { 0 };

	(void)state;
	metric_family_open(set, METRIC_HISTOGRAM, "wick_h_seconds", "H.");
	metric_add_histogram(set, &histogram, NULL);
	metric_add_histogram(set, &histogram, "a", "b", NULL);
	encode(set, &out);
	assert_string_equal(out.data, "# HELP wick_h_seconds H.\n"
				      "# TYPE wick_h_seconds histogram\n"
				      "wick_h_seconds_bucket{le=\"1.024e-06\"} 3\n"
				      "wick_h_seconds_bucket{le=\"0.5\"} 5\n"
				      "wick_h_seconds_bucket{le=\"+Inf\"} 18446744073709551615\n"
				      "wick_h_seconds_sum 2.5\n"
				      "wick_h_seconds_count 18446744073709551615\n"
				      "wick_h_seconds_bucket{a=\"b\",le=\"1.024e-06\"} 3\n"
				      "wick_h_seconds_bucket{a=\"b\",le=\"0.5\"} 5\n"
				      "wick_h_seconds_bucket{a=\"b\",le=\"+Inf\"} 18446744073709551615\n"
				      "wick_h_seconds_sum{a=\"b\"} 2.5\n"
				      "wick_h_seconds_count{a=\"b\"} 18446744073709551615\n");
}

static void test_doubles_read_back(void **state)
{
	static const double values[] = { 0.1 + 0.2, 1e-9, 123456789.123456789, 4503599627370497.5, 5e-324, 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++) {
		struct metric_set *set = metric_set_new();
		auto_buf struct buf out = { 0 };

		metric_family_open(set, METRIC_GAUGE, "v", "v");
		metric_add(set, values[i], NULL);
		encode(set, &out);
		assert_true(strtod(strrchr(out.data, ' '), NULL) == values[i]);
	}
}

static struct metric_set *hostile_set(void)
{
	struct metric_set *set = metric_set_new();
	char value[600];

	metric_family_open(set, METRIC_COUNTER, "wick_hostile_seconds_total", "Labels of every kind of byte.");
	for (unsigned byte = 1; byte < 256; byte++) {
		for (size_t i = 0; i < sizeof(value) - 1; i++)
			value[i] = (char)(i % 7 == 3 ? byte : i % 5 ? '"' : '\\');
		snprintf(value + 590, 9, "%u", byte);
		metric_add(set, byte / 7.0, "container", value, NULL);
		value[3] = '\0';
		metric_add(set, 1, "container", value, NULL);
	}
	metric_family_open(set, METRIC_HISTOGRAM, "wick_spread_seconds", "A histogram.");
	metric_add_histogram(set, &histogram, "container", value, NULL);
	return set;
}

static void test_promtool(void **state)
{
	auto_buf struct buf out = { 0 };
	FILE *tool;

	(void)state;
	if (system("promtool --version >/dev/null 2>&1")) {
		print_message("promtool is not installed (package prometheus)\n");
		skip();
	}
	encode(hostile_set(), &out);
	assert_null(strpbrk(out.data, "\r\t"));
	/* it says what it finds on standard error, and 0 is nothing found at all */
	tool = popen("r=$(promtool check metrics 2>&1); echo \"$r\"; test -z \"$r\"", "w");
	assert_non_null(tool);
	assert_int_equal(fwrite(out.data, 1, out.length, tool), out.length);
	assert_int_equal(pclose(tool), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_histogram),
		cmocka_unit_test(test_doubles_read_back),
		cmocka_unit_test(test_promtool),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

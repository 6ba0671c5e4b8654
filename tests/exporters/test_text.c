/* SPDX-License-Identifier: Apache-2.0 */
/* The table of functions, compared whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "sample_profile.h"

#include <errno.h>
#include <string.h>

extern const struct exporter text_exporter;

static void table_is_as_of_pprof_top(void **state)
{
	struct exporter_request request = { .title = "cpu, last=2s\nsecond line" };
	struct buf out = { 0 };

	(void)state;
	assert_int_equal(text_exporter.encode(&sample_profile, &request, &out), 0);
	assert_string_equal(out.data,
			    "cpu, last=2s second line\n"
			    "Type: cpu\n"
			    "Time: 2025-11-27T01:00:00Z\n"
			    "Duration: 2.00s, Total = 700.00ms (35.00% of one CPU)\n"
			    "      flat  flat%   sum%        cum   cum%  function\n"
			    "  400.00ms 57.14% 57.14%   600.00ms 85.71%  inner\n"
			    "  200.00ms 28.57% 85.71%   200.00ms 28.57%  ksys_write\n"
			    "   50.00ms  7.14% 92.86%    50.00ms  7.14%  evil;name \n"
			    "   30.00ms  4.29% 97.14%    30.00ms  4.29%  jitted\n"
			    "   20.00ms  2.86% 100.00%   650.00ms 92.86%  main\n"
			    "    0.00ms  0.00% 100.00%   600.00ms 85.71%  outer(int)\n"
			    "    0.00ms  0.00% 100.00%    50.00ms  7.14%  [truncated: no unwind rule]\n");
	buf_done(&out);
}

static void counts_are_plain(void **state)
{
	struct exporter_request request = { .value = "samples" };
	struct buf out = { 0 };

	(void)state;
	assert_int_equal(text_exporter.encode(&sample_profile, &request, &out), 0);
	assert_non_null(strstr(out.data, "cpu, last=2s\nType: samples\n")); /* the profile's own comment */
	assert_non_null(strstr(out.data, "Total = 70\n"));
	assert_non_null(strstr(out.data, "        40 57.14% 57.14%         60 85.71%  inner\n"));
	buf_done(&out);
}

static void bad_value_gets_a_sentence(void **state)
{
	struct exporter_request request = { .value = "shoes" };
	struct buf out = { 0 };

	(void)state;
	assert_int_equal(text_exporter.encode(&sample_profile, &request, &out), -EINVAL);
	assert_string_equal(out.data, "value must be samples or cpu.");
	buf_done(&out);
}

static void nothing_is_an_empty_table(void **state)
{
	struct exporter_request request = { 0 };
	struct buf out = { 0 };

	(void)state;
	assert_int_equal(text_exporter.encode(&empty_profile, &request, &out), 0);
	assert_string_equal(out.data, "nothing\nType: cpu\nTime: -\nDuration: 0.00s, Total = 0.00ms\n"
				      "      flat  flat%   sum%        cum   cum%  function\n");
	buf_done(&out);
}

/* Functions of stacks that focus or hide took away are in the tables still, and no row. */
static void functions_without_a_sample_are_not_counted(void **state)
{
	struct profile without = sample_profile;
	struct exporter_request request = { 0 };
	struct buf out = { 0 };

	(void)state;
	without.sample_count = 0;
	assert_int_equal(text_exporter.encode(&without, &request, &out), 0);
	assert_non_null(strstr(out.data, "Total = 0.00ms (0.00% of one CPU)\n"));
	assert_null(strstr(out.data, "more functions"));
	buf_done(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(table_is_as_of_pprof_top),
		cmocka_unit_test(counts_are_plain),
		cmocka_unit_test(bad_value_gets_a_sentence),
		cmocka_unit_test(nothing_is_an_empty_table),
		cmocka_unit_test(functions_without_a_sample_are_not_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

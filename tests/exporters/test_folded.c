/* SPDX-License-Identifier: Apache-2.0 */
/* Folded stacks, compared whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "sample_profile.h"

#include <errno.h>

extern const struct exporter folded_exporter;

static void check(const struct exporter_request *request, const char *expected)
{
	struct buf out = { 0 };

	assert_int_equal(folded_exporter.encode(&sample_profile, request, &out), 0);
	assert_string_equal(out.data, expected);
	buf_done(&out);
}

static void stacks_go_from_the_root(void **state)
{
	(void)state;
	check(&(struct exporter_request){ .value = "samples" },
	      "cron;[truncated: no unwind rule];evil:name  5\n"
	      "cron;main;jitted_[j] 3\n"
	      "nginx;main;main 2\n"
	      "nginx;main;outer(int);inner_[i] 40\n"
	      "nginx;main;outer(int);inner_[i];ksys_write_[k] 20\n");
}

static void value_is_the_last_type_if_not_said(void **state)
{
	(void)state;
	check(&(struct exporter_request){ 0 },
	      "cron;[truncated: no unwind rule];evil:name  50000000\n"
	      "cron;main;jitted_[j] 30000000\n"
	      "nginx;main;main 20000000\n"
	      "nginx;main;outer(int);inner_[i] 400000000\n"
	      "nginx;main;outer(int);inner_[i];ksys_write_[k] 200000000\n");
}

static void labels_lead_as_asked(void **state)
{
	(void)state;
	check(&(struct exporter_request){ .value = "samples", .by = "namespace,pod,container,pid" },
	      "-;-;_host;0;[truncated: no unwind rule];evil:name  5\n"
	      "-;-;_host;0;main;jitted_[j] 3\n"
	      "prod;web-pod;web-1;100;main;main 2\n"
	      "prod;web-pod;web-1;100;main;outer(int);inner_[i] 30\n"
	      "prod;web-pod;web-1;100;main;outer(int);inner_[i];ksys_write_[k] 20\n"
	      "prod;web-pod;web-1;101;main;outer(int);inner_[i] 10\n");
}

static void bad_requests_get_a_sentence(void **state)
{
	static const struct exporter_request cases[] = {
		{ .by = "shoe" }, { .by = "comm,,pid" }, { .by = "pid,comm,pid" }, { .value = "shoes" },
		{ .value = "cp" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct buf out = { 0 };

		assert_int_equal(folded_exporter.encode(&sample_profile, &cases[i], &out), -EINVAL);
		assert_true(out.length > 15);
		buf_done(&out);
	}
}

static void nothing_is_no_line(void **state)
{
	struct exporter_request request = { 0 };
	struct buf out = { 0 };

	(void)state;
	assert_int_equal(folded_exporter.encode(&empty_profile, &request, &out), 0);
	assert_int_equal(out.length, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stacks_go_from_the_root),
		cmocka_unit_test(value_is_the_last_type_if_not_said),
		cmocka_unit_test(labels_lead_as_asked),
		cmocka_unit_test(bad_requests_get_a_sentence),
		cmocka_unit_test(nothing_is_no_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Busy time, and the sentences for what a user can do wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "sampler.h"
#include "sampler_private.h"

static void busy_time_leaves_idle_and_steal_out(void **state)
{
	(void)state;
	assert_int_equal(sampler_parse_busy("cpu  1 20 300 4000 50000 600000 7000000 80000000 9 9\ncpu0 5 5 5\n"),
			 7600321);
	assert_int_equal(sampler_parse_busy("cpu0 1 2 3 4 5 6 7\n"), 0);
	assert_int_equal(sampler_parse_busy(""), 0);
	assert_true(sampler_read_busy_ns() > 0);
}

static void bad_options_are_explained(void **state)
{
	struct sampler_opts opts = { .frequency = 0, .program_fd = -1 };
	struct sampler *sampler = NULL;
	char error[256] = "";

	(void)state;
	assert_int_equal(sampler_open(&opts, &sampler, error, sizeof(error)), -EINVAL);
	assert_non_null(strstr(error, "between 1 and 2000"));
	opts.frequency = 2001;
	assert_int_equal(sampler_open(&opts, &sampler, error, sizeof(error)), -EINVAL);
	opts.frequency = 99;
	error[0] = '\0'; /* no program: no CPU can be sampled, whatever the rights are */
	assert_true(sampler_open(&opts, &sampler, error, sizeof(error)) < 0);
	assert_true(strlen(error) > 0);
	assert_null(sampler);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(busy_time_leaves_idle_and_steal_out),
		cmocka_unit_test(bad_options_are_explained),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

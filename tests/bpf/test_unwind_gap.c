/* SPDX-License-Identifier: Apache-2.0 */
/* Where a walk's frames are put, and the histogram of its times: what the kernel side computes with numbers alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "abi/duration.h"
#include "unwind_gap.h"

static void frames_lie_in_order_up_to_the_limit(void **state)
{
	(void)state;
	for (uint32_t number = 0; number < SAMPLE_MAX_DEPTH; number++)
		assert_int_equal(unwind_gap_place(number), number);
}

static void deeper_stacks_keep_both_ends(void **state)
{
	static const uint32_t depths[] = { 1025, 1026, 1279, 1280, 1281, 3000, 4095, 4096 };
	uint32_t frames[SAMPLE_MAX_DEPTH];

	(void)state;
	for (size_t i = 0; i < sizeof(depths) / sizeof(depths[0]); i++) {
		for (uint32_t number = 0; number < depths[i]; number++) {
			assert_true(unwind_gap_place(number) < SAMPLE_MAX_DEPTH);
			frames[unwind_gap_place(number)] = number;
		}
		for (uint32_t number = 0; number < SAMPLE_INNER_FRAMES; number++)
			assert_int_equal(frames[number], number);
		for (uint32_t number = 0; number < SAMPLE_OUTER_FRAMES; number++)
			assert_int_equal(frames[unwind_gap_outer(depths[i], number)],
					 depths[i] - SAMPLE_OUTER_FRAMES + number);
	}
}

static void times_fall_into_the_bucket_that_bounds_them(void **state)
{
	uint32_t bucket = 0;

	(void)state;
	for (uint64_t ns = 0; ns <= (1U << DURATION_LAST_BITS) + 2; ns += ns < 5000 ? 1 : 61) {
		while (bucket < DURATION_BUCKETS - 1 && duration_bound(bucket) < ns)
			bucket++;
		assert_int_equal(duration_bucket(ns), bucket);
	}
	for (bucket = 0; bucket < DURATION_BUCKETS - 1; bucket++) {
		assert_int_equal(duration_bucket(duration_bound(bucket)), bucket);
		assert_int_equal(duration_bucket(duration_bound(bucket) + 1), bucket + 1);
	}
	assert_int_equal(duration_bound(DURATION_BUCKETS - 2), 1U << DURATION_LAST_BITS);
	assert_int_equal(duration_bucket(UINT64_MAX), DURATION_BUCKETS - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_lie_in_order_up_to_the_limit),
		cmocka_unit_test(deeper_stacks_keep_both_ends),
		cmocka_unit_test(times_fall_into_the_bucket_that_bounds_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

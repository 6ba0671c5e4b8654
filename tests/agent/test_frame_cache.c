/* SPDX-License-Identifier: Apache-2.0 */
/* The cache of frames: an answer is its owner's alone, and room that others want is given up and counted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "frame_cache.h"

static void an_answer_is_its_owners(void **state)
{
	struct frame_cache *cache = frame_cache_new();
	struct frame_cache_stats stats;
	uint32_t frame = 0;

	(void)state;
	frame_cache_add(cache, 7, 0x1000, 41);
	assert_true(frame_cache_find(cache, 7, 0x1000, &frame));
	assert_int_equal(frame, 41);
	assert_false(frame_cache_find(cache, 8, 0x1000, &frame));
	assert_false(frame_cache_find(cache, 7, 0x1001, &frame));
	assert_false(frame_cache_find(cache, 0, 0, &frame)); /* a free slot is nobody's */
	frame_cache_add(cache, 7, 0x1000, 42);
	assert_true(frame_cache_find(cache, 7, 0x1000, &frame));
	assert_int_equal(frame, 42);
	frame_cache_get_stats(cache, &stats);
	assert_int_equal(stats.hits + stats.misses, 0); /* told by the slice */
	frame_cache_settle(cache);
	assert_false(frame_cache_find(cache, 7, 0x1000, &frame)); /* the slice's alone; counted in the next one */
	frame_cache_get_stats(cache, &stats);
	assert_int_equal(stats.hits, 2);
	assert_int_equal(stats.misses, 3);
	assert_int_equal(stats.evictions, 0);
	frame_cache_add(cache, 7, 0x1000, 43); /* in nobody's place */
	frame_cache_settle(cache);
	frame_cache_get_stats(cache, &stats);
	assert_int_equal(stats.evictions, 0);
	frame_cache_free(cache);
}

static void room_is_bounded_and_what_leaves_is_counted(void **state)
{
	struct frame_cache *cache = frame_cache_new();
	struct frame_cache_stats stats;
	uint64_t found = 0, count = 4 * FRAME_CACHE_SLOTS;
	uint32_t frame;

	(void)state;
	for (uint64_t at = 0; at < count; at++)
		frame_cache_add(cache, 1 + at % 3, at << 4, (uint32_t)at);
	for (uint64_t at = 0; at < count; at++) {
		if (!frame_cache_find(cache, 1 + at % 3, at << 4, &frame))
			continue;
		assert_int_equal(frame, at);
		found++;
	}
	frame_cache_settle(cache);
	frame_cache_get_stats(cache, &stats);
	assert_true(found > FRAME_CACHE_SLOTS / 2 && found <= FRAME_CACHE_SLOTS);
	assert_int_equal(stats.evictions, count - found);
	assert_int_equal(stats.hits, found);
	frame_cache_free(cache);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_answer_is_its_owners),
		cmocka_unit_test(room_is_bounded_and_what_leaves_is_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

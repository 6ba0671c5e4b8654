/* SPDX-License-Identifier: Apache-2.0 */
/* The arena: zeroed, aligned, apart from each other, within its limit, and products that overflow. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/arena.h"

#include <string.h>

static void blocks_are_zeroed_aligned_and_apart(void **state)
{
	struct arena *arena = arena_new(0);
	static unsigned char *blocks[2000];

	(void)state;
	for (size_t i = 0; i < 2000; i++) {
		blocks[i] = arena_alloc(arena, i % 300);
		assert_non_null(blocks[i]);
		assert_int_equal((uintptr_t)blocks[i] % 16, 0);
		for (size_t at = 0; at < i % 300; at++)
			assert_int_equal(blocks[i][at], 0);
		memset(blocks[i], (int)(i & 0xff), i % 300);
	}
	for (size_t i = 0; i < 2000; i++)
		for (size_t at = 0; at < i % 300; at++)
			assert_int_equal(blocks[i][at], i & 0xff);
	arena_free(arena);
}

static void a_large_block_does_not_need_a_common_one(void **state)
{
	struct arena *arena = arena_new(0);
	char *small = arena_alloc(arena, 10), *large = arena_alloc(arena, 1 << 20);

	(void)state;
	assert_non_null(small);
	memset(large, 1, 1 << 20);
	assert_true(arena_bytes(arena) >= 1 << 20);
	arena_free(arena);
}

static void the_limit_holds(void **state)
{
	struct arena *arena = arena_new(100000);
	size_t got = 0;

	(void)state;
	while (arena_alloc(arena, 1000))
		got++;
	assert_in_range(got, 1, 100);
	assert_true(arena_bytes(arena) <= 100000);
	assert_null(arena_alloc(arena, 50000));
	arena_free(arena);
	arena_free(NULL);
}

static void a_size_that_overflows_is_refused(void **state)
{
	struct arena *arena = arena_new(0);

	(void)state;
	assert_null(arena_alloc(arena, SIZE_MAX));
	assert_null(arena_alloc(arena, SIZE_MAX - 14));
	assert_null(arena_array(arena, SIZE_MAX / 8 + 2, 8)); /* the product is 8 */
	assert_non_null(arena_array(arena, 3, 8));
	arena_free(arena);
}

static void a_string_is_copied_by_length(void **state)
{
	struct arena *arena = arena_new(0);
	char text[] = "abcdef", *copy = arena_string(arena, text, 3);

	(void)state;
	text[0] = 'X';
	assert_string_equal(copy, "abc");
	assert_string_equal(arena_string(arena, "", 0), "");
	arena_free(arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(blocks_are_zeroed_aligned_and_apart),
		cmocka_unit_test(a_large_block_does_not_need_a_common_one),
		cmocka_unit_test(the_limit_holds),
		cmocka_unit_test(a_size_that_overflows_is_refused),
		cmocka_unit_test(a_string_is_copied_by_length),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Interned strings: one number each, found again after growth, cut at a NUL, and nothing past the limit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/intern.h"

#include <stdio.h>
#include <string.h>

#define MANY 20000

static size_t name(uint32_t number, char text[32])
{
	return (size_t)snprintf(text, 32, "name %u", number * 2654435761u);
}

static void equal_strings_have_one_number_through_growth(void **state)
{
	struct intern *intern = intern_new(0);
	static const char *kept[MANY];
	char text[32];

	(void)state;
	for (uint32_t i = 0; i < MANY; i++) {
		assert_int_equal(intern_add(intern, text, name(i, text)), i + 1);
		kept[i] = intern_get(intern, i + 1);
	}
	for (uint32_t i = 0; i < MANY; i++) {
		assert_int_equal(intern_add(intern, text, name(i, text)), i + 1);
		assert_ptr_equal(intern_get(intern, i + 1), kept[i]); /* a pointer stays valid */
		assert_string_equal(kept[i], text);
	}
	assert_int_equal(intern_count(intern), MANY + 1);
	intern_free(intern);
}

static void nought_is_the_empty_string(void **state)
{
	struct intern *intern = intern_new(0);

	(void)state;
	assert_int_equal(intern_add(intern, "", 0), 0);
	assert_int_equal(intern_add(intern, "abc", 0), 0);
	assert_string_equal(intern_get(intern, 0), "");
	assert_string_equal(intern_get(intern, 12345), ""); /* never given out */
	intern_free(intern);
}

static void a_prefix_is_another_string(void **state)
{
	struct intern *intern = intern_new(0);
	uint32_t whole = intern_add(intern, "prefix", 6), part = intern_add(intern, "prefix", 3);

	(void)state;
	assert_int_not_equal(whole, part);
	assert_string_equal(intern_get(intern, part), "pre");
	assert_int_equal(intern_add(intern, "pre", 3), part);
	assert_int_equal(intern_add(intern, "pre\0fix", 7), part); /* cut at the NUL */
	intern_free(intern);
}

static void past_the_limit_the_old_ones_are_still_found(void **state)
{
	struct intern *intern = intern_new(65536);
	uint32_t number, count = 0;
	char text[32];

	(void)state;
	while ((number = intern_add(intern, text, name(count, text))) != UINT32_MAX)
		assert_int_equal(number, ++count);
	assert_in_range(count, 100, 65536 / 16);
	assert_true(intern_bytes(intern) <= 65536);
	assert_int_equal(intern_add(intern, text, name(0, text)), 1);
	assert_int_equal(intern_add(intern, text, name(count - 1, text)), count);
	assert_int_equal(intern_add(intern, text, name(count, text)), UINT32_MAX);
	intern_free(intern);
	intern_free(NULL);
}

static bool is_even(void *context, uint32_t id)
{
	(void)context;
	return id % 2 == 0;
}

static void swept_numbers_are_given_out_again(void **state)
{
	struct intern *intern = intern_new(64 << 10);
	char text[32];

	(void)state;
	for (uint32_t i = 1; i <= 1000; i++)
		assert_int_equal(intern_add(intern, text, name(i, text)), i);
	for (uint32_t turn = 0; turn < 50; turn++) { /* far more than the limit holds, in all */
		assert_int_equal(intern_sweep(intern, is_even, NULL), 0);
		for (uint32_t i = 2; i <= 1000; i += 2) {
			size_t length = name(i, text);

			assert_string_equal(intern_get(intern, i), text);
			assert_int_equal(intern_add(intern, text, length), i);
		}
		assert_string_equal(intern_get(intern, 1), "");
		for (uint32_t i = 0; i < 500; i++) {
			uint32_t id = intern_add(intern, text, name(1001 + turn * 500 + i, text));

			assert_true(id % 2 && id < 1001);
			assert_string_equal(intern_get(intern, id), text);
		}
		assert_int_equal(intern_count(intern), 1001);
	}
	intern_free(intern);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(equal_strings_have_one_number_through_growth),
		cmocka_unit_test(nought_is_the_empty_string),
		cmocka_unit_test(a_prefix_is_another_string),
		cmocka_unit_test(past_the_limit_the_old_ones_are_still_found),
		cmocka_unit_test(swept_numbers_are_given_out_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

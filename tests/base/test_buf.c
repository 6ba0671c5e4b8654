/* SPDX-License-Identifier: Apache-2.0 */
/* The growing buffer: contents, its NUL, NULs inside, and what is too large marks it for good. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void what_is_added_stands_there_with_a_nul(void **state)
{
	auto_buf struct buf buf = { 0 };

	(void)state;
	buf_add_string(&buf, "one");
	assert_string_equal(buf.data, "one");
	buf_add_char(&buf, ' ');
	buf_add(&buf, "two three", 3);
	assert_string_equal(buf.data, "one two");
	buf_printf(&buf, " %d%s", 3, "!");
	assert_string_equal(buf.data, "one two 3!");
	assert_int_equal(buf.length, 10);
	assert_false(buf.failed);
}

static void bytes_may_be_anything(void **state)
{
	auto_buf struct buf buf = { 0 };

	(void)state;
	buf_add(&buf, NULL, 0);
	assert_int_equal(buf.length, 0);
	buf_add(&buf, "a\0b", 3);
	buf_add_char(&buf, '\0');
	assert_int_equal(buf.length, 4);
	assert_memory_equal(buf.data, "a\0b\0", 5);
}

static void it_grows_past_every_border(void **state)
{
	auto_buf struct buf buf = { 0 };

	(void)state;
	for (int i = 0; i < 20000; i++)
		buf_printf(&buf, "%05d", i);
	assert_int_equal(buf.length, 100000);
	for (int i = 0; i < 20000; i++) {
		char wanted[8];

		snprintf(wanted, sizeof(wanted), "%05d", i);
		assert_memory_equal(buf.data + i * 5, wanted, 5);
	}
	assert_int_equal(strlen(buf.data), buf.length);
}

static void a_long_format_fits(void **state)
{
	auto_buf struct buf buf = { 0 };

	(void)state;
	buf_printf(&buf, "%3000s|", "x");
	assert_int_equal(buf.length, 3001);
	assert_string_equal(buf.data + 2999, "x|");
}

static void cleared_it_keeps_its_memory(void **state)
{
	auto_buf struct buf buf = { 0 };
	char *data;

	(void)state;
	buf_add_string(&buf, "something");
	data = buf.data;
	buf_clear(&buf);
	buf_add_string(&buf, "else");
	assert_ptr_equal(buf.data, data);
	assert_string_equal(buf.data, "else");
}

static void too_much_marks_it_and_later_bytes_are_dropped(void **state)
{
	static const size_t too_much[] = { SIZE_MAX, SIZE_MAX - 4, SIZE_MAX / 2 + 2, SIZE_MAX / 4 + 1 };

	(void)state;
	for (size_t i = 0; i < sizeof(too_much) / sizeof(too_much[0]); i++) {
		auto_buf struct buf buf = { 0 };

		buf_add_string(&buf, "kept");
		assert_false(buf_reserve(&buf, too_much[i]));
		assert_true(buf.failed);
		buf_add_string(&buf, " not this");
		assert_string_equal(buf.data, "kept");
		buf_clear(&buf);
		buf_add_string(&buf, "again");
		assert_string_equal(buf.data, "again");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_added_stands_there_with_a_nul),
		cmocka_unit_test(bytes_may_be_anything),
		cmocka_unit_test(it_grows_past_every_border),
		cmocka_unit_test(a_long_format_fits),
		cmocka_unit_test(cleared_it_keeps_its_memory),
		cmocka_unit_test(too_much_marks_it_and_later_bytes_are_dropped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

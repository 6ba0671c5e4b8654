/* SPDX-License-Identifier: Apache-2.0 */
/* Rows read back from real maps: the same rule the kernel side would find, and reasons where there is none. */
#include "publish_file.h"

static void rows_are_read_back(void **state)
{
	struct fixture *f = need(state);
	struct unwind_escape escape;
	struct image_file file;
	uint32_t first, dir;
	uint16_t rule;

	fill_file(&file);
	assert_int_equal(publish_file(f->publish, &file, &first), 0);
	assert_int_equal(publish_file(f->publish, &file, &dir), 0); /* not at a chunk's beginning */
	for (int turn = 0; turn < 2; turn++) {
		assert_int_equal(publish_find_rule(f->publish, dir, 0x50000, &rule), REASON_NONE);
		assert_int_equal(rule, UNWIND_RULE_NONE);
		assert_int_equal(publish_find_rule(f->publish, dir, 0x500ff, &rule), REASON_NONE);
		assert_int_equal(rule, UNWIND_RULE_NONE);
		assert_int_equal(publish_find_rule(f->publish, dir, 0x50140, &rule), REASON_NONE);
		assert_int_equal(rule, UNWIND_RULE(UNWIND_KIND_RSP, 1, 2));
		assert_int_equal(publish_find_rule(f->publish, dir, 0x5ffff, &rule), REASON_NONE);
		assert_int_equal(rule, UNWIND_RULE(UNWIND_KIND_RSP, 1, 2));
		assert_int_equal(publish_find_rule(f->publish, first, 0x7abcd, &rule), REASON_NONE);
		assert_int_equal(rule, UNWIND_RULE_OUTERMOST);
		assert_int_equal(publish_find_rule(f->publish, dir, 0x50100, &rule), REASON_NONE);
		assert_int_equal(rule >> 14, UNWIND_KIND_ESCAPE);
		assert_int_equal(publish_find_escape(f->publish, rule & 0x3fff, &escape), 0);
		assert_memory_equal(&escape, &file.escape, sizeof(escape));
		publish_read_done(f->publish); /* and once more from the beginning */
	}
}

static void where_there_are_none_a_reason_says_so(void **state)
{
	struct fixture *f = need(state);
	struct unwind_escape escape;
	struct image_file file;
	uint16_t rule = 4711;
	uint32_t dir;

	fill_file(&file);
	assert_int_equal(publish_file(f->publish, &file, &dir), 0);
	assert_int_equal(publish_find_rule(f->publish, dir, 0x60000, &rule), REASON_NO_RULE); /* a page without rows */
	assert_int_equal(publish_find_rule(f->publish, dir, 0x4ffff, &rule), REASON_NO_RULE); /* before all */
	assert_int_equal(publish_find_rule(f->publish, dir, 0x80000, &rule), REASON_NO_RULE); /* behind all */
	assert_int_equal(publish_find_rule(f->publish, dir, UINT64_MAX, &rule), REASON_NO_RULE);
	assert_int_equal(publish_find_rule(f->publish, dir, (1ULL << 48) + 0x50140, &rule), REASON_NO_RULE);
	assert_int_equal(publish_find_rule(f->publish, dir + 1, 0x50140, &rule), REASON_NO_TABLE);
	assert_int_equal(publish_find_escape(f->publish, UNWIND_MAX_ESCAPES, &escape), -ENOENT);
	assert_int_equal(rule, 4711);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(rows_are_read_back),
		TEST(where_there_are_none_a_reason_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

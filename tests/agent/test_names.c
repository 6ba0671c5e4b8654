/* SPDX-License-Identifier: Apache-2.0 */
/* The table of frames: ids, queues by image, late names, waiting, limits. */
#include "names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int setup(void **state)
{
	*state = names_new();
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	names_free(*state);
	return 0;
}

static void test_equal_frames_are_one(void **state)
{
	struct names *names = *state;
	uint32_t id = names_frame(names, 2, 0x1000, false, true);

	assert_int_equal(names_frame(names, 2, 0x1000, false, true), id);
	assert_int_not_equal(names_frame(names, 3, 0x1000, false, true), id);
	assert_int_not_equal(names_frame(names, 2, 0x1000, true, true), id);
	assert_int_not_equal(names_frame(names, 2, 0x1000, false, false), id);
	assert_int_equal(names_waiting(names), 4);
}

static void test_note_is_done_and_one(void **state)
{
	struct names *names = *state;
	uint32_t id = names_note(names, "[truncated: no unwind rule]");
	struct names_frame frame;

	assert_int_equal(names_note(names, "[truncated: no unwind rule]"), id);
	assert_int_not_equal(names_note(names, "[other]"), id);
	names_get_frame(names, id, &frame);
	assert_int_equal(frame.state, NAMES_DONE);
	assert_int_equal(frame.image, NAMES_IMAGE_NOTE);
	assert_int_equal(frame.line_count, 1);
	assert_string_equal(names_get_string(names, frame.lines[0].name), "[truncated: no unwind rule]");
	assert_int_equal(names_waiting(names), 0);
	names_get_frame(names, 0, &frame);
	assert_string_equal(names_get_string(names, frame.lines[0].name), "[frame table full]");
}

static void test_take_is_by_image_and_in_order(void **state)
{
	struct names *names = *state;
	uint32_t a[3], b, ids[8], image;
	uint64_t addresses[8];

	a[0] = names_frame(names, 5, 1, true, true);
	b = names_frame(names, 9, 2, true, true);
	a[1] = names_frame(names, 5, 3, true, true);
	a[2] = names_frame(names, 5, 4, true, true);
	assert_int_equal(names_take_unasked(names, 2, &image, ids, addresses), 2);
	assert_int_equal(image, 5);
	assert_int_equal(ids[0], a[0]);
	assert_int_equal(ids[1], a[1]);
	assert_int_equal(addresses[1], 3);
	assert_int_equal(names_take_unasked(names, 8, &image, ids, addresses), 1);
	assert_int_equal(ids[0], a[2]);
	assert_int_equal(names_take_unasked(names, 8, &image, ids, addresses), 1);
	assert_int_equal(image, 9);
	assert_int_equal(ids[0], b);
	assert_int_equal(names_take_unasked(names, 8, &image, ids, addresses), 0);
	names_ask_again(names, &a[1], 1);
	assert_int_equal(names_take_unasked(names, 8, &image, ids, addresses), 1);
	assert_int_equal(image, 5);
	assert_int_equal(ids[0], a[1]);
}

static void test_named_while_queued_is_not_asked(void **state)
{
	struct names *names = *state;
	struct names_line line = { .name = names_string(names, "bpf_prog") };
	uint32_t id = names_frame(names, 0, 1, true, true), ids[4], image;
	uint64_t addresses[4], sources[SYMBOL_SOURCE_COUNT], frames, refused;

	names_set_lines(names, id, SYMBOL_KSYMBOL, &line, 1);
	assert_int_equal(names_take_unasked(names, 4, &image, ids, addresses), 0);
	names_set_lines(names, id, SYMBOL_NO_SYMBOL, NULL, 0); /* too late to take it away */
	names_get_stats(names, sources, &frames, &refused);
	assert_int_equal(sources[SYMBOL_KSYMBOL], 1);
	assert_int_equal(sources[SYMBOL_NO_SYMBOL], 0);
	assert_int_equal(frames, 2);
	assert_int_equal(refused, 0);
}

static void test_late_lines_replace_none(void **state)
{
	struct names *names = *state;
	struct names_line lines[2] = { { .name = names_string(names, "inner"), .line = 3 },
				       { .name = names_string(names, "outer"), .line = 9 } };
	uint32_t id = names_frame(names, 2, 1, true, true);
	struct names_frame frame;

	names_set_lines(names, id, SYMBOL_DIED, NULL, 0);
	assert_int_equal(names_waiting(names), 0);
	names_set_lines(names, id, SYMBOL_DWARF, lines, 2);
	assert_int_equal(names_waiting(names), 0);
	names_get_frame(names, id, &frame);
	assert_int_equal(frame.source, SYMBOL_DWARF);
	assert_int_equal(frame.line_count, 2);
	assert_string_equal(names_get_string(names, frame.lines[1].name), "outer");
}

static void *name_it(void *argument)
{
	struct names *names = argument;
	struct names_line line = { .name = names_string(names, "late") };

	names_set_lines(names, 1, SYMBOL_SYMTAB, &line, 1);
	return NULL;
}

static void test_wait_counts_only_older_frames(void **state)
{
	struct names *names = *state;
	uint64_t start = clock_monotonic_ns();
	pthread_t thread;

	names_frame(names, 2, 1, true, true);
	assert_false(names_wait(names, 30));
	assert_true(clock_monotonic_ns() - start >= 30 * NS_PER_MS);
	assert_int_equal(pthread_create(&thread, NULL, name_it, names), 0);
	assert_true(names_wait(names, 10000));
	pthread_join(thread, NULL);
}

static void test_image_and_fallback(void **state)
{
	struct names *names = *state;
	const char *path, *build_id;
	auto_buf struct buf out = { 0 };

	names_set_image(names, 70, "/opt/app/bin/server", "ab12");
	names_get_image(names, 70, &path, &build_id);
	assert_string_equal(path, "/opt/app/bin/server");
	assert_string_equal(build_id, "ab12");
	names_get_image(names, 4000000, &path, &build_id);
	assert_string_equal(path, "");
	names_fallback("/tmp/x (deleted)", 0x1f, &out);
	assert_string_equal(out.data, "x+0x1f");
	buf_clear(&out);
	names_fallback("", 16, &out);
	assert_string_equal(out.data, "[unknown]+0x10");
}

static void test_full_table_gives_the_note(void **state)
{
	struct names *names = *state;
	uint64_t sources[SYMBOL_SOURCE_COUNT], frames, refused;

	for (uint64_t at = 0; at < NAMES_MAX_FRAMES - 1; at++)
		assert_int_not_equal(names_frame(names, 2 + (uint32_t)(at / NAMES_IMAGE_FRAMES), at, true, true), 0);
	assert_int_equal(names_frame(names, 99, UINT64_MAX, true, true), 0);
	assert_int_not_equal(names_frame(names, 2, 7, true, true), 0);
	names_get_stats(names, sources, &frames, &refused);
	assert_int_equal(frames, NAMES_MAX_FRAMES);
	assert_int_equal(refused, 1);
}

/* One image has its share of the table and no more; the others do not notice. */
static void test_one_image_does_not_fill_the_table(void **state)
{
	struct names *names = *state;

	for (uint64_t at = 0; at < NAMES_IMAGE_FRAMES; at++)
		assert_int_not_equal(names_frame(names, 2, at, true, true), 0);
	assert_int_equal(names_frame(names, 2, UINT64_MAX, true, true), 0);
	assert_int_not_equal(names_frame(names, 3, 1, true, true), 0);
}

static void test_full_strings_are_refused(void **state)
{
	struct names *names = *state;
	size_t size = 1 << 20;
	char *text = calloc(1, size);
	uint32_t last = 0;

	memset(text, 'x', size - 1);
	for (int at = 0; at < 64 && last != UINT32_MAX; at++) {
		snprintf(text, 4, "%03d", at);
		text[3] = 'x';
		last = names_string(names, text);
	}
	assert_int_equal(last, UINT32_MAX);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_equal_frames_are_one, setup, teardown),
		cmocka_unit_test_setup_teardown(test_note_is_done_and_one, setup, teardown),
		cmocka_unit_test_setup_teardown(test_take_is_by_image_and_in_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_named_while_queued_is_not_asked, setup, teardown),
		cmocka_unit_test_setup_teardown(test_late_lines_replace_none, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wait_counts_only_older_frames, setup, teardown),
		cmocka_unit_test_setup_teardown(test_image_and_fallback, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full_table_gives_the_note, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full_strings_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_image_does_not_fill_the_table, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

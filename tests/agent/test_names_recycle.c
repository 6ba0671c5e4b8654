/* SPDX-License-Identifier: Apache-2.0 */
/* The table of frames gives back what no kept window has: its ids are used again, no window's names change. */
#include "names_private.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IMAGES 16U

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

static uint32_t named(struct names *names, uint64_t number)
{
	uint32_t id = names_frame(names, NAMES_FIRST_IMAGE + number % IMAGES, number, true, true);
	struct names_line line = { .line = (uint32_t)number };
	char text[40];

	snprintf(text, sizeof(text), "function_%llu", (unsigned long long)number);
	line.name = names_string(names, text);
	names_set_lines(names, id, SYMBOL_SYMTAB, &line, 1);
	return id;
}

static void is_named(struct names *names, uint32_t id, uint64_t number)
{
	struct names_frame frame;
	char text[40];

	names_get_frame(names, id, &frame);
	snprintf(text, sizeof(text), "function_%llu", (unsigned long long)number);
	assert_int_equal(frame.address, number);
	assert_int_equal(frame.line_count, 1);
	assert_int_equal(frame.lines[0].line, number);
	assert_string_equal(names_get_string(names, frame.lines[0].name), text);
}

static uint32_t empty_queues(struct names *names)
{
	uint32_t image, ids[64], count = 0;
	uint64_t addresses[64];

	while (names_take_unasked(names, 64, &image, ids, addresses))
		count++;
	return count;
}

static size_t recycle(struct names *names, const uint32_t *ids, size_t count)
{
	empty_queues(names); /* what was named while it waited leaves its queue */
	assert_int_equal(names_recycle_begin(names), 0);
	names_recycle_keep(names, ids, count);
	return names_recycle_end(names, 1000);
}

static void what_nobody_keeps_goes(void **state)
{
	struct names *names = *state;
	uint32_t kept[100], gone[100], note = names_note(names, "[note]"), again;
	struct names_frame frame;

	for (uint32_t i = 0; i < 100; i++) {
		kept[i] = named(names, i);
		gone[i] = named(names, 1000 + i);
	}
	assert_int_equal(names_image_frames(names, NAMES_FIRST_IMAGE), 13);
	assert_int_equal(recycle(names, kept, 100), 100);
	assert_int_equal(names_recycled(names), 100);
	assert_int_equal(names_image_frames(names, NAMES_FIRST_IMAGE), 7);
	for (uint32_t i = 0; i < 100; i++) {
		is_named(names, kept[i], i);
		names_get_frame(names, gone[i], &frame);
		assert_int_equal(frame.image, NAMES_IMAGE_NOTE); /* not another's name */
	}
	assert_int_equal(names_note(names, "[note]"), note);
	for (uint32_t i = 0; i < 100; i++) {
		again = named(names, 5000 + i);
		assert_true(NAMES_SLOT(again) <= 202); /* of one that went */
		for (uint32_t j = 0; j < 100; j++)
			assert_int_not_equal(again, gone[j]);
	}
	for (uint32_t i = 0; i < 100; i++)
		is_named(names, kept[i], i);
	assert_int_equal(named(names, 7), kept[7]);
}

/* Asked for, or in a queue: somebody will come back with the id. */
static void what_is_asked_for_stays(void **state)
{
	struct names *names = *state;
	struct names_line line = { .name = names_string(names, "late") };
	uint32_t queued = names_frame(names, 2, 1, true, true), asked, image, id;
	uint64_t address;

	names_take_unasked(names, 1, &image, &asked, &address);
	assert_int_equal(asked, queued);
	queued = names_frame(names, 2, 2, true, true);
	names_set_lines(names, queued, SYMBOL_KSYMBOL, &line, 1); /* done, but still in the queue */
	assert_int_equal(names_recycle_begin(names), 0);
	assert_int_equal(names_recycle_end(names, 1000), 0);
	assert_int_equal(names_take_unasked(names, 1, &image, &id, &address), 0);
	assert_int_equal(recycle(names, NULL, 0), 1);
	names_set_lines(names, queued, SYMBOL_SYMTAB, &line, 1); /* too late: it has gone */
	id = names_frame(names, 3, 77, true, true);
	assert_int_equal(NAMES_SLOT(id), NAMES_SLOT(queued));
	names_set_lines(names, queued, SYMBOL_SYMTAB, &line, 1);
	names_ask_again(names, &queued, 1);
	assert_int_equal(names_waiting(names), 2);
	names_set_lines(names, asked, SYMBOL_NO_SYMBOL, NULL, 0);
	assert_int_equal(names_waiting(names), 1);
	names_get_stats(names, (uint64_t[SYMBOL_SOURCE_COUNT]){ 0 }, &address, &address);
}

static void strings_go_with_what_named_them(void **state)
{
	struct names *names = *state;
	uint32_t label = names_string(names, "label"), lost = names_string(names, "lost"), kept = named(names, 1);
	const char *path, *build_id;

	names_set_image(names, 2, "/bin/a", "abcd");
	named(names, 2);
	empty_queues(names);
	assert_int_equal(names_recycle_begin(names), 0);
	names_recycle_keep(names, &kept, 1);
	names_recycle_keep_string(names, label);
	assert_int_equal(names_recycle_end(names, 1000), 1);
	assert_string_equal(names_get_string(names, label), "label");
	assert_string_equal(names_get_string(names, lost), "");
	names_get_image(names, 2, &path, &build_id);
	assert_string_equal(path, "/bin/a");
	assert_string_equal(build_id, "abcd");
	is_named(names, kept, 1);
	assert_int_equal(names_string(names, "label"), label);
	assert_true(names_string(names, "another") <= lost + 8); /* a number that was free */
}

static void nothing_goes_while_somebody_reads(void **state)
{
	struct names *names = *state;

	named(names, 1);
	empty_queues(names);
	names_hold(names);
	assert_int_equal(names_recycle_begin(names), 0);
	assert_int_equal(names_recycle_end(names, 20), 0);
	names_release(names);
	assert_int_equal(recycle(names, NULL, 0), 1);
}

/*
 * Twice what the table holds, in windows of which the last ten are kept: nothing is refused, every kept window
 * has its names, and the table stays as large as it was.
 */
static void a_long_life_needs_no_more_room(void **state)
{
	enum { KEPT = 10, WINDOW = 30000, WINDOWS = 75 };
	static uint32_t windows[KEPT][WINDOW];
	struct names *names = *state;
	uint64_t sources[SYMBOL_SOURCE_COUNT], frames, refused, longest = 0;
	size_t turns = 0;

	for (uint64_t at = 0; at < WINDOWS; at++) {
		uint64_t begin;

		for (uint32_t i = 0; i < WINDOW; i++)
			windows[at % KEPT][i] = named(names, at * WINDOW + i);
		empty_queues(names);
		if (!names_is_filling(names))
			continue;
		assert_int_equal(names_recycle_begin(names), 0);
		for (uint64_t back = 0; back < KEPT && back <= at; back++)
			names_recycle_keep(names, windows[(at - back) % KEPT], WINDOW);
		begin = clock_monotonic_ns();
		assert_true(names_recycle_end(names, 1000) > 0);
		longest = clock_monotonic_ns() - begin > longest ? clock_monotonic_ns() - begin : longest;
		turns++;
		for (uint64_t back = 0; back < KEPT && back <= at; back++)
			for (uint32_t i = 0; i < WINDOW; i += 997)
				is_named(names, windows[(at - back) % KEPT][i], (at - back) * WINDOW + i);
	}
	names_get_stats(names, sources, &frames, &refused);
	assert_int_equal(refused, 0);
	assert_true(turns >= 5 && names->frame_count < NAMES_MAX_FRAMES * 3 / 4);
	assert_true(intern_count(names->strings) < NAMES_MAX_FRAMES * 3 / 4);
	print_message("%zu turns, the longest %llu ms\n", turns, (unsigned long long)(longest / NS_PER_MS));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_nobody_keeps_goes),
		TEST(what_is_asked_for_stays),
		TEST(strings_go_with_what_named_them),
		TEST(nothing_goes_while_somebody_reads),
		TEST(a_long_life_needs_no_more_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

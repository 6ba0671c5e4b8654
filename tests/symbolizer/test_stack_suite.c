/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The recorded suite: every case in tests/data/stacks is unwound by the product's own rows and steps, and each frame
 * compared with what a debugger, or the way the case was made, says. Every file is a test of its own.
 */
#include "base/buf.h"
#include "base/clean.h"
#include "base/file.h"
#include "stack_replay.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#define FOLDER "tests/data/stacks"
#define MAX_CASES 512
#define LEAST_CASES 60

static struct stack_replay replay;

static struct stack_case *open_case(const char *name)
{
	auto_buf struct buf text = { 0 };
	struct stack_case *stack_case;
	char path[512];
	uint32_t line = 0;
	int error;

	snprintf(path, sizeof(path), FOLDER "/%s", name);
	assert_int_equal(file_read(AT_FDCWD, path, STACK_CASE_MAX_BYTES, &text), 0);
	error = stack_case_read(text.data, text.length, &stack_case, &line);
	if (error)
		fail_msg("%s:%u: %s", path, line, strerror(-error));
	return stack_case;
}

static uint64_t frame_at(const uint64_t *frames, uint32_t count, int at)
{
	return at >= 0 && (uint32_t)at < count ? frames[at] : 0;
}

static void unwinds_as_recorded(void **state)
{
	const char *name = *state;
	struct stack_case *stack_case = open_case(name);
	int differs;

	assert_true(stack_case->frame_count > 0);
	assert_int_equal(stack_replay_run(stack_case, &replay), 0);
	differs = stack_replay_compare(stack_case, &replay);
	if (stack_case->has_shortfall) {
		if (differs < 0)
			fail_msg("%s falls short no more: take its shortfall line out", name);
		assert_int_equal(differs, stack_case->short_frames);
		assert_int_equal(replay.count, stack_case->short_frames);
		assert_int_equal(replay.reason, stack_case->short_reason);
	} else if (differs >= 0) {
		fail_msg("%s (%s): frame %d of %u is %" PRIx64 ", ends %s; %s has %u, there %" PRIx64 ", ends %s", name,
			 stack_case->title, differs, replay.count, frame_at(replay.frames, replay.count, differs),
			 stack_case_reason(replay.reason), stack_case->oracle, stack_case->frame_count,
			 frame_at(stack_case->frames, stack_case->frame_count, differs),
			 stack_case_reason(stack_case->ends));
	}
	stack_case_free(stack_case);
}

/*
 * Registers and stacks that nobody would record: whatever they hold, the walk ends, within the memory it has (the
 * sanitizers look on), and what it gives are the innermost frames it was given.
 */
static void garbage_ends(void **state)
{
	static const uint64_t garbage[] = { 0, 1, 8, UINT64_MAX, UINT64_MAX - 7, 1ULL << 63, 0x7fffffffffff };
	struct stack_case *stack_case = open_case(*state);
	const struct stack_case original = *stack_case;
	unsigned int seed = 1;

	for (int round = 0; round < 48; round++) {
		*stack_case = original;
		for (int i = 0; i < STACK_CASE_REGISTERS; i++) {
			seed = seed * 1103515245 + 12345;
			if (round < 24 && seed >> 16 & 1)
				stack_case->reg[i] = garbage[(seed >> 20) % array_size(garbage)];
			else if (round < 24)
				stack_case->reg[i] ^= 8ULL << (seed >> 20) % 8;
		}
		for (uint32_t i = 0; round >= 24 && i < stack_case->memory_count; i++) {
			uint8_t *bytes = (uint8_t *)(uintptr_t)stack_case->memory[i].bytes;

			for (uint64_t at = seed >> 16 & 63; at < stack_case->memory[i].size; at += 61)
				bytes[at] ^= (uint8_t)(1U << round % 8); /* adds up over the rounds */
		}
		assert_int_equal(stack_replay_run(stack_case, &replay), 0);
		assert_in_range(replay.count, 1, SAMPLE_MAX_USER_FRAMES);
		assert_int_equal(replay.frames[0], stack_case->pc);
	}
	*stack_case = original;
	stack_case_free(stack_case);
}

static void there_are_enough(void **state)
{
	assert_true(*(size_t *)*state >= LEAST_CASES);
}

static int is_case(const struct dirent *entry)
{
	const char *dot = strrchr(entry->d_name, '.');

	return dot && !strcmp(dot, ".stack");
}

int main(void)
{
	static struct CMUnitTest tests[MAX_CASES + 16];
	struct dirent **entries;
	size_t count = 0, cases;
	int found = scandir(FOLDER, &entries, is_case, alphasort);

	cases = found > 0 ? (size_t)found : 0;
	for (size_t i = 0; i < cases && i < MAX_CASES; i++)
		tests[count++] = (struct CMUnitTest){ entries[i]->d_name, unwinds_as_recorded, NULL, NULL,
						      entries[i]->d_name };
	for (size_t i = 0; i < cases; i += cases / 8 + 1)
		tests[count++] = (struct CMUnitTest){ "garbage_ends", garbage_ends, NULL, NULL, entries[i]->d_name };
	tests[count++] = (struct CMUnitTest){ "there_are_enough", there_are_enough, NULL, NULL, &cases };
	found = _cmocka_run_group_tests("stack_suite", tests, count, NULL, NULL);
	for (size_t i = 0; i < cases; i++)
		free(entries[i]);
	free(entries);
	return found;
}

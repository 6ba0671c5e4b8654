/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `wick replay FILE`: takes a stack case (include/stack_case.h) that the referee kept or somebody recorded, walks it
 * with the host's build of unwind_step.h, and prints those frames beside the recorded ones. It may be asked by anyone
 * of any file: nothing in it is believed.
 */
#include "replay.h"

#include "base/buf.h"
#include "base/clean.h"
#include "base/file.h"
#include "stack_replay.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PLACE_BYTES 64

static void print_place(const struct stack_case *stack_case, uint64_t pc, bool exact)
{
	const struct stack_mapping *mapping = stack_case_mapping(stack_case, exact ? pc : pc - 1);

	if (!mapping || mapping->image == STACK_CASE_ANONYMOUS)
		return;
	printf("  %.*s+0x%" PRIx64, PLACE_BYTES, stack_case->images[mapping->image].name, pc - mapping->bias);
}

static void print_frame(const uint64_t *frames, uint32_t count, uint32_t at)
{
	if (at < count)
		printf("  %016" PRIx64, frames[at]);
	else
		printf("  %16s", "");
}

/* `parts` is the line where both differ, -1: they do not. */
static void print_frames(const struct stack_case *stack_case, const struct stack_replay *replay, int parts)
{
	uint32_t most = replay->count > stack_case->frame_count ? replay->count : stack_case->frame_count;

	printf("       %-16s  %.16s\n", "wick", stack_case->oracle);
	for (uint32_t at = 0; at < most; at++) {
		uint64_t pc = at < replay->count ? replay->frames[at] : stack_case->frames[at];

		printf("%c %3" PRIu32, (int)at == parts ? '>' : ' ', at);
		print_frame(replay->frames, replay->count, at);
		print_frame(stack_case->frames, stack_case->frame_count, at);
		print_place(stack_case, pc, !at);
		putchar('\n');
	}
	printf("%c end  %-16s  %.16s\n", parts >= (int)most ? '>' : ' ', stack_case_reason(replay->reason),
	       stack_case_reason(stack_case->ends));
}

static int replay(const struct stack_case *stack_case, char *error, size_t error_size)
{
	static struct stack_replay result;
	int failed = stack_replay_run(stack_case, &result), parts;

	if (failed) {
		snprintf(error, error_size, "the stack could not be walked: %s", strerror(-failed));
		return failed;
	}
	parts = stack_replay_compare(stack_case, &result);
	printf("%s\n\n", stack_case->title);
	print_frames(stack_case, &result, parts);
	if (parts < 0)
		printf("\nBoth agree.\n");
	else
		printf("\nThey part at frame %d.\n", parts);
	return parts >= 0;
}

int replay_file(const char *path, char *error, size_t error_size)
{
	auto_buf struct buf text = { 0 };
	struct stack_case *stack_case;
	uint32_t line = 0;
	int result = file_read(AT_FDCWD, path, STACK_CASE_MAX_BYTES, &text);

	if (result < 0) {
		snprintf(error, error_size, "%s: %s", path, strerror(-result));
		return result;
	}
	result = stack_case_read(text.data, text.length, &stack_case, &line);
	if (result) {
		snprintf(error, error_size, "%s:%" PRIu32 ": %s", path, line,
			 result == -EINVAL ? "this is no stack case" : strerror(-result));
		return result;
	}
	result = replay(stack_case, error, error_size);
	stack_case_free(stack_case);
	return result;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Part of "names": gives back what no kept window speaks of, so that the table does not fill up for good. Whoever
 * adds frames marks what is in use, then the rest goes: frames, their lines, their strings. Numbers stay what they
 * are; a slot that is used again gets an id that was never given out before (but for 2,047 times).
 */
#include "names_private.h"

#include "base/clean.h"
#include "base/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool has_mark(const uint8_t *marks, uint32_t at)
{
	return marks[at / 8] >> at % 8 & 1;
}

static void set_mark(uint8_t *marks, uint32_t at)
{
	marks[at / 8] |= (uint8_t)(1U << at % 8);
}

bool names_is_filling(struct names *names)
{
	locked(names);
	return names->frame_count - names->free_count > NAMES_MAX_FRAMES / 2 ||
	       intern_bytes(names->strings) > NAMES_MAX_STRING_BYTES / 2 ||
	       arena_bytes(names->lines) > NAMES_MAX_LINE_BYTES / 2;
}

void names_hold(struct names *names)
{
	pthread_rwlock_rdlock(&names->life);
}

void names_release(struct names *names)
{
	pthread_rwlock_unlock(&names->life);
}

int names_recycle_begin(struct names *names)
{
	size_t strings;

	locked(names);
	strings = intern_count(names->strings);
	names->marks = calloc(NAMES_MAX_FRAMES / 8, 1);
	names->string_marks = calloc(strings / 8 + 1, 1);
	names->string_mark_count = strings;
	if (names->marks && names->string_marks)
		return 0;
	free(names->marks);
	free(names->string_marks);
	names->marks = names->string_marks = NULL;
	return -ENOMEM;
}

void names_recycle_keep(struct names *names, const uint32_t *ids, size_t count)
{
	for (size_t at = 0; at < count; at++)
		set_mark(names->marks, NAMES_SLOT(ids[at]));
}

void names_recycle_keep_string(struct names *names, uint32_t id)
{
	if (id < names->string_mark_count)
		set_mark(names->string_marks, id);
}

/* One that nobody has named yet is still asked for. */
static bool is_used(const struct names *names, const struct frame *frame, uint32_t slot)
{
	return frame->state != NAMES_DONE || frame->queued || frame->image == NAMES_IMAGE_NOTE ||
	       has_mark(names->marks, slot);
}

static void free_frame(struct names *names, struct frame *frame, uint32_t slot)
{
	struct frame_key key = { frame->address, frame->image, frame->exact | (uint32_t)frame->is_vaddr << 1 };

	hmap_remove(&names->ids, &key);
	names->images[frame->image].frames--;
	*frame = (struct frame){ .generation = (frame->generation + 1U) % NAMES_GENERATIONS & 2047, .free = 1,
				 .next = names->free_head };
	names->free_head = slot + 1;
	names->free_count++;
	names->recycled++;
}

static void keep_texts(struct names *names, const struct frame *frame)
{
	for (size_t at = 0; at < frame->line_count; at++) {
		names_recycle_keep_string(names, frame->lines[at].name);
		names_recycle_keep_string(names, frame->lines[at].system_name);
		names_recycle_keep_string(names, frame->lines[at].file);
	}
}

static size_t sweep_frames(struct names *names)
{
	size_t freed = 0;

	for (uint32_t slot = 0; slot < names->frame_count; slot++) {
		struct frame *frame = names_slot(names, slot);

		if (frame->free)
			continue;
		if (is_used(names, frame, slot)) {
			keep_texts(names, frame);
			continue;
		}
		free_frame(names, frame, slot);
		freed++;
	}
	return freed;
}

/* Into a new arena, in front of which nothing was written to a frame if it does not fit. */
static void move_lines(struct names *names)
{
	struct arena *lines = arena_new(NAMES_MAX_LINE_BYTES);
	struct names_line *all, *to;
	size_t count = 0;

	for (uint32_t slot = 0; slot < names->frame_count; slot++)
		count += names_slot(names, slot)->line_count;
	all = to = lines && count ? arena_array(lines, count, sizeof(*all)) : NULL;
	if (!lines || (count && !all)) {
		arena_free(lines);
		return;
	}
	for (uint32_t slot = 0; slot < names->frame_count; slot++) {
		struct frame *frame = names_slot(names, slot);

		if (!frame->line_count)
			continue;
		memcpy(to, frame->lines, frame->line_count * sizeof(*to));
		frame->lines = to;
		to += frame->line_count;
	}
	arena_free(names->lines);
	names->lines = lines;
}

static bool is_kept_string(void *context, uint32_t id)
{
	const struct names *names = context;

	return id >= names->string_mark_count || has_mark(names->string_marks, id);
}

static size_t recycle_frames(struct names *names)
{
	size_t freed;

	locked(names);
	freed = sweep_frames(names);
	move_lines(names);
	return freed;
}

/* A step of its own, so that /metrics waits for one of them at most. What came between is past the marks. */
static void recycle_strings(struct names *names)
{
	locked(names);
	for (size_t at = 0; at < names->image_count; at++) {
		names_recycle_keep_string(names, names->images[at].path);
		names_recycle_keep_string(names, names->images[at].build_id);
	}
	intern_sweep(names->strings, is_kept_string, names);
}

size_t names_recycle_end(struct names *names, unsigned timeout_ms)
{
	uint64_t end = clock_wall_ns() + timeout_ms * NS_PER_MS;
	struct timespec until = { (time_t)(end / NS_PER_S), (long)(end % NS_PER_S) };
	size_t freed = 0;

	if (!pthread_rwlock_timedwrlock(&names->life, &until)) {
		freed = recycle_frames(names);
		recycle_strings(names);
		pthread_rwlock_unlock(&names->life);
	}
	free(names->marks);
	free(names->string_marks);
	names->marks = names->string_marks = NULL;
	return freed;
}

uint32_t names_image_frames(struct names *names, uint32_t number)
{
	locked(names);
	return number < names->image_count ? names->images[number].frames : 0;
}

uint64_t names_recycled(struct names *names)
{
	locked(names);
	return names->recycled;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Part of "referee": takes a stack that was read in two ways and the space around it, gives a stack case. Of the
 * images it holds what either way needs, and of the mappings those of these images.
 */
#include "symbolizer/referee_keep.h"

#include "abi/sample.h"
#include "base/arena.h"
#include "base/buf.h"
#include "stack_case.h"
#include "symbolizer/stack_extract.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

struct keep {
	struct space *space;
	const struct referee_stack *stack;
	const struct referee_keep *wanted;
	uint32_t walked_count;
	struct arena *arena;
	uint32_t places[REFEREE_MAX_IMAGES]; /* 1 + where an image is in the case, 0: nowhere */
	struct stack_image images[REFEREE_MAX_IMAGES];
	struct stack_mapping mappings[STACK_CASE_MAX_MAPPINGS];
	uint64_t frames[REFEREE_MAX_FRAMES];
	uint64_t vaddrs[4 * REFEREE_MAX_FRAMES];
	struct stack_case stack_case;
};

/* A return address is looked up a byte before; which of them are return addresses the reader finds out. */
static size_t add_vaddr(struct keep *keep, uint32_t image, uint64_t frame, size_t count)
{
	for (uint64_t back = 0; back < 2; back++) {
		uint64_t pc = (frame & ~SAMPLE_FRAME_EXACT) - back, vaddr;
		struct space_object object;
		size_t at = 0;

		if (space_find(keep->space, pc, &object) || object.image != &keep->space->images[image])
			continue;
		vaddr = pc - object.bias;
		while (at < count && keep->vaddrs[at] != vaddr)
			at++;
		if (at == count)
			keep->vaddrs[count++] = vaddr;
	}
	return count;
}

static int add_image(struct keep *keep, uint32_t index)
{
	uint32_t place = keep->stack_case.image_count;
	size_t count = 0;
	int error;

	for (uint32_t i = 0; i < keep->stack->count; i++)
		count = add_vaddr(keep, index, keep->stack->frames[i], count);
	for (uint32_t i = 0; i < keep->walked_count; i++)
		count = add_vaddr(keep, index, keep->wanted->walked[i], count);
	if (!count)
		return 0;
	error = stack_extract(keep->space->images[index].image, keep->vaddrs, count, keep->arena, &keep->images[place]);
	if (error)
		return error;
	keep->images[place].name = arena_string(keep->arena, keep->wanted->names[index],
						strnlen(keep->wanted->names[index], sizeof(keep->wanted->names[0])));
	keep->places[index] = ++keep->stack_case.image_count;
	return keep->images[place].name ? 0 : -ENOMEM;
}

static void add_mappings(struct keep *keep)
{
	struct stack_case *to = &keep->stack_case;

	for (size_t i = 0; i < keep->space->mapping_count && to->mapping_count < STACK_CASE_MAX_MAPPINGS; i++) {
		const struct referee_mapping *mapping = &keep->space->mappings[i];
		struct space_object object;

		if (mapping->image >= REFEREE_MAX_IMAGES || !keep->places[mapping->image] ||
		    space_find(keep->space, mapping->start, &object))
			continue;
		keep->mappings[to->mapping_count++] =
			(struct stack_mapping){ mapping->start, mapping->end, mapping->offset, object.bias,
						keep->places[mapping->image] - 1 };
	}
}

/* What could be read of the copy, page by page where something could not. Returns how many parts there are. */
static uint32_t fill_memory(const struct snapshot *copy, const uint8_t *bytes, struct stack_part *ret_parts)
{
	uint64_t at = copy->from, near_end = copy->from + copy->near_bytes;
	uint32_t count = 0;

	while (at < near_end) {
		uint64_t end = copy->holes ? at / SNAPSHOT_PIECE * SNAPSHOT_PIECE + SNAPSHOT_PIECE : near_end;

		if (end > near_end)
			end = near_end;
		if (!snapshot_in_hole(copy, at, at))
			ret_parts[count++] = (struct stack_part){ at, end - at, bytes + (at - copy->from) };
		at = end;
	}
	if (copy->bytes > copy->near_bytes)
		ret_parts[count++] = (struct stack_part){ copy->far, copy->bytes - copy->near_bytes,
							  bytes + copy->near_bytes };
	return count;
}

static int write_case(struct keep *keep, int fd)
{
	const struct snapshot *copy = keep->stack->copy;
	struct stack_part memory[SNAPSHOT_REFEREE_BYTES / SNAPSHOT_PIECE + 2];
	struct stack_case *to = &keep->stack_case;
	auto_buf struct buf text = { 0 };

	for (uint32_t i = 0; i < keep->stack->count; i++)
		keep->frames[i] = keep->stack->frames[i] & ~SAMPLE_FRAME_EXACT;
	to->title = arena_string(keep->arena, keep->wanted->title, strnlen(keep->wanted->title, sizeof(keep->wanted->title)));
	to->oracle = "libunwind";
	to->pc = copy->pc;
	memcpy(to->reg, copy->reg, sizeof(to->reg));
	to->images = keep->images;
	to->mappings = keep->mappings;
	to->memory = memory;
	to->memory_count = fill_memory(copy, keep->stack->bytes, memory);
	to->frames = keep->frames;
	to->frame_count = keep->stack->count;
	to->ends = keep->stack->reason;
	if (!to->title)
		return -ENOMEM;
	stack_case_write(to, &text);
	if (text.failed)
		return -ENOMEM;
	if (text.length > STACK_CASE_MAX_BYTES)
		return -EFBIG;
	return write(fd, text.data, text.length) == (ssize_t)text.length ? 0 : -EIO;
}

int referee_keep(struct space *space, const struct referee_stack *stack, const struct referee_keep *wanted,
		 uint32_t walked_count, int fd)
{
	static struct keep keep; /* this child keeps one stack */
	int error = 0;

	keep = (struct keep){ .space = space, .stack = stack, .wanted = wanted, .walked_count = walked_count,
			      .arena = arena_new(4 * (size_t)STACK_CASE_MAX_BYTES) };
	if (!keep.arena)
		return -ENOMEM;
	for (uint32_t i = 0; i < REFEREE_MAX_IMAGES && !error; i++)
		if (space->images[i].image)
			error = add_image(&keep, i);
	add_mappings(&keep);
	if (!error)
		error = write_case(&keep, fd);
	arena_free(keep.arena);
	return error;
}

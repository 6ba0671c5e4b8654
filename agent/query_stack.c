/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Part of agent/query: frames become locations with lines, functions and mappings, and stacks sequences of
 * locations, each made once. focus, ignore and hide are answered here, once a function.
 */
#include "query_build.h"

#include "base/buf.h"

#include <errno.h>
#include <string.h>

#define NO_INDEX UINT32_MAX

struct function_slot {
	struct { uint32_t name, system_name, file, start_line; } key;
	uint32_t index;
};

struct image_slot {
	uint32_t image, index;
};

struct string_slot {
	uint32_t id;
	const char *text;
};

struct frame_slot {
	uint32_t frame;
	uint32_t location; /* NO_INDEX: hidden */
	uint32_t marks;
};

struct location_slot { /* two frames of one address (interrupted, and returned into) are one location */
	struct { uint64_t address; uint32_t mapping, rest; } key;
	uint32_t location, marks;
};

struct stack_slot {
	struct { uint64_t hash, probe; } key;
	uint32_t stack;
};

static const char *string_text(struct query_build *build, uint32_t id)
{
	bool is_new;
	struct string_slot *slot = hmap_insert(&build->strings, &id, &is_new);

	if (!slot)
		return NULL;
	if (is_new)
		slot->text = query_clean(build->arena, names_get_string(build->names, id));
	return slot->text;
}

static int push_function(struct query_build *build, const struct profile_function *function, uint32_t *ret_index)
{
	uint32_t marks = query_filter_marks(&build->filter, function->name);

	*ret_index = (uint32_t)build->functions.count;
	return query_push(build, &build->functions, function) && query_push(build, &build->function_marks, &marks) ?
		       0 : -ENOMEM;
}

static int add_function(struct query_build *build, const struct names_line *line, uint32_t *ret_index)
{
	struct function_slot key = { .key = { line->name, line->system_name, line->file, line->start_line } };
	struct profile_function function = { .start_line = line->start_line };
	struct function_slot *slot;
	bool is_new;

	slot = hmap_insert(&build->function_slots, &key.key, &is_new);
	if (!slot)
		return -ENOMEM;
	if (is_new) {
		function.name = string_text(build, line->name);
		function.system_name = string_text(build, line->system_name);
		function.file = string_text(build, line->file);
		if (!function.name || !function.system_name || !function.file ||
		    push_function(build, &function, &slot->index))
			return -ENOMEM;
	}
	*ret_index = slot->index;
	return 0;
}

static int add_mapping(struct query_build *build, uint32_t image, uint32_t *ret_index)
{
	struct profile_mapping mapping = { .file = "[kernel.kallsyms]", .build_id = "", .kernel = true };
	const char *path = NULL, *build_id = NULL;
	struct image_slot *slot;
	uint64_t none = 0;
	bool is_new;

	slot = hmap_insert(&build->images, &image, &is_new);
	if (!slot)
		return -ENOMEM;
	if (is_new) {
		if (image != NAMES_IMAGE_KERNEL) {
			names_get_image(build->names, image, &path, &build_id);
			mapping.file = query_clean(build->arena, path && *path ? path : "[unknown]");
			mapping.build_id = query_clean(build->arena, build_id ? build_id : "");
			mapping.kernel = false;
		}
		slot->index = (uint32_t)build->mappings.count;
		if (!mapping.file || !mapping.build_id || !query_push(build, &build->mappings, &mapping) ||
		    !query_push(build, &build->mapping_counts, &none))
			return -ENOMEM;
	}
	*ret_index = slot->index;
	return 0;
}

/* A frame that nobody could name still says where it is. */
static int add_fallback(struct query_build *build, const struct names_frame *frame,
			struct profile_location *location)
{
	struct profile_function function = { .system_name = "", .file = "" };
	struct profile_line line = { 0 };
	auto_buf struct buf text = { 0 };

	if (location->mapping == NO_INDEX) {
		buf_add_string(&text, "[unknown]");
	} else {
		const struct profile_mapping *mappings = (const void *)build->mappings.items;

		names_fallback(mappings[location->mapping].file, frame->address - !frame->exact, &text);
	}
	if (text.failed || !text.length)
		return -ENOMEM;
	function.name = query_clean(build->arena, text.data);
	if (!function.name || push_function(build, &function, &line.function) ||
	    !query_push(build, &build->lines, &line))
		return -ENOMEM;
	location->lines = 1;
	return 0;
}

/* As pprof does: focus and ignore look at every line of a frame, hide takes away those lines that match. */
static int add_lines(struct query_build *build, const struct names_frame *frame, struct profile_location *location,
		     uint32_t *marks)
{
	uint32_t of_function, first = (uint32_t)build->lines.count;
	int status = 0;

	location->first_line = first;
	if (!frame->line_count && (status = add_fallback(build, frame, location)))
		return status;
	for (size_t i = 0; i < frame->line_count; i++) {
		struct profile_line line = { .line = frame->lines[i].line };

		if ((status = add_function(build, &frame->lines[i], &line.function)))
			return status;
		if (!query_push(build, &build->lines, &line))
			return -ENOMEM;
	}
	for (size_t i = first, to = first; i < build->lines.count; i++) {
		struct profile_line *lines = (void *)build->lines.items;

		of_function = ((const uint32_t *)(const void *)build->function_marks.items)[lines[i].function];
		*marks |= of_function;
		if (!(of_function & QUERY_HIDE))
			lines[to++] = lines[i];
		location->lines = (uint32_t)(to - first);
	}
	build->lines.count = first + location->lines;
	return 0;
}

static enum profile_frame frame_kind(struct names *names, const struct names_frame *frame)
{
	const char *path = NULL, *build_id;

	if (frame->image == NAMES_IMAGE_KERNEL)
		return PROFILE_FRAME_KERNEL;
	if (frame->image == NAMES_IMAGE_NOTE)
		return PROFILE_FRAME_NOTE;
	if (frame->source == SYMBOL_ANONYMOUS)
		return PROFILE_FRAME_JIT;
	names_get_image(names, frame->image, &path, &build_id);
	return path && !strcmp(path, "[jit]") ? PROFILE_FRAME_JIT : PROFILE_FRAME_USER;
}

static int add_location(struct query_build *build, uint32_t id, struct frame_slot *ret_slot)
{
	struct profile_location location = { .mapping = NO_INDEX };
	struct location_slot key = { 0 }, *slot;
	struct names_frame frame;
	bool is_new;
	int status;

	names_get_frame(build->names, id, &frame);
	location.kind = frame_kind(build->names, &frame);
	if (location.kind != PROFILE_FRAME_NOTE && (status = add_mapping(build, frame.image, &location.mapping)))
		return status;
	if (location.kind == PROFILE_FRAME_USER || location.kind == PROFILE_FRAME_JIT)
		location.address = frame.exact ? frame.address : frame.address - 1;
	else if (location.kind == PROFILE_FRAME_KERNEL)
		location.address = frame.address;
	key.key.address = location.address;
	key.key.mapping = location.mapping;
	key.key.rest = location.kind == PROFILE_FRAME_NOTE   ? id :
		       location.kind == PROFILE_FRAME_KERNEL ? (uint32_t)frame.exact :
							       2 + (uint32_t)frame.is_vaddr;
	slot = hmap_insert(&build->location_slots, &key.key, &is_new);
	if (!slot)
		return -ENOMEM;
	if (is_new) {
		if ((status = add_lines(build, &frame, &location, &slot->marks)))
			return status;
		slot->location = location.lines ? (uint32_t)build->locations.count : NO_INDEX;
		if (location.lines && !query_push(build, &build->locations, &location))
			return -ENOMEM;
	}
	ret_slot->location = slot->location;
	ret_slot->marks = slot->marks;
	return 0;
}

static int add_frame(struct query_build *build, uint32_t frame, uint32_t *ret_location, uint32_t *marks)
{
	bool is_new;
	struct frame_slot *slot = hmap_insert(&build->frames, &frame, &is_new);
	int status;

	if (!slot)
		return -ENOMEM;
	if (is_new && (status = add_location(build, frame, slot)))
		return status;
	*marks |= slot->marks;
	*ret_location = slot->location;
	return 0;
}

/* The sequence lies at the end of stack_locations: keep it, or find the stack that is equal and drop it. */
static int intern_stack(struct query_build *build, const struct query_stack *stack, uint32_t *ret_stack)
{
	const uint32_t *all = (const uint32_t *)(const void *)build->stack_locations.items;
	size_t bytes = stack->depth * sizeof(*all);
	struct stack_slot key = { 0 }, *slot;
	bool is_new;

	if (!stack->depth)
		all = &stack->first; /* hmap_hash and memcmp want a pointer even for no bytes */
	key.key.hash = hmap_hash(stack->depth ? all + stack->first : all, bytes) ^ stack->marks;
	for (;; key.key.probe++) {
		const struct query_stack *other;

		slot = hmap_insert(&build->stack_slots, &key.key, &is_new);
		if (!slot)
			return -ENOMEM;
		if (is_new) {
			slot->stack = *ret_stack = (uint32_t)build->stacks.count;
			return query_push(build, &build->stacks, stack) ? 0 : -ENOMEM;
		}
		other = (const struct query_stack *)(const void *)build->stacks.items + slot->stack;
		if (other->depth == stack->depth && other->marks == stack->marks &&
		    (!bytes || !memcmp(all + other->first, all + stack->first, bytes)))
			break;
	}
	build->stack_locations.count = stack->first;
	*ret_stack = slot->stack;
	return 0;
}

int query_stack_add(struct query_build *build, const uint32_t *frames, uint32_t depth, uint32_t *ret_stack)
{
	struct query_stack stack = { .first = (uint32_t)build->stack_locations.count };
	uint32_t location;
	int status;

	for (uint32_t i = 0; i < depth; i++) {
		if ((status = add_frame(build, frames[i], &location, &stack.marks)))
			return status;
		if (location != NO_INDEX && !query_push(build, &build->stack_locations, &location))
			return -ENOMEM;
	}
	stack.depth = (uint32_t)build->stack_locations.count - stack.first;
	return intern_stack(build, &stack, ret_stack);
}

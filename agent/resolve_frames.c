/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames on their way to a child and back: takes an image's waiting frames, gives the addresses to look up; takes
 * the checked answer, gives lines to names.
 */
#include "resolve_child.h"
#include "resolve_frames.h"
#include "resolve_jit.h"
#include "resolve_subject.h"

#include "base/clock.h"

#include <errno.h>
#include <stdlib.h>

#define MAX_LINES 256 /* of one frame; a child sends at most 64 */

/* A file offset becomes an address by the segment that holds it. */
static bool to_vaddr(const struct symbolizer_image *description, uint64_t offset, uint64_t *ret_vaddr)
{
	for (size_t at = 0; description && at < description->segment_count; at++) {
		const struct symbolizer_segment *segment = &description->segments[at];

		if (offset >= segment->offset && offset - segment->offset < segment->filesz) {
			*ret_vaddr = segment->vaddr + (offset - segment->offset);
			return true;
		}
	}
	return false;
}

/* Moves up to a request's worth of the image's frames into the child; those that cannot be asked are done. */
size_t frames_compose(struct resolve *resolve, struct child *child, uint64_t *ret_addresses)
{
	struct image *image = child->image;

	child->count = 0;
	while (image->id_count && child->count < SYMBOLIZER_MAX_ADDRESSES) {
		uint32_t id = image->ids[--image->id_count];
		struct names_frame frame;
		uint64_t address;

		names_get_frame(resolve->names, id & FRAME_ID, &frame);
		if (frame.state == NAMES_DONE)
			continue;
		address = frame.exact ? frame.address : frame.address - 1; /* the call, not what follows it */
		if (!frame.is_vaddr && !to_vaddr(child->subject->description, address, &address)) {
			names_set_lines(resolve->names, id, SYMBOL_NO_SYMBOL, NULL, 0);
			continue;
		}
		ret_addresses[child->count] = address;
		child->ids[child->count++] = id;
	}
	if (!image->id_count && image->id_capacity > 4096) {
		free(image->ids);
		image->ids = NULL;
		image->id_capacity = 0;
	}
	return child->count;
}

void frames_give_back(struct resolve *resolve, struct child *child)
{
	uint32_t count = 0;

	for (uint32_t at = 0; at < child->count; at++)
		if (child->ids[at] != UINT32_MAX)
			child->ids[count++] = child->ids[at] & FRAME_ID;
	names_ask_again(resolve->names, child->ids, count);
	child->count = 0;
}

void frames_give_up(struct resolve *resolve, struct child *child, enum symbol_source reason)
{
	for (uint32_t at = 0; at < child->count; at++)
		if (child->ids[at] != UINT32_MAX)
			names_set_lines(resolve->names, child->ids[at] & FRAME_ID, reason, NULL, 0);
	child->count = 0;
}

static bool intern(struct names *names, const char *string, uint32_t *ret_id)
{
	*ret_id = names_string(names, string);
	return *ret_id != UINT32_MAX;
}

static void set_lines(struct resolve *resolve, uint32_t id, const struct symbolizer_frame *frame,
		      const struct child_names *answer)
{
	struct names_line lines[MAX_LINES];
	size_t count = frame->lines < MAX_LINES ? frame->lines : MAX_LINES;

	for (size_t at = 0; at < count; at++) {
		const struct symbolizer_line *from = &answer->lines[frame->first_line + at];
		struct names_line *line = &lines[at];

		line->line = from->line;
		line->start_line = from->start_line;
		if (!intern(resolve->names, answer->strings + from->name, &line->name) ||
		    !intern(resolve->names, answer->strings + from->system_name, &line->system_name) ||
		    !intern(resolve->names, answer->strings + from->file, &line->file)) {
			names_set_lines(resolve->names, id, SYMBOL_LIMIT, NULL, 0);
			return;
		}
	}
	names_set_lines(resolve->names, id, frame->source, lines, count);
}

/* Strings are held until the frame has them. */
static void name_frame(struct resolve *resolve, uint32_t id, const struct symbolizer_frame *frame,
		       const struct child_names *answer)
{
	names_hold(resolve->names);
	set_lines(resolve, id, frame, answer);
	names_release(resolve->names);
}

/* An unknown kernel address may be a module's or a BPF program's that came after kallsyms was read. */
static bool ask_kernel_again(struct resolve *resolve, struct child *child, uint32_t id)
{
	uint64_t again_ns = child->started_ns + RESOLVE_KALLSYMS_S * NS_PER_S;

	if (child->subject != &resolve->kernel || id & FRAME_ASKED_BEFORE)
		return false;
	if (!atomic_load(&resolve->kernel_changed) && clock_monotonic_ns() < again_ns)
		return false;
	child->subject->not_before_ns = again_ns;
	atomic_store(&resolve->kernel_changed, true);
	id |= FRAME_ASKED_BEFORE;
	subject_add_frames(resolve, child->image, &id, 1);
	return true;
}

/* Code runs before its name is written. */
static bool ask_jit_again(struct resolve *resolve, struct child *child, uint32_t id)
{
	struct subject *subject = child->subject;

	if (subject->kind != SYMBOLIZER_PERF_MAP || id & FRAME_ASKED_BEFORE || jit_is_frozen(subject))
		return false;
	subject->not_before_ns = clock_monotonic_ns() + JIT_AGAIN_S * NS_PER_S;
	id |= FRAME_ASKED_BEFORE;
	subject_add_frames(resolve, child->image, &id, 1);
	return true;
}

int frames_take(struct resolve *resolve, struct child *child, size_t bytes, bool *ret_more)
{
	struct child_names answer;
	int error = child_check_names(resolve->packet, bytes, child->request_id, child->count, &answer);

	if (error)
		return error;
	for (size_t at = 0; at < answer.frame_count; at++) {
		const struct symbolizer_frame *frame = &answer.frames[at];
		uint32_t *id = &child->ids[frame->address];

		if (*id == UINT32_MAX)
			return -EPROTO; /* answered twice */
		if (frame->lines ||
		    (!ask_kernel_again(resolve, child, *id) && !ask_jit_again(resolve, child, *id)))
			name_frame(resolve, *id & FRAME_ID, frame, &answer);
		*id = UINT32_MAX;
	}
	*ret_more = answer.more;
	for (size_t at = 0; !answer.more && at < child->count; at++) {
		if (child->ids[at] == UINT32_MAX)
			continue;
		if (!answer.error)
			return -EPROTO; /* the last packet, and one is missing */
		names_set_lines(resolve->names, child->ids[at] & FRAME_ID, subject_reason(answer.error), NULL, 0);
		child->ids[at] = UINT32_MAX;
	}
	return 0;
}

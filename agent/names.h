/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Noun "names": the table beside the profiles. A frame is (image, address); its lines may come late and then reach
 * every window that holds the frame. Strings are stored once. Any thread. What no kept window has is given back now
 * and then: ids, strings and lines are good between names_hold and names_release, and for the thread that adds frames.
 */
#ifndef NAMES_H
#define NAMES_H

#include "base/buf.h"
#include "symbolizer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NAMES_MAX_FRAMES (1U << 20)
#define NAMES_IMAGE_FRAMES (NAMES_MAX_FRAMES / 8) /* one file or one kind of memory must not fill it for all */
#define NAMES_MAX_STRING_BYTES (32U << 20)
#define NAMES_IMAGE_KERNEL 0 /* image ids: 0 kernel, 1 notes ([truncated: …]), then process_image ids */
#define NAMES_IMAGE_NOTE 1
#define NAMES_FIRST_IMAGE 2

struct names;

enum names_state { NAMES_UNASKED, NAMES_ASKED, NAMES_DONE };

struct names_line {
	uint32_t name, system_name, file; /* string ids */
	uint32_t line, start_line;
};

struct names_frame { /* a copy */
	uint32_t image;
	uint64_t address;
	bool exact, is_vaddr; /* is_vaddr false: a file offset, the segments were unknown */
	enum names_state state;
	enum symbol_source source;
	const struct names_line *lines; /* as long as names_hold lasts */
	size_t line_count;
};

struct names *names_new(void);
void names_free(struct names *names); /* accepts NULL */
void names_hold(struct names *names); /* not twice by one thread */
void names_release(struct names *names);
/* The frame's id, made if absent. `address` is the pc as found; exact: look it up as it is, else at address - 1.
 * When the table is full: id 0, the note "[frame table full]" (counted). */
uint32_t names_frame(struct names *names, uint32_t image, uint64_t address, bool exact, bool is_vaddr);
uint32_t names_note(struct names *names, const char *text); /* a frame that is a sentence in brackets */
uint32_t names_string(struct names *names, const char *string); /* UINT32_MAX when full */
const char *names_get_string(struct names *names, uint32_t id);
void names_set_image(struct names *names, uint32_t image, const char *path, const char *build_id);
void names_get_image(struct names *names, uint32_t image, const char **ret_path, const char **ret_build_id);
void names_get_frame(struct names *names, uint32_t id, struct names_frame *ret_frame);
/* Up to `limit` unasked frames of one image; they become ASKED. 0: nothing to do. */
size_t names_take_unasked(struct names *names, size_t limit, uint32_t *ret_image, uint32_t *ret_ids,
			  uint64_t *ret_addresses);
/* Back to UNASKED, when the answer did not come (a symbolizer died). */
void names_ask_again(struct names *names, const uint32_t *ids, size_t count);
void names_set_lines(struct names *names, uint32_t id, enum symbol_source source,
		     const struct names_line *lines, size_t count);
size_t names_waiting(struct names *names); /* frames that are not DONE */
/* Waits until no frame older than now is unnamed, at most `timeout_ms`; true: none. */
bool names_wait(struct names *names, unsigned timeout_ms);
void names_get_stats(struct names *names, uint64_t sources[SYMBOL_SOURCE_COUNT], uint64_t *ret_frames,
		     uint64_t *ret_refused);
bool names_is_filling(struct names *names); /* past the half of one of its limits */
/* All on the thread that adds frames, which adds none between: what is in use is told, the rest goes. 0 or -ENOMEM. */
int names_recycle_begin(struct names *names);
void names_recycle_keep(struct names *names, const uint32_t *ids, size_t count);
void names_recycle_keep_string(struct names *names, uint32_t id);
/* How many frames went; 0 too if others held on for longer than that. */
size_t names_recycle_end(struct names *names, unsigned timeout_ms);
uint64_t names_recycled(struct names *names); /* frames, ever */
uint32_t names_image_frames(struct names *names, uint32_t image); /* that the table has of it */
/* What a frame without lines is called: file+0xoffset. */
void names_fallback(const char *path, uint64_t address, struct buf *out);

#endif

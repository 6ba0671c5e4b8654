/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Noun "names": takes frames (image, address) from aggregation and their lines from resolve, gives both to
 * whoever exports. Owns every string, line and frame until no kept window has it (names_recycle.c). One mutex;
 * nothing slow happens under it. Frames that wait to be asked are chained by image, so taking a batch touches that
 * batch alone.
 */
#include "names_private.h"

#include "base/clean.h"
#include "base/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_IMAGES (1U << 20)
#define MAX_LINES 511 /* of one frame, as its bits hold */
#define FULL_TEXT "[frame table full]"

/* NULL: it was given back, and its slot perhaps used again. */
static struct frame *get_frame(struct names *names, uint32_t id)
{
	uint32_t slot = NAMES_SLOT(id);
	struct frame *frame = slot < names->frame_count ? names_slot(names, slot) : NULL;

	return frame && !frame->free && NAMES_ID(slot, frame->generation) == id ? frame : NULL;
}

/* Images are numbered by the process table, densely. NULL: no memory, or a number nobody can mean. */
static struct image *get_image(struct names *names, uint32_t number)
{
	size_t count = names->image_count ? names->image_count : 64;
	struct image *images;

	if (number < names->image_count)
		return &names->images[number];
	if (number >= MAX_IMAGES)
		return NULL;
	while (count <= number)
		count *= 2;
	images = realloc(names->images, count * sizeof(*images));
	if (!images)
		return NULL;
	memset(images + names->image_count, 0, (count - names->image_count) * sizeof(*images));
	names->images = images;
	names->image_count = count;
	return &images[number];
}

static void enqueue(struct names *names, struct frame *frame, uint32_t slot)
{
	struct image *image = &names->images[frame->image];

	frame->state = NAMES_UNASKED;
	if (frame->queued)
		return;
	frame->queued = true;
	frame->next = 0;
	if (image->tail)
		names_slot(names, image->tail - 1)->next = slot + 1;
	else
		image->head = slot + 1;
	image->tail = slot + 1;
	if (image->queued)
		return;
	image->queued = true;
	image->next = 0;
	if (names->image_tail)
		names->images[names->image_tail - 1].next = frame->image + 1;
	else
		names->image_head = frame->image + 1;
	names->image_tail = frame->image + 1;
}

/* A slot that was given back, or one never used. UINT32_MAX: none. */
static uint32_t find_slot(struct names *names)
{
	struct frame **chunk;

	if (names->free_head)
		return names->free_head - 1;
	if (names->frame_count >= NAMES_MAX_FRAMES)
		return UINT32_MAX;
	chunk = &names->chunks[names->frame_count >> NAMES_CHUNK_BITS];
	if (!*chunk)
		*chunk = calloc(NAMES_CHUNK_FRAMES, sizeof(**chunk));
	return *chunk ? names->frame_count : UINT32_MAX;
}

/* A frame nobody holds yet, or UINT32_MAX. */
static uint32_t add_frame(struct names *names, const struct frame_key *key)
{
	struct image *image = get_image(names, key->image);
	uint32_t slot = !image || image->frames >= NAMES_IMAGE_FRAMES ? UINT32_MAX : find_slot(names);
	struct frame_entry *entry = slot == UINT32_MAX ? NULL : hmap_insert(&names->ids, key, NULL);
	struct frame *frame;

	if (!entry)
		return UINT32_MAX;
	frame = names_slot(names, slot);
	if (names->free_head) {
		names->free_head = frame->next;
		names->free_count--;
	} else {
		names->frame_count++;
	}
	*frame = (struct frame){ .address = key->address, .image = key->image, .exact = key->flags & 1,
				 .is_vaddr = key->flags >> 1 & 1, .generation = frame->generation,
				 .born = names->born++ };
	entry->id = NAMES_ID(slot, frame->generation);
	image->frames++;
	return (uint32_t)entry->id;
}

static void finish_frame(struct names *names, struct frame *frame)
{
	frame->state = NAMES_DONE;
	names->waiting--;
	for (struct waiter *waiter = names->waiters; waiter; waiter = waiter->next)
		if ((int32_t)(frame->born - waiter->born) < 0 && !--waiter->left)
			pthread_cond_broadcast(&names->named);
}

static int set_lines(struct names *names, struct frame *frame, const struct names_line *lines, size_t count)
{
	struct names_line *copy;

	if (count > MAX_LINES)
		count = MAX_LINES;
	copy = arena_array(names->lines, count, sizeof(*lines));
	if (!copy)
		return -ENOMEM;
	memcpy(copy, lines, count * sizeof(*lines));
	frame->lines = copy;
	frame->line_count = count & MAX_LINES;
	return 0;
}

static uint32_t find_or_add(struct names *names, const struct frame_key *key, bool *ret_new)
{
	const struct frame_entry *entry = hmap_find(&names->ids, key);
	uint32_t id = entry ? (uint32_t)entry->id : add_frame(names, key);

	*ret_new = !entry && id != UINT32_MAX;
	if (id != UINT32_MAX)
		return id;
	names->refused++;
	return 0;
}

struct names *names_new(void)
{
	struct names *names = calloc(1, sizeof(*names));
	pthread_rwlockattr_t writer_first;
	pthread_condattr_t monotonic;

	if (!names)
		return NULL;
	pthread_rwlockattr_init(&writer_first);
	pthread_rwlockattr_setkind_np(&writer_first, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&names->life, &writer_first);
	pthread_rwlockattr_destroy(&writer_first);
	pthread_mutex_init(&names->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&names->named, &monotonic);
	pthread_condattr_destroy(&monotonic);
	hmap_init(&names->ids, sizeof(struct frame_key), sizeof(struct frame_entry), NAMES_MAX_FRAMES);
	names->strings = intern_new(NAMES_MAX_STRING_BYTES);
	names->lines = arena_new(NAMES_MAX_LINE_BYTES);
	/* Frame 0 is the one a full table gives out. */
	if (names->strings && names->lines && names_note(names, FULL_TEXT) == 0 && !names->refused)
		return names;
	names_free(names);
	return NULL;
}

void names_free(struct names *names)
{
	if (!names)
		return;
	for (size_t at = 0; at < NAMES_CHUNKS; at++)
		free(names->chunks[at]);
	hmap_done(&names->ids);
	intern_free(names->strings);
	arena_free(names->lines);
	free(names->images);
	free(names->marks);
	free(names->string_marks);
	pthread_rwlock_destroy(&names->life);
	pthread_cond_destroy(&names->named);
	pthread_mutex_destroy(&names->lock);
	free(names);
}

uint32_t names_frame(struct names *names, uint32_t image, uint64_t address, bool exact, bool is_vaddr)
{
	struct frame_key key = { address, image, (exact ? 1U : 0) | (is_vaddr ? 2U : 0) };
	bool is_new;
	uint32_t id;

	locked(names);
	id = find_or_add(names, &key, &is_new);
	if (is_new) {
		names->waiting++;
		enqueue(names, get_frame(names, id), NAMES_SLOT(id));
	}
	return id;
}

/* A note's address is the number of its text, so that equal sentences are one frame. */
uint32_t names_note(struct names *names, const char *text)
{
	struct frame_key key = { 0, NAMES_IMAGE_NOTE, 3 };
	struct names_line line = { 0 };
	bool is_new;
	uint32_t id;

	locked(names);
	line.name = line.system_name = intern_add(names->strings, text, strlen(text));
	if (line.name == UINT32_MAX) {
		names->refused++;
		return 0;
	}
	key.address = line.name;
	id = find_or_add(names, &key, &is_new);
	if (!is_new)
		return id;
	get_frame(names, id)->state = NAMES_DONE;
	names->sources[SYMBOL_NONE]++;
	if (set_lines(names, get_frame(names, id), &line, 1))
		names->refused++;
	return id;
}

uint32_t names_string(struct names *names, const char *string)
{
	locked(names);
	return intern_add(names->strings, string, strlen(string));
}

const char *names_get_string(struct names *names, uint32_t id)
{
	locked(names);
	return intern_get(names->strings, id);
}

void names_set_image(struct names *names, uint32_t number, const char *path, const char *build_id)
{
	struct image *image;
	uint32_t path_id, build_id_id;

	locked(names);
	image = get_image(names, number);
	path_id = intern_add(names->strings, path ? path : "", path ? strlen(path) : 0);
	build_id_id = intern_add(names->strings, build_id ? build_id : "", build_id ? strlen(build_id) : 0);
	if (!image || path_id == UINT32_MAX || build_id_id == UINT32_MAX) {
		names->refused++;
		return;
	}
	image->path = path_id;
	image->build_id = build_id_id;
}

void names_get_image(struct names *names, uint32_t number, const char **ret_path, const char **ret_build_id)
{
	struct image none = { 0 };
	const struct image *image;

	locked(names);
	image = number < names->image_count ? &names->images[number] : &none;
	*ret_path = intern_get(names->strings, image->path);
	*ret_build_id = intern_get(names->strings, image->build_id);
}

void names_get_frame(struct names *names, uint32_t id, struct names_frame *ret_frame)
{
	const struct frame *frame;

	locked(names);
	frame = get_frame(names, id);
	if (!frame)
		frame = names_slot(names, 0);
	*ret_frame = (struct names_frame){
		.image = frame->image, .address = frame->address, .exact = frame->exact,
		.is_vaddr = frame->is_vaddr, .state = frame->state, .source = frame->source,
		.lines = frame->lines, .line_count = frame->line_count,
	};
}

size_t names_take_unasked(struct names *names, size_t limit, uint32_t *ret_image, uint32_t *ret_ids,
			  uint64_t *ret_addresses)
{
	size_t count = 0;

	locked(names);
	while (names->image_head && !count) {
		uint32_t number = names->image_head - 1;
		struct image *image = &names->images[number];

		while (image->head && count < limit) {
			uint32_t slot = image->head - 1;
			struct frame *frame = names_slot(names, slot);

			image->head = frame->next;
			frame->queued = false;
			if (frame->state != NAMES_UNASKED)
				continue; /* named by somebody else while it stood in the queue */
			frame->state = NAMES_ASKED;
			ret_ids[count] = NAMES_ID(slot, frame->generation);
			ret_addresses[count++] = frame->address;
		}
		*ret_image = number;
		if (image->head)
			break;
		image->tail = 0;
		image->queued = false;
		names->image_head = image->next;
		if (!names->image_head)
			names->image_tail = 0;
	}
	return count;
}

void names_ask_again(struct names *names, const uint32_t *ids, size_t count)
{
	locked(names);
	for (size_t at = 0; at < count; at++) {
		struct frame *frame = get_frame(names, ids[at]);

		if (frame && frame->state == NAMES_ASKED)
			enqueue(names, frame, NAMES_SLOT(ids[at]));
	}
}

/* A frame that already has lines keeps them: windows may have been exported with them. */
void names_set_lines(struct names *names, uint32_t id, enum symbol_source source,
		     const struct names_line *lines, size_t count)
{
	struct frame *frame;

	locked(names);
	frame = get_frame(names, id);
	if (!frame || frame->line_count || (frame->state == NAMES_DONE && !count))
		return;
	if (count && set_lines(names, frame, lines, count))
		source = SYMBOL_LIMIT;
	if (frame->state == NAMES_DONE)
		names->sources[frame->source]--;
	frame->source = source & 31;
	names->sources[source]++;
	if (frame->state != NAMES_DONE)
		finish_frame(names, frame);
}

size_t names_waiting(struct names *names)
{
	locked(names);
	return names->waiting;
}

bool names_wait(struct names *names, unsigned timeout_ms)
{
	uint64_t end = clock_monotonic_ns() + timeout_ms * NS_PER_MS;
	struct timespec until = { (time_t)(end / NS_PER_S), (long)(end % NS_PER_S) };
	struct waiter self = { 0 };
	struct waiter **at;

	locked(names);
	self.born = names->born;
	self.left = names->waiting;
	self.next = names->waiters;
	names->waiters = &self;
	while (self.left && pthread_cond_timedwait(&names->named, &names->lock, &until) != ETIMEDOUT)
		;
	for (at = &names->waiters; *at != &self; at = &(*at)->next)
		;
	*at = self.next;
	return !self.left;
}

void names_get_stats(struct names *names, uint64_t sources[SYMBOL_SOURCE_COUNT], uint64_t *ret_frames,
		     uint64_t *ret_refused)
{
	locked(names);
	memcpy(sources, names->sources, sizeof(names->sources));
	*ret_frames = names->frame_count - names->free_count;
	*ret_refused = names->refused;
}

void names_fallback(const char *path, uint64_t address, struct buf *out)
{
	const char *deleted = " (deleted)"; /* the kernel's mark, not part of the file's name */
	const char *base = path ? strrchr(path, '/') : NULL;
	size_t length, mark = strlen(deleted);

	base = base ? base + 1 : path;
	length = base ? strlen(base) : 0;
	if (length > mark && !strcmp(base + length - mark, deleted))
		length -= mark;
	if (length)
		buf_add(out, base, length);
	else
		buf_add_string(out, "[unknown]");
	buf_printf(out, "+0x%llx", (unsigned long long)address);
}

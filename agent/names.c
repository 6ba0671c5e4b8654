/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Noun "names": takes frames (image, address) from aggregation and their lines from resolve, gives both to
 * whoever exports. Owns every string, line and frame until the agent ends. One mutex; nothing slow happens
 * under it. Frames that wait to be asked are chained by image, so taking a batch touches that batch alone.
 */
#include "names.h"

#include "base/arena.h"
#include "base/clean.h"
#include "base/clock.h"
#include "base/hmap.h"
#include "base/intern.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#define CHUNK_BITS 12
#define CHUNK_FRAMES (1U << CHUNK_BITS)
#define CHUNKS (NAMES_MAX_FRAMES / CHUNK_FRAMES)
#define MAX_IMAGES (1U << 20)
#define MAX_LINE_BYTES (48U << 20)
#define FULL_TEXT "[frame table full]"

struct frame {
	uint64_t address;
	const struct names_line *lines;
	uint32_t image, next; /* next: id + 1 of the one behind it in its image's queue */
	uint16_t line_count;
	uint8_t state, source;
	bool exact, is_vaddr, queued;
};

struct image {
	uint32_t path, build_id;
	uint32_t head, tail; /* id + 1 of queued frames */
	uint32_t next;       /* number + 1 of the next image that has some */
	uint32_t frames;     /* that it has in the table */
	bool queued;
};

struct waiter {
	uint32_t limit; /* frames below it existed when the wait began */
	size_t left;
	struct waiter *next;
};

struct frame_key {
	uint64_t address;
	uint32_t image, flags;
};

struct frame_entry {
	struct frame_key key;
	uint64_t id;
};

struct names {
	pthread_mutex_t lock;
	pthread_cond_t named;
	struct intern *strings;
	struct arena *lines;
	struct hmap ids;
	struct frame *chunks[CHUNKS];
	uint32_t frame_count;
	struct image *images;
	size_t image_count;
	uint32_t image_head, image_tail; /* number + 1 */
	struct waiter *waiters;
	size_t waiting;
	uint64_t refused, sources[SYMBOL_SOURCE_COUNT];
};

static void unlock(pthread_mutex_t **lock)
{
	pthread_mutex_unlock(*lock);
}
#define locked(names)                                                                                         \
	__attribute__((cleanup(unlock), unused)) pthread_mutex_t *held = &(names)->lock;                      \
	pthread_mutex_lock(held)

static struct frame *get_frame(struct names *names, uint32_t id)
{
	return &names->chunks[id >> CHUNK_BITS][id & (CHUNK_FRAMES - 1)];
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

static void enqueue(struct names *names, uint32_t id)
{
	struct frame *frame = get_frame(names, id);
	struct image *image = &names->images[frame->image];

	frame->state = NAMES_UNASKED;
	if (frame->queued)
		return;
	frame->queued = true;
	frame->next = 0;
	if (image->tail)
		get_frame(names, image->tail - 1)->next = id + 1;
	else
		image->head = id + 1;
	image->tail = id + 1;
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

/* A frame nobody holds yet, or UINT32_MAX. */
static uint32_t add_frame(struct names *names, const struct frame_key *key)
{
	struct frame_entry *entry;
	uint32_t id = names->frame_count;
	struct frame **chunk;
	struct image *image;

	image = get_image(names, key->image);
	if (id >= NAMES_MAX_FRAMES || !image || image->frames >= NAMES_IMAGE_FRAMES)
		return UINT32_MAX;
	chunk = &names->chunks[id >> CHUNK_BITS];
	if (!*chunk)
		*chunk = calloc(CHUNK_FRAMES, sizeof(**chunk));
	if (!*chunk)
		return UINT32_MAX;
	entry = hmap_insert(&names->ids, key, NULL);
	if (!entry)
		return UINT32_MAX;
	entry->id = id;
	*get_frame(names, id) = (struct frame){ .address = key->address, .image = key->image,
						.exact = key->flags & 1, .is_vaddr = key->flags & 2 };
	names->frame_count++;
	image->frames++;
	return id;
}

static void finish_frame(struct names *names, uint32_t id)
{
	get_frame(names, id)->state = NAMES_DONE;
	names->waiting--;
	for (struct waiter *waiter = names->waiters; waiter; waiter = waiter->next)
		if (id < waiter->limit && !--waiter->left)
			pthread_cond_broadcast(&names->named);
}

static int set_lines(struct names *names, struct frame *frame, const struct names_line *lines, size_t count)
{
	struct names_line *copy;

	if (count > UINT16_MAX)
		count = UINT16_MAX;
	copy = arena_array(names->lines, count, sizeof(*lines));
	if (!copy)
		return -ENOMEM;
	memcpy(copy, lines, count * sizeof(*lines));
	frame->lines = copy;
	frame->line_count = (uint16_t)count;
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
	pthread_condattr_t monotonic;

	if (!names)
		return NULL;
	pthread_mutex_init(&names->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&names->named, &monotonic);
	pthread_condattr_destroy(&monotonic);
	hmap_init(&names->ids, sizeof(struct frame_key), sizeof(struct frame_entry), NAMES_MAX_FRAMES);
	names->strings = intern_new(NAMES_MAX_STRING_BYTES);
	names->lines = arena_new(MAX_LINE_BYTES);
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
	for (size_t at = 0; at < CHUNKS; at++)
		free(names->chunks[at]);
	hmap_done(&names->ids);
	intern_free(names->strings);
	arena_free(names->lines);
	free(names->images);
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
		enqueue(names, id);
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
	frame = get_frame(names, id < names->frame_count ? id : 0);
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
			uint32_t id = image->head - 1;
			struct frame *frame = get_frame(names, id);

			image->head = frame->next;
			frame->queued = false;
			if (frame->state != NAMES_UNASKED)
				continue; /* named by somebody else while it stood in the queue */
			frame->state = NAMES_ASKED;
			ret_ids[count] = id;
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
	for (size_t at = 0; at < count; at++)
		if (ids[at] < names->frame_count && get_frame(names, ids[at])->state == NAMES_ASKED)
			enqueue(names, ids[at]);
}

/* A frame that already has lines keeps them: windows may have been exported with them. */
void names_set_lines(struct names *names, uint32_t id, enum symbol_source source,
		     const struct names_line *lines, size_t count)
{
	struct frame *frame;

	locked(names);
	if (id >= names->frame_count)
		return;
	frame = get_frame(names, id);
	if (frame->line_count || (frame->state == NAMES_DONE && !count))
		return;
	if (count && set_lines(names, frame, lines, count))
		source = SYMBOL_LIMIT;
	if (frame->state == NAMES_DONE)
		names->sources[frame->source]--;
	frame->source = (uint8_t)source;
	names->sources[source]++;
	if (frame->state != NAMES_DONE)
		finish_frame(names, id);
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
	self.limit = names->frame_count;
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
	*ret_frames = names->frame_count;
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

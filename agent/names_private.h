/* SPDX-License-Identifier: Apache-2.0 */
/* What names.c (frames and their lines) and names_recycle.c (giving them back) share. */
#ifndef NAMES_PRIVATE_H
#define NAMES_PRIVATE_H

#include "names.h"

#include "base/arena.h"
#include "base/hmap.h"
#include "base/intern.h"

#include <pthread.h>

#define NAMES_CHUNK_BITS 12
#define NAMES_CHUNK_FRAMES (1U << NAMES_CHUNK_BITS)
#define NAMES_CHUNKS (NAMES_MAX_FRAMES / NAMES_CHUNK_FRAMES)
#define NAMES_MAX_LINE_BYTES (48U << 20)
#define NAMES_SLOT(id) ((id) & (NAMES_MAX_FRAMES - 1)) /* an id is a slot and, above it, how often that was reused */
#define NAMES_ID(slot, generation) ((slot) | (uint32_t)(generation) << 20)
#define NAMES_GENERATIONS 2047 /* resolve keeps a flag in an id's top bit, and UINT32_MAX is no id */
_Static_assert(NAMES_MAX_FRAMES == 1U << 20, "an id's generation begins at bit 20");

struct frame {
	uint64_t address;
	const struct names_line *lines;
	uint32_t image, next; /* next: slot + 1 of the one behind it in its image's queue, or of the next free one */
	uint32_t born;
	uint32_t line_count : 9, source : 5, state : 2, exact : 1, is_vaddr : 1, queued : 1, free : 1, generation : 11;
};

struct image {
	uint32_t path, build_id;
	uint32_t head, tail; /* slot + 1 of queued frames */
	uint32_t next;       /* number + 1 of the next image that has some */
	uint32_t frames;     /* that it has in the table */
	bool queued;
};

struct waiter {
	uint32_t born; /* frames born before existed when the wait began */
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
	pthread_rwlock_t life; /* held while borrowed text, lines and ids are used; taken before `lock` */
	pthread_mutex_t lock;
	pthread_cond_t named;
	struct intern *strings;
	struct arena *lines;
	struct hmap ids;
	struct frame *chunks[NAMES_CHUNKS];
	uint32_t frame_count; /* slots ever used */
	uint32_t free_head, free_count, born;
	struct image *images;
	size_t image_count;
	uint32_t image_head, image_tail; /* number + 1 */
	struct waiter *waiters;
	size_t waiting;
	uint64_t refused, recycled, sources[SYMBOL_SOURCE_COUNT];
	uint8_t *marks, *string_marks; /* a bit a slot, a string, between _begin and _end: one thread's */
	size_t string_mark_count;
};

static inline void names_unlock(pthread_mutex_t **lock)
{
	pthread_mutex_unlock(*lock);
}
#define locked(names)                                                                                         \
	__attribute__((cleanup(names_unlock), unused)) pthread_mutex_t *held = &(names)->lock;                \
	pthread_mutex_lock(held)

static inline struct frame *names_slot(struct names *names, uint32_t slot)
{
	return &names->chunks[slot >> NAMES_CHUNK_BITS][slot & (NAMES_CHUNK_FRAMES - 1)];
}

#endif

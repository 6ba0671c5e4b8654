/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which frame an address was found to be, for stage "resolve": most addresses of a slice are in many of its stacks. One
 * slot for each hash, so that the size is fixed; whoever comes later takes it. An owner is a number that stands for all
 * that the answer depends on. Nothing outlives the slice: what it was drawn from may be given up then. One thread;
 * statistics any.
 */
#ifndef FRAME_CACHE_H
#define FRAME_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#define FRAME_CACHE_SLOTS 8192 /* of 24 bytes */

struct frame_cache;

struct frame_cache_stats {
	uint64_t hits, misses, evictions; /* evictions: a slot that somebody else still held was taken */
};

struct frame_cache *frame_cache_new(void);
void frame_cache_free(struct frame_cache *cache); /* accepts NULL */
bool frame_cache_find(struct frame_cache *cache, uint64_t owner, uint64_t address, uint32_t *ret_frame);
void frame_cache_add(struct frame_cache *cache, uint64_t owner, uint64_t address, uint32_t frame);
void frame_cache_settle(struct frame_cache *cache); /* the slice ends: all is forgotten, and counted in the statistics */
void frame_cache_get_stats(struct frame_cache *cache, struct frame_cache_stats *ret_stats);

#endif

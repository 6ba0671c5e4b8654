/* SPDX-License-Identifier: Apache-2.0 */
#include "frame_cache.h"

#include "base/hmap.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct slot {
	uint64_t owner, address;
	uint32_t frame, turn; /* free unless the cache's turn */
};

struct frame_cache {
	struct frame_cache_stats running;
	uint32_t turn;
	pthread_mutex_t lock; /* guards settled */
	struct frame_cache_stats settled;
	struct slot slots[FRAME_CACHE_SLOTS];
};

struct frame_cache *frame_cache_new(void)
{
	struct frame_cache *cache = calloc(1, sizeof(*cache));

	if (!cache)
		return NULL;
	cache->turn = 1;
	pthread_mutex_init(&cache->lock, NULL);
	return cache;
}

void frame_cache_free(struct frame_cache *cache)
{
	if (!cache)
		return;
	pthread_mutex_destroy(&cache->lock);
	free(cache);
}

static bool holds(const struct frame_cache *cache, const struct slot *slot, uint64_t owner, uint64_t address)
{
	return slot->turn == cache->turn && slot->owner == owner && slot->address == address;
}

static struct slot *slot_of(struct frame_cache *cache, uint64_t owner, uint64_t address)
{
	uint64_t key[] = { owner, address };

	return &cache->slots[hmap_hash(key, sizeof(key)) % FRAME_CACHE_SLOTS];
}

bool frame_cache_find(struct frame_cache *cache, uint64_t owner, uint64_t address, uint32_t *ret_frame)
{
	const struct slot *slot = slot_of(cache, owner, address);

	if (!holds(cache, slot, owner, address)) {
		cache->running.misses++;
		return false;
	}
	cache->running.hits++;
	*ret_frame = slot->frame;
	return true;
}

void frame_cache_add(struct frame_cache *cache, uint64_t owner, uint64_t address, uint32_t frame)
{
	struct slot *slot = slot_of(cache, owner, address);

	cache->running.evictions += slot->turn == cache->turn && !holds(cache, slot, owner, address);
	*slot = (struct slot){ .owner = owner, .address = address, .frame = frame, .turn = cache->turn };
}

void frame_cache_settle(struct frame_cache *cache)
{
	if (!++cache->turn) { /* after 136 years of seconds */
		memset(cache->slots, 0, sizeof(cache->slots));
		cache->turn = 1;
	}
	pthread_mutex_lock(&cache->lock);
	cache->settled = cache->running;
	pthread_mutex_unlock(&cache->lock);
}

void frame_cache_get_stats(struct frame_cache *cache, struct frame_cache_stats *ret_stats)
{
	pthread_mutex_lock(&cache->lock);
	*ret_stats = cache->settled;
	pthread_mutex_unlock(&cache->lock);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hmap.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* Keys come from tenants (addresses in their stacks, names): without knowing this they cannot choose ones that
 * meet in one place. */
static uint64_t secret;

__attribute__((constructor)) static void choose_secret(void)
{
	if (getrandom(&secret, sizeof(secret), GRND_NONBLOCK) != sizeof(secret))
		secret = 0; /* early at boot: a table that can be slowed down beats none */
}

enum { FREE, TAKEN, REMOVED };

/* Multiply-and-rotate over 8-byte words, finished like MurmurHash3's fmix64 (public domain constants). */
uint64_t hmap_hash(const void *bytes, size_t length)
{
	const unsigned char *at = bytes;
	uint64_t hash = 0x9e3779b97f4a7c15ULL ^ secret ^ length, word;

	for (; length >= 8; at += 8, length -= 8) {
		memcpy(&word, at, 8);
		hash = (hash ^ word) * 0xff51afd7ed558ccdULL;
		hash ^= hash >> 32;
	}
	word = 0;
	memcpy(&word, at, length);
	hash = (hash ^ word) * 0xc4ceb9fe1a85ec53ULL;
	return hash ^ hash >> 33;
}

void hmap_init(struct hmap *map, size_t key_bytes, size_t entry_bytes, size_t limit)
{
	*map = (struct hmap){ .key_bytes = key_bytes, .entry_bytes = entry_bytes, .limit = limit };
}

void hmap_done(struct hmap *map)
{
	free(map->entries);
	free(map->states);
	map->entries = NULL;
	map->states = NULL;
	map->count = map->capacity = map->used = 0;
}

void hmap_clear(struct hmap *map)
{
	if (map->capacity)
		memset(map->states, FREE, map->capacity);
	map->count = map->used = 0;
}

static char *entry_at(const struct hmap *map, size_t slot)
{
	return map->entries + slot * map->entry_bytes;
}

/* The slot of the key, or the free one where it would go. capacity must not be 0. */
static size_t find_slot(const struct hmap *map, const void *key, bool *ret_found)
{
	size_t mask = map->capacity - 1, slot = hmap_hash(key, map->key_bytes) & mask, place = SIZE_MAX;

	for (;; slot = (slot + 1) & mask) {
		if (map->states[slot] == FREE) {
			*ret_found = false;
			return place == SIZE_MAX ? slot : place;
		}
		if (map->states[slot] == REMOVED) {
			if (place == SIZE_MAX)
				place = slot;
		} else if (!memcmp(entry_at(map, slot), key, map->key_bytes)) {
			*ret_found = true;
			return slot;
		}
	}
}

static bool rehash(struct hmap *map, size_t capacity)
{
	struct hmap old = *map;
	bool found;

	map->entries = calloc(capacity, map->entry_bytes);
	map->states = calloc(capacity, 1);
	if (!map->entries || !map->states) {
		free(map->entries);
		free(map->states);
		*map = old;
		return false;
	}
	map->capacity = capacity;
	for (size_t slot = 0; slot < old.capacity; slot++) {
		size_t to;

		if (old.states[slot] != TAKEN)
			continue;
		to = find_slot(map, entry_at(&old, slot), &found);
		memcpy(entry_at(map, to), entry_at(&old, slot), map->entry_bytes);
		map->states[to] = TAKEN;
	}
	map->used = map->count;
	free(old.entries);
	free(old.states);
	return true;
}

void *hmap_find(const struct hmap *map, const void *key)
{
	bool found;
	size_t slot;

	if (!map->count)
		return NULL;
	slot = find_slot(map, key, &found);
	return found ? entry_at(map, slot) : NULL;
}

void *hmap_insert(struct hmap *map, const void *key, bool *ret_new)
{
	bool found = false;
	size_t slot;

	if (4 * (map->used + 1) > 3 * map->capacity) {
		size_t capacity = map->capacity ? map->capacity : 16;

		while (4 * (map->count + 1) > 2 * capacity)
			capacity *= 2;
		if (!rehash(map, capacity))
			return NULL;
	}
	slot = find_slot(map, key, &found);
	if (!found) {
		if (map->limit && map->count >= map->limit)
			return NULL;
		if (map->states[slot] == FREE)
			map->used++;
		memset(entry_at(map, slot), 0, map->entry_bytes);
		memcpy(entry_at(map, slot), key, map->key_bytes);
		map->states[slot] = TAKEN;
		map->count++;
	}
	if (ret_new)
		*ret_new = !found;
	return entry_at(map, slot);
}

bool hmap_remove(struct hmap *map, const void *key)
{
	bool found = false;
	size_t slot;

	if (!map->count)
		return false;
	slot = find_slot(map, key, &found);
	if (!found)
		return false;
	map->states[slot] = REMOVED;
	map->count--;
	return true;
}

void *hmap_next(const struct hmap *map, size_t *at)
{
	for (; *at < map->capacity; (*at)++)
		if (map->states[*at] == TAKEN)
			return entry_at(map, (*at)++);
	return NULL;
}

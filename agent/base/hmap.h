/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hash map of fixed-size entries kept by value, open addressing. An entry begins with its key of key_bytes;
 * keys are compared bytewise, so padding must be zero. Pointers into it are valid until the next insert or
 * remove. One thread at a time.
 */
#ifndef BASE_HMAP_H
#define BASE_HMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hmap {
	char *entries;
	uint8_t *states;
	size_t count, capacity, key_bytes, entry_bytes, limit;
	size_t used; /* with removed slots */
};

void hmap_init(struct hmap *map, size_t key_bytes, size_t entry_bytes, size_t limit); /* limit 0: none */
void hmap_done(struct hmap *map);
void hmap_clear(struct hmap *map); /* keeps the memory */
void *hmap_find(const struct hmap *map, const void *key);
/* The entry of the key, made zeroed with its key if absent (*ret_new, may be NULL). NULL: limit or memory. */
void *hmap_insert(struct hmap *map, const void *key, bool *ret_new);
bool hmap_remove(struct hmap *map, const void *key);
/* for (size_t at = 0; (entry = hmap_next(map, &at));) ; removing the entry just returned is allowed */
void *hmap_next(const struct hmap *map, size_t *at);
uint64_t hmap_hash(const void *bytes, size_t length);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Places in the row chunks and in the directory, and lists of those that are free or will be (publish_evict.c). */
#ifndef PUBLISH_EXTENT_H
#define PUBLISH_EXTENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct publish_extent { /* a place in the row chunks, or in the directory (chunk 0, entries) */
	uint32_t chunk, from, length;
	uint64_t free_ns; /* in the grave: when no handler can look there any more */
};
struct publish_extents {
	struct publish_extent *items;
	size_t count, capacity;
};
int publish_extents_add(struct publish_extents *extents, const struct publish_extent *extent);
/* Cuts `length` from the first that is long enough. False: none is. */
bool publish_extents_take(struct publish_extents *extents, uint32_t length, struct publish_extent *ret_extent);
void publish_extents_give(struct publish_extents *extents, struct publish_extent extent); /* joins neighbours */

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Places for mapping tables: a buddy allocator over the mapping chunks. Knows numbers only, writes no map. */
#include "publish_private.h"

#include <errno.h>

static unsigned order_for(uint32_t count)
{
	uint32_t units = (count + PUBLISH_UNIT - 1) / PUBLISH_UNIT;
	unsigned order = 0;

	while ((1U << order) < units)
		order++;
	return order;
}

static void put(struct publish_space *space, uint32_t chunk, uint32_t unit, unsigned order)
{
	space->free_order[chunk][unit] = (uint8_t)(order + 1);
	space->free_count[order]++;
}

static void pull(struct publish_space *space, uint32_t chunk, uint32_t unit, unsigned order)
{
	space->free_order[chunk][unit] = 0;
	space->free_count[order]--;
}

void publish_space_grow(struct publish_space *space)
{
	put(space, space->chunks++, 0, PUBLISH_ORDERS - 1);
}

/* Free blocks of an order lie at its multiples, so a search steps over whole blocks. */
static bool find(const struct publish_space *space, unsigned order, uint32_t *ret_chunk, uint32_t *ret_unit)
{
	for (uint32_t chunk = 0; chunk < space->chunks; chunk++) {
		for (uint32_t unit = 0; unit < PUBLISH_UNITS; unit += 1U << order) {
			if (space->free_order[chunk][unit] == order + 1) {
				*ret_chunk = chunk;
				*ret_unit = unit;
				return true;
			}
		}
	}
	return false;
}

int publish_space_take(struct publish_space *space, uint32_t count, uint32_t *ret_chunk, uint32_t *ret_first)
{
	unsigned want = order_for(count), order = want;
	uint32_t chunk, unit;

	while (order < PUBLISH_ORDERS && !space->free_count[order])
		order++;
	if (order >= PUBLISH_ORDERS || !find(space, order, &chunk, &unit))
		return -ENOSPC;
	pull(space, chunk, unit, order);
	while (order > want) {
		order--;
		put(space, chunk, unit + (1U << order), order);
	}
	*ret_chunk = chunk;
	*ret_first = unit * PUBLISH_UNIT;
	return 0;
}

void publish_space_give(struct publish_space *space, uint32_t count, uint32_t chunk, uint32_t first)
{
	unsigned order = order_for(count);
	uint32_t unit = first / PUBLISH_UNIT;

	for (; order < PUBLISH_ORDERS - 1; order++) {
		uint32_t buddy = unit ^ (1U << order);

		if (space->free_order[chunk][buddy] != order + 1)
			break;
		pull(space, chunk, buddy, order);
		unit &= ~(1U << order);
	}
	put(space, chunk, unit, order);
}

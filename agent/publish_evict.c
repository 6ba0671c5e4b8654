/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Room for rows: places of blocks that were given up, used again when no handler can still look there; and the clock
 * that gives up pages whose rows the sampler has not used for a turn, when room gets short. What is given up is built
 * again when it is met.
 */
#include "publish_block.h"

#include "base/clock.h"

#include <errno.h>
#include <stdlib.h>

#define CLOCK_PAGES 512 /* of the directory, looked at in one go */

int publish_extents_add(struct publish_extents *extents, const struct publish_extent *extent)
{
	if (extents->count == extents->capacity) {
		size_t capacity = extents->capacity ? 2 * extents->capacity : 8;
		struct publish_extent *items = realloc(extents->items, capacity * sizeof(*items));

		if (!items)
			return -ENOMEM;
		extents->items = items;
		extents->capacity = capacity;
	}
	extents->items[extents->count++] = *extent;
	return 0;
}

bool publish_extents_take(struct publish_extents *extents, uint32_t length, struct publish_extent *ret_extent)
{
	for (size_t i = 0; i < extents->count; i++) {
		struct publish_extent *extent = &extents->items[i];

		if (extent->length < length)
			continue;
		*ret_extent = (struct publish_extent){ .chunk = extent->chunk, .from = extent->from, .length = length };
		extent->from += length;
		extent->length -= length;
		if (!extent->length)
			*extent = extents->items[--extents->count];
		return true;
	}
	return false;
}

/* Two neighbours become one, so that large blocks find room again. */
void publish_extents_give(struct publish_extents *free_list, struct publish_extent extent)
{
	for (size_t i = 0; i < free_list->count;) {
		struct publish_extent *other = &free_list->items[i];

		if (other->chunk == extent.chunk &&
		    (other->from + other->length == extent.from || extent.from + extent.length == other->from)) {
			extent.from = other->from < extent.from ? other->from : extent.from;
			extent.length += other->length;
			*other = free_list->items[--free_list->count];
			i = 0;
		} else {
			i++;
		}
	}
	(void)publish_extents_add(free_list, &extent); /* without memory the place is lost until the end */
}

static void raise(struct publish_extents *grave, struct publish_extents *free_list, uint64_t now_ns)
{
	for (size_t i = 0; i < grave->count;) {
		if (grave->items[i].free_ns > now_ns) {
			i++;
			continue;
		}
		publish_extents_give(free_list, grave->items[i]);
		grave->items[i] = grave->items[--grave->count];
	}
}

struct clock_turn {
	uint64_t goal_bytes;
	uint32_t now_ms, least_ms; /* an unmarked page must not have been used for so long */
};

/* Looks at some entries: what was used since the last turn loses its mark, the rest its block. */
static void clock_some(struct publish *publish, const struct clock_turn *turn)
{
	uint32_t count = publish->directory_used - publish->hand;
	struct publish_view view;
	bool unmarked = false;

	count = count < CLOCK_PAGES ? count : CLOCK_PAGES;
	if (publish_entries_open(publish, publish->hand, count, &view)) {
		publish->hand += count;
		return;
	}
	for (uint32_t i = 0; i < count && publish->stats.row_bytes > turn->goal_bytes; i++, publish->hand++) {
		struct unwind_page page = publish_entry_read(&view, i);
		struct publish_slot *slot = &publish->slots[publish->hand];

		if (!page.chunk || page.chunk == UNWIND_PAGE_NOT_BUILT)
			continue;
		if (page.mark) {
			page.mark = 0;
			unmarked = true;
			publish_entry_write(&view, i, page);
			slot->since = turn->now_ms;
		} else if (turn->now_ms - slot->since >= turn->least_ms) {
			publish_entry_give_up(publish, &view, i, publish->hand);
			publish->stats.evicted_pages++;
		}
	}
	publish_view_close(&view);
	if (unmarked)
		loader_forget_rules(publish->loader);
}

static void clock_turn(struct publish *publish, const struct clock_turn *turn)
{
	for (uint32_t left = publish->directory_used, hand; left && publish->stats.row_bytes > turn->goal_bytes;) {
		if (publish->hand >= publish->directory_used)
			publish->hand = 0;
		hand = publish->hand;
		clock_some(publish, turn);
		left -= publish->hand - hand < left ? publish->hand - hand : left;
	}
}

/* Ahead of need, so that a page that comes finds room whose grace time is over. What samples have not used for a
 * while goes first; if that is too little, what they have not used since the last tick. */
static void make_room(struct publish *publish, uint64_t now_ns)
{
	uint64_t limit = publish->row_limit_bytes / UNWIND_CHUNK_BYTES * UNWIND_CHUNK_BYTES;
	struct clock_turn turn = { limit / 4 * 3, (uint32_t)(now_ns / NS_PER_MS), PUBLISH_UNUSED_MS };
	bool starved = publish->starved;

	publish->starved = false;
	if (starved && publish->stats.row_bytes < limit / 8 * 7) /* room there is, in too small pieces */
		turn.goal_bytes = publish->stats.row_bytes / 8 * 7;
	else if (publish->stats.row_bytes < limit / 8 * 7)
		return;
	clock_turn(publish, &turn);
	turn.least_ms = 1;
	if (starved || publish->stats.row_bytes >= limit / 16 * 15)
		clock_turn(publish, &turn);
}

void publish_rows_tick(struct publish *publish, uint64_t now_ns)
{
	bool gave_up;

	pthread_mutex_lock(&publish->rows_lock);
	raise(&publish->grave_rows, &publish->free_rows, now_ns);
	raise(&publish->grave_entries, &publish->free_entries, now_ns);
	make_room(publish, now_ns);
	gave_up = publish->gave_up;
	publish->gave_up = false;
	pthread_mutex_unlock(&publish->rows_lock);
	if (gave_up) /* before the grace time is over */
		publish_read_done(publish);
}

void publish_rows_done(struct publish *publish)
{
	free(publish->slots);
	free(publish->wants);
	free(publish->free_rows.items);
	free(publish->free_entries.items);
	free(publish->grave_rows.items);
	free(publish->grave_entries.items);
}

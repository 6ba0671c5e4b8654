/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows that nobody needs any more: takes the directory entries of an image back, waits until no handler can still
 * look behind them, gives the places to the next image. A host that starts new programs all day would else fill
 * the row chunks once and then see no stack of anything new.
 */
#include "publish_private.h"

#include "base/clock.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

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
		*ret_extent = (struct publish_extent){ .chunk = extent->chunk, .from = extent->from, .length = length,
						       .reused = true };
		extent->from += length;
		extent->length -= length;
		if (!extent->length)
			*extent = extents->items[--extents->count];
		return true;
	}
	return false;
}

/* Two neighbours become one, so that large blocks find room again. */
static void give_back(struct publish_extents *free_list, struct publish_extent extent)
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

static void bury(struct publish_extents *grave, struct publish_extent extent, uint64_t free_ns)
{
	extent.free_ns = free_ns;
	if (extent.length)
		(void)publish_extents_add(grave, &extent);
}

static void raise(struct publish_extents *grave, struct publish_extents *free_list, uint64_t now_ns)
{
	for (size_t i = 0; i < grave->count;) {
		if (grave->items[i].free_ns > now_ns) {
			i++;
			continue;
		}
		give_back(free_list, grave->items[i]);
		grave->items[i] = grave->items[--grave->count];
	}
}

void publish_rows_tick(struct publish *publish, uint64_t now_ns)
{
	pthread_mutex_lock(&publish->rows_lock);
	raise(&publish->grave_rows, &publish->free_rows, now_ns);
	raise(&publish->grave_entries, &publish->free_entries, now_ns);
	pthread_mutex_unlock(&publish->rows_lock);
}

static int clear_entries(struct publish *publish, const struct publish_dir *dir)
{
	struct publish_view view = { 0 };
	int err = publish_view_open(loader_map_fd(publish->loader, LOADER_DIRECTORY), dir->at * sizeof(struct unwind_page),
				    dir->pages * sizeof(struct unwind_page), &view);

	if (err)
		return err;
	for (uint32_t i = 0; i < dir->pages; i++)
		atomic_store_explicit((_Atomic uint64_t *)(void *)view.data + i, 0, memory_order_release);
	publish_view_close(&view);
	return 0;
}

void publish_drop_image(struct publish *publish, uint32_t dir)
{
	uint64_t free_ns = clock_monotonic_ns() + PUBLISH_GRACE_MS * NS_PER_MS;
	struct publish_dir *slot, gone;

	pthread_mutex_lock(&publish->rows_lock);
	slot = hmap_find(&publish->dirs, &dir);
	if (slot && (!slot->pages || !clear_entries(publish, slot))) {
		gone = *slot;
		hmap_remove(&publish->dirs, &dir);
		for (size_t i = 0; i < gone.blocks.count; i++)
			bury(&publish->grave_rows, gone.blocks.items[i], free_ns);
		bury(&publish->grave_entries, (struct publish_extent){ .from = gone.at, .length = gone.pages }, free_ns);
		free(gone.blocks.items);
		publish->stats.rows -= gone.rows;
		publish->stats.row_bytes -= gone.bytes;
		publish->stats.evicted_images++;
	}
	pthread_mutex_unlock(&publish->rows_lock);
}

void publish_rows_done(struct publish *publish)
{
	struct publish_dir *dir;

	for (size_t at = 0; (dir = hmap_next(&publish->dirs, &at));)
		free(dir->blocks.items);
	free(publish->free_rows.items);
	free(publish->free_entries.items);
	free(publish->grave_rows.items);
	free(publish->grave_entries.items);
}

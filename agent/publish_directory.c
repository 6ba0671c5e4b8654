/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which page of text has its rows where: takes images and the blocks of their pages, gives directory entries and the
 * list of pages that the sampler or the host's unwinder met and found not built. Owns the entries and user space's
 * notes on them.
 */
#include "publish_block.h"

#include "base/clock.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_WANTS 4096
#define TOGETHER 16U /* pages, a power of two, that are made at once */
#define NS_PER_US 1000ULL

struct publish_wants {
	uint32_t items[MAX_WANTS]; /* indices in the directory */
	uint32_t pages[MAX_WANTS];
	size_t count;
};

int publish_entries_open(struct publish *publish, uint32_t at, uint32_t count, struct publish_view *ret_view)
{
	return publish_view_open(loader_map_fd(publish->loader, LOADER_DIRECTORY), at * sizeof(struct unwind_page),
				 count * sizeof(struct unwind_page), ret_view);
}

struct unwind_page publish_entry_read(const struct publish_view *view, uint32_t index)
{
	uint64_t word = atomic_load((_Atomic uint64_t *)(void *)view->data + index);
	struct unwind_page page;

	memcpy(&page, &word, sizeof(page));
	return page;
}

void publish_entry_write(struct publish_view *view, uint32_t index, struct unwind_page page)
{
	uint64_t word;

	memcpy(&word, &page, sizeof(word));
	atomic_store_explicit((_Atomic uint64_t *)(void *)view->data + index, word, memory_order_release);
}

void publish_entry_give_up(struct publish *publish, struct publish_view *view, uint32_t index, uint32_t slot)
{
	struct unwind_page page = publish_entry_read(view, index);
	struct publish_slot *known = &publish->slots[slot];
	struct publish_extent place = { .chunk = page.chunk - 1U, .from = page.offset, .length = 2U * known->halves,
					.free_ns = clock_monotonic_ns() + PUBLISH_GRACE_MS * NS_PER_MS };

	publish_entry_write(view, index, (struct unwind_page){ .chunk = UNWIND_PAGE_NOT_BUILT,
							       .generation = (uint8_t)(page.generation + 1) });
	(void)publish_extents_add(&publish->grave_rows, &place); /* without memory the place is lost until the end */
	publish->stats.rows -= known->rows;
	publish->stats.row_bytes -= place.length;
	publish->stats.pages--;
	known->halves = known->rows = 0;
	publish->gave_up = true;
}

static void entry_build(struct publish *publish, struct publish_view *view, uint32_t index, uint32_t slot,
			struct publish_block *block)
{
	struct unwind_page page = publish_entry_read(view, index);
	uint64_t wait_ns;

	if (page.mark) {
		wait_ns = (uint32_t)(clock_monotonic_ns() / NS_PER_US - publish->slots[slot].since) * NS_PER_US;
		publish->stats.built_pages++;
		publish->stats.wait_ns += wait_ns;
		if (wait_ns > publish->stats.longest_wait_ns)
			publish->stats.longest_wait_ns = wait_ns;
	}
	page.chunk = (uint16_t)(block->place.chunk + 1);
	page.offset = block->place.from;
	page.mark = 1;
	publish->slots[slot].halves = (uint16_t)(block->place.length / 2);
	publish->slots[slot].rows = block->rows;
	publish->stats.rows += block->rows;
	publish->stats.row_bytes += block->place.length;
	publish->stats.pages++;
	block->place.length = 0; /* the entry's now */
	publish_entry_write(view, index, page);
}

/* Where the image's entries go: a gap that another left, else behind all. A dir must be unlike all others, because
 * processes look its pages up by it. */
static int directory_place(struct publish *publish, struct publish_dir *dir)
{
	struct publish_extent gap;

	if (dir->pages && publish_extents_take(&publish->free_entries, dir->pages, &gap)) {
		dir->at = gap.from;
		dir->dir = gap.from - dir->first_page;
		if (!hmap_find(&publish->dirs, &dir->dir))
			return 0;
		publish_extents_give(&publish->free_entries, gap);
	}
	dir->at = publish->directory_used;
	for (dir->dir = dir->at - dir->first_page; hmap_find(&publish->dirs, &dir->dir); dir->dir++)
		dir->at++;
	if (dir->at + (uint64_t)dir->pages > UNWIND_MAX_DIRECTORY)
		return -ENOSPC;
	publish->directory_used = dir->at + dir->pages;
	return 0;
}

static const struct publish_block *find_block(const struct publish_blocks *blocks, uint32_t page)
{
	size_t low = 0, high = blocks->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (blocks->items[middle].page < page)
			low = middle + 1;
		else
			high = middle;
	}
	return low < blocks->count && blocks->items[low].page == page ? &blocks->items[low] : NULL;
}

/* All entries of a new dir. A small file has been told whole: what is not there has no rows. */
static void fill_entries(struct publish *publish, const struct publish_dir *dir, const struct publish_blocks *blocks,
			 struct publish_view *view)
{
	bool is_whole = dir->pages <= SYMBOLIZER_WHOLE_PAGES;

	for (uint32_t i = 0; i < dir->pages; i++) {
		const struct publish_block *block = find_block(blocks, dir->first_page + i);
		struct unwind_page page = publish_entry_read(view, i);

		page.mark = 0;
		page.chunk = block || !is_whole ? UNWIND_PAGE_NOT_BUILT : 0;
		publish->slots[dir->at + i] = (struct publish_slot){ .dir = dir->dir };
		publish_entry_write(view, i, page);
		if (block && block->place.length)
			entry_build(publish, view, i, dir->at + i, (struct publish_block *)block);
	}
}

static int directory_add(struct publish *publish, struct publish_dir *dir, const struct publish_blocks *blocks)
{
	struct publish_view view = { 0 };
	struct publish_dir *slot;
	int err;

	for (uint32_t i = 0; i < blocks->count; i++)
		if (blocks->items[i].page - dir->first_page >= dir->pages)
			return -EINVAL;
	err = directory_place(publish, dir);
	if (err)
		return err;
	slot = hmap_insert(&publish->dirs, &dir->dir, NULL);
	if (!slot)
		return -ENOMEM;
	*slot = *dir;
	if (dir->pages)
		err = publish_entries_open(publish, dir->at, dir->pages, &view);
	if (err) {
		hmap_remove(&publish->dirs, &dir->dir);
		publish_extents_give(&publish->free_entries,
				     (struct publish_extent){ .from = dir->at, .length = dir->pages });
		return err;
	}
	publish->stats.entries += dir->pages;
	fill_entries(publish, dir, blocks, &view);
	publish_view_close(&view);
	return 0;
}

int publish_image(struct publish *publish, uint32_t image, int fd, const struct symbolizer_table *table,
		  uint32_t *ret_dir)
{
	struct publish_dir dir = { .first_page = table->first_page, .pages = table->span, .image = image };
	struct publish_blocks blocks = { 0 };
	int err;

	if (dir.pages > PUBLISH_IMAGE_PAGES)
		return -ENOSPC;
	if (dir.first_page + dir.pages < dir.first_page)
		return -EINVAL;
	pthread_mutex_lock(&publish->rows_lock);
	err = publish_import(publish, &dir, fd, table->bytes, &blocks);
	if (!err)
		err = directory_add(publish, &dir, &blocks);
	publish_blocks_drop(publish, &blocks);
	pthread_mutex_unlock(&publish->rows_lock);
	if (!err)
		*ret_dir = dir.dir;
	return err;
}

static struct publish_dir *find_image(struct publish *publish, uint32_t image)
{
	struct publish_dir *dir;

	for (size_t at = 0; (dir = hmap_next(&publish->dirs, &at));)
		if (dir->image == image)
			return dir;
	return NULL;
}

/* One page that was asked for: built, without rows, or to be wanted anew. */
static void answer_page(struct publish *publish, const struct publish_dir *dir, struct publish_view *view,
			uint32_t page, const struct publish_blocks *blocks, bool is_good)
{
	const struct publish_block *block = find_block(blocks, page);
	uint32_t index = page - dir->first_page;
	struct unwind_page entry;

	if (index >= dir->pages)
		return;
	entry = publish_entry_read(view, index);
	if (entry.chunk != UNWIND_PAGE_NOT_BUILT)
		return;
	if (block && block->place.length) {
		entry_build(publish, view, index, dir->at + index, (struct publish_block *)block);
		return;
	}
	if (is_good && !block)
		entry.chunk = 0;
	entry.mark = 0;
	publish_entry_write(view, index, entry);
}

void publish_pages(struct publish *publish, uint32_t image, const uint32_t *pages, size_t count, int fd,
		   const struct symbolizer_table *table)
{
	struct publish_blocks blocks = { 0 };
	struct publish_view view;
	struct publish_dir *dir;
	bool is_good;

	pthread_mutex_lock(&publish->rows_lock);
	dir = find_image(publish, image);
	if (dir && dir->pages && !publish_entries_open(publish, dir->at, dir->pages, &view)) {
		is_good = fd >= 0 && !publish_import(publish, dir, fd, table->bytes, &blocks);
		for (size_t i = 0; i < count; i++)
			answer_page(publish, dir, &view, pages[i], &blocks, is_good);
		if (!is_good) {
			dir->again_ns = clock_monotonic_ns() + PUBLISH_AGAIN_MS * NS_PER_MS;
			publish->stats.failed_pages += count;
		}
		publish_view_close(&view);
	}
	publish_blocks_drop(publish, &blocks);
	pthread_mutex_unlock(&publish->rows_lock);
	atomic_fetch_sub(&publish->pending, count);
}

/* ---- what is wanted, on the pipeline's thread ------------------------------------------------------------- */

static struct publish_wants *need_wants(struct publish *publish)
{
	if (!publish->wants)
		publish->wants = calloc(1, sizeof(*publish->wants));
	return publish->wants;
}

void publish_want_entry(struct publish *publish, uint32_t index)
{
	struct publish_wants *wants = need_wants(publish);
	struct publish_view view;
	struct unwind_page page;

	if (!wants || wants->count == MAX_WANTS || publish_entries_open(publish, index, 1, &view))
		return;
	pthread_mutex_lock(&publish->rows_lock);
	page = publish_entry_read(&view, 0);
	if (page.chunk == UNWIND_PAGE_NOT_BUILT && !page.mark) {
		page.mark = 1;
		publish_entry_write(&view, 0, page);
		publish->slots[index].since = (uint32_t)(clock_monotonic_ns() / NS_PER_US);
		wants->items[wants->count++] = index;
	}
	pthread_mutex_unlock(&publish->rows_lock);
	publish_view_close(&view);
}

void publish_want(struct publish *publish, uint32_t dir, uint64_t vaddr)
{
	uint64_t page = vaddr >> UNWIND_PAGE_BITS;
	struct publish_dir known;

	if (publish_find_dir(publish, dir, &known) && page - known.first_page < known.pages)
		publish_want_entry(publish, known.at + (uint32_t)(page - known.first_page));
}

/* Of the entries that are not built, none is told as wanted any more: whoever still wants one says so again. */
static void unmark(struct publish *publish, uint32_t at, uint32_t count)
{
	struct publish_view view;

	if (!count || publish_entries_open(publish, at, count, &view))
		return;
	pthread_mutex_lock(&publish->rows_lock);
	for (uint32_t i = 0; i < count; i++) {
		struct unwind_page page = publish_entry_read(&view, i);

		if (page.chunk != UNWIND_PAGE_NOT_BUILT || !page.mark)
			continue;
		page.mark = 0;
		publish_entry_write(&view, i, page);
	}
	pthread_mutex_unlock(&publish->rows_lock);
	publish_view_close(&view);
}

int publish_receive(void *context, void *data, size_t size)
{
	struct publish *publish = context;
	struct publish_wants *wants = need_wants(publish);
	const struct unwind_wish *wish = data;

	if (!wants || size < sizeof(*wish) || wish->index >= UNWIND_MAX_DIRECTORY)
		return 0;
	if (wants->count == MAX_WANTS) {
		unmark(publish, wish->index, 1);
		return 0;
	}
	publish->slots[wish->index].since = (uint32_t)(wish->time_ns / NS_PER_US);
	wants->items[wants->count++] = wish->index;
	return 0;
}

static int compare(const void *left, const void *right)
{
	const uint32_t *a = left, *b = right;

	return *a < *b ? -1 : *a > *b;
}

/* The wanted entries from `first` on that are of the same image; where the next one's begin. */
static size_t ask_image(struct publish *publish, size_t first, publish_wanted_fn *ask, void *context, uint64_t now_ns)
{
	struct publish_wants *wants = publish->wants;
	uint32_t at = wants->items[first];
	struct publish_dir dir = { 0 };
	bool known = publish_find_dir(publish, publish->slots[at].dir, &dir) && at - dir.at < dir.pages;
	size_t end = first + 1, count = 0;

	while (known && end < wants->count && wants->items[end] - dir.at < dir.pages)
		end++;
	for (size_t i = first; known && i < end; i++)
		if (!count || wants->pages[count - 1] != wants->items[i] - dir.at + dir.first_page)
			wants->pages[count++] = wants->items[i] - dir.at + dir.first_page;
	atomic_fetch_add(&publish->pending, count);
	if (!known || now_ns < dir.again_ns || ask(context, dir.image, wants->pages, count)) {
		atomic_fetch_sub(&publish->pending, count);
		unmark(publish, at, wants->items[end - 1] - at + 1);
		return end;
	}
	pthread_mutex_lock(&publish->rows_lock);
	publish->stats.wanted_pages += count;
	pthread_mutex_unlock(&publish->rows_lock);
	return end;
}

/* What calls each other lies together, and each page met later costs stacks until it is made: those around a wanted one
 * are made with it while there is room. */
static void want_around(struct publish *publish, uint32_t at)
{
	struct publish_dir dir = { 0 };
	uint32_t first, last;

	if (!publish_find_dir(publish, publish->slots[at].dir, &dir) || at - dir.at >= dir.pages)
		return;
	last = dir.first_page + dir.pages - 1;
	first = (at - dir.at + dir.first_page) & ~(TOGETHER - 1);
	last = first + TOGETHER - 1 < last ? first + TOGETHER - 1 : last;
	for (first = first > dir.first_page ? first : dir.first_page; first <= last; first++)
		publish_want_entry(publish, dir.at + first - dir.first_page);
}

static bool has_room(struct publish *publish)
{
	bool has;

	pthread_mutex_lock(&publish->rows_lock);
	has = publish->stats.row_bytes < publish->row_limit_bytes / 2;
	pthread_mutex_unlock(&publish->rows_lock);
	return has;
}

void publish_take_wanted(struct publish *publish, publish_wanted_fn *ask, void *context)
{
	struct publish_wants *wants = need_wants(publish);
	uint64_t now_ns = clock_monotonic_ns();

	if (!wants || !wants->count)
		return;
	for (size_t i = 0, count = has_room(publish) ? wants->count : 0; i < count; i++)
		want_around(publish, wants->items[i]);
	qsort(wants->items, wants->count, sizeof(wants->items[0]), compare);
	for (size_t i = 0; i < wants->count;)
		i = ask_image(publish, i, ask, context, now_ns);
	wants->count = 0;
}

size_t publish_pending(const struct publish *publish)
{
	return atomic_load(&publish->pending);
}

/* ---- the end of an image ---------------------------------------------------------------------------------- */

static int clear_entries(struct publish *publish, const struct publish_dir *dir)
{
	struct publish_view view = { 0 };
	int err = publish_entries_open(publish, dir->at, dir->pages, &view);

	for (uint32_t i = 0; !err && i < dir->pages; i++) {
		struct unwind_page page = publish_entry_read(&view, i);

		if (page.chunk && page.chunk != UNWIND_PAGE_NOT_BUILT)
			publish_entry_give_up(publish, &view, i, dir->at + i);
		page = publish_entry_read(&view, i);
		page.chunk = 0;
		publish_entry_write(&view, i, page);
	}
	publish_view_close(&view);
	return err;
}

void publish_drop_image(struct publish *publish, uint32_t dir)
{
	struct publish_dir *slot, gone;

	pthread_mutex_lock(&publish->rows_lock);
	slot = hmap_find(&publish->dirs, &dir);
	if (slot && (!slot->pages || !clear_entries(publish, slot))) {
		struct publish_extent entries = { .from = slot->at, .length = slot->pages,
						  .free_ns = clock_monotonic_ns() + PUBLISH_GRACE_MS * NS_PER_MS };

		gone = *slot;
		loader_forget_rules(publish->loader);
		hmap_remove(&publish->dirs, &gone.dir);
		if (entries.length)
			(void)publish_extents_add(&publish->grave_entries, &entries);
		publish->stats.entries -= gone.pages;
		publish->stats.evicted_images++;
	}
	pthread_mutex_unlock(&publish->rows_lock);
}

bool publish_find_dir(struct publish *publish, uint32_t dir, struct publish_dir *ret_dir)
{
	const struct publish_dir *found;

	pthread_mutex_lock(&publish->rows_lock);
	found = hmap_find(&publish->dirs, &dir);
	if (found)
		*ret_dir = *found;
	pthread_mutex_unlock(&publish->rows_lock);
	return found;
}

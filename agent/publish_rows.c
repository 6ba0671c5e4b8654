/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An image's unwind file into the kernel's maps: its escapes into the common table, each page's block into a
 * chunk, and last the directory entries, so that no handler meets a block that is half there. The file comes
 * from a sandboxed process that read a tenant's binary; every field is doubted, one block at a time.
 */
#include "publish_private.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK_BYTES UNWIND_MAX_BLOCK_BYTES
#define LEAST_BYTES (2 * (UNWIND_HEAD + 2)) /* of a block: a rule and a row */
#define ESCAPE_INDEX 0x3fffU

struct escape_slot {
	struct unwind_escape escape;
	uint32_t index;
};

struct import { /* one image on its way in */
	struct publish *publish;
	int fd;
	uint64_t bytes;
	struct unwind_file file;
	uint32_t *escapes; /* the file's index -> the common one */
	struct unwind_file_page *pages;
	struct unwind_page *placed; /* by page - first page */
	uint32_t first_page, span;
	uint64_t rows, block_bytes; /* of the blocks seen */
	union {
		char bytes[BLOCK_BYTES];
		uint16_t halves[BLOCK_BYTES / 2];
	} block;
	uint64_t all_bytes;        /* of all blocks */
	struct publish_view chunk; /* the part of a chunk that is being filled */
	uint32_t chunk_open, chunk_from; /* 1-based index of it, and where the part begins */
	uint32_t old_used[UNWIND_MAX_CHUNKS];
	struct publish_extents blocks; /* what the image occupies */
};

static int read_exactly(int fd, void *to, size_t bytes, uint64_t offset)
{
	for (size_t done = 0; done < bytes;) {
		ssize_t got = pread(fd, (char *)to + done, bytes - done, (off_t)(offset + done));

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (!got)
			return -EINVAL;
		done += (size_t)got;
	}
	return 0;
}

static int write_escape(struct publish *publish, uint32_t index, const struct unwind_escape *escape)
{
	struct publish_view view;
	int err = publish_view_open(loader_map_fd(publish->loader, LOADER_ESCAPES),
				    (size_t)index * publish->escape_stride, sizeof(*escape), &view);

	if (err)
		return err;
	memcpy(view.data, escape, sizeof(*escape));
	publish_view_close(&view);
	return 0;
}

static int escape_add(struct publish *publish, const struct unwind_escape *escape, uint32_t *ret_index)
{
	struct escape_slot *slot = hmap_find(&publish->escapes, escape);
	int err;

	if (!slot && publish->escapes.count < UNWIND_MAX_ESCAPES) {
		err = write_escape(publish, (uint32_t)publish->escapes.count, escape);
		if (err)
			return err;
		slot = hmap_insert(&publish->escapes, escape, NULL);
		if (!slot)
			return -ENOMEM;
		slot->index = (uint32_t)publish->escapes.count - 1;
		publish->stats.escapes = publish->escapes.count;
	}
	if (!slot)
		publish->stats.refused_escapes++;
	*ret_index = slot ? slot->index : 0;
	return 0;
}

/* Index 0 is the escape that says "not expressible"; it stands for all that find no room. */
int publish_rows_init(struct publish *publish)
{
	struct unwind_escape none = { .cfa = UNWIND_CFA_NONE, .bp = UNWIND_BP_UNKNOWN };
	struct bpf_map_info info = { 0 };
	uint32_t length = sizeof(info), index;
	int fd = loader_map_fd(publish->loader, LOADER_ESCAPES);

	if (bpf_obj_get_info_by_fd(fd, &info, &length))
		return -errno;
	if (info.value_size != sizeof(struct unwind_escape) || info.max_entries < UNWIND_MAX_ESCAPES)
		return -EINVAL;
	publish->directory_used = PUBLISH_NO_PAGES;
	publish->escape_stride = (info.value_size + 7) & ~7U; /* an ARRAY's elements are aligned to 8 */
	hmap_init(&publish->escapes, sizeof(struct unwind_escape), sizeof(struct escape_slot), 0);
	return escape_add(publish, &none, &index);
}

static bool escape_valid(const struct unwind_escape *escape)
{
	return escape->cfa >= UNWIND_CFA_REG && escape->cfa <= UNWIND_CFA_NONE && escape->reg <= 16 &&
	       escape->bp <= UNWIND_BP_UNKNOWN && !escape->pad;
}

static int import_escapes(struct import *import)
{
	uint64_t offset = sizeof(struct unwind_file);
	struct unwind_escape escape;
	int err;

	import->escapes = calloc(import->file.escapes + 1, sizeof(*import->escapes));
	if (!import->escapes)
		return -ENOMEM;
	for (uint32_t i = 0; i < import->file.escapes; i++, offset += sizeof(escape)) {
		err = read_exactly(import->fd, &escape, sizeof(escape), offset);
		if (err)
			return err;
		if (!escape_valid(&escape))
			return -EINVAL;
		if (i >= PUBLISH_IMAGE_ESCAPES)
			import->publish->stats.refused_escapes++;
		else
			err = escape_add(import->publish, &escape, &import->escapes[i]);
		if (err)
			return err;
	}
	return 0;
}

static int read_head(struct import *import)
{
	uint64_t head = sizeof(struct unwind_file);
	const struct unwind_file_page *page;
	int err = import->bytes < head ? -EINVAL : read_exactly(import->fd, &import->file, (size_t)head, 0);

	if (err)
		return err;
	if (import->file.magic != UNWIND_FILE_MAGIC || import->file.escapes > UNWIND_MAX_ESCAPES ||
	    import->file.pages > UNWIND_MAX_DIRECTORY)
		return -EINVAL;
	head += import->file.escapes * sizeof(struct unwind_escape);
	import->pages = calloc(import->file.pages + 1, sizeof(*import->pages));
	if (!import->pages)
		return -ENOMEM;
	err = read_exactly(import->fd, import->pages, import->file.pages * sizeof(*import->pages), head);
	head += import->file.pages * sizeof(*import->pages);
	for (uint32_t i = 0; !err && i < import->file.pages; i++) {
		page = &import->pages[i];
		if ((i && page->page <= page[-1].page) || page->offset < head || page->offset % 2 ||
		    (uint64_t)page->offset + page->bytes > import->bytes || page->bytes % 2 ||
		    page->bytes < LEAST_BYTES || page->bytes > BLOCK_BYTES)
			return -EINVAL;
		import->all_bytes += page->bytes;
	}
	return err;
}

/* The rules of the block in the buffer: escapes become the common ones. */
static bool palette_adopt(struct import *import, uint32_t count)
{
	uint16_t *rules = import->block.halves + UNWIND_HEAD;

	for (uint32_t i = 0; i < count; i++) {
		uint32_t index = rules[i] & ESCAPE_INDEX;

		if (rules[i] >> 14 != UNWIND_KIND_ESCAPE)
			continue;
		if (index >= import->file.escapes)
			return false;
		rules[i] = (uint16_t)(UNWIND_KIND_ESCAPE << 14 | import->escapes[index]);
	}
	return true;
}

/* Each bucket's rows ascend within it, the first begins the page, and all have a rule. */
static bool rows_valid(const uint16_t *block, uint32_t palette)
{
	const struct unwind_row *rows = (const void *)block;

	for (uint32_t bucket = 0; bucket < UNWIND_BUCKETS; bucket++) {
		if (block[bucket + 1] < block[bucket])
			return false;
		for (uint32_t i = block[bucket]; i < block[bucket + 1]; i++)
			if (rows[i].rule >= palette || (i > block[bucket] && rows[i].pc <= rows[i - 1].pc))
				return false;
	}
	return block[1] > block[0] && !rows[block[0]].pc;
}

/* Checks the block in the buffer and makes it the agent's. */
static bool block_adopt(struct import *import, uint32_t bytes)
{
	const uint16_t *block = import->block.halves;
	uint32_t first = block[0], end = block[UNWIND_BUCKETS];

	if (end != bytes / 2 || first <= UNWIND_HEAD || first > UNWIND_HEAD + UNWIND_MAX_PALETTE || first >= end ||
	    end - first > UNWIND_MAX_PAGE_ROWS)
		return false;
	for (uint32_t bucket = 0; bucket < UNWIND_BUCKETS; bucket++)
		if (block[bucket] > end) /* before rows_valid reads there */
			return false;
	import->rows += end - first;
	return rows_valid(block, first - UNWIND_HEAD) && palette_adopt(import, first - UNWIND_HEAD);
}

static int chunk_with_room(struct publish *publish, uint32_t bytes, uint32_t *ret_chunk)
{
	int fd;

	for (uint32_t i = 0; i < publish->row_chunks; i++) {
		if (publish->row_used[i] + bytes <= UNWIND_CHUNK_BYTES) {
			*ret_chunk = i;
			return 0;
		}
	}
	if (publish->row_chunks == UNWIND_MAX_CHUNKS ||
	    (publish->row_chunks + 1ULL) * UNWIND_CHUNK_BYTES > publish->row_limit_bytes)
		return -ENOSPC;
	fd = publish_chunk_new(loader_map_fd(publish->loader, LOADER_ROWS), "wick_rows", publish->row_chunks,
			       UNWIND_CHUNK_BYTES);
	if (fd < 0)
		return fd;
	publish->row_fds[publish->row_chunks] = fd;
	*ret_chunk = publish->row_chunks++;
	return 0;
}

/* No more of it than what is left to write: mapping a page costs more than filling it. */
static int chunk_open(struct import *import, uint32_t chunk)
{
	uint32_t from = import->publish->row_used[chunk], room = UNWIND_CHUNK_BYTES - from;
	uint64_t left = import->all_bytes - import->block_bytes;
	int err;

	publish_view_close(&import->chunk);
	import->chunk_open = 0;
	err = publish_view_open(import->publish->row_fds[chunk], from, left < room ? (size_t)left : room,
				&import->chunk);
	if (err)
		return err;
	import->chunk_open = chunk + 1;
	import->chunk_from = from;
	return 0;
}

/* Beside the block before it, if that is where this one lies. */
static int block_note(struct import *import, const struct publish_extent *extent)
{
	struct publish_extent *last = import->blocks.count ? &import->blocks.items[import->blocks.count - 1] : NULL;

	if (last && last->chunk == extent->chunk && last->from + last->length == extent->from &&
	    last->reused == extent->reused) {
		last->length += extent->length;
		return 0;
	}
	return publish_extents_add(&import->blocks, extent);
}

static void block_name(struct import *import, const struct unwind_file_page *page, uint32_t chunk, uint32_t offset)
{
	import->placed[page->page - import->first_page] = (struct unwind_page){ .chunk = chunk + 1, .offset = offset };
	import->block_bytes += page->bytes;
}

/* Into a place that another image has left. 1: done, 0: none is large enough, or -errno. */
static int block_reuse(struct import *import, const struct unwind_file_page *page)
{
	struct publish *publish = import->publish;
	struct publish_extent extent;
	struct publish_view view;
	int err;

	if (!publish_extents_take(&publish->free_rows, page->bytes, &extent))
		return 0;
	err = block_note(import, &extent);
	if (!err)
		err = publish_view_open(publish->row_fds[extent.chunk], extent.from, page->bytes, &view);
	if (err)
		return err;
	memcpy(view.data, import->block.bytes, page->bytes);
	publish_view_close(&view);
	block_name(import, page, extent.chunk, extent.from);
	return 1;
}

static int block_place(struct import *import, const struct unwind_file_page *page)
{
	struct publish *publish = import->publish;
	uint32_t chunk;
	int err = block_reuse(import, page);

	if (err)
		return err < 0 ? err : 0;
	err = chunk_with_room(publish, page->bytes, &chunk);
	if (!err)
		err = block_note(import, &(struct publish_extent){ .chunk = chunk, .from = publish->row_used[chunk],
								   .length = page->bytes });
	if (err)
		return err;
	if (import->chunk_open != chunk + 1) {
		err = chunk_open(import, chunk);
		if (err)
			return err;
	}
	memcpy(import->chunk.data + publish->row_used[chunk] - import->chunk_from, import->block.bytes, page->bytes);
	block_name(import, page, chunk, publish->row_used[chunk]);
	publish->row_used[chunk] += page->bytes;
	return 0;
}

/* Where the image's entries go: a gap that another left, else behind all. */
static int directory_place(struct import *import, uint32_t *ret_at)
{
	struct publish *publish = import->publish;
	uint32_t at = publish->directory_used, dir;
	struct publish_extent gap;

	if (import->span && publish_extents_take(&publish->free_entries, import->span, &gap)) {
		dir = gap.from - import->first_page;
		if (!hmap_find(&publish->dirs, &dir)) {
			*ret_at = gap.from;
			return 0;
		}
		(void)publish_extents_add(&publish->free_entries, &gap);
	}
	for (dir = at - import->first_page; hmap_find(&publish->dirs, &dir); dir++)
		at++;
	if (at + (uint64_t)import->span > UNWIND_MAX_DIRECTORY)
		return -ENOSPC;
	*ret_at = at;
	return 0;
}

/* Entries already there are never touched; a dir must be unlike all others, because processes look its pages
 * up by it. */
static int directory_write(struct import *import, uint32_t *ret_dir)
{
	struct publish *publish = import->publish;
	uint32_t at, dir;
	struct publish_view view = { 0 };
	struct publish_dir *slot;
	int err = directory_place(import, &at);

	if (err)
		return err;
	dir = at - import->first_page;
	slot = hmap_insert(&publish->dirs, &dir, NULL);
	if (!slot)
		return -ENOMEM;
	if (import->span)
		err = publish_view_open(loader_map_fd(publish->loader, LOADER_DIRECTORY),
					at * sizeof(struct unwind_page), import->span * sizeof(struct unwind_page),
					&view);
	if (err) {
		hmap_remove(&publish->dirs, &dir);
		return err;
	}
	slot->first_page = import->first_page;
	slot->pages = import->span;
	slot->at = at;
	slot->rows = import->file.rows;
	slot->bytes = import->block_bytes;
	slot->blocks = import->blocks;
	import->blocks = (struct publish_extents){ 0 };
	for (uint32_t i = 0; i < import->span; i++) {
		uint64_t word;

		memcpy(&word, &import->placed[i], sizeof(word));
		atomic_store_explicit((_Atomic uint64_t *)(void *)view.data + i, word, memory_order_release);
	}
	publish_view_close(&view);
	if (at + import->span > publish->directory_used)
		publish->directory_used = at + import->span;
	*ret_dir = dir;
	return 0;
}

static int import_blocks(struct import *import)
{
	const struct unwind_file_page *pages = import->pages;
	uint32_t count = import->file.pages;
	int err = 0;

	import->first_page = count ? pages[0].page : 0;
	import->span = count ? pages[count - 1].page - pages[0].page + 1 : 0;
	if (import->span > UNWIND_MAX_DIRECTORY || (count && !import->span))
		return -ENOSPC;
	import->placed = calloc(import->span + 1, sizeof(*import->placed));
	if (!import->placed)
		return -ENOMEM;
	for (uint32_t i = 0; !err && i < count; i++) {
		err = read_exactly(import->fd, &import->block, pages[i].bytes, pages[i].offset);
		if (!err)
			err = block_adopt(import, pages[i].bytes) ? block_place(import, &pages[i]) : -EINVAL;
	}
	publish_view_close(&import->chunk);
	return err || import->rows == import->file.rows ? err : -EINVAL;
}

int publish_image(struct publish *publish, int fd, uint64_t bytes, uint32_t *ret_dir)
{
	struct import *import = bytes > PUBLISH_FILE_BYTES ? NULL : calloc(1, sizeof(*import));
	int err;

	if (!import)
		return bytes > PUBLISH_FILE_BYTES ? -EFBIG : -ENOMEM;
	import->publish = publish;
	import->fd = fd;
	import->bytes = bytes;
	err = read_head(import);
	pthread_mutex_lock(&publish->rows_lock);
	memcpy(import->old_used, publish->row_used, sizeof(import->old_used));
	if (!err)
		err = import_escapes(import);
	if (!err)
		err = import_blocks(import);
	if (!err)
		err = directory_write(import, ret_dir);
	if (err) { /* no directory entry speaks of them yet: the places are free again */
		memcpy(publish->row_used, import->old_used, sizeof(import->old_used));
		for (size_t i = 0; i < import->blocks.count; i++)
			if (import->blocks.items[i].reused)
				(void)publish_extents_add(&publish->free_rows, &import->blocks.items[i]);
	} else {
		publish->stats.rows += import->file.rows;
		publish->stats.row_bytes += import->block_bytes;
	}
	if (err == -ENOSPC)
		publish->stats.refused_rows += import->file.rows;
	pthread_mutex_unlock(&publish->rows_lock);
	free(import->escapes);
	free(import->pages);
	free(import->placed);
	free(import->blocks.items);
	free(import);
	return err;
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

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unwind files into the kernel's maps: escapes into the common table, each page's block into a row chunk; nobody
 * looks there until publish_directory.c names the place. The file comes from a sandboxed process that read a tenant's
 * binary; every field is doubted, one block at a time.
 */
#include "publish_block.h"

#include <bpf/bpf.h>
#include <errno.h>
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

struct import { /* one file on its way in */
	struct publish *publish;
	struct publish_dir *dir;
	int fd;
	uint64_t bytes;
	struct unwind_file file;
	uint32_t *escapes; /* the file's index -> the common one */
	struct unwind_file_page *pages;
	uint64_t rows; /* of the blocks seen */
	union {
		char bytes[BLOCK_BYTES];
		uint16_t halves[BLOCK_BYTES / 2];
	} block;
	struct publish_blocks placed;
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
	return escape->cfa >= UNWIND_CFA_REG && escape->cfa <= UNWIND_CFA_INDEX && escape->reg < 16 &&
	       escape->bp <= UNWIND_BP_DEREF && escape->ra <= UNWIND_RA_REG;
}

/* Past its share an image's new escapes are "not expressible". */
static int take_escape(struct import *import, const struct unwind_escape *escape, uint32_t *ret_index)
{
	struct publish *publish = import->publish;
	size_t before = publish->escapes.count;
	int err = 0;

	if (import->dir->escapes >= PUBLISH_IMAGE_ESCAPES && !hmap_find(&publish->escapes, escape))
		publish->stats.refused_escapes++;
	else
		err = escape_add(publish, escape, ret_index);
	import->dir->escapes += (uint32_t)(publish->escapes.count - before);
	return err;
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
		err = take_escape(import, &escape, &import->escapes[i]);
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

/* A place for a block: one that another has left, or fresh. */
static int take_place(struct publish *publish, uint32_t bytes, struct publish_extent *ret_place)
{
	int fd;

	if (publish_extents_take(&publish->free_rows, bytes, ret_place))
		return 0;
	for (uint32_t i = 0; i < publish->row_chunks; i++) {
		if (publish->row_used[i] + bytes > UNWIND_CHUNK_BYTES)
			continue;
		*ret_place = (struct publish_extent){ .chunk = i, .from = publish->row_used[i], .length = bytes };
		publish->row_used[i] += bytes;
		return 0;
	}
	if (publish->row_chunks == UNWIND_MAX_CHUNKS ||
	    (publish->row_chunks + 1ULL) * UNWIND_CHUNK_BYTES > publish->row_limit_bytes)
		return -ENOSPC;
	fd = publish_chunk_new(loader_map_fd(publish->loader, LOADER_ROWS), "wick_rows", publish->row_chunks,
			       UNWIND_CHUNK_BYTES);
	if (fd < 0)
		return fd;
	publish->row_fds[publish->row_chunks++] = fd;
	return take_place(publish, bytes, ret_place);
}

static int block_place(struct import *import, uint32_t bytes, struct publish_block *block)
{
	struct publish *publish = import->publish;
	struct publish_view view;
	int err = take_place(publish, bytes, &block->place);

	if (err)
		return err;
	err = publish_view_open(publish->row_fds[block->place.chunk], block->place.from, bytes, &view);
	if (err) {
		publish_extents_give(&publish->free_rows, block->place);
		block->place.length = 0;
		return err;
	}
	memcpy(view.data, import->block.bytes, bytes);
	publish_view_close(&view);
	return 0;
}

/* No room is no failure: what found some is used, the rest stays wanted. */
static int import_blocks(struct import *import)
{
	for (uint32_t i = 0; i < import->file.pages; i++) {
		const struct unwind_file_page *page = &import->pages[i];
		struct publish_block *block = &import->placed.items[i];
		uint64_t before = import->rows;
		int err = read_exactly(import->fd, &import->block, page->bytes, page->offset);

		if (!err && !block_adopt(import, page->bytes))
			err = -EINVAL;
		if (err)
			return err;
		block->page = page->page;
		block->rows = (uint16_t)(import->rows - before);
		err = block_place(import, page->bytes, block);
		import->placed.count = i + 1;
		if (err == -ENOSPC) {
			import->publish->stats.refused_rows += block->rows;
			import->publish->starved = true;
		} else if (err) {
			return err;
		}
	}
	return import->rows == import->file.rows ? 0 : -EINVAL;
}

void publish_blocks_drop(struct publish *publish, struct publish_blocks *blocks)
{
	for (uint32_t i = 0; i < blocks->count; i++)
		if (blocks->items[i].place.length)
			publish_extents_give(&publish->free_rows, blocks->items[i].place);
	free(blocks->items);
	*blocks = (struct publish_blocks){ 0 };
}

int publish_import(struct publish *publish, struct publish_dir *dir, int fd, uint64_t bytes,
		   struct publish_blocks *ret_blocks)
{
	struct import *import = bytes > PUBLISH_FILE_BYTES ? NULL : calloc(1, sizeof(*import));
	int err;

	if (!import)
		return bytes > PUBLISH_FILE_BYTES ? -EFBIG : -ENOMEM;
	import->publish = publish;
	import->dir = dir;
	import->fd = fd;
	import->bytes = bytes;
	err = read_head(import);
	if (!err)
		err = import_escapes(import);
	if (!err) {
		import->placed.items = calloc(import->file.pages + 1, sizeof(*import->placed.items));
		err = import->placed.items ? import_blocks(import) : -ENOMEM;
	}
	if (err)
		publish_blocks_drop(publish, &import->placed);
	else
		*ret_blocks = import->placed;
	free(import->escapes);
	free(import->pages);
	free(import);
	return err;
}

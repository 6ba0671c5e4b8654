/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rows read back, for unwinding on the host: takes an ELF address under a dir, gives the rule in force. Blocks
 * are mapped when first asked for and stay until publish_read_done, for what stays mapped counts twice, as memory
 * of the map and of the agent. On the thread of publish_tick, which alone gives places away: what is read here
 * stays what was checked when it came in.
 */
#include "publish_private.h"
#include "unwind_row.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>

#define BLOCKS 64 /* mapped at a time */

struct publish_readers {
	struct block {
		struct publish_view view;
		uint32_t index; /* in the directory */
		bool open;
		enum reason reason; /* why there are no rows */
	} items[BLOCKS];
};

/* The block of a page of text; ret_block->base NULL: it has no rows. */
static enum reason block_open(struct publish *publish, uint32_t index, struct publish_view *ret_block)
{
	size_t bytes = UNWIND_MAX_BLOCK_BYTES;
	struct unwind_page page;
	int fd = -1;

	*ret_block = (struct publish_view){ 0 };
	if (bpf_map_lookup_elem(loader_map_fd(publish->loader, LOADER_DIRECTORY), &index, &page))
		return REASON_NO_TABLE;
	if (!page.chunk)
		return REASON_NO_RULE;
	if (page.chunk == UNWIND_PAGE_NOT_BUILT) {
		publish_want_entry(publish, index);
		return REASON_NO_TABLE;
	}
	pthread_mutex_lock(&publish->rows_lock);
	if (page.chunk <= publish->row_chunks)
		fd = publish->row_fds[page.chunk - 1];
	pthread_mutex_unlock(&publish->rows_lock);
	if (fd < 0 || page.offset >= UNWIND_CHUNK_BYTES)
		return REASON_NO_TABLE;
	if (bytes > UNWIND_CHUNK_BYTES - page.offset)
		bytes = UNWIND_CHUNK_BYTES - page.offset;
	return publish_view_open(fd, page.offset, bytes, ret_block) ? REASON_NO_TABLE : REASON_NONE;
}

enum reason publish_find_rule(struct publish *publish, uint32_t dir, uint64_t vaddr, uint16_t *ret_rule)
{
	uint64_t page = vaddr >> UNWIND_PAGE_BITS;
	uint32_t index = dir + (uint32_t)page;
	struct publish_dir known;
	struct block *block;

	if (!publish_find_dir(publish, dir, &known))
		return REASON_NO_TABLE;
	if (page < known.first_page || page - known.first_page >= known.pages)
		return REASON_NO_RULE;
	if (!publish->read)
		publish->read = calloc(1, sizeof(*publish->read));
	if (!publish->read)
		return REASON_NO_TABLE;
	block = &publish->read->items[index % BLOCKS];
	if (!block->open || block->index != index) {
		publish_view_close(&block->view);
		block->reason = block_open(publish, index, &block->view);
		block->index = index;
		block->open = block->reason != REASON_NO_TABLE; /* it may be there the next time */
	}
	if (block->reason)
		return block->reason;
	/* Rows lie behind their block's head and within its chunk. */
	*ret_rule = unwind_find_rule(block->view.data, 0, vaddr & ((1U << UNWIND_PAGE_BITS) - 1));
	return REASON_NONE;
}

int publish_find_escape(struct publish *publish, uint32_t index, struct unwind_escape *ret_escape)
{
	return bpf_map_lookup_elem(loader_map_fd(publish->loader, LOADER_ESCAPES), &index, ret_escape) ? -errno : 0;
}

void publish_read_done(struct publish *publish)
{
	for (uint32_t i = 0; publish->read && i < BLOCKS; i++)
		publish_view_close(&publish->read->items[i].view);
	free(publish->read);
	publish->read = NULL;
}

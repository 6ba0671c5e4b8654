/* SPDX-License-Identifier: Apache-2.0 */
/* Within publish: from unwind files (publish_rows.c) to directory entries (publish_directory.c) and back to free room
 * (publish_evict.c). All under rows_lock. */
#ifndef PUBLISH_BLOCK_H
#define PUBLISH_BLOCK_H

#include "publish_private.h"

struct publish_block { /* of an unwind file, on its way in */
	uint32_t page;
	uint16_t rows;
	struct publish_extent place; /* length 0: there was no room */
};
struct publish_blocks {
	struct publish_block *items; /* ascending */
	uint32_t count;
};

/* The blocks of an unwind file into the row chunks; `dir` pays for its escapes. Under rows_lock. */
int publish_import(struct publish *publish, struct publish_dir *dir, int fd, uint64_t bytes,
		   struct publish_blocks *ret_blocks);
void publish_blocks_drop(struct publish *publish, struct publish_blocks *blocks); /* gives back what is in it */
/* Directory entries mapped; the agent alone writes whole ones. */
int publish_entries_open(struct publish *publish, uint32_t at, uint32_t count, struct publish_view *ret_view);
struct unwind_page publish_entry_read(const struct publish_view *view, uint32_t index);
void publish_entry_write(struct publish_view *view, uint32_t index, struct unwind_page page);
/* Its block to the grave, the entry is wanted anew when met. */
void publish_entry_give_up(struct publish *publish, struct publish_view *view, uint32_t index, uint32_t slot);

#endif

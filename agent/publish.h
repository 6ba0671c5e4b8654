/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stage "publish": unwind rows and mapping tables into the kernel's maps. Row blocks are copied into chunks that
 * user space has mapped, page by page as the sampler wants them, and given up again where it does not use them when
 * there is no room; a process's table is written anew elsewhere and its entry then switched over, so a handler sees
 * the old or the new one whole. Freed space is reused only after PUBLISH_GRACE_MS.
 * publish_image and publish_pages may run on another thread than the rest.
 */
#ifndef PUBLISH_H
#define PUBLISH_H

#include "abi/unwind.h"
#include "loader.h"
#include "process.h"
#include "symbolizer.h"

#include <stdint.h>

#define PUBLISH_GRACE_MS 100
#define PUBLISH_WINDOW_MS 1000 /* a chunk of mapping tables that was not looked into for so long is unmapped */

struct publish;

struct publish_stats {
	uint64_t rows, row_bytes, refused_rows, mappings, processes, refused_processes;
	uint64_t pages, wanted_pages, failed_pages, evicted_pages; /* built now; the others are totals */
	uint64_t built_pages, wait_ns, longest_wait_ns; /* ever; from wanted to built, all together and the longest */
	uint64_t entries;         /* of the directory, that an image has */
	uint64_t evicted_images, row_limit_bytes;
	uint64_t map_bytes;       /* of the chunks made here; the other maps are the loader's */
	uint64_t escapes, refused_escapes; /* in the shared table, and those it had no room for */
	uint64_t cut_mappings;    /* past UNWIND_MAX_PROCESS_MAPPINGS of one process */
	uint64_t shared_tables;   /* processes that use another's table: forks */
};

int publish_new(struct loader *loader, uint64_t row_limit_bytes, struct publish **ret_publish);
void publish_free(struct publish *publish); /* accepts NULL */
/* Reads an unwind_file (include/symbolizer.h) from `fd`, doubting everything; *ret_dir as unwind_mapping.dir wants
 * it. Pages that are not in the file are built when wanted, unless it is a small one's. -EINVAL: malformed, -ENOSPC:
 * no room in the directory. */
int publish_image(struct publish *publish, uint32_t image, int fd, const struct symbolizer_table *table,
		  uint32_t *ret_dir);
/* What publish_take_wanted asked for, from such a file; `fd` -1: it failed. Pages without room stay wanted. */
void publish_pages(struct publish *publish, uint32_t image, const uint32_t *pages, size_t count, int fd,
		   const struct symbolizer_table *table);
int publish_receive(void *publish, void *data, size_t size); /* a ring_buffer_sample_fn for wishes; always 0 */
/* Gives the pages wanted since the last call, by image; not 0: they could not be asked for. */
typedef int publish_wanted_fn(void *context, uint32_t image, const uint32_t *pages, size_t count);
void publish_take_wanted(struct publish *publish, publish_wanted_fn *ask, void *context);
size_t publish_pending(const struct publish *publish); /* asked for and not answered */
/* Takes back what an image occupies that no living process maps; the space is used again after PUBLISH_GRACE_MS. */
void publish_drop_image(struct publish *publish, uint32_t dir);
/* Writes the process's table; on exit (until_ns passed) removes it. process->published is publish's. */
int publish_process(struct publish *publish, struct process *process);
void publish_forget(struct publish *publish, struct process *process);
/* The rows read back, on the pipeline thread: the rule in force at an ELF address under a dir, or why there is
 * none; NO_TABLE: its page is wanted now. What is mapped for it stays mapped until publish_read_done, or until a
 * tick gives pages up. */
enum reason publish_find_rule(struct publish *publish, uint32_t dir, uint64_t vaddr, uint16_t *ret_rule);
void publish_want(struct publish *publish, uint32_t dir, uint64_t vaddr); /* its rows will be needed */
int publish_find_escape(struct publish *publish, uint32_t index, struct unwind_escape *ret_escape);
void publish_read_done(struct publish *publish);
void publish_tick(struct publish *publish, uint64_t now_ns);
void publish_get_stats(struct publish *publish, struct publish_stats *ret_stats);

#endif

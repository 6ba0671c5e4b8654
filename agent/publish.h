/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stage "publish": unwind rows and mapping tables into the kernel's maps. Row blocks are copied into chunks that
 * user space has mapped; a process's table is written anew elsewhere and its entry then switched over, so a
 * handler sees the old or the new one whole. Freed space is reused only after PUBLISH_GRACE_MS.
 * publish_image may run on another thread than the rest.
 */
#ifndef PUBLISH_H
#define PUBLISH_H

#include "abi/unwind.h"
#include "loader.h"
#include "process.h"

#include <stdint.h>

#define PUBLISH_GRACE_MS 100

struct publish;

struct publish_stats {
	uint64_t rows, row_bytes, refused_rows, mappings, processes, refused_processes;
	uint64_t evicted_images, row_limit_bytes;
	uint64_t map_bytes;       /* of the chunks made here; the other maps are the loader's */
	uint64_t escapes, refused_escapes; /* in the shared table, and those it had no room for */
	uint64_t cut_mappings;    /* past UNWIND_MAX_PROCESS_MAPPINGS of one process */
	uint64_t shared_tables;   /* processes that use another's table: forks */
};

int publish_new(struct loader *loader, uint64_t row_limit_bytes, struct publish **ret_publish);
void publish_free(struct publish *publish); /* accepts NULL */
/* Reads an unwind_file (include/symbolizer.h) of `bytes` from `fd`, doubting everything; *ret_dir as
 * unwind_mapping.dir wants it. -EINVAL: malformed, -ENOSPC: no room (counted). */
int publish_image(struct publish *publish, int fd, uint64_t bytes, uint32_t *ret_dir);
/* Takes back what an image occupies that no living process maps; the space is used again after PUBLISH_GRACE_MS. */
void publish_drop_image(struct publish *publish, uint32_t dir);
/* Writes the process's table; on exit (until_ns passed) removes it. process->published is publish's. */
int publish_process(struct publish *publish, struct process *process);
void publish_forget(struct publish *publish, struct process *process);
/* The rows read back, on the pipeline thread: the rule in force at an ELF address under a dir, or why there is
 * none. What is mapped for it stays mapped until publish_read_done. */
enum reason publish_find_rule(struct publish *publish, uint32_t dir, uint64_t vaddr, uint16_t *ret_rule);
int publish_find_escape(struct publish *publish, uint32_t index, struct unwind_escape *ret_escape);
void publish_read_done(struct publish *publish);
void publish_tick(struct publish *publish, uint64_t now_ns);
void publish_get_stats(struct publish *publish, struct publish_stats *ret_stats);

#endif

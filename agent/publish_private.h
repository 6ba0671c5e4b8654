/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of "publish" share: publish.c (life, chunks), _rows.c (unwind files), _directory.c (which page is
 * where), _evict.c (room), _tables.c (processes), _space.c (places for mapping tables), _read.c (rows read back). */
#ifndef PUBLISH_PRIVATE_H
#define PUBLISH_PRIVATE_H

#include "abi/unwind.h"
#include "base/hmap.h"
#include "publish.h"
#include "publish_extent.h"
#include "symbolizer.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#define PUBLISH_MAPPING_CHUNKS (UNWIND_MAPPINGS / UNWIND_MAPPING_CHUNK)
#define PUBLISH_FILE_BYTES (64U << 20)
#define PUBLISH_IMAGE_ESCAPES 1024 /* one file's share of the common table: a hostile one must not fill it */
#define PUBLISH_IMAGE_PAGES (1U << 15) /* of text, 2 GiB: what x86-64's code model allows */
#define PUBLISH_AGAIN_MS 1000 /* before a file whose rows could not be had is asked again */
#define PUBLISH_UNUSED_MS 1000 /* a page is worth its room for so long */
#define PUBLISH_VERIFY_MS 50
#define PUBLISH_NO_PAGES 64 /* the directory's first entries stay empty: text that has no rows points there */

/* A window into an mmapable map. What stays mapped counts twice, as memory of the map and of the agent. */
struct publish_view {
	char *data;
	void *base;
	size_t bytes;
};

/* Buddies within each chunk, in units of PUBLISH_UNIT mappings. */
#define PUBLISH_UNIT 8
#define PUBLISH_UNITS (UNWIND_MAPPING_CHUNK / PUBLISH_UNIT)
#define PUBLISH_ORDERS 13 /* 1 to PUBLISH_UNITS units */
struct publish_space {
	uint32_t chunks;
	uint8_t free_order[PUBLISH_MAPPING_CHUNKS][PUBLISH_UNITS]; /* 1 + order where a free block begins */
	uint32_t free_count[PUBLISH_ORDERS];
};
/* A block for `count` mappings: chunk and first mapping. -ENOSPC: add a chunk. */
int publish_space_take(struct publish_space *space, uint32_t count, uint32_t *ret_chunk, uint32_t *ret_first);
void publish_space_give(struct publish_space *space, uint32_t count, uint32_t chunk, uint32_t first);
void publish_space_grow(struct publish_space *space);

struct publish_range { /* a table in the mapping chunks, used by one process or by a process and its forks */
	uint64_t hash;
	uint32_t chunk, first, count, refs;
	bool listed; /* findable by its hash */
	uint64_t free_ns;
	STAILQ_ENTRY(publish_range) link;
};

struct publish_entry { /* process->published */
	struct process *process;
	uint32_t pid;
	uint64_t from_ns;
	struct publish_range *range; /* NULL: nothing is mapped */
	struct unwind_process value;
	bool live; /* this generation was put into the kernel's map */
	uint64_t verify_ns; /* look once more whether it is still there; 0: no need */
	LIST_ENTRY(publish_entry) link;
	TAILQ_ENTRY(publish_entry) verify_link;
};

struct publish_dir { /* which pages of text a `dir` speaks for */
	uint32_t dir, first_page, pages, at; /* at: of its entries in the directory */
	uint32_t image, escapes; /* escapes: how many it brought into the common table */
	uint64_t again_ns;       /* its pages are not asked for before */
};
struct publish_slot { /* what user space knows of a directory entry */
	uint32_t dir;
	uint16_t halves, rows; /* of its block */
	uint32_t since;        /* modulo 2^32: built: the ms at which the clock took its mark; not: the us when wanted */
};

struct publish {
	struct loader *loader;
	uint64_t row_limit_bytes;

	pthread_mutex_t rows_lock; /* images come from another thread */
	int row_fds[UNWIND_MAX_CHUNKS];
	uint32_t row_used[UNWIND_MAX_CHUNKS], row_chunks, directory_used;
	struct hmap dirs;    /* struct publish_dir */
	struct publish_slot *slots; /* UNWIND_MAX_DIRECTORY */
	uint32_t hand;       /* of the clock that gives pages up */
	bool starved, gave_up; /* a block found no room; publish_read.c must forget what it knows */
	struct publish_extents free_rows, free_entries, grave_rows, grave_entries;
	struct hmap escapes; /* struct unwind_escape -> index */
	uint32_t escape_stride;
	struct publish_stats stats; /* rows, escapes: under rows_lock; the rest: under tables_lock */

	pthread_mutex_t tables_lock;
	int mapping_fds[PUBLISH_MAPPING_CHUNKS];
	struct publish_space space;
	struct hmap ranges; /* hash -> struct publish_range * */
	struct publish_view window; /* of one mapping chunk, the last one used */
	uint64_t window_chunk, window_ns; /* which, and when it was used */
	STAILQ_HEAD(, publish_range) freed;
	LIST_HEAD(, publish_entry) entries;
	TAILQ_HEAD(, publish_entry) verify;
	struct publish_readers *read; /* of publish_read.c */
	struct publish_wants *wants;  /* of publish_directory.c */
	atomic_size_t pending;
	struct unwind_mapping *scratch; /* UNWIND_MAX_PROCESS_MAPPINGS */
};
int publish_view_open(int fd, size_t offset, size_t bytes, struct publish_view *ret_view);
void publish_view_close(struct publish_view *view);
/* A new chunk of `bytes` in slot `index` of the outer map; its descriptor, or -errno. */
int publish_chunk_new(int outer_fd, const char *name, uint32_t index, uint32_t bytes);
int publish_rows_init(struct publish *publish);
/* The pages of text that have directory entries under this dir. False: never given out. */
bool publish_find_dir(struct publish *publish, uint32_t dir, struct publish_dir *ret_dir);
void publish_want_entry(struct publish *publish, uint32_t index);
void publish_rows_tick(struct publish *publish, uint64_t now_ns);
void publish_rows_done(struct publish *publish);
void publish_tables_done(struct publish *publish);

#endif

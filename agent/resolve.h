/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stage "symbolize", the agent's end: opens images safely (map_files, else openat2 below the process's root),
 * talks to the symbolizer children, fetches row tables and names. A thread of its own, because an open can
 * hang; a file that does not open within RESOLVE_DEADLINE_MS is given up. Callbacks run on that thread.
 */
#ifndef RESOLVE_H
#define RESOLVE_H

#include "names.h"
#include "sideband.h"
#include "symbolizer.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define RESOLVE_DEADLINE_MS 500
#define RESOLVE_QUARANTINE_S 60

struct resolve;

struct resolve_image_request { /* copied */
	uint32_t image; /* id, as in names */
	uint32_t pid, parent; /* parent: whose root is tried when the process is gone, 0: unknown */
	uint64_t start, end;
	struct sideband_file file; /* inode 0: not a file */
	const char *path;
	bool vdso;
	bool forget;      /* nobody will ask about the image any more: image_forgotten */
	bool check;       /* only look whether the file is still what it was: image_checked */
	bool jit;         /* generated code: start and end are of its jitdump's mapping, or 0 */
	/* Not 0: nobody wants it any more; of generated code: its process is gone, PROCESS_REPLACED: by exec. Valid until
	 * image_forgotten. */
	const atomic_uint *ended;
};

struct resolve_callbacks {
	/* table_fd: memfd with the unwind_file, or -1; borrowed. description is NULL when the image failed. */
	void (*image_done)(void *context, uint32_t image, const struct symbolizer_image *description,
			   int table_fd, const struct symbolizer_table *table);
	/* changed_ns: of the file (CLOCK_REALTIME), 0: it is what it was, or cannot be found any more. */
	void (*image_checked)(void *context, uint32_t image, uint64_t changed_ns);
	void (*image_forgotten)(void *context, uint32_t image); /* the id may be another's from now on */
	/* The answer to resolve_pages, likewise; may be NULL if that is never called. */
	void (*pages_done)(void *context, uint32_t image, const uint32_t *pages, size_t count, int table_fd,
			   const struct symbolizer_table *table);
	void *context;
};

struct resolve_stats {
	uint64_t children, stuck; /* alive, hanging in an open now; the others are totals */
	uint64_t cpu_ns; /* of the symbolizers that have ended and of their parent */
	uint64_t images, failed, deaths, quarantined, timeouts;
};

/* `parent_socket`: to the symbolizer parent (resolve_spawn_parent). Starts the thread. */
int resolve_new(int parent_socket, struct names *names, const struct resolve_callbacks *callbacks,
		struct resolve **ret_resolve);
void resolve_free(struct resolve *resolve); /* stops the thread within a second; accepts NULL */
int resolve_image(struct resolve *resolve, const struct resolve_image_request *request); /* queued */
/* Rows of more of an image's pages; queued, pages_done is called for each of them. */
int resolve_pages(struct resolve *resolve, uint32_t image, const uint32_t *pages, size_t count);
void resolve_names(struct resolve *resolve); /* frames may be unasked: look */
void resolve_kernel_changed(struct resolve *resolve); /* kallsyms must be read again */
/* A child of the symbolizers' parent for somebody else: its socket, or negative errno. Any thread. */
int resolve_open_child(struct resolve *resolve, int fd, uint32_t kind);
void resolve_get_stats(struct resolve *resolve, struct resolve_stats *ret_stats);

/* Forks and executes this program as wick-symbolizer under an unused uid; call early, while the agent is small.
 * The descriptor of the socket, or -errno. */
int resolve_spawn_parent(uint64_t memory_limit_bytes, int *ret_pid);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Part of noun "process": the images, which are the files that are mapped executable and the generated code of each
 * process. Included by process.h. Owned by the table of processes; an image's number is the same in agent/names.
 */
#ifndef PROCESS_IMAGE_H
#define PROCESS_IMAGE_H

#include "sideband.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROCESS_JIT_LIMIT 8192 /* images of generated code */

struct process_table;

enum process_image_state { PROCESS_IMAGE_NEW, PROCESS_IMAGE_ASKED, PROCESS_IMAGE_READY, PROCESS_IMAGE_FAILED };

enum process_end { PROCESS_ALIVE, PROCESS_EXITED, PROCESS_REPLACED };

#define PROCESS_IMAGE_SEGMENTS 16
struct process_image { /* a file that is mapped executable somewhere; freed when nothing speaks of it any more */
	uint32_t id;           /* index in the table of images; the same id in agent/names */
	struct sideband_file file;
	char *path;            /* as the event gave it */
	enum process_image_state state;
	bool vdso, anonymous;
	bool overflow;         /* all files past the limit */
	bool doubted;          /* mapped again after a while: perhaps with other bytes, nobody has looked yet */
	bool leaving;          /* between process_image_leave and _free */
	bool jit, jitdump;     /* the generated code of one process; a file that says what is in it */
	atomic_uint ended;     /* jit: enum process_end; others: not 0 once it leaves */
	uint64_t dump_start, dump_end; /* jit: where its process maps a jitdump, 0: nowhere */
	uint32_t dir;          /* for unwind_mapping.dir: directory base minus first page (modulo 2^32) */
	bool has_table;
	uint32_t segment_count; /* PT_LOADs, from the symbolizer */
	struct { uint64_t offset, vaddr, filesz; uint32_t flags; } segments[PROCESS_IMAGE_SEGMENTS]; /* flags 0: not told */
	uint32_t refs;         /* all that points here: mappings of the living and the ended, and replaced ones */
	uint32_t users;        /* mappings of the living, those that a fork shares counted once */
};

/* Whether rows that are not there yet will be: until then nothing may be guessed in their place. */
static inline bool process_image_pending(const struct process_image *image)
{
	return image->state == PROCESS_IMAGE_NEW || image->state == PROCESS_IMAGE_ASKED || image->doubted;
}

bool process_image_is_filling(const struct process_table *table); /* past a quarter of a limit: giving back takes seconds */
/* An image that nothing in the table speaks of: another one at each call with the same *at (first 0), NULL: no more.
 * process_image_leave: it will go, whoever maps its file from now on gets another; process_image_free: it goes. */
struct process_image *process_image_unused(struct process_table *table, size_t *at);
void process_image_leave(struct process_table *table, struct process_image *image);
void process_image_free(struct process_table *table, struct process_image *image);
struct process_image *process_image_get(struct process_table *table, uint32_t id);
/* Publishes again every process that maps the image (its table became ready). */
void process_image_ready(struct process_table *table, struct process_image *image);
/* The image with rows that has been without a living mapping longest, `least_ns` at least; NULL: none. Called about
 * once a second: the first call after a mapping went notes the time. */
struct process_image *process_image_idle(struct process_table *table, uint64_t now_ns, uint64_t least_ns);
/* Looks at all files that are in doubt now, events up to then being known. */
void process_table_check(struct process_table *table, uint64_t now_ns);
bool process_table_checks(const struct process_table *table); /* answers are outstanding */
/* changed_ns: when the file was written (CLOCK_MONOTONIC), 0: it is the same. */
void process_image_checked(struct process_table *table, struct process_image *image, uint64_t changed_ns,
			   uint64_t now_ns);

#endif

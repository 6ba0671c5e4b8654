/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of "process" share: process.c, _event.c, _mapping.c, _block.c, _past.c, _scan.c, _ksymbol.c; what
 * concerns images (_image.c, _check.c) is in process_images.h. */
#ifndef PROCESS_PRIVATE_H
#define PROCESS_PRIVATE_H

#include "base/clock.h"
#include "base/hmap.h"
#include "base/intern.h"
#include "process_entry.h"

#define PROCESS_MAPPING_LIMIT 4096 /* of one process, as many as the kernel side takes */
#define PROCESS_DOUBTED 256 /* files to look at */
#define PROCESS_KSYMBOL_LIMIT 8192
#define PROCESS_QUEUE 1024 /* pids waiting to be looked at in /proc; past it all of /proc is read */
#define PROCESS_REPAIR_NS 1000000000ULL
#define PROCESS_RETRY_NS 5000000000ULL
#define PROCESS_REREAD_NS 10000000000ULL
#define PROCESS_USER_END (1ULL << 63) /* above: the kernel's half ([vsyscall]) */

struct image_entry; /* process_images.h */

struct ksymbol {
	uint64_t start, end;
	uint32_t name; /* in ksymbol_names */
	bool gone;
};

struct pid_queue {
	uint32_t pids[PROCESS_QUEUE];
	size_t count;
};

struct process_table {
	struct process_callbacks callbacks;
	struct process_stats stats;
	struct hmap pids; /* pid -> newest generation */
	size_t entries, living, serials; /* the last: given out */
	struct process_entries dirty, ended, recycling;
	uint32_t follow;

	struct hmap files, specials; /* inode, name -> struct image_entry */
	struct image_entry **images; /* by id - NAMES_FIRST_IMAGE, NULL: free */
	uint32_t *spare_images; /* indexes that are free */
	size_t image_count, image_capacity, image_path_bytes, jit_count, spare_count;
	struct image_entry *image_overflow;
	bool images_ready;
	struct image_entry *doubted[PROCESS_DOUBTED];
	size_t doubted_count;

	struct ksymbol *ksymbols;
	size_t ksymbol_count, ksymbol_capacity;
	struct intern *ksymbol_names;

	struct pid_queue unread, leaderless; /* mappings unknown; leader gone with threads left */
	bool repair_wanted;
	uint64_t repair_after_ns, leaderless_after_ns, retry_after_ns;
	uint64_t keep_from_ns, seen_ns; /* 0: nobody said; of the last tick */
	char *scan_buffer;
};

/* process.c */
struct process_entry *process_entry_newest(const struct process_table *table, uint32_t pid);
bool process_entry_alive(const struct process_entry *entry);
/* A new generation of the pid, alive from then on; the one before must have ended. NULL: limit or memory. */
struct process_entry *process_entry_add(struct process_table *table, uint32_t pid, uint64_t from_ns);
void process_entry_end(struct process_table *table, struct process_entry *entry, uint64_t at_ns, bool died);
void process_entry_mark(struct process_table *table, struct process_entry *entry);
void process_entry_comm(struct process_entry *entry, const char *comm);
/* exec, or a re-reading that found another program: ends the old generation and gives the new one. */
struct process_entry *process_entry_succeed(struct process_table *table, struct process_entry *old, uint64_t at_ns);
void process_queue_pid(struct process_table *table, struct pid_queue *queue, uint32_t pid);

bool process_mapping_insert(struct process_table *table, struct process_entry *entry,
			    const struct process_mapping *mapping);
/* From /proc, at one of the next ticks; not again for a while. */
void process_mapping_reread(struct process_table *table, struct process_entry *entry, uint64_t now_ns);

/* process_scan.c */
struct maps_line {
	uint64_t start, end, offset, inode;
	uint32_t major, minor;
	bool executable;
	const char *path; /* in the line, unescaped */
};
/* One line of /proc/PID/maps without its newline, NUL-terminated, changed in place. False: malformed. */
bool process_parse_maps_line(char *line, struct maps_line *ret_line);
void process_scan_tick(struct process_table *table, uint64_t now_ns); /* what waits to be read, repairs */

void process_ksymbol_event(struct process_table *table, const struct sideband_event *event);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of "process" share: process.c, _mapping.c, _image.c, _scan.c (/proc), _ksymbol.c (BPF programs). */
#ifndef PROCESS_PRIVATE_H
#define PROCESS_PRIVATE_H

#include "base/hmap.h"
#include "base/intern.h"
#include "process.h"
#include <sys/queue.h>

#define PROCESS_MAPPING_LIMIT 4096 /* of one process, as many as the kernel side takes */
#define PROCESS_GENERATION_LIMIT 32 /* of one pid within the grace time */
#define PROCESS_IMAGE_LIMIT 65536
#define PROCESS_IMAGE_PATH_BYTES (8U << 20) /* of all images */
#define PROCESS_KSYMBOL_LIMIT 8192
#define PROCESS_QUEUE 1024 /* pids waiting to be looked at in /proc; past it all of /proc is read */
#define PROCESS_REPAIR_NS 1000000000ULL
#define PROCESS_RETRY_NS 5000000000ULL
#define PROCESS_USER_END (1ULL << 63) /* above: the kernel's half ([vsyscall]) */

struct process_block { /* mappings, shared by a fork until one side changes */
	uint32_t refs;
	struct process_mapping mappings[];
};

struct process_entry {
	struct process process; /* first: a pointer to one is a pointer to the other */
	struct process_block *block;
	int threads; /* exact after FORK; an upper guess after /proc, so the leader's exit is then looked into */
	bool scanned, leader_gone, died, listed, attached;
	TAILQ_ENTRY(process_entry) dirty_link, ended_link;
};
TAILQ_HEAD(process_entries, process_entry);

struct image_entry {
	struct process_image image; /* first */
	struct image_entry *other; /* same inode number, another generation */
	bool ready;                /* its users are published at the next tick */
	uint32_t asked;            /* how often image_new told it; if it failed, not again before: */
	uint64_t again_ns;
	uint64_t idle_ns; /* since when process_image_idle saw nobody map it, 0: somebody does */
};

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
	struct process_entries dirty, ended;
	uint32_t follow;

	struct hmap files, specials; /* inode, name -> struct image_entry */
	struct image_entry **images; /* by id - NAMES_FIRST_IMAGE */
	size_t image_count, image_capacity, image_path_bytes, jit_count;
	struct image_entry *image_overflow;
	bool images_ready;

	struct ksymbol *ksymbols;
	size_t ksymbol_count, ksymbol_capacity;
	struct intern *ksymbol_names;

	struct pid_queue unread, leaderless; /* mappings unknown; leader gone with threads left */
	bool repair_wanted;
	uint64_t repair_after_ns, leaderless_after_ns, retry_after_ns, keep_from_ns; /* the last: 0, nobody said */
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
void process_mapping_inherit(struct process_table *table, struct process_entry *child, struct process_entry *parent);
void process_mapping_attach(struct process_entry *entry, bool attach); /* counts image->users */
void process_mapping_drop(struct process_entry *entry); /* all of them */

/* process_image.c */
/* The image of a mapping, made if it is new. Never NULL but for memory. */
struct process_image *process_image_for(struct process_table *table, const struct sideband_file *file,
					const char *path);
/* image_new, if the image is new or failed a while ago. */
void process_image_tell(struct process_table *table, const struct process *process,
			const struct process_mapping *mapping, uint64_t now_ns);
bool process_image_asks_again(const struct process_table *table, const struct image_entry *entry, uint64_t now_ns);
void process_image_done(struct process_table *table);

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

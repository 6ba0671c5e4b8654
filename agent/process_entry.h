/* SPDX-License-Identifier: Apache-2.0 */
/* One generation of a process as the parts of "process" see it: its mappings (process_block.c) and those that they
 * replaced (process_past.c). */
#ifndef PROCESS_ENTRY_H
#define PROCESS_ENTRY_H

#include "process.h"

#include <sys/queue.h>

#define PROCESS_MAPPING_BYTES (32U << 20) /* of all processes */
#define PROCESS_PAST_LIMIT 8192 /* mappings that one process has replaced */
#define PROCESS_GENERATION_LIMIT 32 /* of one pid within the grace time, besides those with samples to come */
#define PROCESS_GENERATION_MOST 2048
#define PROCESS_RECYCLES_NS 5000000000ULL
#define PROCESS_MOVES_NS 60000000000ULL

struct process_block { /* mappings, shared by a fork until one side changes */
	uint32_t refs, living; /* living: of those, entries that are attached */
	size_t bytes;
	struct process_mapping mappings[];
};

struct process_past { /* a mapping that another one replaced */
	struct process_mapping mapping;
	uint64_t until_ns;
};

struct process_entry {
	struct process process; /* first: a pointer to one is a pointer to the other */
	struct process_block *block;
	int threads; /* exact after FORK; an upper guess after /proc, so the leader's exit is then looked into */
	bool scanned, leader_gone, died, listed, attached;
	TAILQ_ENTRY(process_entry) dirty_link, ended_link, recycling_link;
	struct process_past *past; /* in order of until_ns */
	size_t past_count, past_capacity;
	uint64_t recycles_until_ns; /* 0: not in table->recycling */
	uint64_t reread_ns;    /* not read from /proc again before, for its table is full */
};
TAILQ_HEAD(process_entries, process_entry);

/* process_block.c */
/* Makes the mappings this process's own, with room for `capacity`. False: memory, or the limit (counted). */
bool process_block_own(struct process_table *table, struct process_entry *entry, size_t capacity);
void process_block_inherit(struct process_entry *child, struct process_entry *parent);
void process_block_attach(struct process_entry *entry, bool attach); /* counts image->users */
void process_block_drop(struct process_table *table, struct process_entry *entry); /* all mappings */

/* process_past.c */
/* [start, end) of what is mapped gives way at that time. */
void process_past_add(struct process_table *table, struct process_entry *entry, const struct process_mapping *old,
		      uint64_t start, uint64_t end, uint64_t until_ns);
void process_past_mark(struct process_table *table, struct process_entry *entry, uint64_t until_ns); /* it recycles */
void process_past_tick(struct process_table *table, uint64_t now_ns);
void process_past_drop(struct process_table *table, struct process_entry *entry);

#endif

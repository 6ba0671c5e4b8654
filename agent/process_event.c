/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Part of "process": takes side-band events in order of time, gives what they say to the table: births, programs,
 * mappings, ends.
 */
#include "process_images.h"

#include <string.h>
#include <sys/mman.h>

static void revive(struct process_table *table, struct process_entry *entry)
{
	TAILQ_REMOVE(&table->ended, entry, ended_link);
	entry->listed = false;
	entry->process.until_ns = UINT64_MAX;
	entry->died = entry->leader_gone = false;
	entry->threads = 1;
	entry->scanned = true; /* the count of threads is a guess from here on */
	process_block_attach(entry, true);
	table->living++;
	process_entry_mark(table, entry);
}

/* The living generation an event speaks of: events prove life, so one never met or thought dead is made. */
static struct process_entry *entry_for(struct process_table *table, const struct sideband_event *event)
{
	struct process_entry *entry = process_entry_newest(table, event->pid);

	if (entry && process_entry_alive(entry))
		return event->time_ns < entry->process.known_ns ? NULL : entry;
	if (entry && event->time_ns < entry->process.until_ns)
		return NULL;
	if (entry) {
		revive(table, entry);
		return entry;
	}
	entry = process_entry_add(table, event->pid, event->time_ns);
	if (entry)
		process_queue_pid(table, &table->unread, event->pid);
	return entry;
}

static void take_mmap(struct process_table *table, const struct sideband_event *event)
{
	struct process_mapping mapping = { event->start, event->end, event->offset, NULL, event->time_ns };
	struct process_entry *entry;

	if (!(event->protection & PROT_EXEC) || event->start >= event->end || event->end > PROCESS_USER_END)
		return;
	entry = entry_for(table, event);
	if (!entry)
		return;
	mapping.image = process_image_for(table, &event->file, event->name);
	if (mapping.image && process_mapping_insert(table, entry, &mapping))
		process_entry_mark(table, entry);
}

static void take_exec(struct process_table *table, const struct sideband_event *event)
{
	struct process_entry *entry = entry_for(table, event);

	if (entry && entry->process.from_ns != event->time_ns)
		entry = process_entry_succeed(table, entry, event->time_ns);
	if (entry)
		process_entry_comm(entry, event->name);
}

/* A scanned child may have been read in the moment between its birth and the FORK record. */
static bool already_scanned(const struct process_entry *child, const struct sideband_event *event)
{
	return child->scanned && process_entry_alive(child) &&
	       event->time_ns < child->process.known_ns + 100 * NS_PER_MS;
}

static void take_fork(struct process_table *table, const struct sideband_event *event)
{
	struct process_entry *parent = process_entry_newest(table, event->parent_pid), *child;

	if (event->pid == event->parent_pid) {
		child = entry_for(table, event);
		if (child)
			child->threads++;
		return;
	}
	child = process_entry_newest(table, event->pid);
	if (child && already_scanned(child, event)) {
		if (parent && !child->process.root)
			child->process.root = parent->process.root;
		return;
	}
	if (child && process_entry_alive(child)) /* its EXIT was lost */
		process_entry_end(table, child, event->time_ns, true);
	child = process_entry_add(table, event->pid, event->time_ns);
	if (!child)
		return;
	child->process.parent = event->parent_pid;
	parent = process_entry_newest(table, event->parent_pid); /* making room may have freed it */
	if (!parent) {
		process_queue_pid(table, &table->unread, event->pid);
		return;
	}
	if (!child->process.root)
		child->process.root = parent->process.root;
	child->process.kernel_thread = parent->process.kernel_thread;
	process_entry_comm(child, parent->process.comm);
	process_block_inherit(child, parent);
	process_entry_mark(table, child);
}

static void take_exit(struct process_table *table, const struct sideband_event *event)
{
	struct process_entry *entry = process_entry_newest(table, event->pid);
	bool leader = event->pid == event->tid;

	/* A thread that went before /proc was read is not in its count; a leader that did is a zombie there. */
	if (!entry || !process_entry_alive(entry) || (!leader && event->time_ns < entry->process.known_ns))
		return;
	entry->threads--;
	entry->leader_gone |= leader;
	if (!entry->leader_gone)
		return;
	if (entry->threads <= 0)
		process_entry_end(table, entry, event->time_ns, true);
	else if (leader)
		process_queue_pid(table, &table->leaderless, event->pid);
}

static void take_comm(struct process_table *table, const struct sideband_event *event)
{
	struct process_entry *entry = event->pid == event->tid ? entry_for(table, event) : NULL;

	if (entry)
		process_entry_comm(entry, event->name);
}

void process_table_event(struct process_table *table, const struct sideband_event *event)
{
	bool global = event->kind == SIDEBAND_KSYMBOL || event->kind == SIDEBAND_LOST;

	if (!global && (!event->pid || event->pid == UINT32_MAX)) /* the idle task, or no longer a process */
		return;
	switch (event->kind) {
	case SIDEBAND_MMAP:
		take_mmap(table, event);
		break;
	case SIDEBAND_COMM:
		take_comm(table, event);
		break;
	case SIDEBAND_EXEC:
		take_exec(table, event);
		break;
	case SIDEBAND_FORK:
		take_fork(table, event);
		break;
	case SIDEBAND_EXIT:
		take_exit(table, event);
		break;
	case SIDEBAND_KSYMBOL:
		process_ksymbol_event(table, event);
		break;
	case SIDEBAND_LOST:
		table->stats.lost += event->lost;
		table->repair_wanted = true;
		break;
	}
}

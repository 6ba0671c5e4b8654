/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Noun "process": generations of processes by pid. Takes side-band events in order of time and what
 * process_scan.c read from /proc; gives the generation alive at a time, and tells whose mapping table changed.
 * Owns processes, their mappings, images and kernel symbols.
 */
#include "process.h"

#include "base/clock.h"
#include "process_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct pid_slot {
	uint32_t pid, pad;
	struct process_entry *newest;
};

struct process_table *process_table_new(const struct process_callbacks *callbacks)
{
	struct process_table *table = calloc(1, sizeof(*table));

	if (!table)
		return NULL;
	table->callbacks = *callbacks;
	hmap_init(&table->pids, sizeof(uint32_t), sizeof(struct pid_slot), 0);
	TAILQ_INIT(&table->dirty);
	TAILQ_INIT(&table->ended);
	table->ksymbol_names = intern_new(1U << 20);
	if (!table->ksymbol_names) {
		free(table);
		return NULL;
	}
	return table;
}

static void entry_free(struct process_entry *entry)
{
	if (entry->attached)
		process_mapping_attach(entry, false);
	process_mapping_drop(entry);
	free(entry);
}

void process_table_free(struct process_table *table)
{
	struct pid_slot *slot;

	if (!table)
		return;
	for (size_t at = 0; (slot = hmap_next(&table->pids, &at));) {
		for (struct process_entry *entry = slot->newest, *older; entry; entry = older) {
			older = (struct process_entry *)entry->process.older;
			entry_free(entry);
		}
	}
	hmap_done(&table->pids);
	process_image_done(table);
	intern_free(table->ksymbol_names);
	free(table->ksymbols);
	free(table->scan_buffer);
	free(table);
}

struct process_entry *process_entry_newest(const struct process_table *table, uint32_t pid)
{
	const struct pid_slot *slot = hmap_find(&table->pids, &pid);

	return slot ? slot->newest : NULL;
}

bool process_entry_alive(const struct process_entry *entry)
{
	return entry->process.until_ns == UINT64_MAX;
}

void process_entry_mark(struct process_table *table, struct process_entry *entry)
{
	entry->process.serial = ++table->serials;
	if (entry->process.dirty || entry->process.kernel_thread)
		return;
	entry->process.dirty = true;
	TAILQ_INSERT_TAIL(&table->dirty, entry, dirty_link);
}

void process_entry_comm(struct process_entry *entry, const char *comm)
{
	size_t length = strnlen(comm, sizeof(entry->process.comm) - 1);

	memset(entry->process.comm, 0, sizeof(entry->process.comm));
	memcpy(entry->process.comm, comm, length);
}

static void publish_entry(struct process_table *table, struct process_entry *entry)
{
	if (entry->process.dirty) {
		TAILQ_REMOVE(&table->dirty, entry, dirty_link);
		entry->process.dirty = false;
		table->callbacks.table_changed(table->callbacks.context, &entry->process);
	}
	if (entry->died) {
		entry->died = false;
		if (table->callbacks.exited)
			table->callbacks.exited(table->callbacks.context, entry->process.pid);
	}
}

/* Ended entries leave in the order in which they ended, so within one pid the oldest goes first. */
static void entry_remove(struct process_table *table, struct process_entry *entry)
{
	uint32_t pid = entry->process.pid;
	struct pid_slot *slot = hmap_find(&table->pids, &pid);
	struct process **link = (struct process **)&slot->newest;

	publish_entry(table, entry);
	TAILQ_REMOVE(&table->ended, entry, ended_link);
	while (*link != &entry->process)
		link = &(*link)->older;
	*link = entry->process.older;
	if (!slot->newest)
		hmap_remove(&table->pids, &pid);
	entry_free(entry);
	table->entries--;
}

static void trim_generations(struct process_table *table, struct process_entry *newest)
{
	struct process_entry *oldest = newest;
	size_t count = 0;

	for (; oldest->process.older; count++)
		oldest = (struct process_entry *)oldest->process.older;
	if (count >= PROCESS_GENERATION_LIMIT && oldest->listed)
		entry_remove(table, oldest);
}

struct process_entry *process_entry_add(struct process_table *table, uint32_t pid, uint64_t from_ns)
{
	struct process_entry *entry;
	struct pid_slot *slot;

	if (table->entries >= PROCESS_LIMIT && !TAILQ_EMPTY(&table->ended))
		entry_remove(table, TAILQ_FIRST(&table->ended));
	entry = table->entries < PROCESS_LIMIT ? calloc(1, sizeof(*entry)) : NULL;
	slot = entry ? hmap_insert(&table->pids, &pid, NULL) : NULL;
	if (!slot) {
		free(entry);
		table->stats.refused_processes++;
		return NULL;
	}
	entry->process = (struct process){ .pid = pid, .from_ns = from_ns, .until_ns = UINT64_MAX,
					   .known_ns = from_ns, .serial = ++table->serials, .older = (struct process *)slot->newest };
	if (slot->newest)
		entry->process.version = slot->newest->process.version;
	entry->process.root = pid == table->follow ? pid : 0;
	entry->attached = true;
	entry->threads = 1;
	slot->newest = entry;
	table->entries++;
	table->living++;
	trim_generations(table, entry);
	return entry;
}

void process_entry_end(struct process_table *table, struct process_entry *entry, uint64_t at_ns, bool died)
{
	entry->process.until_ns = at_ns > entry->process.from_ns ? at_ns : entry->process.from_ns + 1;
	entry->died = died && !entry->process.kernel_thread;
	process_mapping_attach(entry, false);
	entry->attached = false;
	if (entry->process.jit)
		atomic_store(&entry->process.jit->ended, died ? PROCESS_EXITED : PROCESS_REPLACED);
	TAILQ_INSERT_TAIL(&table->ended, entry, ended_link);
	entry->listed = true;
	table->living--;
	process_entry_mark(table, entry);
}

struct process_entry *process_entry_succeed(struct process_table *table, struct process_entry *old, uint64_t at_ns)
{
	struct process before = old->process;
	struct process_entry *entry;

	process_entry_end(table, old, at_ns, false);
	entry = process_entry_add(table, before.pid, at_ns); /* may have freed `old` */
	if (!entry)
		return NULL;
	entry->process.parent = before.parent;
	entry->process.root = before.root;
	memcpy(entry->process.comm, before.comm, sizeof(before.comm));
	return entry;
}

static void revive(struct process_table *table, struct process_entry *entry)
{
	TAILQ_REMOVE(&table->ended, entry, ended_link);
	entry->listed = false;
	entry->process.until_ns = UINT64_MAX;
	entry->died = entry->leader_gone = false;
	entry->threads = 1;
	entry->scanned = true; /* the count of threads is a guess from here on */
	process_mapping_attach(entry, true);
	entry->attached = true;
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
	process_mapping_inherit(table, child, parent);
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

void process_queue_pid(struct process_table *table, struct pid_queue *queue, uint32_t pid)
{
	for (size_t at = 0; at < queue->count; at++)
		if (queue->pids[at] == pid)
			return;
	if (queue->count < PROCESS_QUEUE)
		queue->pids[queue->count++] = pid;
	else
		table->repair_wanted = true;
}

/*
 * An image fails when the process that was to show it had ended already; whoever still maps it may show it. How
 * often one is asked for again is process_image_tell's.
 */
static void retry_failed(struct process_table *table, uint64_t now_ns)
{
	struct pid_slot *slot;
	bool found = false;

	if (now_ns < table->retry_after_ns)
		return;
	table->retry_after_ns = now_ns + PROCESS_RETRY_NS;
	for (size_t i = 0; i < table->image_count && !found; i++)
		found = table->images[i]->image.users && process_image_asks_again(table, table->images[i], now_ns);
	for (size_t at = 0; found && (slot = hmap_next(&table->pids, &at));) {
		const struct process *process = &slot->newest->process;

		for (size_t i = 0; process_entry_alive(slot->newest) && i < process->mapping_count; i++)
			process_image_tell(table, process, &process->mappings[i], now_ns);
	}
}

static void mark_users_of_ready(struct process_table *table)
{
	struct pid_slot *slot;

	for (size_t at = 0; (slot = hmap_next(&table->pids, &at));) {
		struct process *process = &slot->newest->process;

		if (!process_entry_alive(slot->newest) || process->dirty)
			continue;
		for (size_t i = 0; i < process->mapping_count; i++) {
			if (((struct image_entry *)process->mappings[i].image)->ready) {
				process_entry_mark(table, slot->newest);
				break;
			}
		}
	}
	for (size_t i = 0; i < table->image_count; i++)
		table->images[i]->ready = false;
	table->images_ready = false;
}

void process_table_tick(struct process_table *table, uint64_t now_ns)
{
	struct process_entry *entry, *next;

	process_scan_tick(table, now_ns);
	retry_failed(table, now_ns);
	if (table->images_ready)
		mark_users_of_ready(table);
	/* Once each: a callback that marks again is heard at the next tick. Ends were marked before beginnings. */
	for (entry = TAILQ_FIRST(&table->dirty); entry; entry = next) {
		next = TAILQ_NEXT(entry, dirty_link);
		publish_entry(table, entry);
	}
	while ((entry = TAILQ_FIRST(&table->ended))) {
		if (entry->process.until_ns + PROCESS_GRACE_S * NS_PER_S > now_ns ||
		    (table->keep_from_ns && entry->process.until_ns >= table->keep_from_ns))
			break;
		entry_remove(table, entry);
	}
}

void process_table_keep(struct process_table *table, uint64_t from_ns)
{
	table->keep_from_ns = from_ns;
}

struct process *process_find(struct process_table *table, uint32_t pid, uint64_t at_ns)
{
	struct process_entry *newest = process_entry_newest(table, pid);
	struct process *process = newest ? &newest->process : NULL;

	/* Born later: look further back. Nothing older: a sample taken just before its FORK record. */
	while (process && at_ns < process->from_ns && process->older)
		process = process->older;
	return process;
}

void process_table_follow(struct process_table *table, uint32_t pid)
{
	struct process_entry *entry = process_entry_newest(table, pid);
	struct pid_slot *slot;
	bool found = true;

	table->follow = pid;
	if (entry)
		entry->process.root = pid;
	while (found) {
		found = false;
		for (size_t at = 0; (slot = hmap_next(&table->pids, &at));) {
			entry = process_entry_newest(table, slot->newest->process.parent);
			if (slot->newest->process.root == pid || !entry || entry->process.root != pid)
				continue;
			slot->newest->process.root = pid;
			found = true;
		}
	}
}

void process_table_get_stats(const struct process_table *table, struct process_stats *ret_stats)
{
	*ret_stats = table->stats;
	ret_stats->processes = table->living;
	ret_stats->images = table->image_count;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Noun "process": generations of processes by pid. Takes side-band events in order of time and what
 * process_scan.c read from /proc; gives the generation alive at a time, and tells whose mapping table changed.
 * Owns processes, their mappings, images and kernel symbols.
 */
#include "process.h"

#include "base/clock.h"
#include "process_images.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct pid_slot {
	uint32_t pid, count; /* of generations */
	struct process_entry *newest;
	uint64_t forgot_ns; /* the generations up to then were let go while samples of them could come */
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
	TAILQ_INIT(&table->recycling);
	table->ksymbol_names = intern_new(1U << 20);
	if (!table->ksymbol_names) {
		free(table);
		return NULL;
	}
	return table;
}

static void entry_free(struct process_table *table, struct process_entry *entry)
{
	process_block_drop(table, entry);
	process_past_drop(table, entry);
	if (entry->process.jit)
		entry->process.jit->refs--;
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
			entry_free(table, entry);
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
		entry->process.seen_ns = table->seen_ns;
		table->callbacks.table_changed(table->callbacks.context, &entry->process);
	}
	if (entry->died) {
		entry->died = false;
		if (table->callbacks.exited)
			table->callbacks.exited(table->callbacks.context, entry->process.pid);
	}
}

static bool has_samples_to_come(const struct process_table *table, const struct process_entry *entry)
{
	return table->keep_from_ns && entry->process.until_ns >= table->keep_from_ns;
}

/* `link` is what points to it: the slot's, or that of the generation behind it. */
static void entry_unlink(struct process_table *table, struct pid_slot *slot, struct process **link)
{
	struct process_entry *entry = (struct process_entry *)*link;

	publish_entry(table, entry);
	TAILQ_REMOVE(&table->ended, entry, ended_link);
	*link = entry->process.older;
	slot->count--;
	if (has_samples_to_come(table, entry) && entry->process.until_ns > slot->forgot_ns)
		slot->forgot_ns = entry->process.until_ns;
	entry_free(table, entry);
	table->entries--;
}

/* Ended entries leave in the order in which they ended, so within one pid the oldest goes first. */
static void entry_remove(struct process_table *table, struct process_entry *entry)
{
	uint32_t pid = entry->process.pid;
	struct pid_slot *slot = hmap_find(&table->pids, &pid);
	struct process **link = (struct process **)&slot->newest;

	while (*link != &entry->process)
		link = &(*link)->older;
	entry_unlink(table, slot, link);
	if (!slot->newest)
		hmap_remove(&table->pids, &pid);
}

/* A pid can be used a thousand times a second: what no sample will ask for goes, not at each birth. */
static void trim_generations(struct process_table *table, struct pid_slot *slot)
{
	struct process **link = (struct process **)&slot->newest->process.older;

	if (slot->count % PROCESS_GENERATION_LIMIT)
		return;
	for (uint32_t at = 0; *link && at < PROCESS_GENERATION_MOST; at++) {
		const struct process_entry *entry = (const struct process_entry *)*link;

		if (entry->listed && !has_samples_to_come(table, entry))
			break;
		link = &(*link)->older;
	}
	while (*link && ((const struct process_entry *)*link)->listed)
		entry_unlink(table, slot, link);
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
	slot->count++;
	table->entries++;
	table->living++;
	trim_generations(table, slot);
	return entry;
}

void process_entry_end(struct process_table *table, struct process_entry *entry, uint64_t at_ns, bool died)
{
	entry->process.until_ns = at_ns > entry->process.from_ns ? at_ns : entry->process.from_ns + 1;
	entry->died = died && !entry->process.kernel_thread;
	process_block_attach(entry, false);
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
		found = table->images[i] && table->images[i]->image.users &&
			process_image_asks_again(table, table->images[i], now_ns);
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
		if (table->images[i])
			table->images[i]->ready = false;
	table->images_ready = false;
}

void process_table_tick(struct process_table *table, uint64_t now_ns)
{
	struct process_entry *entry, *next;

	table->seen_ns = now_ns;
	process_scan_tick(table, now_ns);
	retry_failed(table, now_ns);
	process_past_tick(table, now_ns);
	process_check_tick(table, now_ns);
	if (table->images_ready)
		mark_users_of_ready(table);
	/* Once each: a callback that marks again is heard at the next tick. Ends were marked before beginnings. */
	for (entry = TAILQ_FIRST(&table->dirty); entry; entry = next) {
		next = TAILQ_NEXT(entry, dirty_link);
		publish_entry(table, entry);
	}
	while ((entry = TAILQ_FIRST(&table->ended))) {
		if (entry->process.until_ns + PROCESS_GRACE_S * NS_PER_S > now_ns ||
		    has_samples_to_come(table, entry))
			break;
		entry_remove(table, entry);
	}
}

void process_table_keep(struct process_table *table, uint64_t from_ns)
{
	table->keep_from_ns = from_ns;
	process_past_tick(table, from_ns); /* at once: what it held of images may make room */
}

struct process *process_find(struct process_table *table, uint32_t pid, uint64_t at_ns)
{
	const struct pid_slot *slot = hmap_find(&table->pids, &pid);
	struct process *process = slot ? &slot->newest->process : NULL;

	/* Born later: look further back. Nothing older: a sample taken just before its FORK record. */
	while (process && at_ns < process->from_ns && process->older)
		process = process->older;
	return process && at_ns < process->from_ns && at_ns < slot->forgot_ns ? NULL : process;
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
	ret_stats->images = table->image_count - table->spare_count;
}

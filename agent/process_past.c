/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What lay at an address before: a process that unmaps a library and maps another uses the same addresses again, a
 * thousand times a second if it likes, and its samples are looked up at the end of their slice. So mappings that
 * were replaced stay until then. Also says of whom that is true: the kernel side copies such a process's stacks.
 */
#include "process_images.h"

#include <stdlib.h>
#include <string.h>

#define LAG_NS 100000000ULL /* samples may be older than their slice by what a handler takes at most; with room */

static void drop_first(struct process_table *table, struct process_entry *entry, size_t count)
{
	for (size_t i = 0; i < count; i++)
		entry->past[i].mapping.image->refs--;
	entry->past_count -= count;
	memmove(entry->past, entry->past + count, entry->past_count * sizeof(*entry->past));
	if (entry->past_count || !entry->past)
		return;
	table->stats.mapping_bytes -= entry->past_capacity * sizeof(*entry->past);
	free(entry->past);
	entry->past = NULL;
	entry->past_capacity = 0;
}

/* Room for one more, if need be at the cost of the older half. */
static bool make_room(struct process_table *table, struct process_entry *entry)
{
	size_t capacity = entry->past_capacity ? 2 * entry->past_capacity : 64, size = sizeof(*entry->past);
	struct process_past *past = NULL;

	if (entry->past_count < entry->past_capacity)
		return true;
	if (capacity <= PROCESS_PAST_LIMIT &&
	    table->stats.mapping_bytes + (capacity - entry->past_capacity) * size <= PROCESS_MAPPING_BYTES)
		past = realloc(entry->past, capacity * size);
	if (past) {
		table->stats.mapping_bytes += (capacity - entry->past_capacity) * size;
		entry->past = past;
		entry->past_capacity = capacity;
		return true;
	}
	if (!entry->past_count)
		return false;
	table->stats.forgotten += (entry->past_count + 1) / 2;
	drop_first(table, entry, (entry->past_count + 1) / 2);
	return entry->past_count < entry->past_capacity;
}

void process_past_add(struct process_table *table, struct process_entry *entry, const struct process_mapping *old,
		      uint64_t start, uint64_t end, uint64_t until_ns)
{
	struct process_past past = { .mapping = *old, .until_ns = until_ns };

	if (start < old->start)
		start = old->start;
	past.mapping.offset += start - old->start;
	past.mapping.start = start;
	past.mapping.end = end < old->end ? end : old->end;
	if (!make_room(table, entry)) {
		table->stats.forgotten++;
		return;
	}
	past.mapping.image->refs++;
	entry->past[entry->past_count++] = past;
}

void process_past_mark(struct process_table *table, struct process_entry *entry, uint64_t until_ns)
{
	if (!entry->recycles_until_ns)
		TAILQ_INSERT_TAIL(&table->recycling, entry, recycling_link);
	if (entry->recycles_until_ns < until_ns)
		entry->recycles_until_ns = until_ns;
	entry->process.recycles = true;
}

static void calm(struct process_table *table, struct process_entry *entry)
{
	TAILQ_REMOVE(&table->recycling, entry, recycling_link);
	entry->recycles_until_ns = 0;
	entry->process.recycles = false;
	if (process_entry_alive(entry))
		process_entry_mark(table, entry);
}

void process_past_tick(struct process_table *table, uint64_t now_ns)
{
	uint64_t from_ns = table->keep_from_ns > LAG_NS ? table->keep_from_ns - LAG_NS : 0;
	struct process_entry *entry, *next;

	for (entry = TAILQ_FIRST(&table->recycling); entry; entry = next) {
		size_t gone = 0;

		next = TAILQ_NEXT(entry, recycling_link);
		while (gone < entry->past_count && entry->past[gone].until_ns < from_ns)
			gone++;
		if (gone)
			drop_first(table, entry, gone);
		if (!entry->past_count && entry->recycles_until_ns <= now_ns)
			calm(table, entry);
	}
}

void process_past_drop(struct process_table *table, struct process_entry *entry)
{
	if (entry->past_count)
		drop_first(table, entry, entry->past_count);
	if (entry->recycles_until_ns)
		TAILQ_REMOVE(&table->recycling, entry, recycling_link);
	entry->recycles_until_ns = 0;
}

/* The first that was replaced after that time; those before are of no use to it. */
static size_t replaced_after(const struct process_entry *entry, uint64_t at_ns)
{
	size_t low = 0, high = entry->past_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (entry->past[middle].until_ns > at_ns)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

const struct process_mapping *process_mapping_at(const struct process *process, uint64_t address, uint64_t at_ns)
{
	const struct process_entry *entry = (const struct process_entry *)process;
	size_t at = process_mapping_after(process, address);
	const struct process_mapping *now = at < process->mapping_count ? &process->mappings[at] : NULL;

	if (now && now->start > address)
		now = NULL;
	if (now && (!now->recycled || now->since_ns <= at_ns))
		return now;
	for (at = replaced_after(entry, at_ns); at < entry->past_count; at++) {
		const struct process_mapping *past = &entry->past[at].mapping;

		if (address < past->start || address >= past->end)
			continue;
		if (past->since_ns > at_ns && past->recycled) /* what lay there before this one is forgotten */
			return NULL;
		return past;
	}
	return NULL;
}

/* Memory without a file has a name all the same, which the kernel side does not see: the vDSO's, or none. */
static bool is_same(const struct process_mapping *known, const struct process_image *image,
		    const struct process_found *found)
{
	if (!known->image->file.inode)
		return !found->file.inode;
	return known->image == image && known->start - known->offset == found->start - found->offset;
}

/* In the process's table as if an event had told it at that time. A file nobody has met is looked for in /proc. */
void process_table_found(struct process_table *table, uint32_t pid, uint64_t at_ns, uint64_t address,
			 const struct process_found *found)
{
	struct process_mapping mapping = { found->start, found->end, found->offset, NULL, at_ns, 0, false };
	struct process_entry *entry = process_entry_newest(table, pid);
	const struct process_mapping *known;

	if (!entry || !process_entry_alive(entry) || at_ns < entry->process.known_ns || found->start >= found->end ||
	    found->end > PROCESS_USER_END)
		return;
	mapping.image = process_image_known(table, &found->file);
	known = process_mapping_at(&entry->process, address, at_ns);
	if (known && is_same(known, mapping.image, found))
		return;
	table->stats.moved++;
	process_past_mark(table, entry, at_ns + PROCESS_MOVES_NS);
	if (!mapping.image)
		process_mapping_reread(table, entry, at_ns);
	else if (process_mapping_insert(table, entry, &mapping))
		process_entry_mark(table, entry);
}

bool process_mapping_doubted(const struct process_mapping *mapping)
{
	return mapping->image->doubted && mapping->since_ns >= ((const struct image_entry *)mapping->image)->doubted_ns;
}

bool process_mapping_mixed(const struct process_table *table, const struct process_mapping *mapping, uint64_t count)
{
	if (process_mapping_doubted(mapping))
		return true;
	return mapping->recycled && count > 1 && mapping->since_ns + LAG_NS > table->keep_from_ns;
}

bool process_mapping_misread(const struct process *process, const struct process_mapping *mapping, uint32_t version)
{
	return mapping->recycled && version && mapping->since_ns >= process->from_ns && version <= mapping->version;
}

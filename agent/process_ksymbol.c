/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernel symbols that come and go while the agent runs: BPF programs and trampolines. Sorted by address without
 * overlaps; one that was unregistered stays findable until its memory is used again or room is needed.
 */
#include "process_private.h"

#include <stdlib.h>
#include <string.h>

/* The first symbol that ends after the address. */
static size_t find_after(const struct process_table *table, uint64_t address)
{
	size_t low = 0, high = table->ksymbol_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (table->ksymbols[middle].end > address)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

static void drop_range(struct process_table *table, size_t first, size_t last)
{
	if (first == last)
		return;
	memmove(&table->ksymbols[first], &table->ksymbols[last],
		(table->ksymbol_count - last) * sizeof(*table->ksymbols));
	table->ksymbol_count -= last - first;
}

/* At the limit all that are gone leave together, so the cost is rare. */
static void drop_gone(struct process_table *table)
{
	size_t kept = 0;

	for (size_t i = 0; i < table->ksymbol_count; i++)
		if (!table->ksymbols[i].gone)
			table->ksymbols[kept++] = table->ksymbols[i];
	table->ksymbol_count = kept;
}

static bool make_room(struct process_table *table)
{
	size_t capacity = table->ksymbol_capacity ? 2 * table->ksymbol_capacity : 64;
	struct ksymbol *ksymbols;

	if (table->ksymbol_count >= PROCESS_KSYMBOL_LIMIT)
		drop_gone(table);
	if (table->ksymbol_count < table->ksymbol_capacity)
		return true;
	if (table->ksymbol_count >= PROCESS_KSYMBOL_LIMIT)
		return false;
	ksymbols = realloc(table->ksymbols, capacity * sizeof(*ksymbols));
	if (!ksymbols)
		return false;
	table->ksymbols = ksymbols;
	table->ksymbol_capacity = capacity;
	return true;
}

void process_ksymbol_event(struct process_table *table, const struct sideband_event *event)
{
	struct ksymbol new = { .start = event->start, .end = event->end };
	size_t first = find_after(table, event->start), last = first;

	if (event->start >= event->end)
		return;
	table->stats.ksymbol_changes++;
	if (event->unregister) {
		if (first < table->ksymbol_count && table->ksymbols[first].start == event->start)
			table->ksymbols[first].gone = true;
		return;
	}
	while (last < table->ksymbol_count && table->ksymbols[last].start < event->end)
		last++;
	drop_range(table, first, last);
	new.name = intern_add(table->ksymbol_names, event->name, strlen(event->name));
	if (new.name == UINT32_MAX || !make_room(table)) {
		table->stats.refused_ksymbols++;
		return;
	}
	first = find_after(table, new.start); /* making room may have moved it */
	memmove(&table->ksymbols[first + 1], &table->ksymbols[first],
		(table->ksymbol_count - first) * sizeof(*table->ksymbols));
	table->ksymbols[first] = new;
	table->ksymbol_count++;
}

const char *process_ksymbol(struct process_table *table, uint64_t address)
{
	size_t at = find_after(table, address);

	if (at == table->ksymbol_count || table->ksymbols[at].start > address)
		return NULL;
	return intern_get(table->ksymbol_names, table->ksymbols[at].name);
}

uint64_t process_ksymbol_changes(const struct process_table *table)
{
	return table->stats.ksymbol_changes;
}

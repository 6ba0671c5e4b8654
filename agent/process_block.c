/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory of mapping tables: one block for a process and all its forks until one of them changes, so that a fork
 * costs the same however much is mapped. All blocks together have a limit; past it what is mapped stays untold.
 */
#include "process_images.h"

#include <stdlib.h>
#include <string.h>

static size_t block_bytes(size_t capacity)
{
	return sizeof(struct process_block) + capacity * sizeof(struct process_mapping);
}

static void count_users(const struct process *process, uint32_t change)
{
	for (size_t i = 0; i < process->mapping_count; i++)
		process->mappings[i].image->users += change;
}

static bool within_limit(struct process_table *table, size_t more)
{
	return table->stats.mapping_bytes + more <= PROCESS_MAPPING_BYTES;
}

static bool block_grow(struct process_table *table, struct process_entry *entry, size_t bytes)
{
	struct process_block *block = entry->block;

	if (!within_limit(table, bytes - block->bytes))
		return false;
	block = realloc(block, bytes);
	if (!block)
		return false;
	table->stats.mapping_bytes += bytes - block->bytes;
	block->bytes = bytes;
	entry->block = block;
	return true;
}

static bool block_copy(struct process_table *table, struct process_entry *entry, size_t bytes)
{
	struct process *process = &entry->process;
	struct process_block *block = within_limit(table, bytes) ? malloc(bytes) : NULL;

	if (!block)
		return false;
	*block = (struct process_block){ .refs = 1, .living = entry->attached, .bytes = bytes };
	if (process->mapping_count)
		memcpy(block->mappings, process->mappings, process->mapping_count * sizeof(*block->mappings));
	table->stats.mapping_bytes += bytes;
	for (size_t i = 0; i < process->mapping_count; i++) {
		process->mappings[i].image->refs++;
		process->mappings[i].image->users += entry->attached;
	}
	if (entry->block) { /* others use it: it stays */
		if (block->living)
			process_block_attach(entry, false);
		entry->block->refs--;
		entry->attached = block->living;
	}
	entry->block = block;
	return true;
}

bool process_block_own(struct process_table *table, struct process_entry *entry, size_t capacity)
{
	struct process *process = &entry->process;
	bool own = entry->block && entry->block->refs == 1;

	if (own && capacity <= process->mapping_capacity)
		return true;
	if (capacity < process->mapping_capacity)
		capacity = process->mapping_capacity;
	if (own ? !block_grow(table, entry, block_bytes(capacity)) : !block_copy(table, entry, block_bytes(capacity)))
		return false;
	process->mappings = entry->block->mappings;
	process->mapping_capacity = capacity;
	return true;
}

void process_block_drop(struct process_table *table, struct process_entry *entry)
{
	struct process *process = &entry->process;

	if (entry->attached)
		process_block_attach(entry, false);
	if (entry->block && !--entry->block->refs) {
		for (size_t i = 0; i < process->mapping_count; i++)
			process->mappings[i].image->refs--;
		table->stats.mapping_bytes -= entry->block->bytes;
		free(entry->block);
	}
	entry->block = NULL;
	process->mappings = NULL;
	process->mapping_count = process->mapping_capacity = 0;
}

void process_block_attach(struct process_entry *entry, bool attach)
{
	entry->attached = attach;
	if (!entry->block)
		return;
	if (attach && !entry->block->living++)
		count_users(&entry->process, 1);
	else if (!attach && !--entry->block->living)
		count_users(&entry->process, -1U);
}

void process_block_inherit(struct process_entry *child, struct process_entry *parent)
{
	struct process *process = &child->process;

	if (!parent->block)
		return;
	parent->block->refs++;
	child->block = parent->block;
	process->mappings = parent->process.mappings;
	process->mapping_count = parent->process.mapping_count;
	process->mapping_capacity = parent->process.mapping_capacity;
	process->dump_start = parent->process.dump_start;
	process->dump_end = parent->process.dump_end;
	process_block_attach(child, true);
}

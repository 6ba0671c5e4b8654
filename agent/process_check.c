/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file that nobody had mapped for a moment may have been written anew meanwhile: the same inode with other bytes,
 * which no event tells. So once it is mapped again it is in doubt until somebody has looked at its times; if they
 * have changed, it is another image for all that mapped it since.
 */
#include "base/clock.h"
#include "process_images.h"

#define PROCESS_CHECK_LOST_NS (10 * NS_PER_S) /* an answer that has not come by then was lost */

void process_check_mapped(struct process_table *table, const struct process *process,
			  const struct process_mapping *mapping)
{
	struct image_entry *entry = (struct image_entry *)mapping->image;
	struct process_image *image = mapping->image;

	if (image->users || !image->segment_count || image->vdso || image->anonymous)
		return;
	entry->remapped = *mapping;
	entry->remapped_pid = process->pid;
	if (image->doubted)
		return;
	if (table->doubted_count == PROCESS_DOUBTED) {
		table->stats.unchecked++;
		return;
	}
	image->doubted = true;
	entry->doubted_ns = mapping->since_ns;
	table->doubted[table->doubted_count++] = entry;
}

static void ask(struct process_table *table, struct image_entry *entry, uint64_t now_ns)
{
	if (!table->callbacks.image_check ||
	    table->callbacks.image_check(table->callbacks.context, &entry->image, entry->remapped_pid,
					 entry->remapped.start, entry->remapped.end, now_ns))
		return;
	entry->check_ns = now_ns;
	entry->check_again_ns = now_ns + PROCESS_CHECK_NS;
}

/* At once for one that was not looked at in the last second, else with the others at the end of the slice. */
void process_check_tick(struct process_table *table, uint64_t now_ns)
{
	for (size_t i = 0; i < table->doubted_count; i++) {
		struct image_entry *entry = table->doubted[i];

		if (entry->check_ns && now_ns >= entry->check_ns + PROCESS_CHECK_LOST_NS)
			entry->check_ns = 0;
		if (!entry->check_ns && now_ns >= entry->check_again_ns)
			ask(table, entry, now_ns);
	}
}

void process_table_check(struct process_table *table, uint64_t now_ns)
{
	for (size_t i = 0; i < table->doubted_count; i++)
		if (!table->doubted[i]->check_ns)
			ask(table, table->doubted[i], now_ns);
}

bool process_table_checks(const struct process_table *table)
{
	for (size_t i = 0; i < table->doubted_count; i++)
		if (table->doubted[i]->check_ns)
			return true;
	return false;
}

static void trust(struct process_table *table, struct image_entry *entry)
{
	size_t at = 0;

	entry->image.doubted = false;
	while (at < table->doubted_count && table->doubted[at] != entry)
		at++;
	if (at < table->doubted_count)
		table->doubted[at] = table->doubted[--table->doubted_count];
}

/* Blocks are shared: what was changed already is no longer of the old image. */
static bool change_mappings(struct process_entry *process, struct process_image *old, struct process_image *new,
			    uint64_t since_ns)
{
	uint32_t living = process->block ? process->block->living : 0, count = 0;

	for (size_t i = 0; i < process->process.mapping_count; i++) {
		struct process_mapping *mapping = &process->process.mappings[i];

		count += mapping->image == new;
		if (mapping->image != old || mapping->since_ns < since_ns)
			continue;
		mapping->image = new;
		old->refs--, new->refs++, count++;
		if (living)
			old->users--, new->users++;
	}
	for (size_t i = 0; i < process->past_count; i++) {
		struct process_mapping *mapping = &process->past[i].mapping;

		if (mapping->image != old || mapping->since_ns < since_ns)
			continue;
		mapping->image = new;
		old->refs--, new->refs++;
	}
	return count;
}

static void tell_users(struct process_table *table, struct process_entry *process, struct process_image *image,
		       uint64_t now_ns)
{
	process_entry_mark(table, process);
	for (size_t i = 0; i < process->process.mapping_count; i++)
		if (process->process.mappings[i].image == image)
			process_image_tell(table, &process->process, &process->process.mappings[i], now_ns);
}

static void succeed(struct process_table *table, struct image_entry *old, uint64_t changed_ns, uint64_t now_ns)
{
	struct process_image *new = process_image_succeed(table, &old->image);
	struct process_entry *newest;
	uint32_t *slot;

	if (!new)
		return;
	for (size_t at = 0; (slot = hmap_next(&table->pids, &at));) {
		newest = process_entry_newest(table, *slot);
		for (struct process *process = &newest->process; process; process = process->older) {
			struct process_entry *entry = (struct process_entry *)process;

			if (change_mappings(entry, &old->image, new, changed_ns) && process_entry_alive(entry))
				tell_users(table, entry, new, now_ns);
		}
	}
	if (new->state == PROCESS_IMAGE_NEW) { /* all have ended: through the parent, then */
		struct process none = { .pid = old->remapped_pid };

		old->remapped.image = new;
		process_image_tell(table, &none, &old->remapped, now_ns);
	}
}

void process_image_checked(struct process_table *table, struct process_image *image, uint64_t changed_ns,
			   uint64_t now_ns)
{
	struct image_entry *entry = (struct image_entry *)image;
	uint64_t asked_ns = entry->check_ns;

	entry->check_ns = 0;
	if (!image->doubted)
		return;
	if (changed_ns) {
		trust(table, entry);
		succeed(table, entry, changed_ns, now_ns);
	} else if (entry->remapped.since_ns <= asked_ns) {
		trust(table, entry);
		process_image_ready(table, image);
	} else {
		entry->doubted_ns = asked_ns;
	}
}

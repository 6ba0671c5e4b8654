/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a process has mapped executable: a sorted array without overlaps, shared between a process and its forks
 * until one of them changes. munmap is told by nobody, so a new mapping cuts away whatever it covers.
 */
#include "process_private.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_MASK 4095ULL

static void block_unref(struct process_block *block)
{
	if (block && !--block->refs)
		free(block);
}

static size_t block_bytes(size_t capacity)
{
	return sizeof(struct process_block) + capacity * sizeof(struct process_mapping);
}

/* Makes the mappings this process's own, with room for `capacity`. */
static bool own_block(struct process_entry *entry, size_t capacity)
{
	struct process *process = &entry->process;
	struct process_block *block = entry->block;

	if (block && block->refs == 1 && capacity <= process->mapping_capacity)
		return true;
	if (capacity < process->mapping_capacity)
		capacity = process->mapping_capacity;
	if (block && block->refs == 1) {
		block = realloc(block, block_bytes(capacity));
		if (!block)
			return false;
	} else {
		block = malloc(block_bytes(capacity));
		if (!block)
			return false;
		block->refs = 1;
		for (size_t i = 0; i < process->mapping_count; i++)
			block->mappings[i] = process->mappings[i];
		block_unref(entry->block);
	}
	entry->block = block;
	process->mappings = block->mappings;
	process->mapping_capacity = capacity;
	return true;
}

void process_mapping_drop(struct process_entry *entry)
{
	block_unref(entry->block);
	entry->block = NULL;
	entry->process.mappings = NULL;
	entry->process.mapping_count = entry->process.mapping_capacity = 0;
}

void process_mapping_attach(struct process_entry *entry, bool attach)
{
	for (size_t i = 0; i < entry->process.mapping_count; i++)
		entry->process.mappings[i].image->users += attach ? 1U : -1U;
}

void process_mapping_inherit(struct process_table *table, struct process_entry *child, struct process_entry *parent)
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
	process_mapping_attach(child, true);
	for (size_t i = 0; i < process->mapping_count; i++)
		process_image_tell(table, process, &process->mappings[i], process->from_ns);
}

/* The first mapping that ends after the address. */
static size_t find_after(const struct process *process, uint64_t address)
{
	size_t low = 0, high = process->mapping_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (process->mappings[middle].end > address)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

static bool continues(const struct process_mapping *old, const struct process_mapping *new)
{
	return old->image == new->image &&
	       (new->image->anonymous || old->start - old->offset == new->start - new->offset);
}

/*
 * At the limit the older half of the memory without a file goes: programs that generate code unmap it unseen.
 * Half, so that one that maps without end costs little for each mapping. False: there was none.
 */
static bool evict_old(struct process_entry *entry)
{
	struct process *process = &entry->process;
	uint64_t oldest = UINT64_MAX, newest = 0;
	size_t kept = 0, count = process->mapping_count;

	if (!own_block(entry, process->mapping_capacity))
		return false;
	for (size_t i = 0; i < count; i++) {
		const struct process_mapping *at = &process->mappings[i];

		if (at->image->anonymous) {
			oldest = at->since_ns < oldest ? at->since_ns : oldest;
			newest = at->since_ns > newest ? at->since_ns : newest;
		}
	}
	for (size_t i = 0; i < count; i++) {
		const struct process_mapping *at = &process->mappings[i];

		if (at->image->anonymous && at->since_ns <= oldest + (newest - oldest) / 2)
			at->image->users--;
		else
			process->mappings[kept++] = *at;
	}
	process->mapping_count = kept;
	return kept < count;
}

/* What is left of [first, last) beside the new mapping, and the new mapping, in order. At most 3. */
static size_t cut_pieces(const struct process *process, size_t first, size_t last,
			 const struct process_mapping *new, struct process_mapping pieces[3])
{
	size_t count = 0;

	if (first < last && process->mappings[first].start < new->start) {
		pieces[count] = process->mappings[first];
		pieces[count++].end = new->start;
	}
	pieces[count++] = *new;
	if (first < last && process->mappings[last - 1].end > new->end) {
		struct process_mapping *piece = &pieces[count++];

		*piece = process->mappings[last - 1];
		piece->offset += new->end - piece->start;
		piece->start = new->end;
	}
	return count;
}

bool process_mapping_insert(struct process_table *table, struct process_entry *entry,
			    const struct process_mapping *mapping)
{
	struct process *process = &entry->process;
	struct process_mapping pieces[3], new = *mapping;
	size_t first = find_after(process, new.start), last = first, count;
	bool same = true;

	for (; last < process->mapping_count && process->mappings[last].start < new.end; last++)
		same &= continues(&process->mappings[last], &new);
	if (same && first < last) { /* the same memory told again, or grown: it is as old as it was */
		const struct process_mapping *old = &process->mappings[first];

		if (old->start <= new.start && old->end >= new.end)
			return false;
		new.since_ns = old->since_ns;
	}
	count = cut_pieces(process, first, last, &new, pieces);
	if (process->mapping_count - (last - first) + count > PROCESS_MAPPING_LIMIT) {
		table->stats.refused_mappings++;
		return evict_old(entry) && process_mapping_insert(table, entry, mapping);
	}
	if (!own_block(entry, process->mapping_count + count > process->mapping_capacity ?
				      2 * process->mapping_count + 8 : process->mapping_capacity)) {
		table->stats.refused_mappings++;
		return false;
	}
	for (size_t i = first; i < last; i++)
		process->mappings[i].image->users--;
	for (size_t i = 0; i < count; i++)
		pieces[i].image->users++;
	memmove(&process->mappings[first + count], &process->mappings[last],
		(process->mapping_count - last) * sizeof(*process->mappings));
	memcpy(&process->mappings[first], pieces, count * sizeof(*pieces));
	process->mapping_count += count - (last - first);
	if (new.image->jitdump) {
		process->dump_start = new.start;
		process->dump_end = new.end;
	}
	process_image_tell(table, process, &new, mapping->since_ns);
	return true;
}

/* A segment holds a file offset exactly, or by the whole pages that are mapped for it. */
static bool holds(const struct process_image *image, uint32_t i, uint64_t offset, bool exactly)
{
	uint64_t from = image->segments[i].offset, to = from + image->segments[i].filesz;

	if (image->segments[i].flags && !(image->segments[i].flags & PF_X))
		return false;
	if (!exactly) {
		from &= ~PAGE_MASK;
		to = (to + PAGE_MASK) & ~PAGE_MASK;
	}
	return offset >= from && offset < to;
}

/* Segments may share a page of the file (lld lays them out so): exact beats page-wise. */
static bool find_segment(const struct process_image *image, uint64_t offset, uint32_t *ret_segment)
{
	for (int exactly = 1; exactly >= 0; exactly--) {
		for (uint32_t i = 0; i < image->segment_count && i < PROCESS_IMAGE_SEGMENTS; i++) {
			if (holds(image, i, offset, exactly)) {
				*ret_segment = i;
				return true;
			}
		}
	}
	return false;
}

struct process_image *process_resolve(const struct process *process, uint64_t address, uint64_t *ret_vaddr,
				      bool *ret_is_vaddr)
{
	size_t at = find_after(process, address);
	const struct process_mapping *mapping = &process->mappings[at];
	uint64_t offset;
	uint32_t i;

	if (at == process->mapping_count || mapping->start > address)
		return NULL;
	if (mapping->image->anonymous) {
		*ret_vaddr = address;
		*ret_is_vaddr = true;
		return mapping->image;
	}
	offset = address - mapping->start + mapping->offset;
	*ret_is_vaddr = find_segment(mapping->image, offset, &i);
	*ret_vaddr = *ret_is_vaddr ?
		offset - mapping->image->segments[i].offset + mapping->image->segments[i].vaddr : offset;
	return mapping->image;
}

/* The executable segment of a mapping. Where the symbolizer told no flags, the one that covers most of it. */
bool process_mapping_bias(const struct process_mapping *mapping, uint64_t *ret_bias)
{
	const struct process_image *image = mapping->image;
	uint64_t to = mapping->offset + (mapping->end - mapping->start), most = 0;
	uint32_t best = PROCESS_IMAGE_SEGMENTS;

	for (uint32_t i = 0; i < image->segment_count && i < PROCESS_IMAGE_SEGMENTS; i++) {
		uint64_t first = image->segments[i].offset, last = first + image->segments[i].filesz;

		if (image->segments[i].flags && !(image->segments[i].flags & PF_X))
			continue;
		first = first > mapping->offset ? first : mapping->offset;
		last = last < to ? last : to;
		if (last > first && last - first > most) {
			most = last - first;
			best = i;
		}
	}
	if (best == PROCESS_IMAGE_SEGMENTS)
		return false;
	*ret_bias = mapping->start - mapping->offset + image->segments[best].offset - image->segments[best].vaddr;
	return true;
}

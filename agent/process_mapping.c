/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a process has mapped executable: a sorted array without overlaps. munmap is told by nobody, so a new mapping
 * cuts away whatever it covers.
 */
#include "process_images.h"

#include <elf.h>
#include <string.h>

#define PAGE_MASK 4095ULL

size_t process_mapping_after(const struct process *process, uint64_t address)
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

static void count_image(const struct process_entry *entry, struct process_image *image, uint32_t change)
{
	image->refs += change;
	if (entry->attached)
		image->users += change;
}

/*
 * At the limit the older half of the memory without a file goes: programs that generate code unmap it unseen.
 * Half, so that one that maps without end costs little for each mapping. False: there was none.
 */
static bool evict_old(struct process_table *table, struct process_entry *entry)
{
	struct process *process = &entry->process;
	uint64_t oldest = UINT64_MAX, newest = 0;
	size_t kept = 0, count = process->mapping_count;

	if (!process_block_own(table, entry, process->mapping_capacity))
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
			count_image(entry, at->image, -1U);
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

void process_mapping_reread(struct process_table *table, struct process_entry *entry, uint64_t now_ns)
{
	if (now_ns < entry->reread_ns)
		return;
	entry->reread_ns = now_ns + PROCESS_REREAD_NS;
	process_queue_pid(table, &table->unread, entry->process.pid);
}

/* No room: generated code gives way; else the table is full of what was unmapped unseen, which /proc shows. */
static bool make_room(struct process_table *table, struct process_entry *entry, uint64_t now_ns)
{
	table->stats.refused_mappings++;
	if (evict_old(table, entry))
		return true;
	process_mapping_reread(table, entry, now_ns);
	return false;
}

/* Puts the pieces in the place of [first, last). */
static bool replace(struct process_table *table, struct process_entry *entry, size_t first, size_t last,
		    const struct process_mapping *pieces, size_t count)
{
	struct process *process = &entry->process;

	if (!process_block_own(table, entry, process->mapping_count + count > process->mapping_capacity ?
						     2 * process->mapping_count + 8 : process->mapping_capacity)) {
		table->stats.refused_mappings++;
		return false;
	}
	for (size_t i = first; i < last; i++)
		count_image(entry, process->mappings[i].image, -1U);
	for (size_t i = 0; i < count; i++)
		count_image(entry, pieces[i].image, 1);
	memmove(&process->mappings[first + count], &process->mappings[last],
		(process->mapping_count - last) * sizeof(*process->mappings));
	memcpy(&process->mappings[first], pieces, count * sizeof(*pieces));
	process->mapping_count += count - (last - first);
	return true;
}

static void keep_past(struct process_table *table, struct process_entry *entry, size_t first, size_t last,
		      const struct process_mapping *new)
{
	for (size_t i = first; i < last; i++)
		process_past_add(table, entry, &entry->process.mappings[i], new->start, new->end, new->since_ns);
	process_past_mark(table, entry, new->since_ns + PROCESS_RECYCLES_NS);
}

bool process_mapping_insert(struct process_table *table, struct process_entry *entry,
			    const struct process_mapping *mapping)
{
	struct process *process = &entry->process;
	struct process_mapping pieces[3], new = *mapping;
	size_t first = process_mapping_after(process, new.start), last = first, count;
	bool same = true;

	for (; last < process->mapping_count && process->mappings[last].start < new.end; last++)
		same &= continues(&process->mappings[last], &new);
	new.version = process->version;
	new.recycled = !same;
	if (same && first < last) { /* the same memory told again, or grown: it is as old as it was */
		const struct process_mapping *old = &process->mappings[first];

		if (old->start <= new.start && old->end >= new.end)
			return false;
		new.since_ns = old->since_ns;
		new.version = old->version;
		new.recycled = old->recycled;
	}
	count = cut_pieces(process, first, last, &new, pieces);
	if (process->mapping_count - (last - first) + count > PROCESS_MAPPING_LIMIT)
		return make_room(table, entry, mapping->since_ns) && process_mapping_insert(table, entry, mapping);
	process_check_mapped(table, process, &new);
	if (!same)
		keep_past(table, entry, first, last, &new);
	if (!replace(table, entry, first, last, pieces, count))
		return false;
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

bool process_mapping_vaddr(const struct process_mapping *mapping, uint64_t address, uint64_t *ret_vaddr)
{
	const struct process_image *image = mapping->image;
	uint64_t offset = address - mapping->start + mapping->offset;
	uint32_t i;

	if (image->anonymous) {
		*ret_vaddr = address;
		return true;
	}
	if (!find_segment(image, offset, &i)) {
		*ret_vaddr = offset;
		return false;
	}
	*ret_vaddr = offset - image->segments[i].offset + image->segments[i].vaddr;
	return true;
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

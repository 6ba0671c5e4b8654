/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process's mappings into the kernel's maps. A table is written to a place of its own and the process's entry
 * then switched to it in one update; equal tables (forks) share a place. The kernel side deletes the entry of a
 * process at exec, some records after the side-band told of it, so a first entry is looked at once more.
 */
#include "base/clock.h"
#include "publish_private.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct range_slot {
	uint64_t hash;
	struct publish_range *range;
};

static size_t add_mapping(struct publish *publish, size_t count, uint64_t start, uint64_t end, uint64_t bias,
			  uint32_t dir, uint32_t flags)
{
	if (start >= end)
		return count;
	if (count == UNWIND_MAX_PROCESS_MAPPINGS) {
		publish->stats.cut_mappings++;
		return count;
	}
	publish->scratch[count] = (struct unwind_mapping){ start, end, bias, dir, flags };
	return count + 1;
}

/* Text of an image before or behind all pages that have rows: no rule is there, which the empty entries say. */
static size_t add_bare(struct publish *publish, size_t count, uint64_t start, uint64_t end, uint64_t bias)
{
	uint64_t first = (start - bias) >> UNWIND_PAGE_BITS, last = (end - 1 - bias) >> UNWIND_PAGE_BITS;

	if (start < end && last - first >= PUBLISH_NO_PAGES)
		return add_mapping(publish, count, start, end, 0, 0, UNWIND_MAPPING_ANON); /* frame pointers too */
	return add_mapping(publish, count, start, end, bias, (uint32_t)-first, 0);
}

/* The directory has entries from an image's first page with rows to its last; a pc outside would read another
 * image's, so a mapping that reaches farther is cut. */
static size_t add_image(struct publish *publish, size_t count, const struct process_mapping *mapping)
{
	uint64_t bias, start = mapping->start, end = mapping->end, first, last;
	struct publish_dir dir;

	if (mapping->image->anonymous)
		return add_mapping(publish, count, start, end, 0, 0, UNWIND_MAPPING_ANON);
	if (!mapping->image->has_table || mapping->image->doubted || !process_mapping_bias(mapping, &bias) ||
	    start - bias > end - bias || !publish_find_dir(publish, mapping->image->dir, &dir))
		return add_mapping(publish, count, start, end, 0, 0,
				   process_image_pending(mapping->image) ? UNWIND_MAPPING_NO_TABLE : UNWIND_MAPPING_ANON);
	first = (uint64_t)dir.first_page << UNWIND_PAGE_BITS;
	last = ((uint64_t)dir.first_page + dir.pages) << UNWIND_PAGE_BITS;
	first = first < start - bias ? start - bias : first > end - bias ? end - bias : first;
	last = last < first ? first : last > end - bias ? end - bias : last;
	count = add_bare(publish, count, start, first + bias, bias);
	count = add_mapping(publish, count, first + bias, last + bias, bias, dir.dir, 0);
	return add_bare(publish, count, last + bias, end, bias);
}

/* The place of a table. To map and unmap it for each process would cost more than all else that is done for it, so
 * its whole chunk stays mapped as long as tables come and go. */
static int range_data(struct publish *publish, const struct publish_range *range, struct unwind_mapping **ret_data)
{
	int err;

	if (!publish->window.base || publish->window_chunk != range->chunk) {
		publish_view_close(&publish->window);
		err = publish_view_open(publish->mapping_fds[range->chunk], 0,
					UNWIND_MAPPING_CHUNK * sizeof(struct unwind_mapping), &publish->window);
		if (err)
			return err;
		publish->window_chunk = range->chunk;
	}
	publish->window_ns = clock_monotonic_ns();
	*ret_data = (struct unwind_mapping *)(void *)publish->window.data + range->first;
	return 0;
}

static bool range_equals(struct publish *publish, const struct publish_range *range, uint32_t count)
{
	struct unwind_mapping *data;

	return range->count == count && !range_data(publish, range, &data) &&
	       !memcmp(data, publish->scratch, count * sizeof(*data));
}

static int take_space(struct publish *publish, struct publish_range *range)
{
	struct publish_space *space = &publish->space;
	int fd;

	if (!publish_space_take(space, range->count, &range->chunk, &range->first))
		return 0;
	if (space->chunks == PUBLISH_MAPPING_CHUNKS)
		return -ENOSPC;
	fd = publish_chunk_new(loader_map_fd(publish->loader, LOADER_MAPPINGS), "wick_mappings", space->chunks,
			       UNWIND_MAPPING_CHUNK * sizeof(struct unwind_mapping));
	if (fd < 0)
		return fd;
	publish->mapping_fds[space->chunks] = fd;
	publish_space_grow(space);
	return publish_space_take(space, range->count, &range->chunk, &range->first);
}

static int range_write(struct publish *publish, struct publish_range *range)
{
	struct unwind_mapping *data;
	int err = take_space(publish, range);

	if (err)
		return err;
	err = range_data(publish, range, &data);
	if (err) {
		publish_space_give(&publish->space, range->count, range->chunk, range->first);
		return err;
	}
	memcpy(data, publish->scratch, range->count * sizeof(*data));
	return 0;
}

/* The place of the table in the scratch: one that holds the same already, or a new one. */
static int range_get(struct publish *publish, uint32_t count, struct publish_range **ret_range)
{
	uint64_t hash = hmap_hash(publish->scratch, count * sizeof(struct unwind_mapping));
	struct range_slot *slot = hmap_find(&publish->ranges, &hash);
	struct publish_range *range;
	int err;

	if (slot && range_equals(publish, slot->range, count)) {
		slot->range->refs++;
		*ret_range = slot->range;
		return 0;
	}
	range = calloc(1, sizeof(*range));
	if (!range)
		return -ENOMEM;
	range->hash = hash;
	range->count = count;
	range->refs = 1;
	err = range_write(publish, range);
	if (err) {
		free(range);
		return err;
	}
	slot = slot ? NULL : hmap_insert(&publish->ranges, &hash, NULL);
	if (slot) {
		slot->range = range;
		range->listed = true;
	}
	*ret_range = range;
	return 0;
}

static void range_put(struct publish *publish, struct publish_range *range)
{
	if (!range || --range->refs)
		return;
	if (range->listed)
		hmap_remove(&publish->ranges, &range->hash);
	range->free_ns = clock_monotonic_ns() + PUBLISH_GRACE_MS * NS_PER_MS;
	STAILQ_INSERT_TAIL(&publish->freed, range, link);
}

static bool value_equals(const struct unwind_process *a, const struct unwind_process *b)
{
	return a->known_ns == b->known_ns && a->chunk == b->chunk && a->first == b->first && a->count == b->count &&
	       a->version == b->version && a->flags == b->flags;
}

static void verify_later(struct publish *publish, struct publish_entry *entry)
{
	if (entry->verify_ns)
		return;
	entry->verify_ns = clock_monotonic_ns() + PUBLISH_VERIFY_MS * NS_PER_MS;
	TAILQ_INSERT_TAIL(&publish->verify, entry, verify_link);
}

/* Handlers remember entries: every change of one goes through these two. */
static int set_value(struct publish *publish, uint32_t pid, const struct unwind_process *value, uint64_t flags)
{
	if (bpf_map_update_elem(loader_map_fd(publish->loader, LOADER_PROCESSES), &pid, value, flags))
		return -errno;
	loader_forget_process(publish->loader, pid);
	return 0;
}

static void clear_value(struct publish *publish, uint32_t pid)
{
	bpf_map_delete_elem(loader_map_fd(publish->loader, LOADER_PROCESSES), &pid);
	loader_forget_process(publish->loader, pid);
}

/* An entry that this generation never put may be an older generation's, and gives way; never a younger one's. */
static int put_first(struct publish *publish, const struct publish_entry *entry, const struct unwind_process *value)
{
	int fd = loader_map_fd(publish->loader, LOADER_PROCESSES);
	int err = set_value(publish, entry->pid, value, BPF_NOEXIST);
	struct unwind_process found;

	if (err != -EEXIST)
		return err;
	if (!bpf_map_lookup_elem(fd, &entry->pid, &found)) {
		if (value_equals(&found, value))
			return 0;
		if (found.known_ns > entry->from_ns)
			return -EEXIST;
	}
	return set_value(publish, entry->pid, value, BPF_ANY);
}

static uint64_t last_exec(struct publish *publish, uint32_t pid)
{
	uint64_t at_ns = 0;

	return bpf_map_lookup_elem(loader_map_fd(publish->loader, LOADER_EXECS), &pid, &at_ns) ? 0 : at_ns;
}

/*
 * The side-band tells of an exec later than the kernel side, which deletes the entry. What was known of the process
 * before that must not be put in again; if it came between, it is taken out.
 */
static int put_known(struct publish *publish, struct publish_entry *entry, const struct unwind_process *value,
		     uint64_t seen_ns)
{
	uint64_t exec_ns = last_exec(publish, entry->pid);
	int err;

	if (exec_ns > seen_ns)
		return -EAGAIN;
	err = put_first(publish, entry, value);
	if (err || last_exec(publish, entry->pid) == exec_ns)
		return err;
	clear_value(publish, entry->pid);
	return -EAGAIN;
}

static int put(struct publish *publish, struct publish_entry *entry, const struct unwind_process *value)
{
	int err;

	if (entry->live) {
		err = set_value(publish, entry->pid, value, BPF_EXIST);
		if (err != -ENOENT)
			return err;
		/* Deleted at exec: of this generation, then it comes back when looked at again; or of the next,
		 * which is about to publish itself. */
		publish->stats.processes--;
		entry->live = false;
		verify_later(publish, entry);
		return 0;
	}
	if (entry->verify_ns) /* deleted a moment ago: not yet */
		return 0;
	err = put_known(publish, entry, value, entry->process->seen_ns);
	if (!err || err == -EAGAIN)
		verify_later(publish, entry);
	if (err)
		return err == -EAGAIN ? 0 : err;
	entry->live = true;
	publish->stats.processes++;
	return 0;
}

static void entry_drop(struct publish *publish, struct publish_entry *entry)
{
	int fd = loader_map_fd(publish->loader, LOADER_PROCESSES);
	struct unwind_process found;

	if (!bpf_map_lookup_elem(fd, &entry->pid, &found) && value_equals(&found, &entry->value))
		clear_value(publish, entry->pid);
	if (entry->verify_ns)
		TAILQ_REMOVE(&publish->verify, entry, verify_link);
	LIST_REMOVE(entry, link);
	range_put(publish, entry->range);
	publish->stats.processes -= entry->live;
	publish->stats.mappings -= entry->value.count;
	entry->process->published = NULL;
	free(entry);
}

static struct publish_entry *entry_new(struct publish *publish, struct process *process)
{
	struct publish_entry *entry = calloc(1, sizeof(*entry));

	if (!entry)
		return NULL;
	entry->process = process;
	entry->pid = process->pid;
	entry->from_ns = process->from_ns;
	process->published = entry;
	LIST_INSERT_HEAD(&publish->entries, entry, link);
	return entry;
}

/* Puts the table in the scratch in force. */
static int entry_update(struct publish *publish, struct publish_entry *entry, uint32_t count)
{
	struct unwind_process value = { .known_ns = entry->process->known_ns, .count = (uint16_t)count,
					.flags = entry->process->recycles ? UNWIND_PROCESS_RECYCLES : 0 };
	struct publish_range *range = NULL;
	int err = count ? range_get(publish, count, &range) : 0;

	if (err)
		return err;
	if (entry->live && range == entry->range && value.known_ns == entry->value.known_ns &&
	    value.flags == entry->value.flags) {
		range_put(publish, range); /* as it was */
		return 0;
	}
	value.version = entry->process->version + 1 ? entry->process->version + 1 : 1;
	value.chunk = range ? range->chunk : 0;
	value.first = range ? range->first : 0;
	err = put(publish, entry, &value);
	if (err) {
		range_put(publish, range);
		return err;
	}
	entry->process->version = value.version;
	publish->stats.shared_tables += range && range != entry->range && range->refs > 1;
	publish->stats.mappings += (uint64_t)count - entry->value.count;
	range_put(publish, entry->range);
	entry->range = range;
	entry->value = value;
	return 0;
}

int publish_process(struct publish *publish, struct process *process)
{
	struct publish_entry *entry;
	size_t count = 0;
	int err = 0;

	if (process->until_ns != UINT64_MAX) {
		publish_forget(publish, process);
		return 0;
	}
	pthread_mutex_lock(&publish->tables_lock);
	entry = process->published;
	for (size_t i = 0; i < process->mapping_count; i++)
		count = add_image(publish, count, &process->mappings[i]);
	if (!entry && count) {
		entry = entry_new(publish, process);
		err = entry ? 0 : -ENOMEM;
	}
	if (entry)
		err = entry_update(publish, entry, (uint32_t)count);
	if (err)
		publish->stats.refused_processes++;
	pthread_mutex_unlock(&publish->tables_lock);
	return err;
}

void publish_forget(struct publish *publish, struct process *process)
{
	pthread_mutex_lock(&publish->tables_lock);
	if (process->published)
		entry_drop(publish, process->published);
	pthread_mutex_unlock(&publish->tables_lock);
}

static void verify(struct publish *publish, struct publish_entry *entry, uint64_t seen_ns)
{
	int err;

	TAILQ_REMOVE(&publish->verify, entry, verify_link);
	entry->verify_ns = 0;
	err = put_known(publish, entry, &entry->value, seen_ns);
	if (err) {
		publish->stats.processes -= entry->live;
		entry->live = false; /* a younger generation is there, or the map is full */
		if (err == -EAGAIN)
			verify_later(publish, entry);
		return;
	}
	publish->stats.processes += !entry->live;
	entry->live = true;
}

void publish_tick(struct publish *publish, uint64_t now_ns)
{
	struct publish_entry *entry;
	struct publish_range *range;

	publish_rows_tick(publish, now_ns);
	pthread_mutex_lock(&publish->tables_lock);
	while ((entry = TAILQ_FIRST(&publish->verify)) && entry->verify_ns <= now_ns)
		verify(publish, entry, now_ns);
	while ((range = STAILQ_FIRST(&publish->freed)) && range->free_ns <= now_ns) {
		STAILQ_REMOVE_HEAD(&publish->freed, link);
		publish_space_give(&publish->space, range->count, range->chunk, range->first);
		free(range);
	}
	if (publish->window.base && now_ns > publish->window_ns + PUBLISH_WINDOW_MS * NS_PER_MS)
		publish_view_close(&publish->window);
	pthread_mutex_unlock(&publish->tables_lock);
}

void publish_tables_done(struct publish *publish)
{
	struct publish_entry *entry;
	struct publish_range *range;

	publish_view_close(&publish->window);
	while ((entry = LIST_FIRST(&publish->entries))) {
		LIST_REMOVE(entry, link);
		if (entry->range && !--entry->range->refs)
			free(entry->range);
		free(entry);
	}
	while ((range = STAILQ_FIRST(&publish->freed))) {
		STAILQ_REMOVE_HEAD(&publish->freed, link);
		free(range);
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of generated code: takes entries in the order in which they were written, answers which one holds an
 * address. Code is thrown away and its place used again without a word, so a later entry beats an earlier one.
 */
#include "perf_map_private.h"

#include "base/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define UPDATE_NS (NS_PER_S / 2)
#define UPDATE_SHARE 20 /* a reading is followed by so many times its duration without one */
#define LOOK_BACK 32    /* entries that start below the address and may still reach it */

int perf_map_new(int fd, struct perf_map **ret_map)
{
	struct perf_map *map = calloc(1, sizeof(*map));

	if (!map)
		return -ENOMEM;
	map->fd = fd;
	*ret_map = map;
	return 0;
}

void perf_map_free(struct perf_map *map)
{
	if (!map)
		return;
	free(map->entries);
	free(map->strings);
	free(map);
}

static int compare(const void *left, const void *right)
{
	const struct perf_map_entry *a = left, *b = right;

	if (a->start != b->start)
		return a->start < b->start ? -1 : 1;
	return a->order < b->order ? 1 : a->order > b->order ? -1 : 0; /* the youngest first */
}

/* In order of address, of those at one address only the youngest. */
static void sort(struct perf_map *map)
{
	size_t kept = 0;

	if (map->sorted == map->count)
		return;
	qsort(map->entries, map->count, sizeof(*map->entries), compare);
	for (size_t at = 0; at < map->count; at++)
		if (!kept || map->entries[kept - 1].start != map->entries[at].start)
			map->entries[kept++] = map->entries[at];
	map->count = map->sorted = kept;
}

static bool reserve(struct perf_map *map, size_t string_bytes)
{
	size_t capacity = map->capacity ? map->capacity : 1024;
	size_t string_capacity = map->string_capacity ? map->string_capacity : 65536;

	if (map->count == PERF_MAP_MAX_ENTRIES)
		sort(map);
	if (map->count == PERF_MAP_MAX_ENTRIES || map->string_bytes + string_bytes > PERF_MAP_MAX_BYTES)
		return false;
	while (capacity < map->count + 1)
		capacity *= 2;
	if (capacity != map->capacity) {
		void *entries = realloc(map->entries, capacity * sizeof(*map->entries));

		if (!entries)
			return false;
		map->entries = entries;
		map->capacity = capacity;
	}
	while (string_capacity < map->string_bytes + string_bytes)
		string_capacity *= 2;
	if (string_capacity != map->string_capacity) {
		char *strings = realloc(map->strings, string_capacity);

		if (!strings)
			return false;
		map->strings = strings;
		map->string_capacity = string_capacity;
	}
	return true;
}

bool perf_map_add(struct perf_map *map, uint64_t start, uint64_t size, const char *name, size_t length)
{
	char *copy;

	if (!size || size > UINT32_MAX || start >> 63 || !length) {
		map->stats.bad++;
		return true;
	}
	if (length >= SYMBOLIZER_NAME_BYTES)
		length = SYMBOLIZER_NAME_BYTES - 1;
	if (!reserve(map, length + 1)) {
		map->stats.dropped++;
		return false;
	}
	copy = map->strings + map->string_bytes;
	for (size_t at = 0; at < length; at++)
		copy[at] = (unsigned char)name[at] < ' ' || name[at] == 0x7f ? '?' : name[at];
	copy[length] = '\0';
	map->entries[map->count++] = (struct perf_map_entry){ .start = start, .size = (uint32_t)size,
							      .name = (uint32_t)map->string_bytes,
							      .order = map->next_order++ };
	map->string_bytes += length + 1;
	return true;
}

static void restart(struct perf_map *map)
{
	map->stats.restarts += map->head_bytes > 0;
	map->stats.is_cut = map->is_broken = map->skips_line = map->is_jitdump = false;
	map->offset = map->taken_bytes = map->records = 0;
	map->count = map->sorted = map->string_bytes = 0;
	map->next_order = 0;
	map->head_bytes = 0;
}

/* Shorter than what was read, or another beginning: it was written anew, and what was read is history. */
static void check_beginning(struct perf_map *map)
{
	unsigned char head[PERF_MAP_HEAD];
	ssize_t got = pread(map->fd, head, sizeof(head), 0);
	size_t bytes = got > 0 ? (size_t)got : 0;
	off_t end = lseek(map->fd, 0, SEEK_END);
	uint32_t magic = 0;

	if (bytes < map->head_bytes || memcmp(head, map->head, map->head_bytes) ||
	    (end >= 0 && (uint64_t)end < map->offset))
		restart(map);
	if (bytes > map->head_bytes) {
		memcpy(map->head, head, bytes);
		map->head_bytes = bytes;
	}
	if (map->head_bytes >= sizeof(magic))
		memcpy(&magic, map->head, sizeof(magic));
	map->is_jitdump = magic == PERF_MAP_DUMP_MAGIC;
}

bool perf_map_update(struct perf_map *map)
{
	uint64_t now_ns = clock_monotonic_ns(), restarts = map->stats.restarts, took_ns;
	uint32_t order = map->next_order;

	if (now_ns < map->next_update_ns)
		return false;
	map->stats.readings++;
	check_beginning(map);
	if (map->is_jitdump)
		perf_map_read_dump(map);
	else
		perf_map_read_text(map);
	sort(map);
	took_ns = clock_monotonic_ns() - now_ns;
	map->next_update_ns = now_ns + took_ns +
			      (UPDATE_SHARE * took_ns > UPDATE_NS ? UPDATE_SHARE * took_ns : UPDATE_NS);
	return map->next_order != order || map->stats.restarts != restarts;
}

bool perf_map_find(const struct perf_map *map, uint64_t address, const char **ret_name, enum symbol_source *ret_source)
{
	const struct perf_map_entry *best = NULL;
	size_t low = 0, high = map->sorted;

	while (low < high) { /* the first that starts above */
		size_t middle = low + (high - low) / 2;

		if (map->entries[middle].start > address)
			high = middle;
		else
			low = middle + 1;
	}
	for (size_t back = 0; back < LOOK_BACK && back < low; back++) {
		const struct perf_map_entry *entry = &map->entries[low - 1 - back];

		if (address - entry->start < entry->size && (!best || entry->order > best->order))
			best = entry;
	}
	if (!best)
		return false;
	*ret_name = map->strings + best->name;
	*ret_source = map->is_jitdump ? SYMBOL_JITDUMP : SYMBOL_PERF_MAP;
	return true;
}

void perf_map_get_stats(const struct perf_map *map, struct perf_map_stats *ret_stats)
{
	*ret_stats = map->stats;
	ret_stats->entries = map->sorted;
}

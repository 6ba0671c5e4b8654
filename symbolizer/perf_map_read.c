/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two formats in which programs tell their generated code. Takes the file from where the last reading ended,
 * gives entries. Whoever writes it may be anybody: a line or record that makes no sense is counted and passed
 * over, a half-written one at the end waits for the next time.
 *
 * Formats: "START SIZE name" in hexadecimal (tools/perf/Documentation/jit-interface.txt of Linux), and
 * jitdump-specification.txt beside it.
 */
#include "perf_map_private.h"

#include <string.h>
#include <unistd.h>

#define DUMP_HEADER_BYTES 40
#define DUMP_PREFIX_BYTES 16 /* id, total size, time */
#define DUMP_LOAD 0
#define DUMP_LOAD_BYTES 56   /* with the prefix, up to the name */

static size_t read_block(struct perf_map *map, size_t most)
{
	ssize_t got = pread(map->fd, map->block, most, (off_t)map->offset);

	return got > 0 ? (size_t)got : 0;
}

static bool parse_hex(const unsigned char **at, const unsigned char *end, uint64_t *ret_value)
{
	const unsigned char *from = *at;
	uint64_t value = 0;
	size_t digits = 0;

	if (end - from > 2 && from[0] == '0' && (from[1] | 32) == 'x')
		from += 2;
	for (; from < end; from++, digits++) {
		unsigned int letter = *from | 32U;

		if (*from >= '0' && *from <= '9')
			value = value << 4 | (*from - '0');
		else if (letter >= 'a' && letter <= 'f')
			value = value << 4 | (letter - 'a' + 10);
		else
			break;
	}
	if (!digits || digits > 16 || from == end || *from != ' ')
		return false;
	*at = from + 1;
	*ret_value = value;
	return true;
}

/* False: no more fits. */
static bool take_line(struct perf_map *map, const unsigned char *at, const unsigned char *end)
{
	uint64_t start, size;

	if (end > at && end[-1] == '\r')
		end--;
	if (!parse_hex(&at, end, &start) || !parse_hex(&at, end, &size)) {
		map->stats.bad++;
		return true;
	}
	return perf_map_add(map, start, size, (const char *)at, (size_t)(end - at));
}

/* Whole lines of a block; how many bytes they are. */
static size_t take_lines(struct perf_map *map, size_t bytes, bool *ret_full)
{
	size_t done = 0;
	unsigned char *end;

	while (!*ret_full && (end = memchr(map->block + done, '\n', bytes - done))) {
		if (!map->skips_line)
			*ret_full = !take_line(map, map->block + done, end);
		map->skips_line = false;
		done = (size_t)(end - map->block) + 1;
	}
	return done;
}

void perf_map_read_text(struct perf_map *map)
{
	bool is_full = map->stats.is_cut;
	size_t bytes, done;

	while (!is_full && (bytes = read_block(map, PERF_MAP_BLOCK))) {
		if (map->taken_bytes + bytes > PERF_MAP_MAX_BYTES) {
			is_full = true;
			break;
		}
		done = take_lines(map, bytes, &is_full);
		if (!done && bytes < PERF_MAP_BLOCK)
			break; /* the writer is in the middle of it */
		if (!done) {
			map->stats.bad += !map->skips_line;
			map->skips_line = true;
			done = bytes;
		}
		map->offset += done;
		map->taken_bytes += done;
	}
	map->stats.is_cut = is_full;
}

static uint32_t get_u32(const unsigned char *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static uint64_t get_u64(const unsigned char *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

/* process, thread, address (twice), size, number, name. */
static bool take_load(struct perf_map *map, const unsigned char *record, size_t bytes)
{
	const unsigned char *name = record + DUMP_LOAD_BYTES;
	size_t length = bytes > DUMP_LOAD_BYTES ? strnlen((const char *)name, bytes - DUMP_LOAD_BYTES) : 0;

	if (!length) {
		map->stats.bad++;
		return true;
	}
	map->taken_bytes += DUMP_LOAD_BYTES + length;
	return perf_map_add(map, get_u64(record + 32), get_u64(record + 40), (const char *)name, length);
}

/* Whole records of a block that begins with one; how many bytes of the file they are. */
static uint64_t take_records(struct perf_map *map, size_t bytes, uint64_t file_end, bool *ret_full)
{
	const size_t window = DUMP_LOAD_BYTES + SYMBOLIZER_NAME_BYTES + 1; /* more than this is never looked at */
	uint64_t done = 0;

	while (!*ret_full && done < bytes && bytes - done >= DUMP_PREFIX_BYTES) {
		const unsigned char *record = map->block + done;
		uint32_t id = get_u32(record), size = get_u32(record + 4);
		size_t seen = size < window ? size : window;

		if (size < DUMP_PREFIX_BYTES) {
			map->stats.bad++;
			map->is_broken = true;
			break;
		}
		if (map->offset + done + size > file_end || seen > bytes - done)
			break;
		if (id == DUMP_LOAD)
			*ret_full = !take_load(map, record, seen);
		map->taken_bytes += DUMP_PREFIX_BYTES;
		if (map->taken_bytes > PERF_MAP_MAX_BYTES || ++map->records > PERF_MAP_MAX_RECORDS)
			*ret_full = true;
		done += size;
	}
	return done;
}

void perf_map_read_dump(struct perf_map *map)
{
	off_t end = lseek(map->fd, 0, SEEK_END);
	bool is_full = map->stats.is_cut;
	uint64_t done;
	size_t bytes;

	if (!map->offset) {
		bytes = read_block(map, DUMP_HEADER_BYTES);
		if (bytes < DUMP_HEADER_BYTES)
			return;
		map->offset = get_u32(map->block + 8);
		if (map->offset < DUMP_HEADER_BYTES)
			map->is_broken = true;
	}
	/* Most of a record is the code itself: a block need only hold one head and name. */
	while (!is_full && !map->is_broken && end > 0 && (bytes = read_block(map, PERF_MAP_BLOCK / 8))) {
		done = take_records(map, bytes, (uint64_t)end, &is_full);
		if (!done)
			break;
		map->offset += done;
	}
	map->stats.is_cut = is_full;
}

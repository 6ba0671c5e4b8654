/* SPDX-License-Identifier: Apache-2.0 */
/* What the table of generated code (perf_map.c) shares with the readers of its two formats (perf_map_read.c). */
#ifndef SYMBOLIZER_PERF_MAP_PRIVATE_H
#define SYMBOLIZER_PERF_MAP_PRIVATE_H

#include "symbolizer/perf_map.h"

#define PERF_MAP_BLOCK 65536
#define PERF_MAP_HEAD 256 /* bytes at the start of the file that tell whether it is still the same */

struct perf_map_entry {
	uint64_t start;
	uint32_t size, name; /* name: offset in strings */
	uint32_t order;      /* later ones replace earlier ones */
};

struct perf_map {
	int fd;
	bool is_jitdump, is_broken; /* broken: a record of impossible size, nothing behind it can be found */
	bool skips_line;            /* the rest of a line that is too long */
	uint64_t offset;            /* where reading goes on */
	uint64_t taken_bytes, records;
	unsigned char head[PERF_MAP_HEAD];
	size_t head_bytes;
	struct perf_map_entry *entries;
	size_t count, capacity, sorted;
	uint32_t next_order;
	char *strings;
	size_t string_bytes, string_capacity;
	uint64_t next_update_ns;
	struct perf_map_stats stats;
	unsigned char block[PERF_MAP_BLOCK];
};

/* Adds an entry, or counts why not. False: no more fits. */
bool perf_map_add(struct perf_map *map, uint64_t start, uint64_t size, const char *name, size_t length);
void perf_map_read_text(struct perf_map *map);
void perf_map_read_dump(struct perf_map *map);

#define PERF_MAP_DUMP_MAGIC 0x4a695444U /* "JiTD" in the byte order of the writer */

#endif

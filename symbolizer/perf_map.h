/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Address -> name of generated code, from what its process writes: lines of /tmp/perf-PID.map, or the load
 * records of a jitdump (told apart by the magic). The writer goes on writing, cuts the file short or starts anew;
 * what was read is kept, what was added is read when asked for. Owns the entries; the descriptor is the caller's.
 */
#ifndef SYMBOLIZER_PERF_MAP_H
#define SYMBOLIZER_PERF_MAP_H

#include "symbolizer.h"

#include <stdbool.h>
#include <stddef.h>

#define PERF_MAP_MAX_BYTES (32U << 20) /* of text, or of record heads and names; what follows is not read */
#define PERF_MAP_MAX_ENTRIES 500000
#define PERF_MAP_MAX_RECORDS (4U << 20)

struct perf_map;

struct perf_map_stats {
	size_t entries;          /* that can be found now */
	uint64_t bad;            /* lines or records that make no sense */
	uint64_t dropped;        /* entries past the limit */
	uint64_t readings, restarts; /* of the file; because it is another one than before */
	bool is_cut;             /* there is more in the file than was taken */
};

int perf_map_new(int fd, struct perf_map **ret_map); /* reads nothing yet */
void perf_map_free(struct perf_map *map);            /* accepts NULL */
/* Reads what the file has in addition, seldom enough to cost at most a twentieth of the time. True: it changed. */
bool perf_map_update(struct perf_map *map);
/* The youngest entry that holds the address. The name is valid until the next update. */
bool perf_map_find(const struct perf_map *map, uint64_t address, const char **ret_name, enum symbol_source *ret_source);
void perf_map_get_stats(const struct perf_map *map, struct perf_map_stats *ret_stats);

#endif

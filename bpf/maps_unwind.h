/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The maps that agent/publish fills and the unwinder reads. Part of maps.bpf.h, which includes it. */
#ifndef MAPS_UNWIND_H
#define MAPS_UNWIND_H

#include "abi/unwind.h"

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

/*
 * tgid -> unwind_process. Written by agent/publish, deleted by it and at exec, read by the unwinder. Not
 * preallocated: most hosts have a few hundred. Full: agent/publish counts, samples carry PROCESS_UNKNOWN.
 */
struct map_processes {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, UNWIND_MAX_PROCESSES);
	__type(key, __u32);
	__type(value, struct unwind_process);
};
extern struct map_processes processes SEC(".maps");

/*
 * tgid -> CLOCK_MONOTONIC of its last exec. Written at exec, read by agent/publish, which hears of an exec only later:
 * a table of before must not follow the one that exec deleted. Full: the oldest leaves, long after that.
 */
struct map_execs {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u64);
};
extern struct map_execs execs SEC(".maps");

/*
 * chunk -> an array of one value, UNWIND_MAPPING_CHUNK mappings. Slots are filled by agent/publish, which writes
 * through its mapping of the memory; read by the unwinder. Full: as `processes`.
 */
struct map_mappings_inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(key_size, 4);
	__uint(value_size, UNWIND_MAPPING_CHUNK * sizeof(struct unwind_mapping));
	__uint(max_entries, 1);
};
struct map_mappings {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(key_size, 4);
	__uint(max_entries, UNWIND_MAPPINGS / UNWIND_MAPPING_CHUNK);
	__array(values, struct map_mappings_inner);
};
extern struct map_mappings mappings SEC(".maps");

/*
 * page of text -> unwind_page: where its rows are. Written by agent/publish through its mapping of the memory,
 * read and marked by the unwinder. Full: the file gets no table and its frames carry NO_TABLE.
 */
struct map_directory {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, UNWIND_MAX_DIRECTORY);
	__type(key, __u32);
	__type(value, struct unwind_page);
};
extern struct map_directory directory SEC(".maps");

/* unwind_wish: which pages have to be built. Written by the unwinder, which wakes the reader, agent/publish. Full: the
 * entry's mark is taken back, so that the next sample says it again. */
struct map_wanted {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16384);
};
extern struct map_wanted wanted SEC(".maps");

/* chunk -> an array of one value, UNWIND_CHUNK_BYTES of row blocks; otherwise as `mappings`. Full: as above. */
struct map_rows_inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(key_size, 4);
	__uint(value_size, UNWIND_CHUNK_BYTES);
	__uint(max_entries, 1);
};
struct map_rows {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(key_size, 4);
	__uint(max_entries, UNWIND_MAX_CHUNKS);
	__array(values, struct map_rows_inner);
};
extern struct map_rows rows SEC(".maps");

/* index -> unwind_escape: the rules that fit no row. Written by agent/publish, read by the unwinder. */
struct map_escapes {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, UNWIND_MAX_ESCAPES);
	__type(key, __u32);
	__type(value, struct unwind_escape);
};
extern struct map_escapes escapes SEC(".maps");

#endif

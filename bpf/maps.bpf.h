/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Every map that sampling and unwinding use. Sizes of 1 are set by agent/loader before load. */
#ifndef MAPS_BPF_H
#define MAPS_BPF_H

#include "abi/knobs.h"
#include "abi/sample.h"
#include "maps_unwind.h"
#include "walk.h"

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

extern volatile struct knobs knobs;
extern volatile __u32 own_turns[SAMPLE_SETS][SAMPLE_OWN_BLOCKS]; /* when a processor last took its own block of a set */

/*
 * key 0, value: a map nobody reads. agent/drain replaces it: the kernel then waits until every program that was
 * running has ended, after which no run writes to the set that was active before.
 */
struct map_grace_inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
	__uint(max_entries, 1);
};
struct map_grace {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(key_size, 4);
	__uint(max_entries, 1);
	__array(values, struct map_grace_inner);
};
extern struct map_grace grace SEC(".maps");

/*
 * key: the set, value: struct sample_counters, one a CPU. Written by the sampler, read by agent/drain; never
 * reset. The first store of a run is `taken` in here.
 */
struct map_counters {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SAMPLE_SETS);
	__type(key, __u32);
	__type(value, struct sample_counters);
};
extern struct map_counters counters SEC(".maps");

/* key 0, value: what one run works on, one a CPU. Only the sampler uses it; runs on a CPU never nest. */
struct map_scratch {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct walk);
};
extern struct map_scratch scratch SEC(".maps");

/*
 * key: the set's first + one of its blocks, value: struct sample_block. First those of each processor, then the shared
 * ones: a processor that needs another takes the next (knobs.blocks_taken). Read by agent/drain. All taken: the processor
 * keeps samples without their stacks under STACK_MAP_FULL in what is left of its own block, then they are lost under
 * COUNTS_MAP_FULL.
 */
struct map_blocks {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sample_block);
};
extern struct map_blocks blocks SEC(".maps");

#endif

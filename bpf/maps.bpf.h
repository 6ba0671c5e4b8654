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
 * sample_key -> sample_value, a map a set. Written by the sampler, emptied by agent/drain once a second.
 * Preallocated: an interrupt cannot allocate. Full: the sample is lost under COUNTS_MAP_FULL.
 */
struct map_counts {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct sample_key);
	__type(value, struct sample_value);
};
extern struct map_counts counts_a SEC(".maps"), counts_b SEC(".maps");

/*
 * stack_key -> stack_chunk, a map a set: the frames of distinct stacks. Written by the sampler (chunk 0 last),
 * emptied by agent/drain. Preallocated. Full: the count is kept without this stack under STACK_MAP_FULL.
 */
struct map_stacks {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct stack_key);
	__type(value, struct stack_chunk);
};
extern struct map_stacks stacks_a SEC(".maps"), stacks_b SEC(".maps");

#endif

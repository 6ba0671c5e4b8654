/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the agent tells the kernel side, and the counters that come up. */
#ifndef ABI_KNOBS_H
#define ABI_KNOBS_H

#include "abi/duration.h"
#include "abi/reason.h"
#include "abi/sample.h"
#include "abi/types.h"

#define KNOB_MAX_STEPS 16384       /* frames walked for one sample: twice what gcc's collector reaches, 40 ns each */
#define KNOB_MAX_SAMPLE_NS 500000  /* and the time it may take: interrupts are off */

enum cgroup_source { /* which hierarchy names a task's cgroup; see agent/cgroup.h */
	CGROUP_SOURCE_V2 = 0,
	CGROUP_SOURCE_MEMORY = 1,
	CGROUP_SOURCE_CPU = 2,
	CGROUP_SOURCE_PIDS = 3,
	CGROUP_SOURCE_IO = 4,
};

/*
 * `knobs` in the kernel side's data, which the agent writes through its mapping of the memory. All that every run reads
 * lies here, on one page: on a busy host nearly each page that a run touches is missing from the caches and the TLB.
 */
#define KNOB_PROCESS_EPOCHS 64 /* a power of two */

struct knobs {
	__u64 rules_epoch;       /* what processors remember of rules counts as long as it stays; never 0 */
	__u32 turn;              /* of the sets, never 0: a run that reads it here writes to set `turn % SAMPLE_SETS` */
	__u32 cgroup_source;     /* enum cgroup_source; set before load */
	__u32 referee_interval;  /* one sample in so many is copied for agent/referee, 0: none; set before load */
	__u32 own_blocks, shared_blocks; /* of each set: a processor's own, and for who needs more; set before load */
	__u32 pad;
	/* By tgid. What processors remember of an entry of `processes` counts as long as this stays: it grows after each
	 * change of one. */
	__u32 process_epochs[KNOB_PROCESS_EPOCHS];
	__u32 blocks_taken[SAMPLE_SETS]; /* of the shared ones; may go past their number. The agent takes it back to 0 */
};
ABI_SIZE(struct knobs, 32 + 4 * KNOB_PROCESS_EPOCHS + 4 * SAMPLE_SETS);

/*
 * One per CPU and set, in the `counters` per-CPU array with SAMPLE_SETS entries. Cumulative; never reset.
 * `taken` is the handler's first store. For a set that no handler uses any more,
 * taken == sum of the records' counts + sum of lost, exactly.
 */
struct sample_counters {
	__u64 taken;
	__u64 frames, searched;     /* user frames walked; rules not known by their pc, but looked for in the rows */
	__u64 run_ns, max_ns;       /* time spent in the handler, in all and at most in one run */
	__u64 runs[DURATION_BUCKETS]; /* by how long they took */
	__u64 user[REASON_COUNT];   /* user stacks by outcome; [REASON_NONE] is complete */
	__u64 kernel[REASON_COUNT]; /* kernel stacks likewise */
	__u64 lost[REASON_COUNT];
	__u64 snapshots;            /* stacks copied for user space to unwind: it counts their outcome, not `user` */
	__u64 snapshots_limited, snapshots_full; /* not copied: past the rate, no room in the ring */
};

#endif

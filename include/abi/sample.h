/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Samples as the kernel side writes them: records one behind the other in blocks, each of one processor, which counts a
 * key that it met lately again in the record that it has. Two sets of blocks exist (SAMPLE_SETS): `knobs.turn` says
 * which one a handler writes to, and the agent reads the other after a grace period.
 *
 * Frames are leaf first, raw virtual addresses as found: a return address is stored as it stands on the stack;
 * SAMPLE_FRAME_EXACT in the top bit marks a pc that was interrupted (the leaf, the frame below a signal frame),
 * which is looked up as it is; all others are looked up at address - 1.
 */
#ifndef ABI_SAMPLE_H
#define ABI_SAMPLE_H

#include "abi/types.h"

#define SAMPLE_SETS 2
#define SAMPLE_CHUNK_FRAMES 16 /* frames are copied so many at a time, the last with what lies behind them */
#define SAMPLE_MAX_DEPTH 1024        /* user frames kept; of a deeper stack that was walked to its end: */
#define SAMPLE_INNER_FRAMES 768      /* the innermost, */
#define SAMPLE_FRAME_GAP (~0ULL)     /* this instead of what is between, */
#define SAMPLE_OUTER_FRAMES 256      /* and the outermost, so that its root still groups */
#define SAMPLE_MAX_USER_FRAMES (SAMPLE_MAX_DEPTH + SAMPLE_CHUNK_FRAMES) /* all that, in whole chunks */
#define SAMPLE_MAX_KERNEL_FRAMES 128 /* the kernel's own limit is 127 (sysctl perf_event_max_stack) */
#define SAMPLE_FRAME_EXACT (1ULL << 63) /* user addresses have this bit clear; kernel frames never carry it */

struct sample_key {
	__u64 cgroup;       /* kernfs id in the hierarchy that knobs.cgroup_source names */
	__u64 user_stack;   /* hash of the user frames, 0: none */
	__u64 kernel_stack; /* hash of the kernel frames, 0: none */
	__u64 start_ns;     /* CLOCK_MONOTONIC birth of the thread group's leader */
	__u32 tgid;         /* in the initial pid namespace */
	__u32 tid;
	__u32 exec_id;      /* self_exec_id: parts two programs of one process */
	__u8 user_reason;   /* enum reason of the user stack */
	__u8 kernel_reason; /* enum reason of the kernel stack */
	__u8 flags;         /* SAMPLE_KTHREAD, SAMPLE_IN_KERNEL, SAMPLE_SNAPSHOT */
	__u8 pad;
};
ABI_SIZE(struct sample_key, 48);

#define SAMPLE_KTHREAD 1   /* no user side (in exec too, between two programs): an absent user stack is complete */
#define SAMPLE_IN_KERNEL 2 /* taken in kernel mode */
#define SAMPLE_SNAPSHOT 4  /* user_stack is the id of a copy (abi/snapshot.h); the frames under it are the fallback */

struct sample_value {
	__u64 count;
	__u64 last_ns; /* CLOCK_MONOTONIC of the newest sample */
	__u16 user_depth;
	__u16 kernel_depth;
	__u32 table_version; /* unwind_process.version the newest sample used, 0: none */
	char comm[16];       /* the thread's */
};
ABI_SIZE(struct sample_value, 40);

struct sample_record { /* the kernel's frames follow, then the user's */
	struct sample_key key;
	struct sample_value value;
};
ABI_SIZE(struct sample_record, 88);

#define SAMPLE_RECORD_MOST (sizeof(struct sample_record) + 8 * (SAMPLE_MAX_USER_FRAMES + SAMPLE_MAX_KERNEL_FRAMES))
#define SAMPLE_BLOCK_BYTES 65536 /* a record that may be the longest needs no other bound than where it begins */

#define SAMPLE_OWN_BLOCKS 1024 /* processors that have a block of their own in each set; the others share */
#define SAMPLE_SHARED_BLOCKS (1U << 14) /* of a set at most: the number of a block has 16 bits */

struct sample_block {
	__u32 used; /* bytes, with these eight */
	__u32 pad;
	__u8 records[SAMPLE_BLOCK_BYTES - 8];
};
ABI_SIZE(struct sample_block, SAMPLE_BLOCK_BYTES);

#endif

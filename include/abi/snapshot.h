/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * A copy of the user registers and of the innermost part of a stack, over the `snapshots` ring buffer, for samples
 * whose process, mapping or rows the kernel side did not know yet, or whose rule it cannot follow: agent/snapshot
 * finishes the unwind. The sample itself is counted as any other, under SAMPLE_SNAPSHOT and the copy's id in place
 * of a hash. One sample in knobs.referee_interval is copied although its stack was walked: agent/referee judges it.
 */
#ifndef ABI_SNAPSHOT_H
#define ABI_SNAPSHOT_H

#include "abi/types.h"

#define SNAPSHOT_BYTES 24576 /* of stack at most: libuv keeps 12 KiB in one frame. A CPU's value has 32 KiB */
#define SNAPSHOT_PIECE 4096  /* a read is all or nothing, so none crosses a page */
#define SNAPSHOT_REFEREE_BYTES 122880 /* likewise, of copies under SNAPSHOT_REFEREE: a verdict wants the root */
#define SNAPSHOT_STACK_BYTES (128ULL << 20) /* below the first stack nothing is mapped so near (MIN_GAP, arch/x86/mm/mmap.c) */
#define SNAPSHOT_REGISTERS 16
#define SNAPSHOT_ID (1ULL << 63) /* in every id: none is 0 */

#define SNAPSHOT_RATE 200     /* copies a second and CPU */
#define SNAPSHOT_OLD_RATE 20  /* of these for unknown addresses in processes older than SNAPSHOT_YOUNG_NS, or rules not followed */
#define SNAPSHOT_REFEREE_RATE 20 /* those for the referee, beside the others */
#define SNAPSHOT_YOUNG_NS 10000000000ULL
#define SNAPSHOT_OLD_WAKES 4  /* and how many of the latter may wake the agent */
#define SNAPSHOT_WAKE_NS 25000000ULL /* least time between two wakings of the agent for their sake */

struct snapshot_area { /* what the kernel has at an address */
	__u64 address; /* 0: it was not asked, or could not say */
	__u64 start, end, offset;
	__u64 inode;   /* 0: no file */
	__u32 major, minor, generation, pad;
};
ABI_SIZE(struct snapshot_area, 56);

struct snapshot { /* then `bytes` bytes of stack: `near_bytes` from `from` up, the others from `far` up */
	__u64 id;
	__u64 time_ns; /* CLOCK_MONOTONIC, the sample's last_ns */
	__u64 start_stack; /* where the first thread's stack began */
	__u64 from; /* rsp, or a page above it: what a large frame reserved and never touched is not resident */
	__u64 pc;
	__u64 reg[SNAPSHOT_REGISTERS]; /* by DWARF number */
	__u64 hash; /* SNAPSHOT_REFEREE: of the frames that were walked, as in sample_key.user_stack */
	__u32 tgid;
	__u32 bytes;
	__u32 flags;
	__u32 reason; /* enum reason: how the walk ended */
	__u64 far; /* SNAPSHOT_REFEREE: a bit below where the walk went on on another stack or behind a very large frame, 0: nowhere */
	__u32 near_bytes;
	/* Bit n: the n-th page, counted from that of `from`, could not be read, and nothing that stands for it is to be
	 * believed: a large frame need not touch all its pages. */
	__u32 holes;
	struct snapshot_area area; /* where the walk ended, of what the tables may not know: mremap is told by nobody */
};
ABI_SIZE(struct snapshot, 264);

static inline __attribute__((always_inline)) __u32 snapshot_page(const struct snapshot *copy, __u64 address)
{
	return (__u32)(address / SNAPSHOT_PIECE - copy->from / SNAPSHOT_PIECE) & 31;
}

/* Of bytes of the part from `from` up; a word lies on two pages at most. */
static inline __attribute__((always_inline)) __u32 snapshot_in_hole(const struct snapshot *copy, __u64 first, __u64 last)
{
	return (copy->holes >> snapshot_page(copy, first) | copy->holes >> snapshot_page(copy, last)) & 1;
}

#define SNAPSHOT_REFEREE 1 /* the sample is counted as any other; the copy is to find out whether its stack is right */

#endif

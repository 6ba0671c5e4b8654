/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Rows and registers of the unwinder: which rule is in force at a pc. Pure; included by unwind_step.h.
 * UNWIND_HIDE(value) keeps clang from seeing through a bound that the BPF verifier must see.
 */
#ifndef UNWIND_ROW_H
#define UNWIND_ROW_H

#include "abi/unwind.h"

#ifndef UNWIND_HIDE
#define UNWIND_HIDE(value) ((void)0)
#endif
#define UNWIND_INLINE static inline __attribute__((always_inline, unused))

/* DWARF numbers of x86-64; reg[] follows them. */
#define UNWIND_RBP 6
#define UNWIND_RSP 7
#define UNWIND_REGISTERS 16

struct unwind_regs {
	__u64 pc;
	__u64 reg[UNWIND_REGISTERS];
	__u8 exact;      /* interrupted here: pc is no return address and every register is known */
	__u8 rbp_lost;   /* the frame below had no rule for rbp: it must not be needed */
	__u8 linked;     /* the last step followed a frame pointer */
	__u8 kept;       /* rbx and r12 to r15 were followed through every frame below */
	__u8 pad[4];
};

/* A place in a chunk is masked so that no table, whatever it holds, leads out of it. `chunk` has UNWIND_CHUNK_BYTES. */
#define UNWIND_HALVES (UNWIND_CHUNK_BYTES / 2)
#define UNWIND_SEARCH_STEPS 9 /* a bucket holds at most 256 rows, and the one before it may be in force */

UNWIND_INLINE __u16 unwind_half(const void *chunk, __u32 at)
{
	at &= UNWIND_HALVES - 1;
	UNWIND_HIDE(at);
	at &= UNWIND_HALVES - 1;
	return ((const __u16 *)chunk)[at];
}

/* The rule in force at `pc` (low UNWIND_PAGE_BITS bits of an ELF address) in the block at `offset`. */
UNWIND_INLINE __u16 unwind_find_rule(const void *chunk, __u32 offset, __u32 pc)
{
	__u32 block = offset / 2, bucket = block + (pc >> UNWIND_BUCKET_BITS & (UNWIND_BUCKETS - 1));
	__u32 first = unwind_half(chunk, bucket), count = unwind_half(chunk, bucket + 1) - first + 1;
	__u32 base = block + first - 1; /* the row before the bucket's; a block's first bucket never needs it */

	for (int step = 0; step < UNWIND_SEARCH_STEPS && count > 1; step++) {
		__u32 half = count / 2;
		__s64 before = (__s64)(pc & 255) - (unwind_half(chunk, base + half) & 255);

		UNWIND_HIDE(before); /* else clang makes a branch of it and the verifier walks every path */
		before >>= 63;
		UNWIND_HIDE(before);
		base += half & (__u32)~before;
		count -= half;
	}
	return unwind_half(chunk, block + UNWIND_HEAD + (unwind_half(chunk, base) >> 8));
}

#endif

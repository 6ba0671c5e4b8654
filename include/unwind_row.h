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

/* The rows in force lie in one half-open run; an index is masked so that no table, whatever it holds, leads out
 * of its chunk. `chunk` has UNWIND_CHUNK_BYTES. */
#define UNWIND_HALVES (UNWIND_CHUNK_BYTES / 2)
#define UNWIND_ROWS (UNWIND_CHUNK_BYTES / 4)
#define UNWIND_SEARCH_STEPS 9 /* a bucket holds at most 256 rows and one before it */

UNWIND_INLINE __u32 unwind_row_pc(const void *chunk, __u32 row)
{
	row &= UNWIND_ROWS - 1;
	UNWIND_HIDE(row);
	row &= UNWIND_ROWS - 1;
	return ((const struct unwind_row *)chunk)[row].pc;
}

/* The rule in force at `pc` (low UNWIND_PAGE_BITS bits of an ELF address) in the block at `offset`. */
UNWIND_INLINE __u16 unwind_find_rule(const void *chunk, __u32 offset, __u32 pc)
{
	const __u16 *halves = chunk;
	const struct unwind_row *rows = chunk;
	__u32 bucket = (offset / 2 + (pc >> UNWIND_BUCKET_BITS & (UNWIND_BUCKETS - 1))) & (UNWIND_HALVES - 1);
	__u32 first = halves[bucket], end = halves[(bucket + 1) & (UNWIND_HALVES - 1)];
	__u32 base, count;

	/* Buckets name the first row at or behind their start, so the row before may still be in force. */
	first -= first > 0;
	count = end > first ? end - first : 1;
	base = (offset + UNWIND_HEAD_BYTES) / 4 + first;
	for (int step = 0; step < UNWIND_SEARCH_STEPS && count > 1; step++) {
		__u32 half = count / 2;
		__s64 before = (__s64)pc - (__s64)unwind_row_pc(chunk, base + half);

		UNWIND_HIDE(before); /* else clang makes a branch of it and the verifier walks every path */
		before >>= 63;
		UNWIND_HIDE(before);
		base += half & (__u32)~before;
		count -= half;
	}
	/* Within its bucket the first candidate is in force unless it lies behind pc: then nothing is. */
	base &= UNWIND_ROWS - 1;
	UNWIND_HIDE(base);
	base &= UNWIND_ROWS - 1;
	return rows[base].pc > pc ? UNWIND_RULE_NONE : rows[base].rule;
}

#endif

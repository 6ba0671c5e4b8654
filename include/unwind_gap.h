/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Where a walk puts its frames. Up to SAMPLE_MAX_DEPTH they lie in order; of a deeper stack the innermost
 * SAMPLE_INNER_FRAMES stay and the places behind them are a ring, so that the outermost SAMPLE_OUTER_FRAMES are
 * there at the end. Stacks that differ in what is between only are then equal. Pure.
 */
#ifndef UNWIND_GAP_H
#define UNWIND_GAP_H

#include "abi/sample.h"

_Static_assert(SAMPLE_MAX_DEPTH == SAMPLE_INNER_FRAMES + SAMPLE_OUTER_FRAMES, "a full stack has no gap");
_Static_assert(!(SAMPLE_INNER_FRAMES & (SAMPLE_OUTER_FRAMES - 1)), "the ring's places are found by a mask");

/* The place of the frame of that number, the leaf's is 0. */
static inline __attribute__((always_inline, unused)) __u32 unwind_gap_place(__u32 number)
{
	return number < SAMPLE_MAX_DEPTH ? number : SAMPLE_INNER_FRAMES | (number & (SAMPLE_OUTER_FRAMES - 1));
}

/* Where the outermost frames of a stack of `depth` frames, more than SAMPLE_MAX_DEPTH, lie: the innermost of them
 * for 0. */
static inline __attribute__((always_inline, unused)) __u32 unwind_gap_outer(__u32 depth, __u32 number)
{
	return SAMPLE_INNER_FRAMES | ((depth + number) & (SAMPLE_OUTER_FRAMES - 1));
}

#endif

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * A histogram of times: eight buckets an octave, so that a percentile read from it is right to 12 %. The first
 * holds all up to 2^DURATION_FIRST_BITS ns, the last all beyond 2^DURATION_LAST_BITS. Pure.
 */
#ifndef ABI_DURATION_H
#define ABI_DURATION_H

#include "abi/types.h"

#define DURATION_FIRST_BITS 7
#define DURATION_LAST_BITS 21
#define DURATION_STEP_BITS 3
#define DURATION_BUCKETS (((DURATION_LAST_BITS - DURATION_FIRST_BITS) << DURATION_STEP_BITS) + 2)

static inline __attribute__((always_inline, unused)) __u32 duration_bucket(__u64 ns)
{
	__u32 below, bits = DURATION_FIRST_BITS;

	if (ns <= 1U << DURATION_FIRST_BITS)
		return 0;
	if (ns > 1U << DURATION_LAST_BITS)
		return DURATION_BUCKETS - 1;
	below = (__u32)ns - 1; /* a bucket has its upper bound in it, as Prometheus's have */
	for (__u32 step = 8; step; step /= 2)
		bits += below >> bits >> step ? step : 0;
	return 1 + ((bits - DURATION_FIRST_BITS) << DURATION_STEP_BITS) +
	       (below >> (bits - DURATION_STEP_BITS) & ((1U << DURATION_STEP_BITS) - 1));
}

/* The most that falls into a bucket, but for the last. */
static inline __attribute__((always_inline, unused)) __u64 duration_bound(__u32 bucket)
{
	__u32 octave = (bucket - 1) >> DURATION_STEP_BITS, step = (bucket - 1) & ((1U << DURATION_STEP_BITS) - 1);

	if (!bucket)
		return 1U << DURATION_FIRST_BITS;
	return (1ULL << (DURATION_FIRST_BITS + octave)) +
	       ((step + 1ULL) << (DURATION_FIRST_BITS - DURATION_STEP_BITS + octave));
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Slices of the store put together by hand. */
#ifndef SLICE_FIXTURE_H
#define SLICE_FIXTURE_H

#include "base/clock.h"
#include "store.h"

#include <stdlib.h>

#define FIXTURE_MS 10 /* CPU time of a count */

/* A slice while it is made; at most 16 samples of at most 8 frames. */
struct fixture_slice {
	struct window_labels labels[16];
	struct window_stack stacks[16];
	struct window_sample samples[16];
	uint32_t frames[128];
	uint32_t count, frame_count;
};

/* frames: leaf first, ends with UINT32_MAX */
static void fixture_sample(struct fixture_slice *slice, struct window_labels labels, const uint32_t *frames,
			   uint64_t count)
{
	uint32_t depth = 0;

	for (; frames[depth] != UINT32_MAX; depth++)
		slice->frames[slice->frame_count + depth] = frames[depth];
	slice->labels[slice->count] = labels;
	slice->stacks[slice->count] = (struct window_stack){ slice->frame_count, depth };
	slice->samples[slice->count] = (struct window_sample){ slice->count, slice->count, count };
	slice->frame_count += depth;
	slice->count++;
}

#define FRAMES(...) ((const uint32_t[]){ __VA_ARGS__, UINT32_MAX })

/* One block, as aggregate_close makes it. */
static struct window *fixture_close(const struct fixture_slice *from, uint64_t from_ns, uint64_t to_ns)
{
	struct block { struct window window; struct fixture_slice slice; } *block = calloc(1, sizeof(*block));

	block->slice = *from;
	block->window = (struct window){
		.from_ns = from_ns, .to_ns = to_ns, .from_wall_ns = clock_wall_ns() - clock_monotonic_ns() + from_ns,
		.period_ns = FIXTURE_MS * NS_PER_MS, .label_count = from->count, .stack_count = from->count,
		.sample_count = from->count, .frame_count = from->frame_count, .labels = block->slice.labels,
		.stacks = block->slice.stacks, .samples = block->slice.samples, .frames = block->slice.frames,
		.bytes = sizeof(*block),
	};
	atomic_init(&block->window.references, 1);
	return &block->window;
}

#endif

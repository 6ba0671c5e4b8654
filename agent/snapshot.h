/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stage "snapshot": stacks that the kernel side copied because it did not know their process yet. Takes copies
 * from the ring, keeps them until their sample is drained, and then finishes the unwind with the mappings and rows
 * of that moment. The copies are tenants' memory: kept out of core dumps and swap, dropped with their slice. The pipeline
 * thread owns it; statistics may be read from any thread.
 */
#ifndef SNAPSHOT_H
#define SNAPSHOT_H

#include "drain.h"
#include "snapshot_walk.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SNAPSHOT_LIMIT_BYTES (8U << 20) /* of copies kept */

struct snapshot_store;

struct snapshot_stats {
	uint64_t received, refused; /* refused: no room in the store, or malformed */
	uint64_t finished, missing, useless; /* samples; missing: no copy or no process; useless: nothing gained */
	uint64_t slow, slow_useless; /* samples with a rule that was not followed: finished by libunwind, or no further */
	uint64_t outcomes[REASON_COUNT]; /* samples under SAMPLE_SNAPSHOT, by how their user stack ended */
};

struct snapshot_store *snapshot_new(struct process_table *processes, const struct snapshot_rules *rules);
void snapshot_free(struct snapshot_store *store); /* accepts NULL */
/* Who else may know the frames of a copy whose rules cannot be followed: how many, borrowed; 0: nobody. */
typedef uint32_t (*snapshot_slow_fn)(void *context, uint64_t id, const uint64_t **ret_frames, enum reason *ret_reason);
void snapshot_set_slow(struct snapshot_store *store, snapshot_slow_fn slow, void *context);
bool snapshot_is_whole(const void *data, size_t size); /* a record that says the truth about its size */
void snapshot_clear_holes(const struct snapshot *copy, uint8_t *stack); /* zeros, where nothing could be read */
int snapshot_receive(void *store, void *data, size_t size); /* a ring_buffer_sample_fn; always 0 */
/* What the kernel said of mappings in the copies up to then, into the table of processes. */
void snapshot_tell_areas(struct snapshot_store *store, uint64_t until_ns);
/* Would waiting for images that are being read help a copy taken up to then? */
bool snapshot_awaits_images(const struct snapshot_store *store, uint64_t until_ns);
/* Walks the copies taken up to then, so that what their rules lack is asked for: in a loop, while it comes. How
 * many are not whole for lack of it. */
size_t snapshot_demand(struct snapshot_store *store, uint64_t until_ns);
/* A sample under SAMPLE_SNAPSHOT gets the frames of its copy, which are borrowed until the next call. Without the
 * copy or its process it stays as it was. */
void snapshot_finish(struct snapshot_store *store, struct drain_sample *sample);
/* The slice is complete: drops what was copied up to then. */
void snapshot_drop(struct snapshot_store *store, uint64_t until_ns);
void snapshot_get_stats(struct snapshot_store *store, struct snapshot_stats *ret_stats);

#endif

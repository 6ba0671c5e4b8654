/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A window's raw counts: one drained second ("slice"), resolved but not named. Made by agent/aggregate, owned
 * by agent/store from then on, shared read-only by reference. One allocation: the arrays lie behind the struct
 * in the same block, so window_unref is one free.
 *
 * Frames are ids of agent/names (its frame table), leaf first, user frames before the kernel frames' end:
 * a stack is the kernel part (leaf side) followed by the user part.
 */
#ifndef WINDOW_H
#define WINDOW_H

#include <stdatomic.h>
#include <stdint.h>

struct window_labels { /* who ran */
	uint32_t container;   /* index in agent/cgroup's table */
	uint32_t comm;        /* string ids of agent/names: the process's name */
	uint32_t thread;      /* the thread's, 0 where it is the same */
	uint32_t pid, tid;    /* tid 0 unless threads are kept apart */
	uint32_t root;        /* the process `wick record -- COMMAND` started is its ancestor: that pid, else 0 */
};

struct window_stack {
	uint32_t first, depth; /* in frames[] */
};

struct window_sample {
	uint32_t labels, stack; /* indexes below */
	uint64_t count;
};

struct window {
	atomic_uint references;
	uint64_t from_ns, to_ns;   /* CLOCK_MONOTONIC, half open */
	uint64_t from_wall_ns;     /* CLOCK_REALTIME of from_ns */
	uint64_t period_ns;        /* CPU time one count stands for */
	uint32_t label_count, stack_count, sample_count, frame_count;
	struct window_labels *labels;
	struct window_stack *stacks;
	struct window_sample *samples;
	uint32_t *frames;
	uint64_t bytes; /* all of it */
};

struct window *window_ref(struct window *window);
void window_unref(struct window *window); /* accepts NULL */

#endif

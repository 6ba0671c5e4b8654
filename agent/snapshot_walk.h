/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The unwinder on the host: the kernel side's step (unwind_step.h) over a copy of the registers and of a part of
 * the stack. Pure but for where its rules come from.
 */
#ifndef SNAPSHOT_WALK_H
#define SNAPSHOT_WALK_H

#include "abi/reason.h"
#include "abi/sample.h"
#include "abi/snapshot.h"
#include "abi/unwind.h"
#include "process.h"

#include <stdint.h>

#define SNAPSHOT_WANTS 64

struct snapshot_rules { /* as agent/publish gives them */
	/* The rule in force at an ELF address under a process_image.dir; else why there is none. */
	enum reason (*find_rule)(void *context, uint32_t dir, uint64_t vaddr, uint16_t *ret_rule);
	int (*find_escape)(void *context, uint32_t index, struct unwind_escape *ret_escape);
	void (*want)(void *context, uint32_t dir, uint64_t vaddr); /* the rule there will be asked for */
	void *context;
};

/* Frames as the kernel side stores them, at most SAMPLE_MAX_USER_FRAMES; how many, and why it ended. */
uint32_t snapshot_walk(const struct snapshot *copy, const uint8_t *stack, const struct process *process,
		       const struct snapshot_rules *rules, uint64_t *ret_frames, enum reason *ret_reason);

/* Asks for the rules at what may be return addresses in the copy, at most SNAPSHOT_WANTS. */
void snapshot_want(const struct snapshot *copy, const uint8_t *stack, const struct process *process,
		   const struct snapshot_rules *rules);

#endif

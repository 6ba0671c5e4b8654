/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unwinds a stack case as the agent would: rows by the table compiler from the case's images, steps by
 * unwind_step.h over its memory. Pure: the same case gives the same frames on any machine.
 */
#ifndef STACK_REPLAY_H
#define STACK_REPLAY_H

#include "abi/reason.h"
#include "abi/sample.h"
#include "stack_case.h"

struct stack_replay {
	uint32_t count;
	enum reason reason;			 /* REASON_NONE: the last frame is the root */
	uint64_t frames[SAMPLE_MAX_USER_FRAMES]; /* innermost first, without SAMPLE_FRAME_EXACT */
};

/* 0 or -errno: an image that cannot be read has no rows, which is no error. */
int stack_replay_run(const struct stack_case *stack_case, struct stack_replay *ret_replay);

/*
 * The first frame that differs from the case's, or where it ended too early or late; -1: they agree, up to the
 * unwinder's greatest depth, and end for the same reason.
 */
int stack_replay_compare(const struct stack_case *stack_case, const struct stack_replay *replay);

#endif

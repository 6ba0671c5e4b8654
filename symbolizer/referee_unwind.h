/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One stack copy unwound by libunwind: an opinion that shares nothing with unwind_step.h but the bytes. Bounded in
 * frames, words read and time.
 */
#ifndef SYMBOLIZER_REFEREE_UNWIND_H
#define SYMBOLIZER_REFEREE_UNWIND_H

#include "abi/reason.h"
#include "symbolizer/referee_space.h"

struct referee_path { /* as in struct referee_answer */
	uint32_t depth, certain;
	enum reason reason;
};

/* Frames as in abi/sample.h, at most REFEREE_MAX_FRAMES. */
void referee_unwind(struct space *space, const struct snapshot *copy, const uint8_t *stack, uint64_t *ret_frames,
		    struct referee_path *ret_path);

#endif

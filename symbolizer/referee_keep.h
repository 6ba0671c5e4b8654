/* SPDX-License-Identifier: Apache-2.0 */
/* A stack and what an unwind of it reads, as a stack case (include/stack_case.h) that needs nothing else. */
#ifndef SYMBOLIZER_REFEREE_KEEP_H
#define SYMBOLIZER_REFEREE_KEEP_H

#include "abi/reason.h"
#include "symbolizer/referee_space.h"

struct referee_stack {
	const struct snapshot *copy;
	const uint8_t *bytes;
	const uint64_t *frames; /* libunwind's */
	uint32_t count;
	enum reason reason;
};

/* Written to `fd`, which stays the caller's. 0 or -errno. */
int referee_keep(struct space *space, const struct referee_stack *stack, const struct referee_keep *wanted,
		 uint32_t walked_count, int fd);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unwind rules for code that has none: follows every path through it and adds up what pushes, pops and frame
 * pointers do. Where a path cannot be followed the rule is "none", never a guess. Pure but for its scratch memory.
 */
#ifndef SYMBOLIZER_STACK_HEIGHT_H
#define SYMBOLIZER_STACK_HEIGHT_H

#include "symbolizer/cfi.h"

#define STACK_HEIGHT_WINDOW (1U << 17) /* bytes of code at a time */

struct stack_height {
	const uint8_t *code;
	uint64_t vaddr;
	uint32_t size;      /* at most STACK_HEIGHT_WINDOW */
	const uint64_t *starts; /* addresses of functions, within the code */
	size_t start_count;
	const uint64_t *likely; /* perhaps functions too: what bytes that look like calls lead to */
	size_t likely_count;
	uint64_t root;      /* a start that nobody called, 0: none */
	bool named;         /* `starts` are all there are, from symbols */
};

/* Gives rows for the whole code, ascending, the first at its first byte. 0 or -ENOMEM. */
int stack_height_run(const struct stack_height *input, cfi_row_fn *row, void *context);

#endif

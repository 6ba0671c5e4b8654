/* SPDX-License-Identifier: Apache-2.0 */
/* Part of "stack_height": what is known of a frame before an instruction. */
#ifndef SYMBOLIZER_STACK_STATE_H
#define SYMBOLIZER_STACK_STATE_H

#include "symbolizer/cfi.h"
#include "symbolizer/x86.h"

struct stack_state {
	int32_t depth; /* CFA - rsp, 0: not known */
	int32_t frame; /* CFA - rbp, 0: rbp is no frame pointer */
	int32_t slot;  /* the caller's rbp is at CFA - slot, 0: in rbp, unless it is lost */
	int32_t copy;  /* CFA - copy_reg, 0: no register has an earlier rsp */
	uint8_t copy_reg, lost, root, none;
};

void stack_state_apply(struct stack_state *state, const struct x86 *instruction);
struct cfi_rule stack_state_rule(const struct stack_state *state); /* its `cfa` is 0 where nothing is known */
/*
 * Memory at rbp is used before rbp was saved or set: code that belongs to a frame made elsewhere, as
 * some of V8's builtins do. How rsp stands to that frame is not known here; rbp leads on.
 */
bool stack_state_is_foreign(const struct stack_state *state);
/* A return finds the return address at rsp and the caller's rbp in rbp; nothing pops more than was pushed. */
bool stack_state_is_wrong(const struct stack_state *before, const struct x86 *instruction,
			  const struct stack_state *after);

#endif

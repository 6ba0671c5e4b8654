/* SPDX-License-Identifier: Apache-2.0 */
/* What single instructions do to the state of a frame, and the rule that a state is. */
#include "symbolizer/stack_state.h"

#include "symbolizer/cfi_private.h"

#define MAX_DEPTH (1 << 24)

static void lose_rbp(struct stack_state *state)
{
	state->frame = 0;
	state->lost |= !state->slot;
}

/* The caller's value is in rbp again, if it was loaded from where it was saved. */
static void load_rbp(struct stack_state *state, int32_t slot)
{
	if (!state->slot || state->slot != slot) {
		lose_rbp(state);
		return;
	}
	state->frame = 0;
	state->slot = 0;
}

static void save_rbp(struct stack_state *state, int32_t slot)
{
	if (!state->slot && !state->lost && !state->frame)
		state->slot = slot;
}

/* Below 8 the return address is gone from the stack. */
static void move_rsp(struct stack_state *state, int64_t bytes)
{
	int64_t depth = state->depth - bytes;

	state->depth = state->depth && depth >= 8 && depth < MAX_DEPTH ? (int32_t)depth : 0;
}

static void set_frame(struct stack_state *state, int64_t above_rsp)
{
	int64_t frame = state->depth - above_rsp;

	state->lost |= !state->slot;
	state->frame = state->depth && frame > 0 && frame < MAX_DEPTH ? (int32_t)frame : 0;
}

static void set_rsp(struct stack_state *state, int64_t above_rbp)
{
	state->depth = state->frame;
	move_rsp(state, above_rbp);
}

/* Of the registers that are not arguments, so that a pointer to a local is none: rbx and r8 to r15, which DWARF
 * numbers alike. The first copy is kept: later ones are made of a realigned rsp. */
static void copy_rsp(struct stack_state *state, const struct x86 *instruction)
{
	int64_t copy = state->depth - instruction->value;

	if (state->copy || !state->depth || copy <= 0 || copy >= MAX_DEPTH ||
	    (instruction->reg != X86_RBX && instruction->reg < 8))
		return;
	state->copy = (int32_t)copy;
	state->copy_reg = (uint8_t)instruction->reg;
}

static void lose_copy(struct stack_state *state)
{
	state->copy = 0;
	state->copy_reg = 0;
}

static void restore_rsp(struct stack_state *state, const struct x86 *instruction)
{
	state->depth = instruction->reg == state->copy_reg ? state->copy : 0;
	move_rsp(state, instruction->value);
}

static void pop(struct stack_state *state, int reg)
{
	int32_t slot = state->depth;

	move_rsp(state, 8);
	if (reg == X86_RBP)
		load_rbp(state, slot);
	else if (reg == X86_RSP)
		state->depth = 0;
}

static void push(struct stack_state *state, int reg)
{
	move_rsp(state, -8);
	if (reg == X86_RBP)
		save_rbp(state, state->depth);
}

static bool loses_copy(const struct stack_state *state, const struct x86 *instruction)
{
	if (instruction->kind == X86_CALL && state->copy_reg != X86_RBX && state->copy_reg < 12)
		return true;
	return instruction->written == state->copy_reg ||
	       (instruction->kind == X86_POP && instruction->reg == state->copy_reg);
}

void stack_state_apply(struct stack_state *state, const struct x86 *instruction)
{
	if (state->copy && loses_copy(state, instruction))
		lose_copy(state);
	switch (instruction->kind) {
	case X86_PUSH:
		push(state, instruction->reg);
		break;
	case X86_POP:
		pop(state, instruction->reg);
		break;
	case X86_ADD_RSP:
		move_rsp(state, instruction->value);
		break;
	case X86_RSP_FROM_RBP:
		set_rsp(state, instruction->value);
		break;
	case X86_RBP_FROM_RSP:
		set_frame(state, instruction->value);
		break;
	case X86_COPY_RSP:
		copy_rsp(state, instruction);
		break;
	case X86_RSP_FROM_REG:
		restore_rsp(state, instruction);
		break;
	case X86_RSP_LOST:
		state->depth = 0;
		break;
	case X86_SAVE_RBP:
		if (state->depth)
			save_rbp(state, (int32_t)(state->depth - instruction->value));
		break;
	case X86_LOAD_RBP:
		load_rbp(state, state->depth ? (int32_t)(state->depth - instruction->value) : 0);
		break;
	case X86_ZERO_RBP: /* who destroys it before saving it returns to nobody */
		state->root |= !state->slot && !state->frame && !state->lost;
		lose_rbp(state);
		break;
	case X86_RBP_LOST:
		lose_rbp(state);
		break;
	case X86_LEAVE:
		set_rsp(state, 0);
		pop(state, X86_RBP);
		break;
	case X86_CALL: /* of the next instruction: it reads its own address */
		if (instruction->value == instruction->length)
			move_rsp(state, -8);
		break;
	}
}

bool stack_state_is_foreign(const struct stack_state *state)
{
	return !state->slot && !state->frame && !state->lost && !state->root;
}

bool stack_state_is_wrong(const struct stack_state *before, const struct x86 *instruction,
			  const struct stack_state *after)
{
	if (!before->depth)
		return false;
	if (instruction->kind == X86_RETURN)
		return before->depth != 8 || before->slot || before->lost;
	return (instruction->kind == X86_POP || instruction->kind == X86_ADD_RSP) && !after->depth;
}

struct cfi_rule stack_state_rule(const struct stack_state *state)
{
	struct cfi_rule rule = { .ra = CFI_RA_CFA, .ra_offset = -8 };

	if (state->root) {
		rule.cfa = UNWIND_CFA_NONE;
		rule.ra = CFI_RA_OUTERMOST;
		return rule;
	}
	if (!state->depth && !state->frame && !state->copy)
		return (struct cfi_rule){ 0 };
	rule.cfa = UNWIND_CFA_REG;
	rule.cfa_reg = state->frame ? DWARF_RBP : state->depth ? DWARF_RSP : state->copy_reg;
	rule.cfa_offset = state->frame ? state->frame : state->depth ? state->depth : state->copy;
	rule.bp = state->slot ? CFI_BP_CFA : state->lost ? CFI_BP_UNKNOWN : CFI_BP_SAME;
	rule.bp_offset = -state->slot;
	return rule;
}

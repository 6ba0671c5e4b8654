/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * One step of the unwinder, pure: registers and a rule in, the caller's registers or a reason out. The kernel
 * side and host programs compile the same lines. Before including it define
 *
 *   UNWIND_READ(context, address, to)   reads 8 bytes of the stack into *to, 0 or non-zero
 *   UNWIND_READ_FAR(…)                  optional: the same off the hot path, where code size counts
 */
#ifndef UNWIND_STEP_H
#define UNWIND_STEP_H

#include "abi/reason.h"
#include "unwind_row.h"

#ifndef UNWIND_READ_FAR
#define UNWIND_READ_FAR UNWIND_READ
#endif

/* rbp as the caller had it. In an epilogue its slot already lies below rsp, which a copied stack does not hold:
 * the register then has the caller's value again. */
UNWIND_INLINE void unwind_restore_rbp(struct unwind_regs *regs, __u64 slot, void *context)
{
	__u64 rbp = 0;

	if (!UNWIND_READ(context, slot, &rbp)) {
		regs->reg[UNWIND_RBP] = rbp;
		regs->rbp_lost = 0;
	} else if (slot >= regs->reg[UNWIND_RSP]) {
		regs->rbp_lost = 1;
	}
}

/* The end of a step to a frame that called: of rbx and r12 to r15 nothing is known unless an escape says so. */
UNWIND_INLINE void unwind_enter_caller(struct unwind_regs *regs, __u64 pc, __u64 rsp)
{
	regs->pc = pc;
	regs->reg[UNWIND_RSP] = rsp;
	regs->exact = 0;
	regs->linked = 0;
	regs->kept = 0;
}

/* A rule of kind RSP or RBP, which nearly all are. */
UNWIND_INLINE enum reason unwind_step_rule(struct unwind_regs *regs, __u16 rule, void *context)
{
	__u32 slot = rule >> 11 & 7;
	__u64 rsp = regs->reg[UNWIND_RSP], cfa = rsp, pc = 0;

	if (rule >> 14 == UNWIND_KIND_RBP) {
		if (regs->rbp_lost)
			return REASON_UNSUPPORTED_RULE;
		cfa = regs->reg[UNWIND_RBP];
	}
	cfa += 8 * (__u64)(rule & 0x7ff);
	if (cfa <= rsp)
		return REASON_NO_PROGRESS;
	if (UNWIND_READ(context, cfa - 8, &pc))
		return REASON_READ_FAULT;
	if (slot)
		unwind_restore_rbp(regs, cfa - 8 * (__u64)(slot + 1), context);
	unwind_enter_caller(regs, pc, cfa);
	return REASON_NONE;
}

#include "unwind_escape.h"
#include "unwind_linked.h"

#endif

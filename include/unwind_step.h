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

/*
 * Where no rule covers the pc: rbp must lead to a linked frame above the stack pointer. pc 0 afterwards is the
 * end of the chain; one linked frame must have led to it, for rbp 0 alone says nothing where rbp is not kept.
 */
UNWIND_INLINE enum reason unwind_step_linked(struct unwind_regs *regs, void *context)
{
	__u64 rbp = regs->reg[UNWIND_RBP], next = 0, pc = 0;

	if (regs->linked && !rbp) {
		regs->pc = 0;
		return REASON_NONE;
	}
	if (regs->rbp_lost || rbp & 7 || rbp < regs->reg[UNWIND_RSP])
		return REASON_NO_RULE;
	if (UNWIND_READ(context, rbp + 8, &pc) || UNWIND_READ(context, rbp, &next))
		return REASON_NO_RULE;
	if ((next && next <= rbp) || (!pc && !regs->linked))
		return REASON_NO_RULE;
	regs->pc = pc;
	regs->reg[UNWIND_RSP] = rbp + 16;
	regs->reg[UNWIND_RBP] = next;
	regs->exact = 0;
	regs->linked = 1;
	return REASON_NONE;
}

/* A signal handler's caller: rsp points at the kernel's ucontext, whose sigcontext_64 begins at +40 with r8..r15,
 * rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip. A failed read leaves the registers half replaced. */
UNWIND_INLINE enum reason unwind_step_signal(struct unwind_regs *regs, void *context)
{
	const __u64 order = 0x72013645fedcba98ULL; /* DWARF's numbers, the first lowest; an array needs a section */
	__u64 from = regs->reg[UNWIND_RSP] + 40;

	for (int i = 0; i < UNWIND_REGISTERS; i++)
		if (UNWIND_READ_FAR(context, from + 8 * (__u64)i, &regs->reg[order >> 4 * i & 15]))
			return REASON_READ_FAULT;
	if (UNWIND_READ_FAR(context, from + 8 * UNWIND_REGISTERS, &regs->pc))
		return REASON_READ_FAULT;
	regs->exact = 1;
	regs->rbp_lost = 0;
	regs->linked = 0;
	return REASON_NONE;
}

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

UNWIND_INLINE enum reason unwind_escape_cfa(const struct unwind_regs *regs, const struct unwind_escape *escape,
					    void *context, __u64 *ret_cfa)
{
	__u32 reg = escape->reg & (UNWIND_REGISTERS - 1);
	__u64 cfa = 0;

	if (escape->cfa == UNWIND_CFA_PLT) {
		*ret_cfa = regs->reg[UNWIND_RSP] + 8 + ((regs->pc & 15) >= (__u32)escape->cfa_offset ? 8 : 0);
		return REASON_NONE;
	}
	if (escape->cfa != UNWIND_CFA_REG && escape->cfa != UNWIND_CFA_DEREF)
		return REASON_UNSUPPORTED_RULE;
	if (reg != UNWIND_RSP && !regs->exact && (reg != UNWIND_RBP || regs->rbp_lost))
		return REASON_UNSUPPORTED_RULE;
	cfa = regs->reg[reg] + (__u64)(__s64)escape->cfa_offset;
	if (escape->cfa == UNWIND_CFA_DEREF) {
		if (UNWIND_READ_FAR(context, cfa, &cfa))
			return REASON_READ_FAULT;
		cfa += (__u64)(__s64)escape->cfa_add;
	}
	*ret_cfa = cfa;
	return REASON_NONE;
}

UNWIND_INLINE enum reason unwind_step_escape(struct unwind_regs *regs, const struct unwind_escape *escape,
					     void *context)
{
	__u64 cfa = 0, pc = 0;
	enum reason reason;

	if (escape->cfa == UNWIND_CFA_SIGNAL)
		return unwind_step_signal(regs, context);
	reason = unwind_escape_cfa(regs, escape, context, &cfa);
	if (reason)
		return reason;
	if (cfa <= regs->reg[UNWIND_RSP])
		return REASON_NO_PROGRESS;
	if (UNWIND_READ_FAR(context, cfa + (__u64)(__s64)escape->ra_offset, &pc))
		return REASON_READ_FAULT;
	if (escape->bp == UNWIND_BP_CFA)
		unwind_restore_rbp(regs, cfa + (__u64)(__s64)escape->bp_offset, context);
	else if (escape->bp == UNWIND_BP_RBP && !regs->rbp_lost)
		unwind_restore_rbp(regs, regs->reg[UNWIND_RBP] + (__u64)(__s64)escape->bp_offset, context);
	else if (escape->bp == UNWIND_BP_UNKNOWN)
		regs->rbp_lost = 1;
	regs->pc = pc;
	regs->reg[UNWIND_RSP] = cfa;
	regs->exact = 0;
	regs->linked = 0;
	return REASON_NONE;
}

/* A rule of kind RSP or RBP, which nearly all are. */
UNWIND_INLINE enum reason unwind_step_rule(struct unwind_regs *regs, __u16 rule, void *context)
{
	__u32 slot = rule >> 11 & 7;
	__u64 cfa = 8 * (__u64)(rule & 0x7ff), pc = 0;

	if (rule >> 14 == UNWIND_KIND_RBP) {
		if (regs->rbp_lost)
			return REASON_UNSUPPORTED_RULE;
		cfa += regs->reg[UNWIND_RBP];
	} else {
		cfa += regs->reg[UNWIND_RSP];
	}
	if (cfa <= regs->reg[UNWIND_RSP])
		return REASON_NO_PROGRESS;
	if (UNWIND_READ(context, cfa - 8, &pc))
		return REASON_READ_FAULT;
	if (slot)
		unwind_restore_rbp(regs, cfa - 8 * (__u64)(slot + 1), context);
	regs->pc = pc;
	regs->reg[UNWIND_RSP] = cfa;
	regs->exact = 0;
	regs->linked = 0;
	return REASON_NONE;
}

#endif

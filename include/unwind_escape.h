/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The steps that no row can say: signal frames, PLT stubs, CFAs from other registers or from memory. Part of
 * unwind_step.h, which includes it. */
#ifndef UNWIND_ESCAPE_H
#define UNWIND_ESCAPE_H

#include "unwind_saved.h"

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

UNWIND_INLINE enum reason unwind_escape_cfa(const struct unwind_regs *regs, const struct unwind_escape *escape,
					    void *context, __u64 *ret_cfa)
{
	__u32 reg = escape->reg & (UNWIND_REGISTERS - 1), index = escape->index & (UNWIND_REGISTERS - 1);
	__u64 cfa = 0;

	if (escape->cfa == UNWIND_CFA_PLT) {
		*ret_cfa = regs->reg[UNWIND_RSP] + 8 + ((regs->pc & 15) >= (__u32)escape->cfa_offset ? 8 : 0);
		return REASON_NONE;
	}
	if (!unwind_has_register(regs, reg) || escape->cfa == UNWIND_CFA_NONE)
		return REASON_UNSUPPORTED_RULE;
	cfa = regs->reg[reg] + (__u64)(__s64)escape->cfa_offset;
	if (escape->cfa == UNWIND_CFA_INDEX) {
		if (!unwind_has_register(regs, index))
			return REASON_UNSUPPORTED_RULE;
		cfa += 8 * regs->reg[index];
	}
	if (escape->cfa == UNWIND_CFA_DEREF || escape->cfa == UNWIND_CFA_INDEX) {
		if (UNWIND_READ_FAR(context, cfa, &cfa))
			return REASON_READ_FAULT;
		if (escape->flags & UNWIND_ESCAPE_NARROW)
			cfa = (__u32)cfa;
		cfa += (__u64)(__s64)escape->cfa_add;
	} else if (escape->cfa != UNWIND_CFA_REG && escape->cfa != UNWIND_CFA_SWITCH) {
		return REASON_UNSUPPORTED_RULE;
	}
	*ret_cfa = cfa;
	return REASON_NONE;
}

UNWIND_INLINE enum reason unwind_escape_pc(const struct unwind_regs *regs, const struct unwind_escape *escape,
					   __u64 cfa, void *context, __u64 *ret_pc)
{
	__u32 reg = (__u32)escape->ra_offset & (UNWIND_REGISTERS - 1);

	if (escape->ra == UNWIND_RA_REG) {
		if (!unwind_has_register(regs, reg))
			return REASON_UNSUPPORTED_RULE;
		if (cfa < regs->reg[UNWIND_RSP])
			return REASON_NO_PROGRESS;
		*ret_pc = regs->reg[reg];
		return REASON_NONE;
	}
	if (cfa <= regs->reg[UNWIND_RSP] && escape->cfa != UNWIND_CFA_SWITCH)
		return REASON_NO_PROGRESS;
	if (UNWIND_READ_FAR(context, cfa + (__u64)(__s64)escape->ra_offset, ret_pc))
		return REASON_READ_FAULT;
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
	if (!reason)
		reason = unwind_escape_pc(regs, escape, cfa, context, &pc);
	if (reason)
		return reason;
	unwind_escape_rbp(regs, escape, cfa, context);
	regs->kept = unwind_escape_saved(regs, escape, cfa, context);
	regs->pc = pc;
	regs->reg[UNWIND_RSP] = cfa;
	regs->exact = 0;
	regs->linked = 0;
	return REASON_NONE;
}

#endif

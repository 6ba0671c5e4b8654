/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The steps that no row can say: signal frames, PLT stubs, CFAs from other registers or from memory. Part of
 * unwind_step.h, which includes it. */
#ifndef UNWIND_ESCAPE_H
#define UNWIND_ESCAPE_H

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

/*
 * Whether a register has the value it had in this frame. Of those a callee must restore only rbp is followed. The
 * others, which nobody restores, are as they were unless a callee used them: where assembly names one as its CFA
 * across calls (OpenSSL's rax around its AES-GCM core) it relies on that, and so does libgcc's unwinder.
 */
UNWIND_INLINE int unwind_has_register(const struct unwind_regs *regs, __u32 reg)
{
	const __u32 restored_by_nobody = 0xf37; /* rax, rdx, rcx, rsi, rdi, r8 to r11 */

	if (reg == UNWIND_RSP || regs->exact)
		return 1;
	return reg == UNWIND_RBP ? !regs->rbp_lost : (int)(restored_by_nobody >> reg & 1);
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
	if (escape->cfa != UNWIND_CFA_REG && escape->cfa != UNWIND_CFA_DEREF && escape->cfa != UNWIND_CFA_SWITCH)
		return REASON_UNSUPPORTED_RULE;
	if (!unwind_has_register(regs, reg))
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
	if (cfa <= regs->reg[UNWIND_RSP] && escape->cfa != UNWIND_CFA_SWITCH)
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

#endif

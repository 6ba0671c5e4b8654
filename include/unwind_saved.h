/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Which registers are known in a frame, and how an escape gives the caller's. Part of unwind_escape.h. */
#ifndef UNWIND_SAVED_H
#define UNWIND_SAVED_H

/*
 * Whether a register has the value it had in this frame. Of those a callee must restore only rbp is followed
 * everywhere, the others through rules that say where they are saved. What nobody restores is as it was unless a
 * callee used it: where assembly names one as its CFA across calls (OpenSSL's rax around its AES-GCM core) it
 * relies on that, and so does libgcc's unwinder.
 */
UNWIND_INLINE int unwind_has_register(const struct unwind_regs *regs, __u32 reg)
{
	const __u32 restored_by_nobody = 0xf37; /* rax, rdx, rcx, rsi, rdi, r8 to r11 */

	if (reg == UNWIND_RSP || regs->exact)
		return 1;
	if (reg == UNWIND_RBP)
		return !regs->rbp_lost;
	return regs->kept || restored_by_nobody >> reg & 1;
}

UNWIND_INLINE void unwind_escape_rbp(struct unwind_regs *regs, const struct unwind_escape *escape, __u64 cfa,
				     void *context)
{
	__u32 reg = escape->bp_reg & (UNWIND_REGISTERS - 1);
	__u64 at = (escape->bp == UNWIND_BP_CFA || escape->bp == UNWIND_BP_VALUE ? cfa : regs->reg[reg]) +
		   (__u64)(__s64)escape->bp_offset;

	if (escape->bp == UNWIND_BP_SAME)
		return;
	if (escape->bp == UNWIND_BP_CFA) {
		unwind_restore_rbp(regs, at, context);
		return;
	}
	if (escape->bp == UNWIND_BP_UNKNOWN || (escape->bp != UNWIND_BP_VALUE && !unwind_has_register(regs, reg))) {
		regs->rbp_lost = 1;
		return;
	}
	if (escape->bp == UNWIND_BP_DEREF && UNWIND_READ_FAR(context, at, &at)) {
		regs->rbp_lost = 1;
		return;
	}
	if (escape->bp == UNWIND_BP_DEREF)
		at += (__u64)(__s64)escape->bp_add;
	regs->rbp_lost = (escape->bp == UNWIND_BP_MEMORY || escape->bp == UNWIND_BP_DEREF) &&
			 UNWIND_READ_FAR(context, at, &at);
	regs->reg[UNWIND_RBP] = at;
}

/* rbx and r12 to r15 as the caller had them; 0: not all of them are known. A slot below rsp has been popped. */
UNWIND_INLINE __u8 unwind_escape_saved(struct unwind_regs *regs, const struct unwind_escape *escape, __u64 cfa,
				       void *context)
{
	if (!(escape->flags & UNWIND_ESCAPE_SAVED) || !(regs->exact || regs->kept))
		return 0;
	for (int i = 0; i < UNWIND_SAVED; i++) {
		__u64 at = cfa - 8 * (__u64)escape->saved[i];

		if (escape->saved[i] && at >= regs->reg[UNWIND_RSP] &&
		    UNWIND_READ_FAR(context, at, &regs->reg[i ? 11 + i : 3]))
			return 0;
	}
	return 1;
}

#endif

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Steps where no rule covers the pc: by frame pointers, and by the few instructions that make and end such frames.
 * Part of unwind_step.h, which includes it. */
#ifndef UNWIND_LINKED_H
#define UNWIND_LINKED_H

/*
 * Whether the instruction at an interrupted pc stands where rbp is still or again the caller's: how far above rsp
 * the CFA is then, else 0. Told by bytes: `push rbp` before `mov rbp, rsp`, the latter, `ret`, and a jump right
 * behind `pop rbp` or `leave`. Only these are sure without a table.
 */
UNWIND_INLINE __u64 unwind_frameless(const struct unwind_regs *regs, void *context)
{
	__u64 code = 0;
	__u32 before = 0, first;

	if (!UNWIND_READ_FAR(context, regs->pc - 1, &code)) {
		before = code & 0xff;
		code >>= 8;
	} else if (UNWIND_READ_FAR(context, regs->pc, &code)) { /* at the start of a mapping nothing is before */
		return 0;
	}
	if (before == 0x55 && ((code & 0xffffff) == 0xe58948 || (code & 0xffffff) == 0xec8b48))
		return 16;
	if ((__u32)code == 0xfa1e0ff3) /* endbr64; only three bytes behind it were read for sure */
		return (code >> 32 & 0xffffff) == 0x894855 || (code >> 32 & 0xffffff) == 0x8b4855 ? 8 : 0;
	if ((__u32)code == 0xe5894855 || (__u32)code == 0xec8b4855)
		return 8;
	first = code & 0xff;
	if (first == 0xc3 || first == 0xc2 || (code & 0xffff) == 0xc3f3)
		return 8;
	if (before != 0x5d && before != 0xc9)
		return 0;
	if (first == 0x41) /* REX.B of a jump through r8 to r15 */
		code >>= 8;
	return first == 0xe9 || first == 0xeb || (code & 0xf8ff) == 0xe0ff ? 8 : 0;
}

/* The step for such a place, which the chain of frame pointers would skip. Another reason: no such place. */
UNWIND_INLINE enum reason unwind_step_frameless(struct unwind_regs *regs, void *context)
{
	__u64 above = unwind_frameless(regs, context), rsp = regs->reg[UNWIND_RSP], pc = 0;

	if (!above || UNWIND_READ_FAR(context, rsp + above - 8, &pc) || !pc)
		return REASON_NO_RULE;
	if (above == 16 && UNWIND_READ_FAR(context, rsp, &regs->reg[UNWIND_RBP]))
		return REASON_NO_RULE;
	regs->pc = pc;
	regs->reg[UNWIND_RSP] = rsp + above;
	regs->exact = 0;
	regs->linked = 0;
	regs->kept = 0;
	return REASON_NONE;
}

/* Whether the bytes before `pc` are a call: e8, or ff /2 with what operand ever. */
UNWIND_INLINE int unwind_follows_call(__u64 pc, void *context)
{
	__u64 code = 0;

	if (UNWIND_READ_FAR(context, pc - 8, &code))
		return 0;
	if ((code >> 24 & 0xff) == 0xe8)
		return 1;
	for (int at = 8; at <= 48; at += 8)
		if ((code >> at & 0x38ff) == 0x10ff)
			return 1;
	return 0;
}

/*
 * Where no rule covers the pc: rbp must lead to a linked frame above the stack pointer. pc 0 afterwards is the
 * end of the chain; one linked frame must have led to it, for rbp 0 alone says nothing where rbp is not kept.
 */
UNWIND_INLINE enum reason unwind_step_linked(struct unwind_regs *regs, void *context)
{
	__u64 rbp = regs->reg[UNWIND_RBP], next = 0, pc = 0;

	if (regs->exact && !unwind_step_frameless(regs, context))
		return REASON_NONE;
	if (regs->linked && !rbp) {
		regs->pc = 0;
		return REASON_NONE;
	}
	if (regs->rbp_lost || rbp & 7 || rbp < regs->reg[UNWIND_RSP])
		return REASON_NO_RULE;
	if (UNWIND_READ(context, rbp + 8, &pc) || UNWIND_READ(context, rbp, &next))
		return REASON_NO_RULE;
	if (!pc && !regs->linked)
		return REASON_NO_RULE;
	/* A caller with rules may use rbp for what it likes: then its call must tell that this was a frame. */
	if (next && next <= rbp && (!pc || !unwind_follows_call(pc, context)))
		return REASON_NO_RULE;
	regs->pc = pc;
	regs->reg[UNWIND_RSP] = rbp + 16;
	regs->reg[UNWIND_RBP] = next;
	regs->exact = 0;
	regs->linked = 1;
	regs->kept = 0;
	return REASON_NONE;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Turns a rule of the CFI interpreter into the 16 bits of abi/unwind.h, or into an escape of abi/escape.h. */
#include "symbolizer/unwind_rule.h"

#include "symbolizer/cfi_private.h"

#include <string.h>

/* A frame is stepped out of by the caller's rsp. Where a register holds it, nothing counts from the CFA. */
static void settle_sp(struct cfi_rule *rule)
{
	if (!rule->sp)
		return;
	rule->cfa = UNWIND_CFA_REG;
	rule->cfa_reg = (uint8_t)(rule->sp - 1);
	rule->cfa_offset = 0;
	if (rule->ra == CFI_RA_CFA)
		rule->ra = CFI_RA_UNKNOWN;
	if (rule->bp == CFI_BP_CFA || rule->bp == CFI_BP_VALUE)
		rule->bp = CFI_BP_UNKNOWN;
}

/* rbp in terms of the CFA where that is possible. */
static void settle_bp(struct cfi_rule *rule)
{
	bool from_rsp = rule->cfa == UNWIND_CFA_REG && rule->cfa_reg == DWARF_RSP;
	int64_t offset = (int64_t)rule->bp_offset - rule->cfa_offset;

	if (rule->bp == CFI_BP_BASE && rule->bp_reg == DWARF_RSP && from_rsp && offset >= INT32_MIN) {
		rule->bp = CFI_BP_CFA;
		rule->bp_reg = 0;
		rule->bp_offset = (int32_t)offset;
	}
	/*
	 * A slot below rsp: the epilogue has popped rbp already (compilers do not say so), it still has the
	 * value, and a copied stack does not reach there.
	 */
	if (rule->bp == CFI_BP_CFA && from_rsp && (int64_t)rule->cfa_offset + rule->bp_offset < 0) {
		rule->bp = CFI_BP_SAME;
		rule->bp_offset = 0;
	}
}

/* The 16-bit form; 0 where the rule needs an escape. */
static uint16_t short_rule(const struct cfi_rule *rule)
{
	unsigned int slot = 0, offset8 = (unsigned int)rule->cfa_offset / 8;

	if (rule->cfa != UNWIND_CFA_REG || rule->ra != CFI_RA_CFA || rule->ra_offset != -8 ||
	    rule->cfa_offset & 7 || rule->cfa_offset < 0 || offset8 > 0x7ff ||
	    (rule->cfa_reg != DWARF_RSP && rule->cfa_reg != DWARF_RBP))
		return 0;
	if (rule->bp == CFI_BP_CFA) {
		if (rule->bp_offset & 7 || rule->bp_offset > -16 || rule->bp_offset < -64)
			return 0;
		slot = (unsigned int)(-rule->bp_offset / 8 - 1);
	} else if (rule->bp != CFI_BP_SAME) {
		return 0;
	}
	if (rule->cfa_reg == DWARF_RSP)
		return UNWIND_RULE(UNWIND_KIND_RSP, slot, offset8);
	return UNWIND_RULE(UNWIND_KIND_RBP, slot, offset8);
}

static uint16_t escape_rule(struct unwind_pages *pages, const struct cfi_rule *rule, bool follow)
{
	static const uint8_t bp[] = {
		[CFI_BP_SAME] = UNWIND_BP_SAME,
		[CFI_BP_CFA] = UNWIND_BP_CFA,
		[CFI_BP_BASE] = UNWIND_BP_MEMORY,
		[CFI_BP_UNKNOWN] = UNWIND_BP_UNKNOWN,
		[CFI_BP_REG] = UNWIND_BP_REG,
		[CFI_BP_VALUE] = UNWIND_BP_VALUE,
		[CFI_BP_DEREF] = UNWIND_BP_DEREF,
	};
	struct unwind_escape escape = {
		.cfa = rule->cfa, .reg = rule->cfa_reg, .bp = bp[rule->bp],
		.ra = rule->ra == CFI_RA_REG ? UNWIND_RA_REG : UNWIND_RA_CFA,
		.cfa_offset = rule->cfa_offset, .cfa_add = rule->cfa_add, .bp_offset = rule->bp_offset,
		.bp_add = rule->bp_add, .ra_offset = rule->ra_offset, .index = rule->index,
		.bp_reg = rule->bp_reg, .flags = rule->flags,
	};

	if (follow && !memchr(rule->saved, CFI_SAVED_UNKNOWN, sizeof(rule->saved))) {
		escape.flags |= UNWIND_ESCAPE_SAVED;
		memcpy(escape.saved, rule->saved, sizeof(escape.saved));
	}
	return unwind_pages_escape(pages, &escape);
}

uint16_t unwind_rule_encode(struct unwind_pages *pages, struct cfi_rule rule, bool follow)
{
	static const struct unwind_escape signal = {
		.cfa = UNWIND_CFA_SIGNAL, .reg = DWARF_RSP, .bp = UNWIND_BP_UNKNOWN,
	};
	uint16_t encoded;

	if (!rule.cfa)
		return UNWIND_RULE_NONE;
	if (rule.ra == CFI_RA_OUTERMOST)
		return UNWIND_RULE_OUTERMOST;
	if (rule.cfa == UNWIND_CFA_SIGNAL)
		return unwind_pages_escape(pages, &signal);
	settle_sp(&rule);
	if (rule.cfa == UNWIND_CFA_NONE || rule.ra == CFI_RA_UNKNOWN)
		return unwind_pages_unsupported(pages);
	settle_bp(&rule);
	encoded = follow ? 0 : short_rule(&rule);
	return encoded ? encoded : escape_rule(pages, &rule, follow);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: the rule of a table that is in force at an address, in words. */
#ifndef TESTS_RULE_WORDS_H
#define TESTS_RULE_WORDS_H

#include "table_reader.h"

#include <stdio.h>

/* A rule in words, in which both sides are compared. */
static void describe_cfa(const struct unwind_escape *escape, char *text)
{
	const char *narrow = escape->flags & UNWIND_ESCAPE_NARROW ? "u32" : "";

	if (escape->cfa == UNWIND_CFA_REG)
		sprintf(text, "r%d%+d", escape->reg, escape->cfa_offset);
	else if (escape->cfa == UNWIND_CFA_DEREF)
		sprintf(text, "%s*(r%d%+d)%+d", narrow, escape->reg, escape->cfa_offset, escape->cfa_add);
	else if (escape->cfa == UNWIND_CFA_INDEX)
		sprintf(text, "*(r%d+8*r%d%+d)%+d", escape->reg, escape->index, escape->cfa_offset, escape->cfa_add);
	else
		sprintf(text, "plt %d", escape->cfa_offset);
}

static void describe_bp(const struct unwind_escape *escape, char *text)
{
	static const char *const forms[] = { [UNWIND_BP_SAME] = "same", [UNWIND_BP_UNKNOWN] = "unknown",
					     [UNWIND_BP_CFA] = "cfa%+d", [UNWIND_BP_VALUE] = "=cfa%+d" };

	if (escape->bp == UNWIND_BP_MEMORY)
		sprintf(text, "r%d%+d", escape->bp_reg, escape->bp_offset);
	else if (escape->bp == UNWIND_BP_REG)
		sprintf(text, "=r%d%+d", escape->bp_reg, escape->bp_offset);
	else if (escape->bp == UNWIND_BP_DEREF)
		sprintf(text, "*(r%d%+d)%+d", escape->bp_reg, escape->bp_offset, escape->bp_add);
	else
		sprintf(text, forms[escape->bp], escape->bp_offset);
}

static void describe_escape(const struct unwind_escape *escape, char *text)
{
	char bp[40], cfa[40];

	if (escape->cfa == UNWIND_CFA_NONE || escape->cfa == UNWIND_CFA_SIGNAL) {
		strcpy(text, escape->cfa == UNWIND_CFA_NONE ? "unsupported" : "signal");
		return;
	}
	describe_cfa(escape, cfa);
	describe_bp(escape, bp);
	text += sprintf(text, "%s bp %s ra ", cfa, bp);
	text += sprintf(text, escape->ra == UNWIND_RA_REG ? "r%d" : "%+d", escape->ra_offset);
	if (!(escape->flags & UNWIND_ESCAPE_SAVED))
		return;
	text += sprintf(text, " saved");
	for (int i = 0; i < UNWIND_SAVED; i++)
		text += sprintf(text, " %d", escape->saved[i]);
}

static void describe(const struct table *table, uint64_t vaddr, char *text)
{
	uint16_t rule = table_find(table, vaddr);
	int slot = rule >> 11 & 7, offset = (rule & 0x7ff) * 8;

	switch (rule >> 14) {
	case UNWIND_KIND_END:
		strcpy(text, rule == UNWIND_RULE_OUTERMOST ? "outermost" : "none");
		assert_true(rule <= UNWIND_RULE_OUTERMOST);
		return;
	case UNWIND_KIND_ESCAPE:
		describe_escape(&table->escapes[rule & 0x3fff], text);
		return;
	default:
		text += sprintf(text, "r%d%+d bp ", rule >> 14 == UNWIND_KIND_RSP ? 7 : 6, offset);
		text += slot ? sprintf(text, "cfa%+d", -8 * (slot + 1)) : sprintf(text, "same");
		strcpy(text, " ra -8");
	}
}

#endif

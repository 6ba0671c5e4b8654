/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The few DWARF expressions that stand in real .eh_frame sections, read into rules: the PLT's, the kernel's
 * signal frame, a CFA behind one pointer (hand-written assembly of OpenSSL and glibc), an rbp at an address
 * made from a register. All others are "unknown", which the unwinder reports instead of guessing.
 */
#include "symbolizer/cfi_private.h"

#include "abi/unwind.h"

#define OP_DEREF 0x06
#define OP_CONST1U 0x08
#define OP_CONST1S 0x09
#define OP_CONST2U 0x0a
#define OP_CONST2S 0x0b
#define OP_CONST4U 0x0c
#define OP_CONST4S 0x0d
#define OP_CONSTU 0x10
#define OP_CONSTS 0x11
#define OP_MINUS 0x1c
#define OP_PLUS 0x22
#define OP_PLUS_UCONST 0x23
#define OP_LIT0 0x30
#define OP_LIT31 0x4f
#define OP_BREG0 0x70
#define OP_BREG15 0x7f
#define BASE_CFA 0x100 /* the CFA, which DW_CFA_expression finds on the stack */
#define UCONTEXT_RSP 160 /* offsetof(struct ucontext, uc_mcontext.sp): what glibc's __restore_rt says */

struct sum { /* *(base + offset) + add, or base + offset */
	unsigned int base;
	bool dereferenced;
	int64_t offset, add;
};

static bool read_constant(struct cursor *cursor, uint8_t op, int64_t *ret_value)
{
	switch (op) {
	case OP_CONST1U:
		*ret_value = cursor_u8(cursor);
		return true;
	case OP_CONST1S:
		*ret_value = (int8_t)cursor_u8(cursor);
		return true;
	case OP_CONST2U:
		*ret_value = (int64_t)cursor_fixed(cursor, 2);
		return true;
	case OP_CONST2S:
		*ret_value = (int16_t)cursor_fixed(cursor, 2);
		return true;
	case OP_CONST4U:
		*ret_value = (int64_t)cursor_fixed(cursor, 4);
		return true;
	case OP_CONST4S:
		*ret_value = (int32_t)cursor_fixed(cursor, 4);
		return true;
	case OP_CONSTU:
		*ret_value = (int64_t)cursor_uleb(cursor);
		return true;
	case OP_CONSTS:
		*ret_value = cursor_sleb(cursor);
		return true;
	default:
		*ret_value = op - OP_LIT0;
		return op >= OP_LIT0 && op <= OP_LIT31;
	}
}

static bool fits(int64_t value)
{
	return value >= INT32_MIN && value <= INT32_MAX;
}

/* One addition; numbers past 32 bits say nothing about a stack and are refused before they can overflow. */
static bool add(struct sum *sum, int64_t value)
{
	int64_t *into = sum->dereferenced ? &sum->add : &sum->offset;

	if (!fits(value) || !fits(*into + value))
		return false;
	*into += value;
	return true;
}

/* Reads an expression that is one sum; `sum` holds what the stack begins with. */
static bool read_sum(struct cursor cursor, struct sum *sum)
{
	bool based = sum->base == BASE_CFA;

	while (cursor.at < cursor.end) {
		uint8_t op = cursor_u8(&cursor);
		int64_t value;

		if (op >= OP_BREG0 && op <= OP_BREG15) {
			*sum = (struct sum){ .base = op - OP_BREG0 };
			based = true;
			if (!add(sum, cursor_sleb(&cursor)))
				return false;
		} else if (op == OP_DEREF && !sum->dereferenced) {
			sum->dereferenced = true;
		} else if (op == OP_PLUS_UCONST) {
			value = (int64_t)cursor_uleb(&cursor);
			if (value < 0 || !add(sum, value))
				return false;
		} else if (read_constant(&cursor, op, &value)) {
			op = cursor_u8(&cursor);
			if ((op != OP_PLUS && op != OP_MINUS) || !fits(value) ||
			    !add(sum, op == OP_PLUS ? value : -value))
				return false;
		} else {
			return false;
		}
	}
	return based && !cursor.broken;
}

/* rsp + 8 + ((rip & 15) >= N) * 8, as linkers write it for the lazy PLT: N is 11, or 10 with an endbr64. */
static bool read_plt(struct cursor cursor, int32_t *ret_threshold)
{
	static const uint8_t head[] = { 0x77, 8, 0x80, 0, 0x3f, 0x1a };
	static const uint8_t tail[] = { 0x2a, 0x33, 0x24, 0x22 };

	if (cursor.end - cursor.at != 11 || memcmp(cursor.at, head, sizeof(head)) ||
	    memcmp(cursor.at + 7, tail, sizeof(tail)) || cursor.at[6] < OP_LIT0 || cursor.at[6] > OP_LIT31)
		return false;
	*ret_threshold = cursor.at[6] - OP_LIT0;
	return true;
}

void cfi_cfa_expression(struct cfi_rule *rule, struct cursor expression, bool signal)
{
	struct sum sum = { 0 };

	rule->cfa_reg = DWARF_RSP;
	rule->cfa_offset = 0;
	rule->cfa_add = 0;
	if (read_plt(expression, &rule->cfa_offset)) {
		rule->cfa = UNWIND_CFA_PLT;
		return;
	}
	rule->cfa = UNWIND_CFA_NONE;
	if (!read_sum(expression, &sum))
		return;
	rule->cfa_reg = (uint8_t)sum.base;
	rule->cfa_offset = (int32_t)sum.offset;
	rule->cfa_add = (int32_t)sum.add;
	rule->cfa = sum.dereferenced ? UNWIND_CFA_DEREF : UNWIND_CFA_REG;
	if (signal && sum.dereferenced && sum.base == DWARF_RSP && sum.offset == UCONTEXT_RSP && !sum.add)
		rule->cfa = UNWIND_CFA_SIGNAL;
}

void cfi_bp_expression(struct cfi_rule *rule, struct cursor expression)
{
	struct sum sum = { .base = BASE_CFA };

	rule->bp = CFI_BP_UNKNOWN;
	rule->bp_offset = 0;
	if (!read_sum(expression, &sum) || sum.dereferenced)
		return;
	if (sum.base == BASE_CFA)
		rule->bp = CFI_BP_CFA;
	else if (sum.base == DWARF_RBP)
		rule->bp = CFI_BP_RBP;
	else if (sum.base == DWARF_RSP)
		rule->bp = CFI_BP_RSP;
	else
		return;
	rule->bp_offset = (int32_t)sum.offset;
}

void cfi_ra_expression(struct cfi_rule *rule, struct cursor expression)
{
	struct sum sum = { .base = BASE_CFA };
	bool usable = read_sum(expression, &sum) && !sum.dereferenced && sum.base == BASE_CFA;

	rule->ra = usable ? CFI_RA_CFA : CFI_RA_UNKNOWN;
	rule->ra_offset = usable ? (int32_t)sum.offset : 0;
}

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
#define OP_MUL 0x1e
#define OP_PLUS 0x22
#define OP_PLUS_UCONST 0x23
#define OP_LIT0 0x30
#define OP_LIT31 0x4f
#define OP_BREG0 0x70
#define OP_BREG15 0x7f
#define OP_DEREF_SIZE 0x94
#define BASE_CFA 0x100 /* the CFA, which DW_CFA_expression finds on the stack */
#define UCONTEXT_RSP 160 /* offsetof(struct ucontext, uc_mcontext.sp): what glibc's __restore_rt says */

struct sum { /* *(base + 8 * index + offset) + add, or base + 8 * index + offset */
	unsigned int base, index;
	bool indexed, dereferenced, narrow;
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

/* Behind a first register: another one times 8, as OpenSSL's Montgomery multiplication keeps its rsp. */
static bool read_index(struct cursor *cursor, uint8_t op, struct sum *sum)
{
	static const uint8_t times_8[] = { OP_LIT0 + 8, OP_MUL, OP_PLUS };

	if (sum->indexed || sum->dereferenced || cursor_sleb(cursor) ||
	    (size_t)(cursor->end - cursor->at) < sizeof(times_8) || memcmp(cursor->at, times_8, sizeof(times_8)))
		return false;
	cursor->at += sizeof(times_8);
	sum->indexed = true;
	sum->index = op - OP_BREG0;
	return true;
}

static bool read_dereference(struct cursor *cursor, uint8_t op, struct sum *sum)
{
	uint8_t bytes = op == OP_DEREF ? 8 : cursor_u8(cursor);

	if (sum->dereferenced || (bytes != 8 && bytes != 4))
		return false;
	sum->dereferenced = true;
	sum->narrow = bytes == 4;
	return true;
}

static bool read_addition(struct cursor *cursor, uint8_t op, struct sum *sum)
{
	int64_t value;

	if (op == OP_PLUS_UCONST) {
		value = (int64_t)cursor_uleb(cursor);
		return value >= 0 && add(sum, value);
	}
	if (!read_constant(cursor, op, &value))
		return false;
	op = cursor_u8(cursor);
	return (op == OP_PLUS || op == OP_MINUS) && fits(value) && add(sum, op == OP_PLUS ? value : -value);
}

/* Reads an expression that is one sum; `sum` holds what the stack begins with. */
static bool read_sum(struct cursor cursor, struct sum *sum)
{
	bool based = false, good = true;

	while (good && cursor.at < cursor.end) {
		uint8_t op = cursor_u8(&cursor);

		if (op >= OP_BREG0 && op <= OP_BREG15 && !based) {
			*sum = (struct sum){ .base = op - OP_BREG0 };
			good = add(sum, cursor_sleb(&cursor));
			based = true;
		} else if (op >= OP_BREG0 && op <= OP_BREG15) {
			good = read_index(&cursor, op, sum);
		} else if (op == OP_DEREF || op == OP_DEREF_SIZE) {
			good = read_dereference(&cursor, op, sum);
		} else {
			good = read_addition(&cursor, op, sum);
		}
	}
	return good && (based || sum->base == BASE_CFA) && !cursor.broken;
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
	rule->index = rule->flags = 0;
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
	rule->flags = sum.narrow ? UNWIND_ESCAPE_NARROW : 0;
	rule->index = (uint8_t)sum.index;
	if (sum.indexed)
		rule->cfa = sum.dereferenced ? UNWIND_CFA_INDEX : UNWIND_CFA_NONE;
	if (signal && sum.dereferenced && sum.base == DWARF_RSP && sum.offset == UCONTEXT_RSP && !sum.add)
		rule->cfa = UNWIND_CFA_SIGNAL;
}

/* `value`: the expression is rbp itself (DW_CFA_val_expression), else where it is saved. */
void cfi_bp_expression(struct cfi_rule *rule, struct cursor expression, bool value)
{
	struct sum sum = { .base = BASE_CFA };

	rule->bp = CFI_BP_UNKNOWN;
	rule->bp_reg = 0;
	rule->bp_offset = rule->bp_add = 0;
	if (!read_sum(expression, &sum) || sum.indexed || sum.narrow)
		return;
	rule->bp_offset = (int32_t)sum.offset;
	if (sum.base == BASE_CFA) {
		if (!sum.dereferenced)
			rule->bp = value ? CFI_BP_VALUE : CFI_BP_CFA;
		return;
	}
	rule->bp_reg = (uint8_t)sum.base;
	rule->bp_add = (int32_t)sum.add;
	if (!sum.dereferenced)
		rule->bp = value ? CFI_BP_REG : CFI_BP_BASE;
	else if (!value)
		rule->bp = CFI_BP_DEREF;
	else if (!sum.add) /* the value of a word is what is saved at its place */
		rule->bp = CFI_BP_BASE;
}

void cfi_ra_expression(struct cfi_rule *rule, struct cursor expression)
{
	struct sum sum = { .base = BASE_CFA };
	bool usable = read_sum(expression, &sum) && !sum.dereferenced && sum.base == BASE_CFA;

	rule->ra = usable ? CFI_RA_CFA : CFI_RA_UNKNOWN;
	rule->ra_offset = usable ? (int32_t)sum.offset : 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Part of cfi_oracle.h: the CFA and the place of a register as libdw gives them, in the words of rule_words.h. */
#ifndef TESTS_CFI_ORACLE_PLACES_H
#define TESTS_CFI_ORACLE_PLACES_H

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static bool same_ops(const Dwarf_Op *ops, size_t count, const uint8_t *codes, size_t wanted)
{
	for (size_t i = 0; i < count && i < wanted; i++)
		if (codes[i] && ops[i].atom != codes[i])
			return false;
	return count == wanted;
}

static bool oracle_cfa(Dwarf_Frame *frame, bool signal, char *text, int *ret_rsp_offset)
{
	static const uint8_t plt[] = { DW_OP_breg7, DW_OP_breg16, DW_OP_lit15, DW_OP_and, 0,
				       DW_OP_ge,    DW_OP_lit3,   DW_OP_shl,   DW_OP_plus };
	static const uint8_t index[] = { 0, 0, DW_OP_lit8, DW_OP_mul, DW_OP_plus, DW_OP_deref, DW_OP_plus_uconst };
	Dwarf_Op *ops;
	size_t count;

	*ret_rsp_offset = INT_MAX;
	if (dwarf_frame_cfa(frame, &ops, &count) || !count)
		return false;
	if (same_ops(ops, count, plt, sizeof(plt))) {
		sprintf(text, "plt %d", ops[4].atom - DW_OP_lit0);
		return true;
	}
	if (count == 1 && ops[0].atom == DW_OP_bregx) {
		sprintf(text, "r%d%+d", (int)ops[0].number, (int)ops[0].number2);
		if (ops[0].number == 7)
			*ret_rsp_offset = (int)ops[0].number2;
		return ops[0].number < 16;
	}
	if (ops[0].atom < DW_OP_breg0 || ops[0].atom > DW_OP_breg15)
		return false;
	if (count == 1) {
		sprintf(text, "r%d%+d", ops[0].atom - DW_OP_breg0, (int)ops[0].number);
		if (ops[0].atom == DW_OP_breg7)
			*ret_rsp_offset = (int)ops[0].number;
		return true;
	}
	if (same_ops(ops, count, index, sizeof(index)) && ops[1].atom <= DW_OP_breg15) {
		sprintf(text, "*(r%d+8*r%d%+d)%+d", ops[0].atom - DW_OP_breg0, ops[1].atom - DW_OP_breg0,
			(int)ops[0].number, (int)ops[6].number);
		return true;
	}
	if (ops[1].atom != DW_OP_deref || count > 3 || (count == 3 && ops[2].atom != DW_OP_plus_uconst))
		return false;
	sprintf(text, "*(r%d%+d)%+d", ops[0].atom - DW_OP_breg0, (int)ops[0].number,
		count == 3 ? (int)ops[2].number : 0);
	if (signal && !strcmp(text, "*(r7+160)+0"))
		strcpy(text, "signal");
	return true;
}

/* Only rbp is known from where any register points. */
static bool is_breg(const Dwarf_Op *op, int number)
{
	return op->atom == DW_OP_breg6 || (number == 6 && op->atom >= DW_OP_breg0 && op->atom <= DW_OP_breg15);
}

/* The register's place; false: an undefined one. */
static bool oracle_register(Dwarf_Frame *frame, int number, int rsp_offset, char *text)
{
	Dwarf_Op memory[3], *ops;
	size_t count;

	assert_int_equal(dwarf_frame_register(frame, number, memory, &ops, &count), 0);
	if (!count) {
		strcpy(text, ops ? "unknown" : "same");
		return !ops;
	}
	if (ops[0].atom == DW_OP_call_frame_cfa && count <= 2 &&
	    (count == 1 || ops[1].atom == DW_OP_plus_uconst)) {
		int offset = count == 2 ? (int)ops[1].number : 0;

		/* Below rsp: popped, so the register has it. */
		if (number == 6 && rsp_offset != INT_MAX && rsp_offset + offset < 0)
			strcpy(text, "same");
		else
			sprintf(text, "cfa%+d", offset);
	} else if (ops[0].atom == DW_OP_call_frame_cfa && count == 2 && is_breg(&ops[1], number)) {
		sprintf(text, "r%d%+d", ops[1].atom - DW_OP_breg0, (int)ops[1].number);
	} else if (count == 1 && is_breg(&ops[0], number)) {
		sprintf(text, "r%d%+d", ops[0].atom - DW_OP_breg0, (int)ops[0].number);
	} else if (count == 1 && (ops[0].atom == DW_OP_regx || (ops[0].atom >= DW_OP_reg0 && ops[0].atom <= DW_OP_reg15))) {
		sprintf(text, number == 6 ? "=r%d+0" : "r%d",
			ops[0].atom == DW_OP_regx ? (int)ops[0].number : ops[0].atom - DW_OP_reg0);
	} else {
		strcpy(text, "unknown");
	}
	return true;
}

#endif

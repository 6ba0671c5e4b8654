/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bounded reading of DWARF numbers. A cursor that would leave its range marks itself broken, gives zeros from
 * then on and stands at its end, so that loops stop and the caller checks once.
 */
#ifndef SYMBOLIZER_CFI_PRIVATE_H
#define SYMBOLIZER_CFI_PRIVATE_H

#include "symbolizer/cfi.h"

#include <string.h>

#define DWARF_RBX 3
#define DWARF_RBP 6
#define DWARF_RSP 7
#define DWARF_R12 12
#define DWARF_RA 16

struct cursor {
	const uint8_t *at, *end;
	bool broken;
};

static inline uint64_t cursor_break(struct cursor *cursor)
{
	cursor->broken = true;
	cursor->at = cursor->end;
	return 0;
}

static inline uint64_t cursor_fixed(struct cursor *cursor, unsigned int bytes)
{
	uint64_t value = 0;

	if ((size_t)(cursor->end - cursor->at) < bytes)
		return cursor_break(cursor);
	memcpy(&value, cursor->at, bytes);
	cursor->at += bytes;
	return value;
}

static inline uint8_t cursor_u8(struct cursor *cursor)
{
	return cursor->at < cursor->end ? *cursor->at++ : (uint8_t)cursor_break(cursor);
}

static inline uint64_t cursor_uleb(struct cursor *cursor)
{
	uint64_t value = 0;

	for (unsigned int shift = 0; shift < 64 && cursor->at < cursor->end; shift += 7) {
		uint8_t byte = *cursor->at++;

		value |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80))
			return value;
	}
	return cursor_break(cursor);
}

static inline int64_t cursor_sleb(struct cursor *cursor)
{
	uint64_t value = 0;

	for (unsigned int shift = 0; shift < 64 && cursor->at < cursor->end; shift += 7) {
		uint8_t byte = *cursor->at++;

		value |= (uint64_t)(byte & 0x7f) << shift;
		if (byte & 0x80)
			continue;
		if (byte & 0x40 && shift + 7 < 64)
			value |= UINT64_MAX << (shift + 7);
		return (int64_t)value;
	}
	return (int64_t)cursor_break(cursor);
}

/* A block of `size` bytes as a cursor of its own. */
static inline struct cursor cursor_block(struct cursor *cursor, uint64_t size)
{
	struct cursor block = { cursor->at, cursor->at, false };

	if (size > (uint64_t)(cursor->end - cursor->at)) {
		cursor_break(cursor);
		block.broken = true;
		return block;
	}
	cursor->at += size;
	block.end = cursor->at;
	return block;
}

/* DW_EH_PE_* below 0x20; `vaddr` is where the cursor stands. Others break the cursor. */
uint64_t cfi_pointer(struct cursor *cursor, uint8_t encoding, uint64_t vaddr);

/* Expressions (cfi_expression.c): each sets its part of the rule, to "unknown" where it cannot be said. */
void cfi_cfa_expression(struct cfi_rule *rule, struct cursor expression, bool signal);
void cfi_bp_expression(struct cfi_rule *rule, struct cursor expression, bool value);
void cfi_ra_expression(struct cfi_rule *rule, struct cursor expression);

/* Runs `program` on the rule it is given (cfi_program.c). `row` NULL: a CIE, whose result is left in *rule. */
struct cfi_run {
	const struct cfi_cie *cie;
	struct cursor program;
	uint64_t program_vaddr; /* of program.at at the start, for DW_CFA_set_loc */
	uint64_t start, limit;
	bool follow;
	cfi_row_fn *row;
	void *context;
};
int cfi_program(const struct cfi_run *run, struct cfi_rule *rule);

#endif

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The rules that fit no row of abi/unwind.h, which includes it: a table of them, rows name one by its index. */
#ifndef ABI_ESCAPE_H
#define ABI_ESCAPE_H

#include "abi/types.h"

enum unwind_cfa {         /* how an escape finds the CFA; `reg` is a DWARF register number */
	UNWIND_CFA_REG = 1,   /* reg + cfa_offset, if its value is known (unwind_has_register) */
	UNWIND_CFA_DEREF = 2, /* *(reg + cfa_offset) + cfa_add */
	UNWIND_CFA_PLT = 3,   /* rsp + 8 + ((pc & 15) >= cfa_offset ? 8 : 0) */
	UNWIND_CFA_SIGNAL = 4, /* rsp points at the kernel's ucontext: all registers come from it */
	UNWIND_CFA_SWITCH = 5, /* as REG, but the caller's frame may lie on another stack, also further down */
	UNWIND_CFA_NONE = 6,  /* known not to be expressible: REASON_UNSUPPORTED_RULE */
	UNWIND_CFA_INDEX = 7, /* *(reg + 8 * index + cfa_offset) + cfa_add */
};
enum unwind_bp { /* rbp in the caller */
	UNWIND_BP_SAME = 0,
	UNWIND_BP_CFA = 1,     /* *(CFA + bp_offset) */
	UNWIND_BP_MEMORY = 2,  /* *(bp_reg + bp_offset) */
	UNWIND_BP_UNKNOWN = 3, /* undefined or an expression: later frames must not need it */
	UNWIND_BP_REG = 4,     /* bp_reg + bp_offset */
	UNWIND_BP_VALUE = 5,   /* CFA + bp_offset */
	UNWIND_BP_DEREF = 6,   /* *(*(bp_reg + bp_offset) + bp_add) */
};
enum unwind_ra { /* the return address */
	UNWIND_RA_CFA = 0, /* *(CFA + ra_offset), usually CFA - 8 */
	UNWIND_RA_REG = 1, /* still or already in register ra_offset */
};

#define UNWIND_ESCAPE_NARROW 1 /* the CFA's dereference reads 4 bytes (DW_OP_deref_size) */
#define UNWIND_ESCAPE_SAVED 2  /* `saved` is filled in: the other callee-saved registers can be followed */

#define UNWIND_SAVED 5 /* rbx, r12 to r15 */

struct unwind_escape {
	__u8 cfa; /* enum unwind_cfa */
	__u8 reg;
	__u8 bp; /* enum unwind_bp */
	__u8 ra; /* enum unwind_ra */
	__s32 cfa_offset;
	__s32 cfa_add;
	__s32 bp_offset;
	__s32 bp_add;
	__s32 ra_offset;
	__u8 index, bp_reg;
	__u8 flags;
	__u8 saved[UNWIND_SAVED]; /* 0 unchanged, k: at CFA - 8 * k */
};
ABI_SIZE(struct unwind_escape, 32);

#endif

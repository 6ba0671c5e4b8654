/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One x86-64 instruction: how long it is and what it does to rsp, rbp and the flow of control. No more is known of
 * it, so that the tables stay small. Pure.
 */
#ifndef SYMBOLIZER_X86_H
#define SYMBOLIZER_X86_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define X86_MAX_LENGTH 15
#define X86_RBX 3
#define X86_RBP 5 /* numbers as instructions have them, not DWARF's */
#define X86_RSP 4

enum x86_kind {
	X86_OTHER,     /* changes neither rsp nor rbp */
	X86_NOP,       /* also int3 and zeros between functions: padding */
	X86_PUSH,      /* reg, -1: something else */
	X86_POP,       /* reg, -1: something else */
	X86_ADD_RSP,   /* rsp += value */
	X86_RSP_FROM_RBP, /* rsp = rbp + value */
	X86_RBP_FROM_RSP, /* rbp = rsp + value */
	X86_COPY_RSP,  /* reg = rsp + value; not rbp */
	X86_RSP_FROM_REG, /* rsp = reg + value; not rbp */
	X86_RSP_LOST,  /* rsp = something else */
	X86_SAVE_RBP,  /* *(rsp + value) = rbp */
	X86_LOAD_RBP,  /* rbp = *(rsp + value) */
	X86_ZERO_RBP,
	X86_RBP_LOST,  /* rbp = something else */
	X86_LEAVE,
	X86_CALL,      /* value: the target if direct, else 0 */
	X86_JUMP,      /* as CALL */
	X86_BRANCH,    /* conditional; value: the target */
	X86_RETURN,    /* also a jump through a fixed pointer, to a function that returns for this one */
	X86_STOP,      /* control does not come back: hlt, ud2, iret. Also enter, which no compiler writes */
};

struct x86 {
	uint8_t length;
	uint8_t kind; /* enum x86_kind */
	int8_t reg;
	int8_t written;   /* the general register that it writes, -1: none; implicit ones are left out */
	bool through_rbp; /* its operand is memory at rbp + displacement */
	int64_t value; /* targets are relative to the instruction's first byte, never 0 */
};

/* Decodes at most `size` bytes. 0, or -EINVAL: no instruction, or cut off. */
int x86_decode(const uint8_t *code, size_t size, struct x86 *ret_instruction);
/* endbr64, a push of a register that must be kept, or room for locals: what functions that call begin with. */
bool x86_begins_function(const uint8_t *code, size_t size);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* A hand-made stack for the unwinder's step, which this header includes. */
#ifndef TESTS_STEP_STACK_H
#define TESTS_STEP_STACK_H

#include <stdint.h>
#include <string.h>

#include "abi/types.h"

#define BASE 0x7fff0000ULL
#define WORDS 512

struct stack { /* words[0] lies at BASE; what is below `from` cannot be read */
	uint64_t words[WORDS];
	uint64_t from;
};

static int stack_read(void *context, uint64_t address, __u64 *to)
{
	const struct stack *stack = context;

	if (address < stack->from || address < BASE || address - BASE > sizeof(stack->words) - 8)
		return 1;
	memcpy(to, (const char *)stack->words + (address - BASE), 8);
	return 0;
}
#define UNWIND_READ stack_read
#include "unwind_step.h"

static void put(struct stack *stack, uint64_t address, uint64_t value)
{
	memcpy((char *)stack->words + (address - BASE), &value, 8);
}

static struct unwind_regs regs_at(uint64_t rsp, uint64_t rbp)
{
	struct unwind_regs regs = { .pc = 0x1000, .exact = 1 };

	regs.reg[UNWIND_RSP] = rsp;
	regs.reg[UNWIND_RBP] = rbp;
	return regs;
}

#endif

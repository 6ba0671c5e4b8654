/* SPDX-License-Identifier: Apache-2.0 */
/* The unwinder's step and row look-up, as the kernel side compiles them, over hand-made stacks and tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "abi/types.h"

#include "step_stack.h"

static void rsp_rule_finds_caller_and_rbp(void **state)
{
	struct stack stack = { 0 };
	struct unwind_regs regs = regs_at(BASE + 64, 7);

	(void)state;
	put(&stack, BASE + 64 + 40, 0x2222);     /* return address at CFA - 8, CFA = rsp + 48 */
	put(&stack, BASE + 64 + 48 - 24, 0x3333); /* slot 2: CFA - 24 */
	assert_int_equal(unwind_step_rule(&regs, UNWIND_RULE(UNWIND_KIND_RSP, 2, 6), &stack), REASON_NONE);
	assert_int_equal(regs.pc, 0x2222);
	assert_int_equal(regs.reg[UNWIND_RSP], BASE + 112);
	assert_int_equal(regs.reg[UNWIND_RBP], 0x3333);
	assert_false(regs.exact);
}

static void rbp_rule_counts_from_rbp(void **state)
{
	struct stack stack = { 0 };
	struct unwind_regs regs = regs_at(BASE + 8, BASE + 160);

	(void)state;
	put(&stack, BASE + 160, BASE + 400);
	put(&stack, BASE + 168, 0x4444);
	assert_int_equal(unwind_step_rule(&regs, UNWIND_RULE(UNWIND_KIND_RBP, 1, 2), &stack), REASON_NONE);
	assert_int_equal(regs.pc, 0x4444);
	assert_int_equal(regs.reg[UNWIND_RSP], BASE + 176);
	assert_int_equal(regs.reg[UNWIND_RBP], BASE + 400);
}

static void rule_refuses_to_go_back_or_to_guess(void **state)
{
	struct stack stack = { 0 };
	struct unwind_regs regs = regs_at(BASE + 200, BASE + 8);

	(void)state;
	assert_int_equal(unwind_step_rule(&regs, UNWIND_RULE(UNWIND_KIND_RBP, 1, 2), &stack), REASON_NO_PROGRESS);
	regs.reg[UNWIND_RBP] = BASE + 208;
	regs.rbp_lost = 1;
	assert_int_equal(unwind_step_rule(&regs, UNWIND_RULE(UNWIND_KIND_RBP, 1, 2), &stack),
			 REASON_UNSUPPORTED_RULE);
	regs = regs_at(BASE + sizeof(stack.words) - 8, 0);
	assert_int_equal(unwind_step_rule(&regs, UNWIND_RULE(UNWIND_KIND_RSP, 0, 4), &stack), REASON_READ_FAULT);
}

/* After `pop rbp` the slot lies below rsp: a copied stack has no such word, the register is right already. */
static void rbp_slot_below_rsp_keeps_the_register(void **state)
{
	struct stack stack = { .from = BASE + 64 };
	struct unwind_regs regs = regs_at(BASE + 64, 0x5555);

	(void)state;
	put(&stack, BASE + 64, 0x2222);
	assert_int_equal(unwind_step_rule(&regs, UNWIND_RULE(UNWIND_KIND_RSP, 1, 1), &stack), REASON_NONE);
	assert_int_equal(regs.reg[UNWIND_RBP], 0x5555);
	assert_false(regs.rbp_lost);
	stack.from = BASE; /* a live stack has it */
	regs = regs_at(BASE + 64, 0x5555);
	put(&stack, BASE + 56, 0x6666);
	assert_int_equal(unwind_step_rule(&regs, UNWIND_RULE(UNWIND_KIND_RSP, 1, 1), &stack), REASON_NONE);
	assert_int_equal(regs.reg[UNWIND_RBP], 0x6666);
}

static void linked_frames_lead_to_the_end(void **state)
{
	struct stack stack = { 0 };
	struct unwind_regs regs = regs_at(BASE, BASE + 64);

	(void)state;
	put(&stack, BASE + 64, BASE + 128);
	put(&stack, BASE + 72, 0x7777);
	put(&stack, BASE + 128, 0);
	put(&stack, BASE + 136, 0x8888);
	assert_int_equal(unwind_step_linked(&regs, &stack), REASON_NONE);
	assert_int_equal(regs.pc, 0x7777);
	assert_int_equal(regs.reg[UNWIND_RSP], BASE + 80);
	assert_int_equal(unwind_step_linked(&regs, &stack), REASON_NONE);
	assert_int_equal(regs.pc, 0x8888);
	assert_int_equal(unwind_step_linked(&regs, &stack), REASON_NONE);
	assert_int_equal(regs.pc, 0); /* the end */
}

static void linked_frames_are_doubted(void **state)
{
	static const uint64_t bad[] = { 0, BASE + 16, BASE + 65, BASE + WORDS * 8 };
	struct stack stack = { 0 };
	struct unwind_regs regs;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		regs = regs_at(BASE + 32, bad[i]);
		assert_int_equal(unwind_step_linked(&regs, &stack), REASON_NO_RULE);
		assert_int_equal(regs.pc, 0x1000);
	}
	regs = regs_at(BASE + 32, BASE + 64); /* zeros are no end where no frame led to them */
	assert_int_equal(unwind_step_linked(&regs, &stack), REASON_NO_RULE);
	put(&stack, BASE + 64, BASE + 64); /* a loop */
	put(&stack, BASE + 72, 0x7777);
	assert_int_equal(unwind_step_linked(&regs, &stack), REASON_NO_RULE);
	put(&stack, BASE + 64, 0);
	regs.rbp_lost = 1;
	assert_int_equal(unwind_step_linked(&regs, &stack), REASON_NO_RULE);
	regs.rbp_lost = 0;
	assert_int_equal(unwind_step_linked(&regs, &stack), REASON_NONE);
}

/* The rule of row `row` in make_block's blocks. */
static uint16_t rule_of(uint32_t row)
{
	return (uint16_t)(100 + 7 * (row % 251));
}

/* A block at `offset` of `count` rows with a palette of 251 rules. */
static void make_block(char *chunk, uint32_t offset, const uint16_t *pcs, uint32_t count)
{
	uint16_t *starts = (uint16_t *)(void *)(chunk + offset);
	uint32_t row = 0, first = UNWIND_HEAD + 251;
	struct unwind_row *rows = (struct unwind_row *)(void *)(starts + first);

	for (uint32_t bucket = 0; bucket <= UNWIND_BUCKETS; bucket++) {
		while (row < count && pcs[row] >> UNWIND_BUCKET_BITS < (int)bucket)
			row++;
		starts[bucket] = (uint16_t)(first + row);
	}
	for (row = 0; row < 251; row++)
		starts[UNWIND_HEAD + row] = rule_of(row);
	for (row = 0; row < count; row++)
		rows[row] = (struct unwind_row){ .pc = (uint8_t)pcs[row], .rule = (uint8_t)(row % 251) };
}

static void rule_in_force_for_every_pc(void **state)
{
	char *chunk = calloc(1, UNWIND_CHUNK_BYTES);
	uint16_t pcs[4000];
	uint32_t count = 0, seed = 7;

	(void)state;
	assert_non_null(chunk);
	for (uint32_t pc = 0; pc < 65536 && count < 4000; count++) {
		pcs[count] = (uint16_t)pc;
		seed = seed * 1103515245 + 12345;
		/* a full bucket, empty ones, and the usual few bytes */
		pc += pc >= 0x1000 && pc < 0x1100 ? 1 : seed >> 16 & 63 ? (seed >> 8 & 31) + 1 : 900;
		pc = pcs[count] < 0x1000 && pc > 0x1000 ? 0x1000 : pc;
	}
	make_block(chunk, 4096, pcs, count);
	for (uint32_t pc = 0, row = 0; pc < 65536; pc++) {
		while (row + 1 < count && pcs[row + 1] <= pc)
			row++;
		assert_int_equal(unwind_find_rule(chunk, 4096, pc), rule_of(row));
	}
	free(chunk);
}

/* Whatever a table holds, no read leaves the chunk (the address sanitizer looks on). */
static void hostile_tables_stay_inside(void **state)
{
	char *chunk = malloc(UNWIND_CHUNK_BYTES);
	static const uint32_t offsets[] = { 0, UNWIND_CHUNK_BYTES - 2, UNWIND_CHUNK_BYTES - 514, 0xfffffffe };

	(void)state;
	assert_non_null(chunk);
	memset(chunk, 0xff, UNWIND_CHUNK_BYTES);
	for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++)
		for (uint32_t pc = 0; pc < 65535; pc += 37)
			assert_int_equal(unwind_find_rule(chunk, offsets[i], pc), 0xffff);
	free(chunk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rsp_rule_finds_caller_and_rbp),
		cmocka_unit_test(rbp_rule_counts_from_rbp),
		cmocka_unit_test(rule_refuses_to_go_back_or_to_guess),
		cmocka_unit_test(rbp_slot_below_rsp_keeps_the_register),
		cmocka_unit_test(linked_frames_lead_to_the_end),
		cmocka_unit_test(linked_frames_are_doubted),
		cmocka_unit_test(rule_in_force_for_every_pc),
		cmocka_unit_test(hostile_tables_stay_inside),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

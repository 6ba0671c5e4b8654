/* SPDX-License-Identifier: Apache-2.0 */
/* Steps by rules that fit no row, each class by itself, and steps from single instructions where no rule is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "step_stack.h"

static void signal_frame_gives_every_register(void **state)
{
	static const uint8_t order[16] = { 8, 9, 10, 11, 12, 13, 14, 15, 5, 4, 6, 3, 1, 0, 2, 7 };
	const struct unwind_escape escape = { .cfa = UNWIND_CFA_SIGNAL };
	struct stack stack = { 0 };
	struct unwind_regs regs = regs_at(BASE + 256, 0);

	(void)state;
	regs.exact = 0;
	regs.rbp_lost = 1;
	for (int i = 0; i < 16; i++) /* DWARF register n holds 100 + n, as struct sigcontext_64 lies */
		put(&stack, BASE + 256 + 40 + 8 * (uint64_t)i, 100 + order[i]);
	put(&stack, BASE + 256 + 168, 0x9999);
	assert_int_equal(unwind_step_escape(&regs, &escape, &stack), REASON_NONE);
	for (int i = 0; i < 16; i++)
		assert_int_equal(regs.reg[i], 100 + i);
	assert_int_equal(regs.pc, 0x9999);
	assert_true(regs.exact);
	assert_false(regs.rbp_lost);
	regs = regs_at(BASE + sizeof(stack.words) - 100, 0);
	assert_int_equal(unwind_step_escape(&regs, &escape, &stack), REASON_READ_FAULT);
}

static void plt_entry_depends_on_pc(void **state)
{
	const struct unwind_escape escape = { .cfa = UNWIND_CFA_PLT, .cfa_offset = 11, .ra_offset = -8 };
	struct stack stack = { 0 };
	struct unwind_regs regs = regs_at(BASE + 64, 5);

	(void)state;
	put(&stack, BASE + 64, 0x2222);
	put(&stack, BASE + 72, 0x3333);
	regs.pc = 0x100a;
	assert_int_equal(unwind_step_escape(&regs, &escape, &stack), REASON_NONE);
	assert_int_equal(regs.pc, 0x2222);
	regs = regs_at(BASE + 64, 5);
	regs.pc = 0x100b;
	assert_int_equal(unwind_step_escape(&regs, &escape, &stack), REASON_NONE);
	assert_int_equal(regs.pc, 0x3333);
	assert_int_equal(regs.reg[UNWIND_RBP], 5);
}

static void other_registers_where_nobody_restores_them(void **state)
{
	struct unwind_escape escape = { .cfa = UNWIND_CFA_REG, .reg = 3, .cfa_offset = 16, .ra_offset = -8,
					.bp = UNWIND_BP_MEMORY, .bp_reg = UNWIND_RBP, .bp_offset = -8 };
	struct stack stack = { 0 };
	struct unwind_regs regs = regs_at(BASE, BASE + 128);

	(void)state;
	put(&stack, BASE + 72, 0x2222);
	put(&stack, BASE + 120, 0x3333);
	regs.reg[3] = BASE + 64;
	assert_int_equal(unwind_step_escape(&regs, &escape, &stack), REASON_NONE);
	assert_int_equal(regs.pc, 0x2222);
	assert_int_equal(regs.reg[UNWIND_RSP], BASE + 80);
	assert_int_equal(regs.reg[UNWIND_RBP], 0x3333);
	regs.reg[3] = BASE + 128; /* rbx: what it was here is saved in a frame below, where nobody looks */
	assert_int_equal(unwind_step_escape(&regs, &escape, &stack), REASON_UNSUPPORTED_RULE);
	escape.reg = 0; /* rax: still what it was */
	escape.bp = UNWIND_BP_SAME;
	regs.reg[0] = BASE + 128;
	put(&stack, BASE + 136, 0x4444);
	assert_int_equal(unwind_step_escape(&regs, &escape, &stack), REASON_NONE);
	assert_int_equal(regs.pc, 0x4444);
}

/* gcc's realigned frames: the CFA is kept in a slot below rbp; rbp itself may be an expression. */
static void dereferenced_cfa(void **state)
{
	const struct unwind_escape escape = { .cfa = UNWIND_CFA_DEREF, .reg = UNWIND_RBP, .cfa_offset = -8,
					      .cfa_add = 16, .ra_offset = -8, .bp = UNWIND_BP_UNKNOWN };
	const struct unwind_escape needs_rbp = { .cfa = UNWIND_CFA_REG, .reg = UNWIND_RBP, .cfa_offset = 800,
						 .ra_offset = -8 };
	const struct unwind_escape none = { .cfa = UNWIND_CFA_NONE };
	struct stack stack = { 0 };
	struct unwind_regs regs = regs_at(BASE, BASE + 128);

	(void)state;
	put(&stack, BASE + 120, BASE + 200);
	put(&stack, BASE + 208, 0x2222);
	assert_int_equal(unwind_step_escape(&regs, &escape, &stack), REASON_NONE);
	assert_int_equal(regs.pc, 0x2222);
	assert_int_equal(regs.reg[UNWIND_RSP], BASE + 216);
	assert_true(regs.rbp_lost);
	assert_int_equal(unwind_step_escape(&regs, &needs_rbp, &stack), REASON_UNSUPPORTED_RULE);
	assert_int_equal(unwind_step_escape(&regs, &none, &stack), REASON_UNSUPPORTED_RULE);
}

/* Every callee-saved register where its callee put it, through three frames that say so and one that does not. */
static void callee_saved_registers_are_followed(void **state)
{
	const struct unwind_escape leaf = { .cfa = UNWIND_CFA_REG, .reg = UNWIND_RSP, .cfa_offset = 32,
					    .ra_offset = -8, .flags = UNWIND_ESCAPE_SAVED, .saved = { 2, 3, 0, 0, 4 } };
	const struct unwind_escape middle = { .cfa = UNWIND_CFA_REG, .reg = UNWIND_RSP, .cfa_offset = 24,
					      .ra_offset = -8, .flags = UNWIND_ESCAPE_SAVED, .saved = { 0, 0, 2 } };
	const struct unwind_escape needs = { .cfa = UNWIND_CFA_REG, .reg = 3, .cfa_offset = 16, .ra_offset = -8,
					     .flags = UNWIND_ESCAPE_SAVED, .saved = { 2 } };
	struct unwind_escape needs_r13 = needs;
	struct stack stack = { 0 };
	struct unwind_regs regs = regs_at(BASE, 0), before;

	(void)state;
	put(&stack, BASE, BASE + 999);      /* r15 */
	put(&stack, BASE + 8, 0x1212);      /* r12 */
	put(&stack, BASE + 16, BASE + 320); /* rbx */
	put(&stack, BASE + 24, 0x2222);
	assert_int_equal(unwind_step_escape(&regs, &leaf, &stack), REASON_NONE);
	assert_int_equal(regs.reg[3], BASE + 320);
	assert_int_equal(regs.reg[12], 0x1212);
	assert_int_equal(regs.reg[15], BASE + 999);
	put(&stack, BASE + 40, BASE + 400); /* r13 */
	put(&stack, BASE + 48, 0x3333);
	assert_int_equal(unwind_step_escape(&regs, &middle, &stack), REASON_NONE);
	before = regs;
	put(&stack, BASE + 320, 0x5a5a);
	put(&stack, BASE + 328, 0x4444);
	assert_int_equal(unwind_step_escape(&regs, &needs, &stack), REASON_NONE);
	assert_int_equal(regs.pc, 0x4444);
	assert_int_equal(regs.reg[UNWIND_RSP], BASE + 336);
	assert_int_equal(regs.reg[3], 0x5a5a);
	needs_r13.reg = 13;
	put(&stack, BASE + 408, 0x5555);
	assert_int_equal(unwind_step_escape(&regs, &needs_r13, &stack), REASON_NONE);
	assert_int_equal(regs.pc, 0x5555);

	regs = before; /* the same, but for a row in between that tells nothing */
	put(&stack, BASE + 56 + 8, 0x3434);
	assert_int_equal(unwind_step_rule(&regs, UNWIND_RULE(UNWIND_KIND_RSP, 0, 2), &stack), REASON_NONE);
	assert_int_equal(unwind_step_escape(&regs, &needs, &stack), REASON_UNSUPPORTED_RULE);
	regs = before; /* or an escape that does not */
	needs_r13 = needs;
	needs_r13.flags = 0;
	assert_int_equal(unwind_step_escape(&regs, &needs_r13, &stack), REASON_NONE);
	assert_int_equal(unwind_step_escape(&regs, &needs, &stack), REASON_UNSUPPORTED_RULE);
}

/* In an epilogue the register has its value again, though the rule still names its slot. */
static void popped_registers_are_not_read_again(void **state)
{
	const struct unwind_escape leaf = { .cfa = UNWIND_CFA_REG, .reg = UNWIND_RSP, .cfa_offset = 8,
					    .ra_offset = -8, .flags = UNWIND_ESCAPE_SAVED, .saved = { 2 } };
	struct stack stack = { 0 };
	struct unwind_regs regs = regs_at(BASE + 64, 0);

	(void)state;
	put(&stack, BASE + 56, 0xbad);
	put(&stack, BASE + 64, 0x2222);
	regs.reg[3] = 0x600d;
	assert_int_equal(unwind_step_escape(&regs, &leaf, &stack), REASON_NONE);
	assert_int_equal(regs.reg[3], 0x600d);
	assert_true(regs.kept);
}

/* The caller's frame lies on another stack, further down, where any other rule would see no progress. */
static void switched_stacks_may_lie_further_down(void **state)
{
	struct unwind_escape escape = { .cfa = UNWIND_CFA_SWITCH, .reg = UNWIND_RBP, .cfa_offset = 16,
					.ra_offset = -8, .bp = UNWIND_BP_CFA, .bp_offset = -16 };
	struct stack stack = { 0 };
	struct unwind_regs regs = regs_at(BASE + 800, BASE + 128);

	(void)state;
	put(&stack, BASE + 128, BASE + 200);
	put(&stack, BASE + 136, 0x2222);
	assert_int_equal(unwind_step_escape(&regs, &escape, &stack), REASON_NONE);
	assert_int_equal(regs.pc, 0x2222);
	assert_int_equal(regs.reg[UNWIND_RSP], BASE + 144);
	assert_int_equal(regs.reg[UNWIND_RBP], BASE + 200);
	regs = regs_at(BASE + 800, BASE + 128);
	escape.cfa = UNWIND_CFA_REG;
	assert_int_equal(unwind_step_escape(&regs, &escape, &stack), REASON_NO_PROGRESS);
	escape.cfa = UNWIND_CFA_SWITCH;
	regs.exact = 0;
	regs.rbp_lost = 1;
	assert_int_equal(unwind_step_escape(&regs, &escape, &stack), REASON_UNSUPPORTED_RULE);
	regs = regs_at(BASE + 800, BASE + sizeof(stack.words));
	assert_int_equal(unwind_step_escape(&regs, &escape, &stack), REASON_READ_FAULT);
}

/* OpenSSL's Montgomery multiplication: the old rsp stands at a place that r9 counts. */
static void indexed_cfa(void **state)
{
	const struct unwind_escape escape = { .cfa = UNWIND_CFA_INDEX, .reg = UNWIND_RSP, .index = 9,
					      .cfa_offset = 8, .cfa_add = 8, .ra_offset = -8,
					      .bp = UNWIND_BP_CFA, .bp_offset = -16 };
	struct unwind_escape of_rbx = escape;
	struct stack stack = { 0 };
	struct unwind_regs regs = regs_at(BASE, 5);

	(void)state;
	regs.reg[9] = 16;
	put(&stack, BASE + 8 + 128, BASE + 400);
	put(&stack, BASE + 400, 0x2222);
	put(&stack, BASE + 392, 0x3333);
	assert_int_equal(unwind_step_escape(&regs, &escape, &stack), REASON_NONE);
	assert_int_equal(regs.pc, 0x2222);
	assert_int_equal(regs.reg[UNWIND_RBP], 0x3333);
	of_rbx.index = 3;
	assert_int_equal(unwind_step_escape(&regs, &of_rbx, &stack), REASON_UNSUPPORTED_RULE);
}

static void narrow_dereference_reads_four_bytes(void **state)
{
	const struct unwind_escape escape = { .cfa = UNWIND_CFA_DEREF, .reg = UNWIND_RSP, .cfa_offset = 16,
					      .ra_offset = -8, .flags = UNWIND_ESCAPE_NARROW };
	struct stack stack = { 0 };
	struct unwind_regs regs = regs_at(BASE, 5);

	(void)state;
	put(&stack, BASE + 16, 0xdead000000000000ULL | (BASE + 64));
	put(&stack, BASE + 56, 0x2222);
	assert_int_equal(unwind_step_escape(&regs, &escape, &stack), REASON_NONE);
	assert_int_equal(regs.pc, 0x2222);
}

static void rbp_by_every_rule(void **state)
{
	static const struct {
		struct unwind_escape escape;
		uint64_t wanted; /* 0: unknown */
	} rules[] = {
		{ { .bp = UNWIND_BP_SAME }, BASE + 128 },
		{ { .bp = UNWIND_BP_CFA, .bp_offset = -24 }, 0x1111 },
		{ { .bp = UNWIND_BP_MEMORY, .bp_reg = UNWIND_RBP, .bp_offset = 8 }, 0x2222 },
		{ { .bp = UNWIND_BP_MEMORY, .bp_reg = 12, .bp_offset = 8 }, 0 }, /* r12 is not known here */
		{ { .bp = UNWIND_BP_UNKNOWN }, 0 },
		{ { .bp = UNWIND_BP_REG, .bp_reg = 9, .bp_offset = 4 }, 0x9999 + 4 },
		{ { .bp = UNWIND_BP_VALUE, .bp_offset = -16 }, BASE + 32 - 16 },
		{ { .bp = UNWIND_BP_DEREF, .bp_reg = UNWIND_RSP, .bp_offset = 16, .bp_add = 8 }, 0x4444 },
		{ { .bp = UNWIND_BP_DEREF, .bp_reg = UNWIND_RSP, .bp_offset = 0 }, 0 }, /* leads nowhere */
	};
	struct stack stack = { 0 };

	(void)state;
	put(&stack, BASE, 0x10);
	put(&stack, BASE + 8, 0x1111);
	put(&stack, BASE + 136, 0x2222);
	put(&stack, BASE + 16, BASE + 200);
	put(&stack, BASE + 208, 0x4444);
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		struct unwind_escape escape = rules[i].escape;
		struct unwind_regs regs = regs_at(BASE, BASE + 128);

		regs.exact = 0;
		regs.reg[9] = 0x9999;
		regs.reg[12] = BASE + 128;
		escape.cfa = UNWIND_CFA_REG;
		escape.reg = UNWIND_RSP;
		escape.cfa_offset = 32;
		escape.ra_offset = -8;
		assert_int_equal(unwind_step_escape(&regs, &escape, &stack), REASON_NONE);
		assert_int_equal(regs.rbp_lost, !rules[i].wanted);
		if (rules[i].wanted)
			assert_int_equal(regs.reg[UNWIND_RBP], rules[i].wanted);
	}
}

/* vfork has popped its return address, longjmp has all of the target in registers. */
static void return_address_in_a_register(void **state)
{
	const struct unwind_escape vfork = { .cfa = UNWIND_CFA_REG, .reg = UNWIND_RSP, .ra = UNWIND_RA_REG,
					     .ra_offset = 5 };
	const struct unwind_escape longjmp = { .cfa = UNWIND_CFA_REG, .reg = 8, .ra = UNWIND_RA_REG, .ra_offset = 1,
					       .bp = UNWIND_BP_REG, .bp_reg = 9 };
	struct stack stack = { 0 };
	struct unwind_regs regs = regs_at(BASE + 64, 7);

	(void)state;
	regs.reg[5] = 0x2222;
	assert_int_equal(unwind_step_escape(&regs, &vfork, &stack), REASON_NONE);
	assert_int_equal(regs.pc, 0x2222);
	assert_int_equal(regs.reg[UNWIND_RSP], BASE + 64);
	assert_int_equal(regs.reg[UNWIND_RBP], 7);
	assert_false(regs.exact);
	regs = regs_at(BASE + 64, 7);
	regs.reg[1] = 0x3333;
	regs.reg[8] = BASE + 300;
	regs.reg[9] = 0x7777;
	assert_int_equal(unwind_step_escape(&regs, &longjmp, &stack), REASON_NONE);
	assert_int_equal(regs.pc, 0x3333);
	assert_int_equal(regs.reg[UNWIND_RSP], BASE + 300);
	assert_int_equal(regs.reg[UNWIND_RBP], 0x7777);
	regs = regs_at(BASE + 64, 7);
	regs.reg[8] = BASE + 8;
	assert_int_equal(unwind_step_escape(&regs, &longjmp, &stack), REASON_NO_PROGRESS);
}

/* Bytes at and a byte before an interrupted pc, and how far above rsp the CFA then is. */
static const struct {
	const char *code;
	uint64_t above;
} places[] = {
	{ "\x00\x55\x48\x89\xe5\x90\x90\x90", 8 },
	{ "\x00\x55\x48\x8b\xec\x90\x90\x90", 8 },
	{ "\x00\xf3\x0f\x1e\xfa\x55\x48\x89", 8 },
	{ "\x00\xf3\x0f\x1e\xfa\x48\x83\xec", 0 },
	{ "\x55\x48\x89\xe5\x90\x90\x90\x90", 16 },
	{ "\x55\x48\x8b\xec\x90\x90\x90\x90", 16 },
	{ "\x53\x48\x89\xe5\x90\x90\x90\x90", 0 },
	{ "\x5d\xc3\x90\x90\x90\x90\x90\x90", 8 },
	{ "\x90\xc3\x90\x90\x90\x90\x90\x90", 8 },
	{ "\xc9\xf3\xc3\x90\x90\x90\x90\x90", 8 },
	{ "\x59\xc2\x10\x00\x90\x90\x90\x90", 8 },
	{ "\x5d\xe9\x00\x00\x00\x00\x90\x90", 8 },
	{ "\x5d\xff\xe0\x90\x90\x90\x90\x90", 8 },
	{ "\xc9\x41\xff\xe3\x90\x90\x90\x90", 8 },
	{ "\x90\xff\xe0\x90\x90\x90\x90\x90", 0 }, /* a jump, but nothing was popped before it */
	{ "\x5d\xff\xd0\x90\x90\x90\x90\x90", 0 }, /* a call */
	{ "\x90\x55\x53\x90\x90\x90\x90\x90", 0 }, /* a push, but no frame is made */
	{ "\x90\x48\x89\xe5\x90\x90\x90\x90", 0 },
};

/* The chain of frame pointers alone would leave the caller out at each of these. */
static void frameless_places_keep_their_caller(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		struct unwind_regs regs = regs_at(BASE + 256, BASE + 320);
		struct stack stack = { 0 };
		uint64_t above = places[i].above, rbp = above == 16 ? BASE + 400 : BASE + 320;

		memcpy(stack.words, places[i].code, 8);
		regs.pc = BASE + 1;
		put(&stack, BASE + 256, above == 8 ? 0x2222 : BASE + 400); /* the return address, or rbp pushed */
		put(&stack, BASE + 264, 0x2222);
		put(&stack, BASE + 320, BASE + 400);
		put(&stack, BASE + 328, 0x3333);
		assert_int_equal(unwind_step_linked(&regs, &stack), REASON_NONE);
		assert_int_equal(regs.pc, above ? 0x2222 : 0x3333);
		assert_int_equal(regs.reg[UNWIND_RSP], above ? BASE + 256 + above : BASE + 336);
		assert_int_equal(regs.reg[UNWIND_RBP], above ? rbp : BASE + 400);
		regs = regs_at(BASE + 256, BASE + 320); /* a return address is no such place, whatever stands there */
		regs.pc = BASE + 1;
		regs.exact = 0;
		assert_int_equal(unwind_step_linked(&regs, &stack), REASON_NONE);
		assert_int_equal(regs.pc, 0x3333);
	}
}

/* A caller that uses rbp for something else: the frame counts if a call leads into it. */
static void odd_chains_need_a_call(void **state)
{
	static const struct {
		const char *code; /* before the return address */
		int call;
	} codes[] = {
		{ "\x90\x90\x90\xe8\x00\x00\x00\x00", 1 }, { "\x90\x90\x90\x90\x90\x90\xff\xd0", 1 },
		{ "\x90\x90\xff\x15\x00\x00\x00\x00", 1 }, { "\x90\x90\x90\x90\x90\xff\x53\x18", 1 },
		{ "\x90\x90\x90\x90\xff\x54\x24\x08", 1 }, { "\x90\x90\x90\x90\x90\x90\xff\xe0", 0 },
		{ "\x90\x90\x90\x90\x90\x90\x90\x90", 0 }, { "\x90\x90\xff\x25\x00\x00\x00\x00", 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		struct unwind_regs regs = regs_at(BASE + 256, BASE + 320);
		struct stack stack = { 0 };

		memcpy(stack.words, codes[i].code, 8);
		regs.exact = 0;
		put(&stack, BASE + 320, 17);
		put(&stack, BASE + 328, BASE + 8);
		assert_int_equal(unwind_step_linked(&regs, &stack), codes[i].call ? REASON_NONE : REASON_NO_RULE);
		if (codes[i].call) {
			assert_int_equal(regs.pc, BASE + 8);
			assert_int_equal(regs.reg[UNWIND_RBP], 17);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(signal_frame_gives_every_register),
		cmocka_unit_test(plt_entry_depends_on_pc),
		cmocka_unit_test(other_registers_where_nobody_restores_them),
		cmocka_unit_test(dereferenced_cfa),
		cmocka_unit_test(callee_saved_registers_are_followed),
		cmocka_unit_test(popped_registers_are_not_read_again),
		cmocka_unit_test(switched_stacks_may_lie_further_down),
		cmocka_unit_test(indexed_cfa),
		cmocka_unit_test(narrow_dereference_reads_four_bytes),
		cmocka_unit_test(rbp_by_every_rule),
		cmocka_unit_test(return_address_in_a_register),
		cmocka_unit_test(frameless_places_keep_their_caller),
		cmocka_unit_test(odd_chains_need_a_call),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The walk over a copied stack, and what ends it. */
#include "snapshot_fixture.h"

static uint32_t walk(struct bench *bench, enum reason *ret_reason)
{
	return snapshot_walk(&bench->copy.head, (const uint8_t *)bench->copy.words, bench->process, &rules,
			     bench->frames, ret_reason);
}

static void a_copied_stack_is_walked_to_its_root(void **state)
{
	struct bench *bench = *state;
	enum reason reason;

	make_stack(bench);
	assert_int_equal(walk(bench, &reason), 3);
	assert_int_equal(reason, REASON_NONE);
	assert_int_equal(bench->frames[0], (TEXT + LEAF + 0x10) | SAMPLE_FRAME_EXACT);
	assert_int_equal(bench->frames[1], TEXT + FRAMED + 0x20);
	assert_int_equal(bench->frames[2], TEXT + ROOT + 0x10);
}

static void a_short_copy_says_so(void **state)
{
	struct bench *bench = *state;
	enum reason reason;

	make_stack(bench);
	for (uint32_t bytes = 16; bytes < 48; bytes++) {
		bench->copy.head.bytes = bytes;
		assert_int_equal(walk(bench, &reason), 2);
		assert_int_equal(reason, REASON_COPY_END);
	}
	bench->copy.head.bytes = 48;
	assert_int_equal(walk(bench, &reason), 3);
	assert_int_equal(reason, REASON_NONE);
	bench->copy.head.bytes = 0;
	assert_int_equal(walk(bench, &reason), 1);
	assert_int_equal(reason, REASON_COPY_END);
}

/* A function that has just reserved much has not touched the page rsp points at: the copy begins above it. */
static void a_copy_may_begin_above_rsp(void **state)
{
	struct bench *bench = *state;
	enum reason reason;

	make_stack(bench);
	bench->copy.head.pc = TEXT + FRAMED + 0x10;
	bench->copy.head.reg[UNWIND_RSP] = SP - 5000;
	assert_int_equal(walk(bench, &reason), 2);
	assert_int_equal(reason, REASON_NONE);
	assert_int_equal(bench->frames[1], TEXT + ROOT + 0x10);
	bench->copy.head.pc = TEXT + LEAF + 0x10; /* one that needs what is not there */
	assert_int_equal(walk(bench, &reason), 1);
	assert_int_equal(reason, REASON_READ_FAULT);
}

/* After `pop rbp` the slot lies below rsp, outside every copy: the register has the caller's value. */
static void an_epilogue_keeps_rbp(void **state)
{
	struct bench *bench = *state;
	enum reason reason;

	make_stack(bench);
	bench->copy.head.pc = TEXT + EPILOGUE + 0x10;
	put(bench, SP, TEXT + FRAMED + 0x20);
	assert_int_equal(walk(bench, &reason), 3);
	assert_int_equal(reason, REASON_NONE);
	assert_int_equal(bench->frames[2], TEXT + ROOT + 0x10);
}

static void the_root_is_where_the_stack_began(void **state)
{
	struct bench *bench = *state;
	enum reason reason;

	make_stack(bench);
	put(bench, SP + 8, TEXT + BARE + 0x20);
	bench->copy.head.reg[UNWIND_RBP] = 0;
	assert_int_equal(walk(bench, &reason), 2);
	assert_int_equal(reason, REASON_NO_RULE);
	bench->copy.head.start_stack = SP + 16;
	assert_int_equal(walk(bench, &reason), 2);
	assert_int_equal(reason, REASON_NONE);
}

/* A large frame need not touch all its pages: the walk passes over what was not there, and never believes it. */
static void what_was_not_there_is_no_stack(void **state)
{
	struct bench *bench = *state;
	uint64_t rbp = SP + 2 * SNAPSHOT_PIECE + 32;
	enum reason reason;

	make_stack(bench);
	bench->copy.head.bytes = bench->copy.head.near_bytes = 3 * SNAPSHOT_PIECE;
	bench->copy.head.reg[UNWIND_RBP] = rbp;
	put(bench, rbp, 0);
	put(bench, rbp + 8, TEXT + ROOT + 0x10);
	bench->copy.head.holes = 1U << snapshot_page(&bench->copy.head, SP + SNAPSHOT_PIECE);
	assert_true(walk(bench, &reason) == 3 && reason == REASON_NONE);
	bench->copy.head.holes = 1U << snapshot_page(&bench->copy.head, rbp + 8);
	assert_true(walk(bench, &reason) == 2 && reason == REASON_READ_FAULT);

	memset(bench->copy.words, 0xee, sizeof(bench->copy.words)); /* of another process, say */
	bench->copy.head.holes = 1U << 1;
	snapshot_clear_holes(&bench->copy.head, (uint8_t *)bench->copy.words);
	for (uint64_t at = SP; at < SP + 3 * SNAPSHOT_PIECE; at += 8)
		assert_true((bench->copy.words[(at - SP) / 8] == 0) == (snapshot_page(&bench->copy.head, at) == 1));
	bench->copy.head.near_bytes = SNAPSHOT_PIECE / 2;
	bench->copy.head.holes = UINT32_MAX; /* no more than there is */
	memset(bench->copy.words, 0xee, sizeof(bench->copy.words));
	snapshot_clear_holes(&bench->copy.head, (uint8_t *)bench->copy.words);
	assert_true(bench->copy.words[SNAPSHOT_PIECE / 16] == 0xeeeeeeeeeeeeeeeeULL);
}

/* A hand-made entry may have a rule although nobody called it: its return address would be the count of arguments. */
static void nobody_called_the_first_function(void **state)
{
	struct bench *bench = *state;
	enum reason reason;

	make_stack(bench);
	bench->copy.head.start_stack = SP + 40;
	bench->copy.head.bytes = 40;
	assert_int_equal(walk(bench, &reason), 2);
	assert_int_equal(reason, REASON_NONE);
	bench->copy.head.start_stack = SP + 2 * SNAPSHOT_BYTES;
	assert_int_equal(walk(bench, &reason), 2);
	assert_int_equal(reason, REASON_COPY_END);
}

static void without_rows_frame_pointers_lead_on(void **state)
{
	struct bench *bench = *state;
	struct process_image *image = bench->process->mappings[0].image;
	enum reason reason;

	make_stack(bench);
	image->has_table = false;
	put(bench, SP + 32, SP + 64);
	put(bench, SP + 72, TEXT + ROOT);
	image->state = PROCESS_IMAGE_ASKED; /* they will be there: nothing is guessed */
	assert_true(walk(bench, &reason) == 1 && reason == REASON_NO_TABLE);
	image->state = PROCESS_IMAGE_FAILED;
	assert_true(walk(bench, &reason) == 3 && !reason); /* a zero above a linked frame ends the chain */
	assert_true(bench->frames[1] == TEXT + ROOT + 0x10 && bench->frames[2] == TEXT + ROOT);
	bench->copy.head.reg[UNWIND_RBP] = 1;
	assert_true(walk(bench, &reason) == 1 && reason == REASON_NO_TABLE);
}

static void an_address_outside_every_mapping_ends_the_walk(void **state)
{
	struct bench *bench = *state;
	enum reason reason;

	make_stack(bench);
	put(bench, SP + 8, 0x999999);
	assert_int_equal(walk(bench, &reason), 2);
	assert_int_equal(reason, REASON_NO_MAPPING);
	assert_int_equal(bench->frames[1], 0x999999);
}

/* A signal frame may name any stack pointer, its own too. */
static void a_stack_that_bites_its_tail_ends(void **state)
{
	struct bench *bench = *state;
	enum reason reason;

	bench->copy.head.pc = TEXT + SIGNAL + 0x10;
	put(bench, SP + 40 + 8 * 15, SP);
	put(bench, SP + 40 + 8 * 16, TEXT + SIGNAL + 0x10);
	assert_true(walk(bench, &reason) == SAMPLE_INNER_FRAMES && reason == REASON_TIME);
}

static void a_deep_stack_keeps_both_ends(void **state)
{
	struct bench *bench = *state;
	enum reason reason;

	bench->copy.head.bytes = SNAPSHOT_BYTES;
	bench->copy.head.pc = TEXT + EPILOGUE; /* each frame is a return address alone */
	for (uint32_t frame = 1; frame < 1500; frame++)
		put(bench, SP + 8 * frame - 8, TEXT + EPILOGUE + 1 + frame % 251);
	for (uint32_t depth = 1499; depth > 1020; depth -= depth > 1030 ? 67 : 1) {
		uint32_t last = depth > SAMPLE_MAX_DEPTH ? SAMPLE_MAX_DEPTH : depth - 1;

		put(bench, SP + 8 * depth - 16, TEXT + ROOT + 0x10);
		assert_int_equal(walk(bench, &reason), last + 1);
		assert_true(reason == REASON_NONE && bench->frames[last] == TEXT + ROOT + 0x10);
		for (uint32_t at = 1; at < last; at++)
			assert_int_equal(bench->frames[at], last == SAMPLE_MAX_DEPTH && at == SAMPLE_INNER_FRAMES ? SAMPLE_FRAME_GAP :
					 TEXT + EPILOGUE + 1 + (at + (at > SAMPLE_INNER_FRAMES) * (depth - 1 - last)) % 251);
	}
}

/* Registers and words without sense: the walk ends, and reads nothing outside (the address sanitizer looks on). */
static void nonsense_ends_without_harm(void **state)
{
	struct bench *bench = *state;
	uint64_t seed = 7;
	enum reason reason;

	for (int turn = 0; turn < 20000; turn++) {
		auto_free struct snapshot *copy = malloc(sizeof(*copy) + 8 * WORDS);
		uint64_t *stack = (uint64_t *)(void *)(copy + 1);

		memset(copy, 0, sizeof(*copy));
		for (int i = 0; i < 16 + WORDS; i++) {
			uint64_t *word = i < 16 ? (uint64_t *)&copy->reg[i] : &stack[i - 16];

			seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
			*word = seed >> 62 ? SP + (seed >> 40 & 0xfff) : seed >> 61 & 1 ? TEXT + (seed >> 40 & 0xfff) : seed;
		}
		copy->pc = TEXT + (seed >> 32 & 0xfff);
		copy->reg[UNWIND_RSP] = turn % 3 ? SP + (uint64_t)(turn % 64) : UINT64_MAX - (uint64_t)(turn % 64);
		copy->from = turn % 5 ? copy->reg[UNWIND_RSP] : SP + 64;
		copy->bytes = 8 * WORDS;
		assert_in_range(snapshot_walk(copy, (const uint8_t *)(copy + 1), bench->process, &rules,
					      bench->frames, &reason), 1, SAMPLE_MAX_USER_FRAMES);
		assert_in_range(reason, 0, REASON_COUNT - 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BENCH(a_copied_stack_is_walked_to_its_root),
		BENCH(a_short_copy_says_so),
		BENCH(a_copy_may_begin_above_rsp),
		BENCH(an_epilogue_keeps_rbp),
		BENCH(the_root_is_where_the_stack_began),
		BENCH(what_was_not_there_is_no_stack),
		BENCH(nobody_called_the_first_function),
		BENCH(without_rows_frame_pointers_lead_on),
		BENCH(an_address_outside_every_mapping_ends_the_walk),
		BENCH(a_stack_that_bites_its_tail_ends),
		BENCH(a_deep_stack_keeps_both_ends),
		BENCH(nonsense_ends_without_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

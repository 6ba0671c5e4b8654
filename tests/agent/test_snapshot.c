/* SPDX-License-Identifier: Apache-2.0 */
/* Copied stacks: the walk over a synthetic one, what ends it, hostile records, and the join with drained samples. */
#include "process_fixture.h"
#include "snapshot.h"
#include "unwind_row.h"

#define SP 0x7ffd00001000ULL
#define TEXT 0x10000ULL /* user address of ELF address 0x401000 */
#define WORDS 256

/* By hundreds of text: how the function there is left. */
#define LEAF 0x000     /* CFA rsp + 16 */
#define FRAMED 0x100   /* CFA rbp + 16, rbp saved below */
#define ROOT 0x200     /* outermost */
#define BARE 0x300     /* no rule */
#define SIGNAL 0x400   /* a handler's return trampoline */
#define EPILOGUE 0x500 /* rbp popped already: CFA rsp + 8, its slot below rsp */

struct bench {
	struct fixture *processes;
	struct process *process;
	struct snapshot_store *store;
	struct {
		struct snapshot head;
		uint64_t words[SNAPSHOT_BYTES / 8];
	} copy;
	uint64_t frames[SAMPLE_MAX_USER_FRAMES];
	struct sample_key key;
	struct sample_value value;
	uint64_t leaf;
};

static enum reason fake_rule(void *context, uint32_t dir, uint64_t vaddr, uint16_t *ret_rule)
{
	static const uint16_t rules[] = {
		UNWIND_RULE(UNWIND_KIND_RSP, 0, 2), UNWIND_RULE(UNWIND_KIND_RBP, 1, 2), UNWIND_RULE_OUTERMOST,
		UNWIND_RULE_NONE, UNWIND_RULE(UNWIND_KIND_ESCAPE, 0, 5), UNWIND_RULE(UNWIND_KIND_RSP, 1, 1),
	};

	(void)context;
	assert_int_equal(dir, 77);
	if (vaddr < 0x401000 || vaddr >= 0x401600)
		return REASON_NO_RULE;
	*ret_rule = rules[(vaddr - 0x401000) >> 8];
	return REASON_NONE;
}

static int fake_escape(void *context, uint32_t index, struct unwind_escape *ret_escape)
{
	(void)context;
	assert_int_equal(index, 5);
	*ret_escape = (struct unwind_escape){ .cfa = UNWIND_CFA_SIGNAL };
	return 0;
}

static const struct snapshot_rules rules = { fake_rule, fake_escape, NULL };

static int bench_setup(void **state)
{
	struct bench *bench = calloc(1, sizeof(*bench));
	struct process_image *image;
	void *processes;

	if (setup(&processes))
		return -1;
	bench->processes = processes;
	task(bench->processes, SIDEBAND_FORK, 1000, PARENT, PARENT, 1, "");
	task(bench->processes, SIDEBAND_EXEC, 1500, PARENT, PARENT, 0, "app");
	map(bench->processes, 2000, PARENT, TEXT, TEXT + 0x4000, 0x1000, 4711, "/bin/app");
	bench->process = process_find(bench->processes->table, PARENT, 3000);
	image = bench->process->mappings[0].image;
	image->segment_count = 1;
	image->segments[0].offset = 0x1000;
	image->segments[0].vaddr = 0x401000;
	image->segments[0].filesz = 0x4000;
	image->state = PROCESS_IMAGE_READY;
	image->has_table = true;
	image->dir = 77;
	bench->store = snapshot_new(bench->processes->table, &rules);
	bench->copy.head = (struct snapshot){ .id = SNAPSHOT_ID | 1, .time_ns = 5000, .tgid = PARENT,
					      .bytes = 8 * WORDS };
	bench->copy.head.reg[UNWIND_RSP] = bench->copy.head.from = SP;
	bench->key = (struct sample_key){ .tgid = PARENT, .tid = PARENT, .flags = SAMPLE_SNAPSHOT,
					  .user_stack = SNAPSHOT_ID | 1, .user_reason = REASON_PROCESS_UNKNOWN };
	bench->value = (struct sample_value){ .count = 1, .last_ns = 5000, .user_depth = 1 };
	*state = bench;
	return bench->store ? 0 : -1;
}

static int bench_teardown(void **state)
{
	struct bench *bench = *state;
	void *processes = bench->processes;

	snapshot_free(bench->store);
	teardown(&processes);
	free(bench);
	return 0;
}

static void put(struct bench *bench, uint64_t address, uint64_t value)
{
	bench->copy.words[(address - SP) / 8] = value;
}

/* A leaf, called by a function with a frame pointer, called by the root. */
static void make_stack(struct bench *bench)
{
	bench->copy.head.pc = TEXT + LEAF + 0x10;
	bench->copy.head.reg[UNWIND_RBP] = SP + 32;
	put(bench, SP + 8, TEXT + FRAMED + 0x20);
	put(bench, SP + 32, 0);
	put(bench, SP + 40, TEXT + ROOT + 0x10);
}

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

static struct drain_sample finish(struct bench *bench)
{
	struct drain_sample sample = { .key = &bench->key, .value = &bench->value, .user = &bench->leaf,
				       .user_depth = 1, .user_reason = bench->key.user_reason };

	snapshot_finish(bench->store, &sample);
	return sample;
}

static size_t copy_size(const struct bench *bench)
{
	return sizeof(bench->copy.head) + bench->copy.head.bytes;
}

static void a_sample_gets_the_frames_of_its_copy(void **state)
{
	struct bench *bench = *state;
	struct snapshot_stats stats;
	struct drain_sample sample;

	make_stack(bench);
	assert_int_equal(snapshot_receive(bench->store, &bench->copy, copy_size(bench)), 0);
	sample = finish(bench);
	assert_int_equal(sample.user_depth, 3);
	assert_int_equal(sample.user_reason, REASON_NONE);
	assert_int_equal(sample.user[2], TEXT + ROOT + 0x10);
	snapshot_get_stats(bench->store, &stats);
	assert_int_equal(stats.finished, 1);
	assert_int_equal(stats.outcomes[REASON_NONE], 1);
}

static void without_a_copy_the_leaf_and_its_reason_remain(void **state)
{
	struct bench *bench = *state;
	struct snapshot_stats stats;
	struct drain_sample sample;

	make_stack(bench);
	snapshot_receive(bench->store, &bench->copy, copy_size(bench));
	bench->key.user_stack++; /* the ring was full for this one */
	sample = finish(bench);
	assert_ptr_equal(sample.user, &bench->leaf);
	assert_int_equal(sample.user_reason, REASON_PROCESS_UNKNOWN);
	bench->key.user_stack--;
	bench->key.tgid = CHILD; /* an id that is another's */
	assert_ptr_equal(finish(bench).user, &bench->leaf);
	snapshot_get_stats(bench->store, &stats);
	assert_int_equal(stats.missing, 2);
	assert_int_equal(stats.outcomes[REASON_PROCESS_UNKNOWN], 2);
	bench->key.flags = 0; /* a hash, not an id */
	bench->key.tgid = PARENT;
	assert_ptr_equal(finish(bench).user, &bench->leaf);
	snapshot_get_stats(bench->store, &stats);
	assert_int_equal(stats.missing + stats.finished, 2);
}

/* Code that nobody can name yet: what the kernel side walked was at least as much. */
static void a_walk_that_gains_nothing_leaves_the_fallback(void **state)
{
	struct bench *bench = *state;
	struct drain_sample sample = { .key = &bench->key, .value = &bench->value, .user = &bench->leaf,
				       .user_depth = 2, .user_reason = REASON_NO_TABLE };
	struct snapshot_stats stats;

	make_stack(bench);
	bench->process->mappings[0].image->has_table = false;
	bench->copy.head.reg[UNWIND_RBP] = 1;
	snapshot_receive(bench->store, &bench->copy, copy_size(bench));
	snapshot_finish(bench->store, &sample);
	assert_ptr_equal(sample.user, &bench->leaf);
	assert_int_equal(sample.user_depth, 2);
	snapshot_get_stats(bench->store, &stats);
	assert_int_equal(stats.useless, 1);
	assert_int_equal(stats.outcomes[REASON_NO_TABLE], 1);
}

static void a_process_never_met_leaves_the_leaf(void **state)
{
	struct bench *bench = *state;

	make_stack(bench);
	bench->copy.head.tgid = bench->key.tgid = CHILD;
	snapshot_receive(bench->store, &bench->copy, copy_size(bench));
	assert_ptr_equal(finish(bench).user, &bench->leaf);
}

static void a_slice_takes_its_copies_along(void **state)
{
	struct bench *bench = *state;

	make_stack(bench);
	snapshot_receive(bench->store, &bench->copy, copy_size(bench));
	bench->copy.head.id++;
	bench->copy.head.time_ns = 7000; /* of the next slice already */
	snapshot_receive(bench->store, &bench->copy, copy_size(bench));
	snapshot_drop(bench->store, 6000);
	assert_ptr_equal(finish(bench).user, &bench->leaf);
	bench->key.user_stack++;
	assert_int_equal(finish(bench).user_depth, 3);
	snapshot_drop(bench->store, 7000);
	assert_ptr_equal(finish(bench).user, &bench->leaf);
}

static void hostile_records_are_refused(void **state)
{
	struct bench *bench = *state;
	struct snapshot_stats stats;
	size_t size = copy_size(bench);

	make_stack(bench);
	snapshot_receive(bench->store, &bench->copy, sizeof(struct snapshot) - 1);
	snapshot_receive(bench->store, &bench->copy, size - 1);
	bench->copy.head.bytes = UINT32_MAX;
	snapshot_receive(bench->store, &bench->copy, size);
	bench->copy.head.bytes = UINT32_MAX - sizeof(struct snapshot) + 1;
	snapshot_receive(bench->store, &bench->copy, size);
	bench->copy.head.id = SNAPSHOT_ID | 2;
	bench->copy.head.bytes = SNAPSHOT_BYTES + 1;
	snapshot_receive(bench->store, &bench->copy, sizeof(struct snapshot) + SNAPSHOT_BYTES + 8);
	bench->copy.head.bytes = 8 * WORDS;
	bench->copy.head.id = 1;
	snapshot_receive(bench->store, &bench->copy, size);
	bench->copy.head.id = SNAPSHOT_ID | 1;
	snapshot_receive(bench->store, &bench->copy, size);
	snapshot_receive(bench->store, &bench->copy, size); /* the same id again */
	snapshot_get_stats(bench->store, &stats);
	assert_int_equal(stats.received, 8);
	assert_int_equal(stats.refused, 7);
	assert_int_equal(finish(bench).user_depth, 3);
}

static void the_store_has_a_limit(void **state)
{
	struct bench *bench = *state;
	struct snapshot_stats stats;
	uint32_t fit = SNAPSHOT_LIMIT_BYTES / (sizeof(struct snapshot) + SNAPSHOT_BYTES);

	make_stack(bench);
	bench->copy.head.bytes = SNAPSHOT_BYTES;
	for (uint32_t i = 0; i < fit + 3; i++) {
		snapshot_receive(bench->store, &bench->copy, copy_size(bench));
		bench->copy.head.id++;
	}
	snapshot_get_stats(bench->store, &stats);
	assert_int_equal(stats.refused, 3);
	assert_int_equal(finish(bench).user_depth, 3);
	snapshot_drop(bench->store, 6000);
	snapshot_receive(bench->store, &bench->copy, copy_size(bench));
	snapshot_get_stats(bench->store, &stats);
	assert_int_equal(stats.refused, 3);
}

static void images_being_read_are_waited_for(void **state)
{
	struct bench *bench = *state;

	bench->process->mappings[0].image->state = PROCESS_IMAGE_ASKED;
	assert_false(snapshot_awaits_images(bench->store, 6000)); /* nobody asks */
	snapshot_receive(bench->store, &bench->copy, copy_size(bench));
	assert_true(snapshot_awaits_images(bench->store, 6000));
	assert_false(snapshot_awaits_images(bench->store, 4000)); /* the next slice's */
	bench->process->mappings[0].image->state = PROCESS_IMAGE_FAILED;
	assert_false(snapshot_awaits_images(bench->store, 6000));
}

#define BENCH(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		BENCH(a_copied_stack_is_walked_to_its_root),
		BENCH(a_short_copy_says_so),
		BENCH(a_copy_may_begin_above_rsp),
		BENCH(an_epilogue_keeps_rbp),
		BENCH(the_root_is_where_the_stack_began),
		BENCH(nobody_called_the_first_function),
		BENCH(without_rows_frame_pointers_lead_on),
		BENCH(an_address_outside_every_mapping_ends_the_walk),
		BENCH(a_stack_that_bites_its_tail_ends),
		BENCH(a_deep_stack_keeps_both_ends),
		BENCH(nonsense_ends_without_harm),
		BENCH(a_sample_gets_the_frames_of_its_copy),
		BENCH(without_a_copy_the_leaf_and_its_reason_remain),
		BENCH(a_walk_that_gains_nothing_leaves_the_fallback),
		BENCH(a_process_never_met_leaves_the_leaf),
		BENCH(a_slice_takes_its_copies_along),
		BENCH(hostile_records_are_refused),
		BENCH(the_store_has_a_limit),
		BENCH(images_being_read_are_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

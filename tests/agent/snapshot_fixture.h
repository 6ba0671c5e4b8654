/* SPDX-License-Identifier: Apache-2.0 */
/* A process with one file, whose functions are left in known ways, and a copy of its stack. */
#ifndef SNAPSHOT_FIXTURE_H
#define SNAPSHOT_FIXTURE_H

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

static inline enum reason fake_rule(void *context, uint32_t dir, uint64_t vaddr, uint16_t *ret_rule)
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

static inline int fake_escape(void *context, uint32_t index, struct unwind_escape *ret_escape)
{
	(void)context;
	assert_int_equal(index, 5);
	*ret_escape = (struct unwind_escape){ .cfa = UNWIND_CFA_SIGNAL };
	return 0;
}

static const struct snapshot_rules rules = { fake_rule, fake_escape, NULL };

static inline int bench_setup(void **state)
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

static inline int bench_teardown(void **state)
{
	struct bench *bench = *state;
	void *processes = bench->processes;

	snapshot_free(bench->store);
	teardown(&processes);
	free(bench);
	return 0;
}

static inline void put(struct bench *bench, uint64_t address, uint64_t value)
{
	bench->copy.words[(address - SP) / 8] = value;
}

/* A leaf, called by a function with a frame pointer, called by the root. */
static inline void make_stack(struct bench *bench)
{
	bench->copy.head.pc = TEXT + LEAF + 0x10;
	bench->copy.head.reg[UNWIND_RBP] = SP + 32;
	put(bench, SP + 8, TEXT + FRAMED + 0x20);
	put(bench, SP + 32, 0);
	put(bench, SP + 40, TEXT + ROOT + 0x10);
}

#define BENCH(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Resolve and aggregate: addresses become image and ELF address, equal samples add up, a slice is closed whole. */
#include "aggregate.h"
#include "process_fixture.h"

#include "base/hmap.h"

struct bench {
	struct fixture *processes;
	struct names *names;
	struct cgroup_table *cgroups;
	struct aggregate *aggregate;
	struct sample_key key;
	struct sample_value value;
	uint64_t user[4], kernel[4];
};

static struct process_image *map_image(struct bench *bench, uint32_t pid, uint64_t start, uint64_t offset)
{
	struct sideband_event event = { .kind = SIDEBAND_MMAP, .time_ns = 2000, .pid = pid, .tid = pid,
					.start = start, .end = start + 0x4000, .offset = offset,
					.file = { 8, 1, 4711, 0 }, .protection = PROT_READ | PROT_EXEC,
					.name = "/bin/app" };
	struct process *process;

	process_table_event(bench->processes->table, &event);
	process = process_find(bench->processes->table, pid, 3000);
	assert_non_null(process);
	for (size_t i = 0; i < process->mapping_count; i++)
		if (process->mappings[i].start == start)
			return process->mappings[i].image;
	fail();
	return NULL;
}

static void start_process(struct bench *bench, uint32_t pid, const char *comm)
{
	struct sideband_event fork = { .kind = SIDEBAND_FORK, .time_ns = 1000, .pid = pid, .tid = pid, .parent_pid = 1 };
	struct sideband_event exec = { .kind = SIDEBAND_EXEC, .time_ns = 1500, .pid = pid, .tid = pid, .name = comm };

	process_table_event(bench->processes->table, &fork);
	process_table_event(bench->processes->table, &exec);
}

static int bench_setup(void **state)
{
	static const struct cgroup_opts nowhere = { .mount = "/tmp", .root = "/nonexistent" };
	struct bench *bench = calloc(1, sizeof(*bench));
	struct aggregate_opts opts = { .period_ns = 10000000 };
	struct process_image *image;
	void *processes;

	if (setup(&processes))
		return -1;
	bench->processes = processes;
	opts.processes = bench->processes->table;
	opts.names = bench->names = names_new();
	opts.cgroups = bench->cgroups = cgroup_table_new(CGROUP_SOURCE_V2, "/tmp", &nowhere);
	bench->aggregate = aggregate_new(&opts);
	start_process(bench, PARENT, "app");
	image = map_image(bench, PARENT, 0x10000, 0x1000);
	image->segment_count = 1; /* text at file offset 0x1000 has ELF address 0x401000 */
	image->segments[0].offset = 0x1000;
	image->segments[0].vaddr = 0x401000;
	image->segments[0].filesz = 0x4000;
	image->state = PROCESS_IMAGE_READY;
	bench->key = (struct sample_key){ .tgid = PARENT, .tid = PARENT };
	bench->value = (struct sample_value){ .count = 3, .last_ns = 5000, .comm = "app" };
	bench->user[0] = 0x10100 | SAMPLE_FRAME_EXACT;
	bench->user[1] = 0x10200;
	*state = bench;
	return 0;
}

static int bench_teardown(void **state)
{
	struct bench *bench = *state;
	void *processes = bench->processes;

	aggregate_free(bench->aggregate);
	cgroup_table_free(bench->cgroups);
	names_free(bench->names);
	teardown(&processes);
	free(bench);
	return 0;
}

static enum reason take(struct bench *bench, uint32_t user_depth, uint32_t kernel_depth, enum reason reason)
{
	struct drain_sample sample = { .key = &bench->key, .value = &bench->value, .user = bench->user,
				       .kernel = bench->kernel, .user_depth = user_depth,
				       .kernel_depth = kernel_depth, .user_reason = reason };

	return aggregate_take(bench->aggregate, &sample);
}

static struct names_frame frame_of(struct bench *bench, const struct window *slice, uint32_t stack, uint32_t at)
{
	struct names_frame frame;

	assert_true(at < slice->stacks[stack].depth);
	names_get_frame(bench->names, slice->frames[slice->stacks[stack].first + at], &frame);
	return frame;
}

static void addresses_become_image_and_elf_address(void **state)
{
	struct bench *bench = *state;
	struct window *slice;
	struct names_frame leaf, caller;

	assert_int_equal(take(bench, 2, 0, REASON_NONE), REASON_NONE);
	slice = aggregate_close(bench->aggregate, 4000, 6000);
	assert_int_equal(slice->sample_count, 1);
	assert_int_equal(slice->stacks[0].depth, 2);
	leaf = frame_of(bench, slice, 0, 0);
	caller = frame_of(bench, slice, 0, 1);
	assert_int_equal(leaf.address, 0x401100);
	assert_true(leaf.exact && leaf.is_vaddr);
	assert_int_equal(caller.address, 0x401200);
	assert_false(caller.exact);
	assert_int_equal(leaf.image, caller.image);
	assert_string_equal(names_get_string(bench->names, slice->labels[0].comm), "app");
	assert_int_equal(slice->labels[0].thread, 0);
	window_unref(slice);
}

static void frames_left_out_are_a_frame_that_says_so(void **state)
{
	struct bench *bench = *state;
	struct window *slice;
	struct names_frame gap;

	bench->user[2] = bench->user[1];
	bench->user[1] = SAMPLE_FRAME_GAP;
	assert_int_equal(take(bench, 3, 0, REASON_NONE), REASON_NONE);
	slice = aggregate_close(bench->aggregate, 4000, 6000);
	assert_int_equal(slice->stacks[0].depth, 3);
	gap = frame_of(bench, slice, 0, 1);
	assert_int_equal(gap.image, NAMES_IMAGE_NOTE);
	assert_string_equal(names_get_string(bench->names, gap.lines[0].name), "[gap: frames left out]");
	assert_int_equal(frame_of(bench, slice, 0, 2).address, 0x401200);
	window_unref(slice);
}

/* The call is the last instruction of a mapping: its return address is already the next mapping's. */
static void a_return_address_is_resolved_at_the_call(void **state)
{
	struct bench *bench = *state;
	struct window *slice;

	bench->user[1] = 0x14000;
	assert_int_equal(take(bench, 2, 0, REASON_NONE), REASON_NONE);
	slice = aggregate_close(bench->aggregate, 4000, 6000);
	assert_int_equal(frame_of(bench, slice, 0, 1).address, 0x405000);
	assert_true(frame_of(bench, slice, 0, 1).image >= NAMES_FIRST_IMAGE);
	window_unref(slice);
}

static void equal_samples_add_up_and_others_do_not(void **state)
{
	struct bench *bench = *state;
	struct window *slice;

	take(bench, 2, 0, REASON_NONE);
	bench->value.count = 4;
	take(bench, 2, 0, REASON_NONE);
	memcpy(bench->value.comm, "worker", 7); /* another thread's name */
	take(bench, 2, 0, REASON_NONE);
	take(bench, 1, 0, REASON_NONE); /* another stack */
	slice = aggregate_close(bench->aggregate, 4000, 6000);
	assert_int_equal(slice->sample_count, 3);
	assert_int_equal(slice->samples[0].count, 7);
	assert_int_equal(slice->label_count, 2);
	assert_int_equal(slice->stack_count, 2);
	assert_string_equal(names_get_string(bench->names, slice->labels[1].thread), "worker");
	window_unref(slice);
	slice = aggregate_close(bench->aggregate, 6000, 7000);
	assert_int_equal(slice->sample_count + slice->stack_count + slice->label_count, 0);
	window_unref(slice);
}

static void an_unfinished_stack_ends_in_its_reason(void **state)
{
	struct bench *bench = *state;
	struct names_frame note;
	struct window *slice;

	bench->kernel[0] = 0xffffffff81000000;
	assert_int_equal(take(bench, 1, 1, REASON_NO_RULE), REASON_NONE);
	slice = aggregate_close(bench->aggregate, 4000, 6000);
	assert_int_equal(slice->stacks[0].depth, 3);
	assert_int_equal(frame_of(bench, slice, 0, 0).image, NAMES_IMAGE_KERNEL);
	note = frame_of(bench, slice, 0, 2);
	assert_int_equal(note.image, NAMES_IMAGE_NOTE);
	assert_string_equal(names_get_string(bench->names, note.lines[0].name), "[truncated: no unwind rule]");
	window_unref(slice);
}

/* exec keeps the pid: a sample from before it must not get the new program's names, nor the other way round. */
static void a_sample_belongs_to_the_program_of_its_time(void **state)
{
	struct bench *bench = *state;
	struct sideband_event exec = { .kind = SIDEBAND_EXEC, .time_ns = 10000, .pid = PARENT, .tid = PARENT,
				       .name = "other" };
	struct window *slice;

	process_table_event(bench->processes->table, &exec);
	take(bench, 1, 0, REASON_NONE);
	bench->value.last_ns = 11000;
	take(bench, 1, 0, REASON_NONE);
	slice = aggregate_close(bench->aggregate, 4000, 12000);
	assert_int_equal(slice->sample_count, 2);
	assert_string_equal(names_get_string(bench->names, slice->labels[0].comm), "app");
	assert_string_equal(names_get_string(bench->names, slice->labels[1].comm), "other");
	assert_true(frame_of(bench, slice, 0, 0).image >= NAMES_FIRST_IMAGE);
	assert_int_equal(frame_of(bench, slice, 1, 0).image, NAMES_IMAGE_NOTE);
	window_unref(slice);
}

/* The one frame of a sample that follows another of the slice, after the event: the cache must not be seen in it. */
static struct names_frame frame_after(struct bench *bench, const struct sideband_event *event, uint32_t user_depth,
				      uint32_t kernel_depth)
{
	struct names_frame frame;
	struct window *slice;

	assert_int_equal(take(bench, user_depth, kernel_depth, REASON_NONE), REASON_NONE);
	if (event)
		process_table_event(bench->processes->table, event);
	assert_int_equal(take(bench, user_depth, kernel_depth, REASON_NONE), REASON_NONE);
	slice = aggregate_close(bench->aggregate, 4000, 6000);
	frame = frame_of(bench, slice, (uint32_t)slice->stack_count - 1, 0);
	window_unref(slice);
	return frame;
}

static uint64_t cache_hits(struct bench *bench)
{
	struct frame_cache_stats stats;

	aggregate_get_stats(bench->aggregate, &stats);
	return stats.hits;
}

static void what_was_resolved_is_not_resolved_again(void **state)
{
	struct bench *bench = *state;
	struct names_frame first = frame_after(bench, NULL, 1, 0), second;

	assert_int_equal(cache_hits(bench), 1);
	second = frame_after(bench, NULL, 1, 0); /* another slice */
	assert_int_equal(cache_hits(bench), 2);
	assert_int_equal(second.image, first.image);
	assert_int_equal(second.address, first.address);
	assert_int_equal(second.exact, first.exact);
	assert_int_equal(take(bench, 1, 0, REASON_NONE), REASON_NONE);
	bench->user[0] &= ~SAMPLE_FRAME_EXACT; /* the same number as a return address is another frame */
	assert_false(frame_after(bench, NULL, 1, 0).exact);
}

/* Its process is still there, no window has it: what is remembered must not lead to what has its number. */
static void a_frame_that_was_given_back_is_made_anew(void **state)
{
	struct bench *bench = *state;
	struct names_frame before = frame_after(bench, NULL, 1, 0), after;
	uint32_t image, id;
	uint64_t address;

	assert_int_equal(names_take_unasked(bench->names, 1, &image, &id, &address), 1);
	names_set_lines(bench->names, id, SYMBOL_NO_SYMBOL, NULL, 0);
	assert_int_equal(names_recycle_begin(bench->names), 0);
	assert_int_equal(names_recycle_end(bench->names, 1000), 1);
	after = frame_after(bench, NULL, 1, 0);
	assert_int_equal(after.image, before.image);
	assert_int_equal(after.address, before.address);
}

static void another_file_at_the_address_is_another_frame(void **state)
{
	struct bench *bench = *state;
	struct sideband_event event = { .kind = SIDEBAND_MMAP, .time_ns = 2500, .pid = PARENT, .tid = PARENT,
					.start = 0x10000, .end = 0x14000, .file = { 8, 1, 4712, 0 },
					.protection = PROT_READ | PROT_EXEC, .name = "/bin/other" };
	struct names_frame before, after;
	struct process_image *image;

	bench->value.count = 1; /* more might be of both */
	before = frame_after(bench, NULL, 1, 0);
	after = frame_after(bench, &event, 1, 0);
	assert_int_not_equal(after.image, before.image);
	assert_false(after.is_vaddr); /* its segments are not known yet: */
	image = process_image_get(bench->processes->table, after.image);
	image->segments[0].filesz = 0x4000;
	image->segments[0].vaddr = 0x7000;
	image->segment_count = 1;
	after = frame_after(bench, NULL, 1, 0);
	assert_true(after.is_vaddr);
	assert_int_equal(after.address, 0x7100);
	/* A fork has its own, also while it shares the mappings. */
	event = (struct sideband_event){ .kind = SIDEBAND_FORK, .time_ns = 3000, .pid = CHILD, .tid = CHILD,
					 .parent_pid = PARENT };
	process_table_event(bench->processes->table, &event);
	assert_int_not_equal(process_find(bench->processes->table, CHILD, 5000)->serial,
			     process_find(bench->processes->table, PARENT, 5000)->serial);
}

static void a_kernel_symbol_that_came_later_names_its_frame(void **state)
{
	struct bench *bench = *state;
	struct sideband_event event = { .kind = SIDEBAND_KSYMBOL, .time_ns = 2500, .start = 0xffffffffc0000000,
					.end = 0xffffffffc0001000, .name = "bpf_prog_late" };
	struct names_frame frame;

	bench->kernel[0] = 0xffffffffc0000100;
	assert_int_equal(frame_after(bench, NULL, 0, 1).line_count, 0);
	assert_int_equal(cache_hits(bench), 1);
	frame = frame_after(bench, &event, 0, 1);
	assert_int_equal(frame.line_count, 1);
	assert_string_equal(names_get_string(bench->names, frame.lines[0].name), "bpf_prog_late");
}

static void map_other(struct bench *bench, uint64_t time_ns)
{
	struct sideband_event event = { .kind = SIDEBAND_MMAP, .time_ns = time_ns, .pid = PARENT, .tid = PARENT,
					.start = 0x10000, .end = 0x14000, .offset = 0x1000, .file = { 8, 1, 4712, 0 },
					.protection = PROT_READ | PROT_EXEC, .name = "/bin/other" };

	process_table_event(bench->processes->table, &event);
}

static const char *note_of(struct bench *bench, const struct window *slice, uint32_t stack, uint32_t at)
{
	struct names_frame frame = frame_of(bench, slice, stack, at);

	return frame.image == NAMES_IMAGE_NOTE ? names_get_string(bench->names, frame.lines[0].name) : "";
}

/* What was mapped changed: counts of both are nobody's, and what was walked by the table of before ends there. */
static void what_may_be_of_the_mapping_before_is_not_named(void **state)
{
	struct bench *bench = *state;
	struct process *process = process_find(bench->processes->table, PARENT, 5000);
	struct window *slice;

	process->version = 3;
	map_other(bench, 10000);
	bench->value.last_ns = 11000;
	bench->value.table_version = 3;
	take(bench, 2, 0, REASON_NONE); /* three samples: some may be from before */
	bench->value.count = 1;
	take(bench, 2, 0, REASON_NONE); /* its leaf is where it was interrupted, its caller was found by other rules */
	bench->value.table_version = 4;
	take(bench, 2, 0, REASON_NONE);
	bench->value.last_ns = 9000;
	take(bench, 2, 0, REASON_NONE);
	slice = aggregate_close(bench->aggregate, 4000, 12000);
	assert_int_equal(slice->stack_count, 4);
	assert_int_equal(slice->stacks[0].depth, 1);
	assert_string_equal(note_of(bench, slice, 0, 0), "[stale mapping]");
	assert_int_equal(slice->stacks[1].depth, 2);
	assert_string_equal(note_of(bench, slice, 1, 1), "[stale mapping]");
	assert_int_equal(slice->stacks[2].depth, 2);
	assert_int_equal(frame_of(bench, slice, 2, 0).image, frame_of(bench, slice, 2, 1).image);
	assert_int_equal(frame_of(bench, slice, 2, 0).image, frame_of(bench, slice, 1, 0).image);
	assert_int_not_equal(frame_of(bench, slice, 2, 0).image, frame_of(bench, slice, 3, 0).image);
	window_unref(slice);
}

static void files_without_room_are_one_note(void **state)
{
	struct bench *bench = *state;
	struct window *slice;

	process_find(bench->processes->table, PARENT, 5000)->mappings[0].image->overflow = true;
	take(bench, 2, 0, REASON_NONE);
	slice = aggregate_close(bench->aggregate, 4000, 6000);
	assert_string_equal(note_of(bench, slice, 0, 0), "[too many files]");
	window_unref(slice);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(addresses_become_image_and_elf_address, bench_setup, bench_teardown),
		cmocka_unit_test_setup_teardown(frames_left_out_are_a_frame_that_says_so, bench_setup, bench_teardown),
		cmocka_unit_test_setup_teardown(a_return_address_is_resolved_at_the_call, bench_setup, bench_teardown),
		cmocka_unit_test_setup_teardown(equal_samples_add_up_and_others_do_not, bench_setup, bench_teardown),
		cmocka_unit_test_setup_teardown(an_unfinished_stack_ends_in_its_reason, bench_setup, bench_teardown),
		cmocka_unit_test_setup_teardown(a_sample_belongs_to_the_program_of_its_time, bench_setup, bench_teardown),
		cmocka_unit_test_setup_teardown(what_was_resolved_is_not_resolved_again, bench_setup, bench_teardown),
		cmocka_unit_test_setup_teardown(a_frame_that_was_given_back_is_made_anew, bench_setup, bench_teardown),
		cmocka_unit_test_setup_teardown(another_file_at_the_address_is_another_frame, bench_setup, bench_teardown),
		cmocka_unit_test_setup_teardown(a_kernel_symbol_that_came_later_names_its_frame, bench_setup, bench_teardown),
		cmocka_unit_test_setup_teardown(what_may_be_of_the_mapping_before_is_not_named, bench_setup, bench_teardown),
		cmocka_unit_test_setup_teardown(files_without_room_are_one_note, bench_setup, bench_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses that are used again, text that moves, pids that are: what lay there, and who was it, at a sample's time. */
#include "process_fixture.h"

#define LIBRARY 0x7f0000001000

static const struct process_image *image_at(struct fixture *f, uint64_t address, uint64_t at_ns)
{
	const struct process_mapping *mapping = process_mapping_at(process_find(f->table, PARENT, at_ns), address, at_ns);

	return mapping ? mapping->image : NULL;
}

static void library(struct fixture *f, uint64_t time, uint64_t inode)
{
	map(f, time, PARENT, LIBRARY, LIBRARY + 0x3000, 0x1000, inode, "/lib/x");
}

static void a_sample_meets_what_lay_there_at_its_time(void **state)
{
	struct fixture *f = *state;
	const struct process *process;

	map(f, 1, PARENT, 0x1000, 0x2000, 0, 7, "/bin/a");
	for (uint64_t i = 0; i < 1000; i++)
		library(f, 1000 + i * 10, 100 + i % 6);
	process = process_find(f->table, PARENT, 5000);
	assert_int_equal(process->mapping_count, 2);
	assert_true(process->recycles);
	for (uint64_t at = 1000; at < 11000; at++)
		assert_int_equal(image_at(f, LIBRARY + 0x10, at)->file.inode, 100 + (at - 1000) / 10 % 6);
	assert_int_equal(image_at(f, LIBRARY + 0x10, 500)->file.inode, 100); /* nothing older can be meant */
	assert_int_equal(image_at(f, 0x1000, 5000)->file.inode, 7);
	assert_null(image_at(f, LIBRARY + 0x3000, 5000));
}

static void pieces_keep_their_offsets(void **state)
{
	struct fixture *f = *state;
	const struct process_mapping *mapping;
	uint64_t vaddr;

	library(f, 10, 100);
	map(f, 20, PARENT, LIBRARY + 0x1000, LIBRARY + 0x2000, 0, 101, "/lib/y");
	mapping = process_mapping_at(process_find(f->table, PARENT, 15), LIBRARY + 0x1004, 15);
	assert_int_equal(mapping->image->file.inode, 100);
	assert_false(process_mapping_vaddr(mapping, LIBRARY + 0x1004, &vaddr));
	assert_int_equal(vaddr, 0x2004); /* of the file */
	assert_int_equal(image_at(f, LIBRARY + 0x2004, 25)->file.inode, 100);
	assert_int_equal(image_at(f, LIBRARY + 0x1004, 25)->file.inode, 101);
}

static void what_was_replaced_goes_with_its_samples(void **state)
{
	struct fixture *f = *state;
	struct process_stats before, after;

	library(f, 1, 100);
	process_table_get_stats(f->table, &before);
	for (uint64_t i = 0; i < 100; i++)
		library(f, NS_PER_S + i, 101 + i % 2);
	process_table_keep(f->table, NS_PER_S / 2);
	tick(f, 20 * NS_PER_S);
	assert_int_equal(image_at(f, LIBRARY, NS_PER_S - 1)->file.inode, 100);
	assert_true(process_find(f->table, PARENT, NS_PER_S)->recycles);
	process_table_keep(f->table, 2 * NS_PER_S);
	tick(f, 20 * NS_PER_S);
	process_table_get_stats(f->table, &after);
	assert_int_equal(after.mapping_bytes, before.mapping_bytes);
	assert_int_equal(after.forgotten, 0);
	assert_false(process_find(f->table, PARENT, NS_PER_S)->recycles);
	assert_int_equal(f->changes, 2); /* the kernel side hears of it */
}

static void what_is_forgotten_is_not_guessed(void **state)
{
	struct fixture *f = *state;
	struct process_stats stats;
	uint64_t count = 3 * PROCESS_PAST_LIMIT;

	for (uint64_t i = 0; i < count; i++)
		library(f, 1000 + i, 100 + i % 6);
	process_table_get_stats(f->table, &stats);
	assert_true(stats.forgotten > 0 && stats.mapping_bytes < PROCESS_MAPPING_BYTES);
	assert_null(image_at(f, LIBRARY, 1010));
	for (uint64_t at = 1000 + count - PROCESS_PAST_LIMIT / 2 + 1; at < 1000 + count; at++)
		assert_int_equal(image_at(f, LIBRARY, at)->file.inode, 100 + (at - 1000) % 6);
}

static void counts_and_walks_of_both_are_told_apart(void **state)
{
	struct fixture *f = *state;
	struct process *process;
	const struct process_mapping *mapping;

	library(f, NS_PER_S, 100);
	process_table_keep(f->table, 9 * NS_PER_S);
	process = process_find(f->table, PARENT, NS_PER_S);
	process->version = 4; /* as published */
	mapping = process_mapping_at(process, LIBRARY, 2 * NS_PER_S);
	assert_false(process_mapping_mixed(f->table, mapping, 9));
	assert_false(process_mapping_misread(process, mapping, 3)); /* nothing was there before */
	library(f, 9 * NS_PER_S + 5, 101);
	mapping = process_mapping_at(process, LIBRARY, 9 * NS_PER_S + 6);
	assert_true(process_mapping_mixed(f->table, mapping, 2));
	assert_false(process_mapping_mixed(f->table, mapping, 1));
	assert_true(process_mapping_misread(process, mapping, 4));
	assert_false(process_mapping_misread(process, mapping, 5));
	assert_false(process_mapping_misread(process, mapping, 0)); /* nobody walked */
	process_table_keep(f->table, 10 * NS_PER_S);
	assert_false(process_mapping_mixed(f->table, mapping, 2));
	/* A child has versions of its own. */
	task(f, SIDEBAND_FORK, 9 * NS_PER_S + 10, CHILD, CHILD, PARENT, "");
	process = process_find(f->table, CHILD, 10 * NS_PER_S);
	mapping = process_mapping_at(process, LIBRARY, 10 * NS_PER_S);
	assert_false(process_mapping_misread(process, mapping, 1));
}

static void text_moves_without_an_event(void **state)
{
	struct fixture *f = *state;
	struct process_found found = { LIBRARY + 0x10000, LIBRARY + 0x13000, 0x1000, { 8, 1, 100, 1 } };
	struct process_stats stats;

	library(f, 10, 100);
	map(f, 11, PARENT, 0x1000, 0x2000, 0, 101, "/bin/a");
	tick(f, 12);
	process_table_found(f->table, PARENT, 20, LIBRARY + 0x11000, &found);
	assert_int_equal(image_at(f, LIBRARY + 0x11000, 20)->file.inode, 100);
	assert_true(process_find(f->table, PARENT, 20)->recycles && process_find(f->table, PARENT, 20)->dirty);
	process_table_found(f->table, PARENT, 21, LIBRARY + 0x11000, &found); /* as is known */
	found = (struct process_found){ LIBRARY, LIBRARY + 0x3000, 0x1000, { 8, 1, 101, 1 } };
	process_table_found(f->table, PARENT, 30, LIBRARY, &found); /* another one where this was */
	assert_int_equal(image_at(f, LIBRARY, 29)->file.inode, 100);
	assert_int_equal(image_at(f, LIBRARY, 30)->file.inode, 101);
	map(f, 35, PARENT, LIBRARY + 0x20000, LIBRARY + 0x21000, 0, 0, "[vdso]");
	found = (struct process_found){ LIBRARY + 0x20000, LIBRARY + 0x21000, 0, { 0 } };
	process_table_found(f->table, PARENT, 36, LIBRARY + 0x20000, &found); /* a copy that ended there */
	assert_true(image_at(f, LIBRARY + 0x20000, 36)->vdso);
	found = (struct process_found){ LIBRARY, LIBRARY + 0x3000, 0, { 0 } };
	process_table_found(f->table, PARENT, 40, LIBRARY, &found);
	assert_true(image_at(f, LIBRARY, 40)->anonymous);
	process_table_get_stats(f->table, &stats);
	assert_int_equal(stats.moved, 3);
	found.file = (struct sideband_file){ 8, 1, 4711, 1 }; /* never met: /proc has its path */
	process_table_found(f->table, PARENT, 50, LIBRARY, &found);
	assert_int_equal(f->table->unread.count, 1);
	process_table_found(f->table, PARENT, 51, LIBRARY, &found);
	process_table_found(f->table, CHILD, 51, LIBRARY, &found); /* nobody */
	assert_int_equal(f->table->unread.count, 1);
}

/* A thousand lives of one pid in a second: each sample finds its own, and none another's once they are too many. */
static void every_life_of_a_pid_is_found(void **state)
{
	struct fixture *f = *state;
	const struct process *process;

	process_table_keep(f->table, 1000);
	for (uint64_t i = 0; i < PROCESS_GENERATION_MOST / 2; i++) {
		task(f, SIDEBAND_FORK, 1000 + i * 100, CHILD, CHILD, PARENT, "");
		task(f, SIDEBAND_EXEC, 1010 + i * 100, CHILD, CHILD, 0, i % 2 ? "one" : "two");
		task(f, SIDEBAND_EXIT, 1090 + i * 100, CHILD, CHILD, PARENT, "");
	}
	for (uint64_t i = 0; i < PROCESS_GENERATION_MOST / 2; i++)
		assert_string_equal(process_find(f->table, CHILD, 1050 + i * 100)->comm, i % 2 ? "one" : "two");
	for (uint64_t i = PROCESS_GENERATION_MOST / 2; i < 4 * PROCESS_GENERATION_MOST; i++) {
		task(f, SIDEBAND_FORK, 1000 + i * 100, CHILD, CHILD, PARENT, "");
		task(f, SIDEBAND_EXEC, 1010 + i * 100, CHILD, CHILD, 0, i % 2 ? "one" : "two");
		task(f, SIDEBAND_EXIT, 1090 + i * 100, CHILD, CHILD, PARENT, "");
	}
	assert_null(process_find(f->table, CHILD, 1050));
	for (uint64_t i = 0; i < 4 * PROCESS_GENERATION_MOST; i++) {
		process = process_find(f->table, CHILD, 1050 + i * 100);
		assert_true(!process || !strcmp(process->comm, i % 2 ? "one" : "two"));
	}
	assert_non_null(process);
	assert_true(f->table->entries <= PROCESS_GENERATION_MOST + PROCESS_GENERATION_LIMIT);
}

static void forks_of_a_big_process_cost_no_memory(void **state)
{
	struct fixture *f = *state;
	struct process_stats before, after;

	for (uint64_t i = 0; i < 3000; i++)
		map(f, 1 + i, PARENT, 0x10000 + i * 0x2000, 0x11000 + i * 0x2000, 0, 50, "/lib/a");
	process_table_get_stats(f->table, &before);
	for (uint32_t i = 0; i < 1000; i++)
		task(f, SIDEBAND_FORK, 10000 + i, CHILD + i, CHILD + i, PARENT, "");
	process_table_get_stats(f->table, &after);
	assert_int_equal(before.mapping_bytes, after.mapping_bytes);
	/* Each that changes has its own, up to the limit of all. */
	for (uint32_t i = 0; i < 1000; i++)
		map(f, 20000 + i, CHILD + i, 0x1000, 0x2000, 0, 51, "/lib/b");
	process_table_get_stats(f->table, &after);
	assert_in_range(after.mapping_bytes, PROCESS_MAPPING_BYTES / 2, PROCESS_MAPPING_BYTES);
	assert_true(after.refused_mappings > 0);
	for (uint32_t i = 0; i < 1000; i++)
		task(f, SIDEBAND_EXIT, 30000 + i, CHILD + i, CHILD + i, PARENT, "");
	tick(f, 30000 + 2 * PROCESS_GRACE_S * NS_PER_S);
	process_table_get_stats(f->table, &after);
	assert_int_equal(before.mapping_bytes, after.mapping_bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_sample_meets_what_lay_there_at_its_time),
		TEST(pieces_keep_their_offsets),
		TEST(what_was_replaced_goes_with_its_samples),
		TEST(what_is_forgotten_is_not_guessed),
		TEST(counts_and_walks_of_both_are_told_apart),
		TEST(text_moves_without_an_event),
		TEST(every_life_of_a_pid_is_found),
		TEST(forks_of_a_big_process_cost_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What is mapped: cutting, images, addresses; and the symbols of BPF programs. */
#include "process_fixture.h"

static void mappings_are(const struct process *process, size_t count, const uint64_t (*want)[3])
{
	assert_int_equal(process->mapping_count, count);
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(process->mappings[i].start, want[i][0]);
		assert_int_equal(process->mappings[i].end, want[i][1]);
		assert_int_equal(process->mappings[i].offset, want[i][2]);
	}
}

static void new_mappings_cut_older_ones(void **state)
{
	struct fixture *f = *state;
	struct process *process;

	map(f, 1, PARENT, 0x10000, 0x20000, 0x3000, 7, "/a");
	map(f, 2, PARENT, 0x30000, 0x40000, 0, 8, "/b");
	process = process_find(f->table, PARENT, 3);
	map(f, 3, PARENT, 0x14000, 0x16000, 0x9000, 9, "/c"); /* inside: two pieces are left */
	mappings_are(process, 4, (const uint64_t[][3]){ { 0x10000, 0x14000, 0x3000 }, { 0x14000, 0x16000, 0x9000 },
							{ 0x16000, 0x20000, 0x9000 }, { 0x30000, 0x40000, 0 } });
	assert_int_equal(process->mappings[0].image->users, 2);
	map(f, 4, PARENT, 0x15000, 0x38000, 0x1000, 10, "/d"); /* over the ends of two, whole over one */
	mappings_are(process, 4, (const uint64_t[][3]){ { 0x10000, 0x14000, 0x3000 }, { 0x14000, 0x15000, 0x9000 },
							{ 0x15000, 0x38000, 0x1000 }, { 0x38000, 0x40000, 0x8000 } });
	assert_int_equal(process->mappings[0].image->users, 1);
	map(f, 5, PARENT, 0x1000, 0x90000, 0, 11, "/e");
	mappings_are(process, 1, (const uint64_t[][3]){ { 0x1000, 0x90000, 0 } });
	map(f, 6, PARENT, 0x90000, 0x91000, 0, 12, "/f"); /* touches, does not cut */
	mappings_are(process, 2, (const uint64_t[][3]){ { 0x1000, 0x90000, 0 }, { 0x90000, 0x91000, 0 } });
	assert_int_equal(process->mappings[0].since_ns, 5);
	map(f, 7, PARENT, 0x0, 0x90000, -0x1000ULL, 11, "/e"); /* the same memory, grown: as old as it was */
	assert_int_equal(process->mappings[0].start, 0);
	assert_int_equal(process->mappings[0].since_ns, 5);
	map(f, 8, PARENT, 0x9000, 0x9000, 0, 13, "/empty");
	map(f, 8, PARENT, 0xffffffffff600000, 0xffffffffff601000, 0, 0, "[vsyscall]");
	assert_int_equal(process->mapping_count, 2);
}

static void images_are_files(void **state)
{
	struct fixture *f = *state;
	struct process *process;
	struct sideband_file scanned = { 8, 1, 50, 0 }, other = { 8, 1, 50, 9 }, none = { 0 };
	struct process_image *image;

	map(f, 1, PARENT, 0x1000, 0x2000, 0, 50, "/a");
	map(f, 2, CHILD, 0x1000, 0x2000, 0, 50, "/another/name/of/a");
	map(f, 3, PARENT, 0x3000, 0x4000, 0, 0, "[vdso]");
	map(f, 4, CHILD, 0x7000, 0x8000, 0, 0, "[vdso]");
	map(f, 5, PARENT, 0x5000, 0x6000, 0x5000, 0, "//anon");
	map(f, 6, CHILD, 0x5000, 0x6000, 0x5000, 77, "/memfd:jit (deleted)");
	map(f, 7, PARENT, 0x8000, 0x9000, 0, 78, "/dev/zero (deleted)");
	process = process_find(f->table, PARENT, 10);
	image = process->mappings[0].image;
	assert_int_equal(image->id, NAMES_FIRST_IMAGE);
	assert_int_equal(image->users, 2);
	assert_string_equal(image->path, "/a");
	assert_true(process->mappings[1].image->vdso);
	assert_int_equal(process->mappings[1].image->users, 2);
	assert_true(process->mappings[2].image->anonymous);
	assert_ptr_equal(process->mappings[2].image, process->mappings[3].image);
	process = process_find(f->table, CHILD, 10);
	assert_false(process->mappings[1].image->anonymous);
	assert_string_equal(process->mappings[1].image->path, "/memfd:jit");
	assert_ptr_equal(process_image_for(f->table, &scanned, "/a"), image);
	assert_ptr_not_equal(process_image_for(f->table, &other, "/a"), image);
	assert_ptr_equal(process_image_for(f->table, &none, "[anon:name]"),
			 process_image_for(f->table, &none, ""));
	scanned.inode = 60; /* read from /proc first: learns its generation from the event */
	image = process_image_for(f->table, &scanned, "/s");
	scanned.generation = 4;
	assert_ptr_equal(process_image_for(f->table, &scanned, "/s"), image);
	scanned.generation = 5;
	assert_ptr_not_equal(process_image_for(f->table, &scanned, "/s"), image);
	assert_null(process_image_get(f->table, 0));
	assert_null(process_image_get(f->table, 1000));
}

static void addresses_become_vaddrs(void **state)
{
	struct fixture *f = *state;
	struct process *process;
	struct process_image *image;
	uint64_t vaddr = 0, bias = 0;
	bool is_vaddr = true;

	map(f, 1, PARENT, 0x7f0000001000, 0x7f0000005000, 0x1000, 50, "/lib/a");
	map(f, 2, PARENT, 0x5000, 0x6000, 0x5000, 0, "");
	process = process_find(f->table, PARENT, 10);
	image = process->mappings[1].image;
	assert_false(process_mapping_bias(&process->mappings[1], &bias));
	assert_ptr_equal(resolve(process, 0x7f0000001010, &vaddr, &is_vaddr), image);
	assert_false(is_vaddr);
	assert_int_equal(vaddr, 0x1010); /* a file offset */
	/* As lld lays them out: both segments share the page at 0x1000 of the file. */
	image->segment_count = 3;
	image->segments[0].filesz = 0x1734;
	image->segments[1].offset = 0x1740;
	image->segments[1].vaddr = 0x402740;
	image->segments[1].filesz = 0x3000;
	image->segments[2].offset = 0x5000;
	image->segments[2].vaddr = 0x409000;
	image->segments[2].filesz = 0x100;
	assert_ptr_equal(resolve(process, 0x7f0000001750, &vaddr, &is_vaddr), image);
	assert_true(is_vaddr);
	assert_int_equal(vaddr, 0x402750);
	assert_true(process_mapping_bias(&process->mappings[1], &bias));
	assert_int_equal(0x7f0000001750 - bias, 0x402750);
	resolve(process, 0x7f0000004800, &vaddr, &is_vaddr); /* behind the segment's end, in its last page */
	assert_true(is_vaddr);
	assert_int_equal(vaddr, 0x405800);
	resolve(process, 0x7f0000001720, &vaddr, &is_vaddr);
	assert_int_equal(vaddr, 0x1720); /* the first segment's bytes, as long as no flags say it is not code */
	image->segments[0].flags = 4;
	image->segments[1].flags = 5;
	resolve(process, 0x7f0000001720, &vaddr, &is_vaddr);
	assert_int_equal(vaddr, 0x402720);
	assert_null(resolve(process, 0x7f0000005000, &vaddr, &is_vaddr));
	assert_null(resolve(process, 0x7f0000000fff, &vaddr, &is_vaddr));
	assert_non_null(resolve(process, 0x5123, &vaddr, &is_vaddr));
	assert_true(is_vaddr);
	assert_int_equal(vaddr, 0x5123);
}

static void the_oldest_generated_code_gives_way(void **state)
{
	struct fixture *f = *state;
	struct process *process;
	struct process_stats stats;
	uint64_t vaddr;
	bool is_vaddr;

	map(f, 1, PARENT, 0x1000, 0x2000, 0, 50, "/lib/a");
	for (uint64_t i = 0; i < PROCESS_MAPPING_LIMIT + 10; i++)
		map(f, 10 + i, PARENT, 0x10000 + i * 0x2000, 0x11000 + i * 0x2000, 0, 0, "//anon");
	process = process_find(f->table, PARENT, 10);
	assert_in_range(process->mapping_count, PROCESS_MAPPING_LIMIT / 2, PROCESS_MAPPING_LIMIT / 2 + 20);
	assert_int_equal(process->mappings[1].image->users, process->mapping_count - 1);
	assert_int_equal(process->mappings[process->mapping_count - 1].since_ns, 10 + PROCESS_MAPPING_LIMIT + 9);
	assert_int_equal(process->mappings[0].image->file.inode, 50);
	assert_true(process->mappings[1].start > 0x10000);
	process_table_get_stats(f->table, &stats);
	assert_int_equal(stats.refused_mappings, 1);
	for (uint64_t i = 0; i < PROCESS_MAPPING_LIMIT; i++) /* files stay; without room the new one is refused */
		map(f, 90000 + i, PARENT, 0x90000000 + i * 0x2000, 0x90001000 + i * 0x2000, 0, 51 + i % 2, "/lib/b");
	assert_int_equal(process->mapping_count, PROCESS_MAPPING_LIMIT);
	assert_int_equal(process->mappings[0].image->file.inode, 50);
	map(f, 99999, PARENT, 0xf0000000, 0xf0001000, 0, 53, "/lib/c");
	assert_int_equal(process->mapping_count, PROCESS_MAPPING_LIMIT);
	assert_null(resolve(process, 0xf0000000, &vaddr, &is_vaddr));
}

#define PIDS 12U

/* Adds what a table, and what it has replaced, holds on images; one that is shared counts once. */
static void count_table(const struct process_entry *entry, const struct process_block **seen, size_t *seen_count,
			uint32_t *users, uint32_t *refs)
{
	for (size_t i = 0; i < entry->past_count; i++)
		refs[entry->past[i].mapping.image->id]++;
	for (size_t i = 0; i < *seen_count; i++)
		if (seen[i] == entry->block)
			return;
	if (entry->block)
		seen[(*seen_count)++] = entry->block;
	for (size_t i = 0; i < entry->process.mapping_count; i++) {
		refs[entry->process.mappings[i].image->id]++;
		users[entry->process.mappings[i].image->id] += entry->block->living > 0;
	}
}

/* Sorted, apart, and each image counts exactly the mappings of the living, and all. */
static void check_table(struct fixture *f)
{
	static const struct process_block *seen[PIDS * PROCESS_GENERATION_MOST];
	size_t seen_count = 0;
	uint32_t users[64] = { 0 }, refs[64] = { 0 };
	struct process_stats stats;

	for (uint32_t pid = PARENT; pid < PARENT + PIDS; pid++) {
		const struct process *process = process_find(f->table, pid, UINT64_MAX);

		for (size_t i = 0; process && i < process->mapping_count; i++) {
			assert_true(process->mappings[i].start < process->mappings[i].end);
			assert_true(!i || process->mappings[i - 1].end <= process->mappings[i].start);
		}
		for (const struct process *at = process; at; at = at->older)
			count_table((const struct process_entry *)at, seen, &seen_count, users, refs);
		for (; process && process->older; process = process->older) {
			assert_true(process->older->until_ns <= process->from_ns);
			assert_true(process->older->from_ns < process->older->until_ns);
		}
	}
	process_table_get_stats(f->table, &stats);
	for (uint32_t id = NAMES_FIRST_IMAGE; id < NAMES_FIRST_IMAGE + stats.images; id++)
		assert_int_equal(process_image_get(f->table, id)->users, users[id]);
	for (uint32_t id = NAMES_FIRST_IMAGE; id < NAMES_FIRST_IMAGE + stats.images; id++)
		assert_int_equal(process_image_get(f->table, id)->refs, refs[id]);
}

static void any_stream_leaves_a_sound_table(void **state)
{
	static const enum sideband_kind kinds[] = { SIDEBAND_FORK, SIDEBAND_FORK, SIDEBAND_EXEC, SIDEBAND_EXIT };
	struct fixture *f = *state;
	uint32_t seed = 12345;

	for (uint64_t time = 1; time < 30000; time++) {
		uint32_t r = (seed = seed * 1664525 + 1013904223) >> 8, pid = PARENT + r % PIDS;
		uint64_t start = 0x1000 * (1 + (r >> 4) % 40), inode = (r >> 9) % 8;

		if (r % 3)
			map(f, time, pid, start, start + 0x1000 * (1 + (r >> 12) % 6), 0x1000 * (r >> 15 & 1), inode, "/x");
		else
			task(f, kinds[r / 3 % 4], time, pid, r & 64 ? pid : pid + 100, PARENT + (r >> 16) % PIDS, "c");
		if (!(r % 50))
			tick(f, time);
		if (!(r % 977)) /* long after: the dead are forgotten */
			tick(f, time + 2 * PROCESS_GRACE_S * NS_PER_S);
		check_table(f);
	}
	assert_true(f->changes > 100 && f->exits > 100);
}

static void ksymbol(struct fixture *f, uint64_t start, uint64_t end, bool unregister, const char *name)
{
	struct sideband_event event = { .kind = SIDEBAND_KSYMBOL, .start = start, .end = end, .name = name,
					.unregister = unregister };

	process_table_event(f->table, &event);
}

static void kernel_symbols_outlive_their_program(void **state)
{
	struct fixture *f = *state;
	struct process_stats stats;
	char name[32];

	ksymbol(f, 0xffff1000, 0xffff1100, false, "bpf_prog_a");
	ksymbol(f, 0xffff3000, 0xffff3100, false, "bpf_prog_c");
	ksymbol(f, 0xffff2000, 0xffff2100, false, "bpf_prog_b");
	assert_string_equal(process_ksymbol(f->table, 0xffff20ff), "bpf_prog_b");
	assert_null(process_ksymbol(f->table, 0xffff2100));
	ksymbol(f, 0xffff2000, 0xffff2100, true, "bpf_prog_b");
	assert_string_equal(process_ksymbol(f->table, 0xffff2000), "bpf_prog_b");
	ksymbol(f, 0xffff2080, 0xffff3080, false, "bpf_prog_d"); /* their memory, used again */
	assert_null(process_ksymbol(f->table, 0xffff2000));
	assert_string_equal(process_ksymbol(f->table, 0xffff3000), "bpf_prog_d");
	for (uint64_t i = 0; i < 2 * PROCESS_KSYMBOL_LIMIT; i++) {
		snprintf(name, sizeof(name), "p%u", (unsigned)i % 100);
		ksymbol(f, 0x10000 + i * 16, 0x10010 + i * 16, false, name);
	}
	process_table_get_stats(f->table, &stats);
	assert_int_equal(stats.refused_ksymbols, PROCESS_KSYMBOL_LIMIT + 2);
	ksymbol(f, 0x10000, 0x10010, true, "p0");
	ksymbol(f, 0xf0000000, 0xf0000100, false, "late");
	assert_string_equal(process_ksymbol(f->table, 0xf0000000), "late");
	assert_null(process_ksymbol(f->table, 0x10000));
	assert_string_equal(process_ksymbol(f->table, 0x10010), "p1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(new_mappings_cut_older_ones),
		TEST(images_are_files),
		TEST(addresses_become_vaddrs),
		TEST(the_oldest_generated_code_gives_way),
		TEST(any_stream_leaves_a_sound_table),
		TEST(kernel_symbols_outlive_their_program),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

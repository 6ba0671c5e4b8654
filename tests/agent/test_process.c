/* SPDX-License-Identifier: Apache-2.0 */
/* The table of processes, driven by synthetic side-band events; and by the real /proc where that is the input. */
#include "base/clean.h"
#include "base/clock.h"
#include "names.h"
#include "process.h"
#include "process_private.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <cmocka.h>

#define PARENT 5000000U /* above the kernel's largest pid: never in /proc */
#define CHILD 5000001U

struct fixture {
	struct process_table *table;
	int images, changes, exits;
	uint32_t exited_pid, changed_pid;
	uint64_t changed_until;
};

static void image_new(void *context, struct process_image *image, uint32_t pid, uint64_t start, uint64_t end)
{
	struct fixture *f = context;

	assert_true(pid > 0 && start < end);
	assert_int_equal(image->state, PROCESS_IMAGE_NEW);
	assert_ptr_equal(process_image_get(f->table, image->id), image);
	if (!image->anonymous)
		image->state = PROCESS_IMAGE_ASKED;
	f->images++;
}

static void table_changed(void *context, struct process *process)
{
	struct fixture *f = context;

	f->changes++;
	f->changed_pid = process->pid;
	f->changed_until = process->until_ns;
}

static void exited(void *context, uint32_t pid)
{
	struct fixture *f = context;

	f->exits++;
	f->exited_pid = pid;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct process_callbacks callbacks = { image_new, table_changed, exited, f };

	f->table = process_table_new(&callbacks);
	*state = f;
	return f->table ? 0 : -1;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	process_table_free(f->table);
	free(f);
	return 0;
}

static void tick(struct fixture *f, uint64_t now_ns)
{
	f->table->unread.count = 0; /* these pids are not in /proc */
	process_table_tick(f->table, now_ns);
}

static void map(struct fixture *f, uint64_t time, uint32_t pid, uint64_t start, uint64_t end, uint64_t offset,
		uint64_t inode, const char *path)
{
	struct sideband_event event = { .kind = SIDEBAND_MMAP, .time_ns = time, .pid = pid, .tid = pid,
					.start = start, .end = end, .offset = offset, .file = { 8, 1, inode, 1 },
					.protection = PROT_READ | PROT_EXEC, .name = path };

	if (!inode)
		event.file = (struct sideband_file){ 0 };
	process_table_event(f->table, &event);
}

static void task(struct fixture *f, enum sideband_kind kind, uint64_t time, uint32_t pid, uint32_t tid,
		 uint32_t parent, const char *name)
{
	struct sideband_event event = { .kind = kind, .time_ns = time, .pid = pid, .tid = tid, .parent_pid = parent,
					.name = name };

	process_table_event(f->table, &event);
}

static void fork_copies_and_exec_begins_anew(void **state)
{
	struct fixture *f = *state;
	struct process *child;

	map(f, 100, PARENT, 0x1000, 0x3000, 0, 7, "/bin/a");
	task(f, SIDEBAND_COMM, 110, PARENT, PARENT, 0, "shell");
	task(f, SIDEBAND_FORK, 200, CHILD, CHILD, PARENT, "");
	child = process_find(f->table, CHILD, 250);
	assert_non_null(child);
	assert_string_equal(child->comm, "shell");
	assert_int_equal(child->parent, PARENT);
	assert_int_equal(child->known_ns, 200);
	assert_int_equal(child->mapping_count, 1);
	assert_int_equal(child->mappings[0].image->users, 2);
	assert_ptr_equal(child->mappings, process_find(f->table, PARENT, 250)->mappings); /* shared */
	map(f, 260, CHILD, 0x8000, 0x9000, 0, 8, "/lib/b");
	assert_int_equal(child->mapping_count, 2);
	assert_int_equal(process_find(f->table, PARENT, 270)->mapping_count, 1); /* and no longer */
	task(f, SIDEBAND_EXEC, 300, CHILD, CHILD, 0, "prog");
	map(f, 310, CHILD, 0x10000, 0x20000, 0, 9, "/bin/prog");
	child = process_find(f->table, CHILD, 299);
	assert_string_equal(child->comm, "shell");
	assert_int_equal(child->until_ns, 300);
	assert_int_equal(child->mapping_count, 2);
	child = process_find(f->table, CHILD, 300);
	assert_string_equal(child->comm, "prog");
	assert_int_equal(child->mapping_count, 1);
	assert_int_equal(child->parent, PARENT);
	assert_int_equal(child->until_ns, UINT64_MAX);
	assert_int_equal(f->images, 3);
	assert_int_equal(process_find(f->table, PARENT, 310)->mappings[0].image->users, 1);
	assert_null(process_find(f->table, CHILD + 1, 300));
}

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

static void changes_are_told_once(void **state)
{
	struct fixture *f = *state;

	map(f, 100, PARENT, 0x1000, 0x3000, 0, 7, "/bin/a");
	map(f, 101, PARENT, 0x4000, 0x5000, 0, 8, "/lib/b");
	tick(f, 1000);
	assert_int_equal(f->changes, 1);
	map(f, 102, PARENT, 0x4000, 0x5000, 0, 8, "/lib/b"); /* told twice: no change */
	tick(f, 1001);
	assert_int_equal(f->changes, 1);
	task(f, SIDEBAND_FORK, 200, CHILD, CHILD, PARENT, "");
	tick(f, 1002);
	assert_int_equal(f->changes, 2);
	assert_int_equal(f->changed_pid, CHILD);
	process_image_ready(f->table, process_find(f->table, PARENT, 300)->mappings[1].image);
	process_image_ready(f->table, process_find(f->table, PARENT, 300)->mappings[0].image);
	assert_int_equal(f->changes, 2);
	tick(f, 1003);
	assert_int_equal(f->changes, 4); /* both use it, each once */
	tick(f, 1004);
	assert_int_equal(f->changes, 4);
}

static void the_last_thread_ends_a_process(void **state)
{
	struct fixture *f = *state;
	struct process *process;

	map(f, 100, PARENT, 0x1000, 0x3000, 0, 7, "/bin/a");
	task(f, SIDEBAND_FORK, 110, CHILD, CHILD, PARENT, "");
	task(f, SIDEBAND_FORK, 120, CHILD, CHILD + 1, CHILD, "");
	task(f, SIDEBAND_EXIT, 130, CHILD, CHILD, PARENT, ""); /* the leader goes first */
	process = process_find(f->table, CHILD, 140);
	assert_int_equal(process->until_ns, UINT64_MAX);
	task(f, SIDEBAND_EXIT, 150, CHILD, CHILD + 1, PARENT, "");
	assert_int_equal(process->until_ns, 150);
	assert_int_equal(process_table_count(f->table), 1);
	tick(f, 200);
	assert_int_equal(f->exits, 1);
	assert_int_equal(f->exited_pid, CHILD);
	assert_int_equal(f->changed_until, 150);
	assert_int_equal(process->mappings[0].image->users, 1);
	/* Its last samples still find it; a while later it is forgotten. */
	tick(f, 150 + PROCESS_GRACE_S * NS_PER_S - 1);
	assert_ptr_equal(process_find(f->table, CHILD, 140), process);
	assert_int_equal(process->mapping_count, 1);
	tick(f, 150 + PROCESS_GRACE_S * NS_PER_S);
	assert_null(process_find(f->table, CHILD, 140));
	assert_int_equal(f->exits, 1);
}

static void a_pid_is_used_again(void **state)
{
	struct fixture *f = *state;

	map(f, 100, PARENT, 0x1000, 0x3000, 0, 7, "/bin/a");
	task(f, SIDEBAND_FORK, 110, CHILD, CHILD, PARENT, "");
	task(f, SIDEBAND_EXEC, 115, CHILD, CHILD, 0, "first");
	task(f, SIDEBAND_EXIT, 120, CHILD, CHILD, PARENT, "");
	task(f, SIDEBAND_FORK, 130, CHILD, CHILD, PARENT, "");
	task(f, SIDEBAND_EXEC, 135, CHILD, CHILD, 0, "second");
	assert_string_equal(process_find(f->table, CHILD, 118)->comm, "first");
	assert_string_equal(process_find(f->table, CHILD, 140)->comm, "second");
	tick(f, 200);
	assert_int_equal(f->exits, 1);
	/* An EXIT that was lost: the next birth of the pid ends the old one. */
	task(f, SIDEBAND_FORK, 300, CHILD, CHILD, PARENT, "");
	assert_int_equal(process_find(f->table, CHILD, 200)->until_ns, 300);
	assert_int_equal(process_table_count(f->table), 2);
	tick(f, 310);
	assert_int_equal(f->exits, 2);
}

static void events_before_the_reading_are_in_it(void **state)
{
	struct fixture *f = *state;
	struct process_entry *entry;
	struct process *process;

	map(f, 1000, PARENT, 0x1000, 0x3000, 0, 7, "/bin/a");
	entry = process_entry_newest(f->table, PARENT);
	process = &entry->process;
	entry->scanned = true; /* as if /proc had been read at 1000 */
	entry->threads = 2;
	map(f, 990, PARENT, 0x2000, 0x9000, 0, 8, "/old");
	task(f, SIDEBAND_EXEC, 991, PARENT, PARENT, 0, "old");
	task(f, SIDEBAND_FORK, 992, PARENT, PARENT + 7, PARENT, "");
	task(f, SIDEBAND_EXIT, 993, PARENT, PARENT + 8, PARENT, "");
	task(f, SIDEBAND_FORK, 994, PARENT, PARENT, CHILD, "");
	assert_int_equal(process->mapping_count, 1);
	assert_int_equal(entry->threads, 2);
	assert_int_equal(process->from_ns, 1000);
	assert_ptr_equal(process_find(f->table, PARENT, 2000), process);
	task(f, SIDEBAND_EXEC, 1001, PARENT, PARENT, 0, "new");
	assert_string_equal(process_find(f->table, PARENT, 2000)->comm, "new");
}

static void the_thought_dead_may_speak(void **state)
{
	struct fixture *f = *state;

	map(f, 100, PARENT, 0x1000, 0x3000, 0, 7, "/bin/a");
	task(f, SIDEBAND_EXIT, 200, PARENT, PARENT, 0, "");
	assert_int_equal(process_find(f->table, PARENT, 250)->until_ns, 200);
	map(f, 300, PARENT, 0x8000, 0x9000, 0, 8, "/lib/b"); /* a thread nobody had counted */
	assert_int_equal(process_find(f->table, PARENT, 310)->until_ns, UINT64_MAX);
	assert_int_equal(process_find(f->table, PARENT, 310)->mapping_count, 2);
	tick(f, 200 + 2 * PROCESS_GRACE_S * NS_PER_S);
	assert_non_null(process_find(f->table, PARENT, 310));
	assert_int_equal(f->exits, 0);
	assert_int_equal(process_find(f->table, PARENT, 310)->mappings[0].image->users, 1);
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
	assert_ptr_equal(process_resolve(process, 0x7f0000001010, &vaddr, &is_vaddr), image);
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
	assert_ptr_equal(process_resolve(process, 0x7f0000001750, &vaddr, &is_vaddr), image);
	assert_true(is_vaddr);
	assert_int_equal(vaddr, 0x402750);
	assert_true(process_mapping_bias(&process->mappings[1], &bias));
	assert_int_equal(0x7f0000001750 - bias, 0x402750);
	process_resolve(process, 0x7f0000004800, &vaddr, &is_vaddr); /* behind the segment's end, in its last page */
	assert_true(is_vaddr);
	assert_int_equal(vaddr, 0x405800);
	process_resolve(process, 0x7f0000001720, &vaddr, &is_vaddr);
	assert_int_equal(vaddr, 0x1720); /* the first segment's bytes, as long as no flags say it is not code */
	image->segments[0].flags = 4;
	image->segments[1].flags = 5;
	process_resolve(process, 0x7f0000001720, &vaddr, &is_vaddr);
	assert_int_equal(vaddr, 0x402720);
	assert_null(process_resolve(process, 0x7f0000005000, &vaddr, &is_vaddr));
	assert_null(process_resolve(process, 0x7f0000000fff, &vaddr, &is_vaddr));
	assert_non_null(process_resolve(process, 0x5123, &vaddr, &is_vaddr));
	assert_true(is_vaddr);
	assert_int_equal(vaddr, 0x5123);
}

static void the_oldest_generated_code_gives_way(void **state)
{
	struct fixture *f = *state;
	struct process *process;
	struct process_stats stats;

	map(f, 1, PARENT, 0x1000, 0x2000, 0, 50, "/lib/a");
	for (uint64_t i = 0; i < PROCESS_MAPPING_LIMIT + 10; i++)
		map(f, 10 + i, PARENT, 0x10000 + i * 0x2000, 0x11000 + i * 0x2000, 0, 0, "//anon");
	process = process_find(f->table, PARENT, 10);
	assert_true(process->mapping_count <= PROCESS_MAPPING_LIMIT);
	assert_true(process->mapping_count > PROCESS_MAPPING_LIMIT - 10);
	assert_int_equal(process->mappings[0].image->file.inode, 50);
	assert_true(process->mappings[1].start > 0x10000);
	process_table_get_stats(f->table, &stats);
	assert_true(stats.refused_mappings > 0);
}

static void generations_of_a_pid_are_bounded(void **state)
{
	struct fixture *f = *state;
	size_t count = 0;

	map(f, 1, PARENT, 0x1000, 0x2000, 0, 50, "/lib/a");
	for (uint64_t i = 0; i < 1000; i++)
		task(f, SIDEBAND_EXEC, 10 + i, PARENT, PARENT, 0, "again");
	for (struct process *at = process_find(f->table, PARENT, 5000); at; at = at->older)
		count++;
	assert_true(count <= PROCESS_GENERATION_LIMIT + 1);
	assert_int_equal(process_find(f->table, PARENT, 5000)->from_ns, 1009);
	assert_int_equal(process_table_count(f->table), 1);
	tick(f, 2000);
	assert_int_equal(f->exits, 0);
}

static void descendants_are_followed(void **state)
{
	struct fixture *f = *state;

	map(f, 1, PARENT, 0x1000, 0x2000, 0, 50, "/lib/a");
	task(f, SIDEBAND_FORK, 10, CHILD, CHILD, PARENT, "");
	task(f, SIDEBAND_FORK, 20, CHILD + 1, CHILD + 1, CHILD, "");
	process_table_follow(f->table, CHILD);
	assert_int_equal(process_find(f->table, PARENT, 30)->root, 0);
	assert_int_equal(process_find(f->table, CHILD, 30)->root, CHILD);
	assert_int_equal(process_find(f->table, CHILD + 1, 30)->root, CHILD);
	task(f, SIDEBAND_FORK, 40, CHILD + 2, CHILD + 2, CHILD + 1, "");
	task(f, SIDEBAND_EXEC, 50, CHILD + 2, CHILD + 2, 0, "x");
	assert_int_equal(process_find(f->table, CHILD + 2, 60)->root, CHILD);
	process_table_follow(f->table, CHILD + 9); /* not born yet */
	task(f, SIDEBAND_FORK, 70, CHILD + 9, CHILD + 9, PARENT, "");
	assert_int_equal(process_find(f->table, CHILD + 9, 80)->root, CHILD + 9);
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

static bool parse(const char *text, struct maps_line *line)
{
	static char copy[20000];

	assert_true(strlen(text) < sizeof(copy));
	strcpy(copy, text);
	return process_parse_maps_line(copy, line);
}

static void maps_lines(void **state)
{
	static const char *const bad[] = {
		"", "x", "1000", "1000-", "1000-2000", "1000-2000 r-x", "1000-2000 r-xp", "1000-2000 r-xp ",
		"-2000 r-xp 0 08:01 5 /a", "2000-1000 r-xp 0 08:01 5 /a", "1000-1000 r-xp 0 08:01 5 /a",
		"1000-2000 r-xp 0 0801 5 /a", "1000-2000 r-xp 0 08:01 /a", "1000-2000 r-xp 0 08:01 5/a",
		"11111111111111111-2 r-xp 0 08:01 5 /a", "1000- 2000 r-xp 0 08:01 5 /a",
		"1000-2000 r-xp -1 08:01 5 /a", "1000-2000 r-xpp 0 08:01 5 /a",
		"1000-2000 r-xp 0 1ffffffff:01 5 /a", "1000-2000 r-xp 0 08:01 999999999999999999999999 /a",
	};
	struct maps_line line = { 0 };
	char text[17000];

	(void)state;
	assert_true(parse("7f12ab000000-7f12ab001000 r-xp 0001a000 fd:1c 123456789 /usr/lib/a b.so (deleted)", &line));
	assert_int_equal(line.start, 0x7f12ab000000);
	assert_int_equal(line.end, 0x7f12ab001000);
	assert_int_equal(line.offset, 0x1a000);
	assert_int_equal(line.major, 0xfd);
	assert_int_equal(line.minor, 0x1c);
	assert_int_equal(line.inode, 123456789);
	assert_true(line.executable);
	assert_string_equal(line.path, "/usr/lib/a b.so (deleted)");
	assert_true(parse("1000-2000 rw-p 00000000 00:00 0 ", &line));
	assert_false(line.executable);
	assert_string_equal(line.path, "");
	assert_true(parse("1000-2000 --xp 00000000 00:00 0", &line));
	assert_true(line.executable);
	assert_true(parse("1000-2000 r-xp 0 00:00 0 /a\\012b\\134\\", &line));
	assert_string_equal(line.path, "/a\nb\\134\\");
	for (size_t i = 0; i < array_size(bad); i++) {
		print_message("%s\n", bad[i]);
		assert_false(parse(bad[i], &line));
	}
	strcpy(text, "1000-2000 r-xp 0 08:01 5 /");
	memset(text + strlen(text), 'n', 16000);
	text[16026] = '\0';
	assert_true(parse(text, &line));
	assert_int_equal(strlen(line.path), 16001);
}

static void proc_knows_this_process(void **state)
{
	struct fixture *f = *state;
	struct process *process;
	uint64_t vaddr, before = clock_monotonic_ns();
	bool is_vaddr;
	int added;

	assert_int_equal(prctl(PR_SET_NAME, "odd) R 1 \n"), 0);
	added = process_table_scan(f->table);
	assert_true(added > 0);
	assert_int_equal(process_table_count(f->table), added);
	process = process_find(f->table, (uint32_t)getpid(), before);
	assert_non_null(process);
	assert_true(process->known_ns >= before && process->known_ns <= clock_monotonic_ns());
	assert_int_equal(process->parent, getppid());
	assert_string_equal(process->comm, "odd) R 1 \n");
	assert_non_null(process_resolve(process, (uint64_t)(uintptr_t)proc_knows_this_process, &vaddr, &is_vaddr));
	assert_non_null(strstr(process_resolve(process, (uint64_t)(uintptr_t)proc_knows_this_process, &vaddr,
					       &is_vaddr)->path, "test_process"));
	for (size_t i = 1; i < process->mapping_count; i++)
		assert_true(process->mappings[i].start >= process->mappings[i - 1].end);
	process = process_find(f->table, 2, before);
	if (process && !strcmp(process->comm, "kthreadd"))
		assert_true(process->kernel_thread);
	process = process_find(f->table, (uint32_t)getpid(), before);
	assert_true(process_table_scan(f->table) >= 0);
	assert_ptr_equal(process_find(f->table, (uint32_t)getpid(), UINT64_MAX), process); /* not read again */
}

/* A child whose exec and whose end both went unseen: the pass over /proc after LOST finds each. */
static void lost_records_are_repaired(void **state)
{
	struct fixture *f = *state;
	struct sideband_event lost = { .kind = SIDEBAND_LOST, .lost = 5, .name = "" };
	struct process_stats stats;
	struct process *old;
	int go[2], status, ready[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe(go) | pipe(ready), 0);
	pid = fork();
	if (!pid) {
		dup2(go[0], 0);
		dup2(ready[1], 1);
		if (read(0, &byte, 1) == 1)
			execl("/bin/sh", "sh", "-c", "echo; read x", NULL);
		_exit(1);
	}
	process_table_scan(f->table);
	old = process_find(f->table, (uint32_t)pid, UINT64_MAX);
	assert_non_null(old);
	assert_int_equal(write(go[1], "x", 1), 1);
	assert_int_equal(read(ready[0], &byte, 1), 1); /* the shell runs */
	process_table_event(f->table, &lost);
	process_table_tick(f->table, clock_monotonic_ns());
	assert_int_equal(f->exits, 0);
	assert_ptr_not_equal(process_find(f->table, (uint32_t)pid, UINT64_MAX), old);
	assert_ptr_equal(process_find(f->table, (uint32_t)pid, UINT64_MAX)->older, old);
	assert_string_equal(process_find(f->table, (uint32_t)pid, UINT64_MAX)->comm, "sh");
	assert_int_equal(write(go[1], "\n", 1), 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	process_table_event(f->table, &lost);
	process_table_tick(f->table, clock_monotonic_ns()); /* too soon for another pass */
	process_table_get_stats(f->table, &stats);
	assert_int_equal(stats.repairs, 1);
	process_table_tick(f->table, clock_monotonic_ns() + 100 * NS_PER_S);
	process_table_get_stats(f->table, &stats);
	assert_int_equal(stats.repairs, 2);
	assert_int_equal(stats.lost, 10);
	assert_true(f->exits > 0);
	assert_int_equal(process_find(f->table, (uint32_t)getpid(), UINT64_MAX)->until_ns, UINT64_MAX);
	close(go[0]), close(go[1]), close(ready[0]), close(ready[1]);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(fork_copies_and_exec_begins_anew), TEST(new_mappings_cut_older_ones),
		TEST(changes_are_told_once), TEST(the_last_thread_ends_a_process), TEST(a_pid_is_used_again),
		TEST(events_before_the_reading_are_in_it), TEST(the_thought_dead_may_speak), TEST(images_are_files),
		TEST(addresses_become_vaddrs), TEST(the_oldest_generated_code_gives_way),
		TEST(generations_of_a_pid_are_bounded), TEST(descendants_are_followed),
		TEST(kernel_symbols_outlive_their_program), TEST(maps_lines), TEST(proc_knows_this_process),
		TEST(lost_records_are_repaired),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

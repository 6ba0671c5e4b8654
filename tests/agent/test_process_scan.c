/* SPDX-License-Identifier: Apache-2.0 */
/* /proc as the input: hostile lines, this process, and the repair after lost records. */
#include "process_fixture.h"
#include "sideband.h"

#include <sys/prctl.h>
#include <sys/wait.h>

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

	assert_int_equal(prctl(PR_SET_NAME, "odd) R 1 \n"), 0);
	assert_int_equal(process_table_scan(f->table), 0);
	process = process_find(f->table, (uint32_t)getpid(), before);
	assert_non_null(process);
	assert_true(process->known_ns >= before && process->known_ns <= clock_monotonic_ns());
	assert_int_equal(process->parent, getppid());
	assert_string_equal(process->comm, "odd) R 1 \n");
	assert_non_null(resolve(process, (uint64_t)(uintptr_t)proc_knows_this_process, &vaddr, &is_vaddr));
	assert_non_null(strstr(resolve(process, (uint64_t)(uintptr_t)proc_knows_this_process, &vaddr,
					       &is_vaddr)->path, "test_process"));
	for (size_t i = 1; i < process->mapping_count; i++)
		assert_true(process->mappings[i].start >= process->mappings[i - 1].end);
	process = process_find(f->table, 2, before);
	if (process && !strcmp(process->comm, "kthreadd"))
		assert_true(process->kernel_thread);
	process = process_find(f->table, (uint32_t)getpid(), before);
	assert_int_equal(process_table_scan(f->table), 0);
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
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(maps_lines),
		TEST(proc_knows_this_process),
		TEST(lost_records_are_repaired),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The real side-band stream into the table: what it then says of a process is what /proc says. */
#include "process_fixture.h"
#include "sideband.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/wait.h>

struct live {
	struct sideband *sideband;
	pid_t pid;
	int go, ready;
};

static void take(void *context, const struct sideband_event *event)
{
	process_table_event(((struct fixture *)context)->table, event);
}

static void catch_up(struct fixture *f, struct live *live)
{
	sideband_read(live->sideband, clock_monotonic_ns(), take, f);
}

static int setup_live(struct fixture *f, struct live *live)
{
	char error[200];

	if (sideband_open(&live->sideband, error, sizeof(error))) {
		print_message("%s\n", error);
		skip();
	}
	return process_table_scan(f->table);
}

/* Runs `body` in a child, which tells with a byte that it is ready and ends with the pipe. */
static void begin(struct live *live, void (*body)(void))
{
	int go[2], ready[2];
	char byte;

	assert_int_equal(pipe2(go, O_CLOEXEC) | pipe2(ready, O_CLOEXEC), 0);
	live->pid = fork();
	if (!live->pid) {
		dup2(go[0], 0);
		dup2(ready[1], 1);
		close(go[1]);
		body();
		if (write(1, "x", 1) == 1)
			while (read(0, &byte, 1) > 0)
				;
		_exit(0);
	}
	close(go[0]);
	close(ready[1]);
	live->go = go[1];
	live->ready = ready[0];
	assert_int_equal(read(live->ready, &byte, 1), 1);
}

static void end(struct fixture *f, struct live *live)
{
	int status;

	close(live->go);
	assert_int_equal(waitpid(live->pid, &status, 0), live->pid);
	close(live->ready);
	catch_up(f, live);
	assert_true(process_find(f->table, (uint32_t)live->pid, UINT64_MAX)->until_ns < clock_monotonic_ns());
	process_table_tick(f->table, clock_monotonic_ns());
	assert_int_equal(process_table_scan(f->table), 0);
	assert_true(f->exits > 0);
	sideband_close(live->sideband);
}

/* Each executable line of maps is a mapping of the table, of the same inode; what was unmapped may be left over. */
static size_t compare_with_proc(struct fixture *f, struct live *live)
{
	const struct process *process = process_find(f->table, (uint32_t)live->pid, UINT64_MAX);
	size_t lines = 0;
	char path[40], text[8192];
	auto_file FILE *file = NULL;

	snprintf(path, sizeof(path), "/proc/%d/maps", live->pid);
	file = fopen(path, "re");
	assert_non_null(file);
	assert_non_null(process);
	while (fgets(text, sizeof(text), file)) {
		struct maps_line line;
		size_t i = 0;

		text[strcspn(text, "\n")] = '\0';
		assert_true(process_parse_maps_line(text, &line));
		if (!line.executable || line.end > PROCESS_USER_END)
			continue;
		while (i < process->mapping_count && process->mappings[i].start != line.start)
			i++;
		if (i == process->mapping_count || process->mappings[i].end != line.end)
			print_message("%s\n", line.path);
		assert_true(i < process->mapping_count);
		assert_int_equal(process->mappings[i].end, line.end);
		if (!process->mappings[i].image->anonymous) {
			assert_int_equal(process->mappings[i].offset, line.offset);
			assert_int_equal(process->mappings[i].image->file.inode, line.inode);
			assert_int_equal(process->mappings[i].image->file.major, line.major);
			assert_int_equal(process->mappings[i].image->file.minor, line.minor);
		}
		lines++;
	}
	return lines;
}

static void body_exec(void)
{
	execl("/bin/sh", "sh", "-c", "echo; read x", NULL);
}

static void exec_is_as_proc_says(void **state)
{
	struct fixture *f = *state;
	struct live live;

	setup_live(f, &live);
	begin(&live, body_exec);
	catch_up(f, &live);
	assert_true(compare_with_proc(f, &live) >= 4); /* sh, libc, ld.so, vdso */
	assert_string_equal(process_find(f->table, (uint32_t)live.pid, UINT64_MAX)->comm, "sh");
	assert_int_equal(process_find(f->table, (uint32_t)live.pid, UINT64_MAX)->parent, getpid());
	end(f, &live);
}

static void body_maps(void)
{
	char *area = mmap(NULL, 10 << 12, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = open("/proc/self/exe", O_RDONLY);

	if (area == MAP_FAILED || mprotect(area, 10 << 12, PROT_READ | PROT_EXEC) ||
	    mprotect(area + (3 << 12), 1 << 12, PROT_READ | PROT_WRITE) ||
	    mprotect(area + (3 << 12), 1 << 12, PROT_READ | PROT_EXEC) ||
	    mmap(area + (5 << 12), 2 << 12, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, fd, 4096) == MAP_FAILED)
		_exit(1);
}

static void forks_and_later_mappings_are_as_proc_says(void **state)
{
	struct fixture *f = *state;
	struct live live;

	setup_live(f, &live);
	begin(&live, body_maps);
	catch_up(f, &live);
	assert_true(compare_with_proc(f, &live) >= 7); /* inherited, and three pieces */
	end(f, &live);
}

static void *wait_for_end(void *unused)
{
	char byte;

	(void)unused;
	while (syscall(SYS_gettid) && read(0, &byte, 1) > 0)
		;
	_exit(0);
}

static void body_leader_leaves(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, wait_for_end, NULL) || write(1, "x", 1) != 1)
		_exit(1);
	pthread_exit(NULL);
}

static void zombie(pid_t pid)
{
	char path[40], text[400] = "";

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	while (!strstr(text, ") Z ")) {
		auto_file FILE *file = fopen(path, "re");

		assert_non_null(file);
		assert_non_null(fgets(text, sizeof(text), file));
	}
}

/* A leader that ends before its threads: the process lives on, for the stream and for a first look at /proc. */
static void a_process_may_outlive_its_leader(void **state)
{
	struct fixture *f = *state;
	struct process_callbacks callbacks = f->table->callbacks;
	struct process_table *late = process_table_new(&callbacks), *early = f->table;
	struct live live;

	setup_live(f, &live);
	begin(&live, body_leader_leaves);
	zombie(live.pid);
	catch_up(f, &live);
	process_table_tick(f->table, clock_monotonic_ns());
	assert_int_equal(process_find(f->table, (uint32_t)live.pid, UINT64_MAX)->until_ns, UINT64_MAX);
	f->table = late;
	assert_int_equal(process_table_scan(late), 0);
	process_table_tick(late, clock_monotonic_ns());
	assert_int_equal(process_find(late, (uint32_t)live.pid, UINT64_MAX)->until_ns, UINT64_MAX);
	assert_true(process_find(late, (uint32_t)live.pid, UINT64_MAX)->mapping_count >= 4);
	f->table = early;
	end(f, &live);
	f->table = late;
	process_table_tick(late, clock_monotonic_ns() + 2 * NS_PER_S); /* no event told it: it looks */
	assert_true(process_find(late, (uint32_t)live.pid, UINT64_MAX)->until_ns != UINT64_MAX);
	process_table_free(late);
	f->table = early;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(exec_is_as_proc_says),
		TEST(forks_and_later_mappings_are_as_proc_says),
		TEST(a_process_may_outlive_its_leader),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

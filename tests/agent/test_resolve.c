/* SPDX-License-Identifier: Apache-2.0 */
/* From mappings to names with real symbolizers: own binary, libc, vDSO, kernel, deleted files, killed processes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "own_mapping.h"
#include "resolve_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/capability.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

static int setup(void **state)
{
	*state = fixture_new(-1);
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	fixture_free(*state);
	return 0;
}

__attribute__((noinline)) int wick_test_landmark(int value)
{
	return value * 3 + 1;
}

/* Asks for the image that holds the address and for the address itself; the frame's id. */
static uint32_t ask(struct fixture *fixture, uint32_t image, const void *address)
{
	struct resolve_image_request request = { .image = image };
	char path[4096];
	uint64_t offset = 0;

	assert_true(find_mapping(address, &request, path, &offset));
	assert_int_equal(resolve_image(fixture->resolve, &request), 0);
	return names_frame(fixture->names, image, offset, true, false);
}

static void test_names_own_binary_and_libc(void **state)
{
	struct fixture *fixture = *state;
	uint32_t own = ask(fixture, 2, (void *)wick_test_landmark);
	uint32_t libc = ask(fixture, 3, (void *)strtoull);
	struct names_frame frame;

	assert_true(wait_names(fixture));
	assert_string_equal(frame_name(fixture, own), "wick_test_landmark");
	names_get_frame(fixture->names, own, &frame);
	assert_int_equal(frame.source, SYMBOL_DWARF);
	assert_non_null(strstr(names_get_string(fixture->names, frame.lines[0].file), "test_resolve.c"));
	assert_in_range(frame.lines[0].line, 30, 60);
	assert_non_null(strstr(frame_name(fixture, libc), "strtou"));
	assert_true(wait_image(fixture, 2, 1) && wait_image(fixture, 3, 1));
	assert_true(fixture->done[2].known && fixture->done[2].has_table);
	assert_int_equal(fixture->done[3].head.magic, UNWIND_FILE_MAGIC);
	assert_true(fixture->done[3].table.span > SYMBOLIZER_WHOLE_PAGES); /* libc is built as it is wanted */
	assert_int_equal(fixture->done[3].head.pages, 0);
}

/* Waits until that many pages of the image were answered. */
static bool wait_pages(struct fixture *fixture, uint32_t image, unsigned count)
{
	return wait_count(fixture, &fixture->done[image].pages_answered, count);
}

/* Rows of the pages asked for, in any order and number of requests; of an image that failed, an answer all the same. */
static void test_pages_are_built_when_asked_for(void **state)
{
	struct fixture *fixture = *state;
	uint32_t pages[3], first, missing = 5;

	ask(fixture, 3, (void *)strtoull);
	assert_true(wait_image(fixture, 3, 1));
	first = fixture->done[3].table.first_page;
	pages[0] = first + 4;
	pages[1] = first + 2;
	pages[2] = first + 4;
	assert_int_equal(resolve_pages(fixture->resolve, 3, pages, 3), 0);
	assert_true(wait_pages(fixture, 3, 3));
	assert_int_equal(fixture->done[3].pages_good, 3);
	assert_int_equal(fixture->done[3].head.pages, 2);
	assert_true(fixture->done[3].head.rows > 500);
	for (uint32_t i = 0; i < 10; i++) {
		pages[0] = first + i;
		assert_int_equal(resolve_pages(fixture->resolve, 3, pages, 1), 0);
	}
	assert_true(wait_pages(fixture, 3, 13));
	assert_int_equal(fixture->done[3].pages_good, 13);
	assert_int_equal(resolve_pages(fixture->resolve, 60, &missing, 1), 0); /* never asked to open it */
	assert_true(wait_pages(fixture, 60, 1));
	assert_int_equal(fixture->done[60].pages_bad, 1);
}

/* A return address names the call before it, also where the call is a function's last instruction. */
static void test_return_address_is_looked_up_before(void **state)
{
	struct fixture *fixture = *state;
	uint32_t first = ask(fixture, 2, (void *)wick_test_landmark);
	struct names_frame frame;
	uint32_t back;

	names_get_frame(fixture->names, first, &frame);
	back = names_frame(fixture->names, 2, frame.address, false, false);
	assert_true(wait_names(fixture));
	assert_string_equal(frame_name(fixture, first), "wick_test_landmark");
	assert_string_not_equal(frame_name(fixture, back), "wick_test_landmark");
}

static void test_names_vdso(void **state)
{
	struct fixture *fixture = *state;
	struct resolve_image_request request = { .image = 2, .pid = 1, .path = "[vdso]", .vdso = true };
	uint32_t ids[1024];
	bool found = false;

	assert_int_equal(resolve_image(fixture->resolve, &request), 0);
	for (uint32_t at = 0; at < 1024; at++)
		ids[at] = names_frame(fixture->names, 2, at * 8, true, true);
	assert_true(wait_names(fixture));
	for (uint32_t at = 0; at < 1024; at++)
		found |= strstr(frame_name(fixture, ids[at]), "clock_gettime") != NULL;
	assert_true(found);
	assert_true(wait_image(fixture, 2, 1));
	assert_true(fixture->done[2].has_table && fixture->done[2].head.rows);
}

static uint64_t kernel_address(const char *wanted)
{
	auto_file FILE *file = fopen("/proc/kallsyms", "re");
	unsigned long long address;
	char name[256];

	while (file && fscanf(file, "%llx %*c %255s%*[^\n]", &address, name) == 2)
		if (!strcmp(name, wanted))
			return address;
	return 0;
}

static void test_names_kernel(void **state)
{
	struct fixture *fixture = *state;
	uint64_t address = kernel_address("vfs_read");
	uint32_t exact, back, nowhere;

	if (!address)
		skip(); /* addresses are hidden from this user */
	exact = names_frame(fixture->names, NAMES_IMAGE_KERNEL, address, true, true);
	back = names_frame(fixture->names, NAMES_IMAGE_KERNEL, address + 1, false, true);
	nowhere = names_frame(fixture->names, NAMES_IMAGE_KERNEL, 16, true, true);
	assert_true(wait_names(fixture));
	assert_string_equal(frame_name(fixture, exact), "vfs_read");
	assert_string_equal(frame_name(fixture, back), "vfs_read");
	assert_int_equal(frame_source(fixture, exact), SYMBOL_KALLSYMS);
	assert_int_equal(frame_source(fixture, nowhere), SYMBOL_NO_SYMBOL);
}

static void copy_self(const char *to)
{
	char command[600];

	snprintf(command, sizeof(command), "cp /proc/%d/exe %s", getpid(), to);
	assert_int_equal(system(command), 0);
}

/* Only map_files leads to it: its path names another file by now. */
static void test_deleted_and_replaced_file(void **state)
{
	struct fixture *fixture = *state;
	char path[] = "/tmp/wick-deleted-XXXXXX";
	auto_fd int fd = mkstemp(path);
	struct resolve_image_request request = { .image = 2 };
	char own_path[4096];
	uint64_t offset = 0;
	uint32_t id;
	void *mapped;

	copy_self(path);
	mapped = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
	assert_ptr_not_equal(mapped, MAP_FAILED);
	unlink(path);
	close(open(path, O_CREAT | O_WRONLY, 0600));
	assert_true(find_mapping((void *)wick_test_landmark, &request, own_path, &offset));
	id = names_frame(fixture->names, 2, offset, true, false);
	assert_true(find_mapping(mapped, &request, own_path, &offset));
	request.image = 2;
	assert_int_equal(resolve_image(fixture->resolve, &request), 0);
	assert_true(wait_names(fixture));
	assert_string_equal(frame_name(fixture, id), "wick_test_landmark");
	munmap(mapped, 4096);
	unlink(path);
}

static uint32_t ask_path(struct fixture *fixture, uint32_t image, const char *path, uint64_t inode)
{
	struct resolve_image_request request = { .image = image, .pid = (uint32_t)getpid(), .start = 0x1000,
						 .end = 0x2000, .path = path, .file.inode = inode };

	assert_int_equal(resolve_image(fixture->resolve, &request), 0);
	return names_frame(fixture->names, image, 0x100, true, false);
}

static void test_what_is_no_elf_file_is_refused(void **state)
{
	struct fixture *fixture = *state;
	char fifo[] = "/tmp/wick-fifo-XXXXXX";
	uint32_t ids[6];

	assert_true(close(mkstemp(fifo)) == 0 && unlink(fifo) == 0 && mkfifo(fifo, 0600) == 0);
	ids[0] = ask_path(fixture, 2, fifo, 0);
	ids[1] = ask_path(fixture, 3, "/dev/zero", 0);
	ids[2] = ask_path(fixture, 4, "/etc/passwd", 0);
	ids[3] = ask_path(fixture, 5, "/nonexistent", 0);
	ids[4] = ask_path(fixture, 6, "/bin/sh", 1); /* the path leads to another inode */
	ids[5] = names_frame(fixture->names, 7, 0x100, true, true); /* nobody asked for it */
	assert_true(wait_names(fixture));
	assert_int_equal(frame_source(fixture, ids[0]), SYMBOL_REFUSED);
	assert_int_equal(frame_source(fixture, ids[1]), SYMBOL_REFUSED);
	assert_int_equal(frame_source(fixture, ids[2]), SYMBOL_REFUSED);
	assert_int_equal(frame_source(fixture, ids[3]), SYMBOL_NO_FILE);
	assert_int_equal(frame_source(fixture, ids[4]), SYMBOL_CHANGED);
	assert_int_equal(frame_source(fixture, ids[5]), SYMBOL_ANONYMOUS);
	for (uint32_t image = 2; image < 7; image++)
		assert_true(wait_image(fixture, image, 1) && !fixture->done[image].known);
	unlink(fifo);
}

/* Two ids of one file share a child for rows and one for names. */
static void test_same_file_is_one_subject(void **state)
{
	struct fixture *fixture = *state;
	uint32_t one = ask(fixture, 2, (void *)wick_test_landmark);
	uint32_t two = ask(fixture, 3, (void *)wick_test_landmark);
	struct resolve_stats stats;

	assert_true(wait_names(fixture));
	assert_true(wait_image(fixture, 2, 1) && wait_image(fixture, 3, 1));
	assert_string_equal(frame_name(fixture, one), "wick_test_landmark");
	assert_string_equal(frame_name(fixture, two), "wick_test_landmark");
	assert_true(fixture->done[2].has_table && fixture->done[3].has_table);
	resolve_get_stats(fixture->resolve, &stats);
	assert_int_equal(stats.children, 2);
	assert_int_equal(stats.images, 2);
}

/* Every process below `parent`, itself included. */
static size_t find_tree(int parent, int *pids, size_t limit)
{
	auto_dir DIR *proc = opendir("/proc");
	const struct dirent *entry;
	size_t count = 0;

	pids[count++] = parent;
	while (proc && (entry = readdir(proc)) && count < limit) {
		char path[300];
		int pid = atoi(entry->d_name), of = 0;
		auto_file FILE *file = NULL;

		snprintf(path, sizeof(path), "/proc/%s/stat", entry->d_name);
		file = pid > 0 ? fopen(path, "re") : NULL;
		if (file && fscanf(file, "%*d (%*[^)]) %*c %d", &of) == 1 && of == parent)
			pids[count++] = pid;
	}
	return count;
}

static void test_every_symbolizer_killed(void **state)
{
	struct fixture *fixture = *state;
	uint32_t own = ask(fixture, 2, (void *)wick_test_landmark), libc, vfs = 0;
	uint64_t address = kernel_address("vfs_read");
	int pids[64];
	size_t count;

	assert_true(wait_names(fixture));
	assert_true(wait_image(fixture, 2, 1));
	count = find_tree(fixture->parent_pid, pids, 64);
	assert_true(count >= 2);
	for (uint64_t at = 0; at < 5000; at++) /* work in flight */
		names_frame(fixture->names, 2, 0x1000 + at * 4, true, true);
	libc = ask(fixture, 3, (void *)strtoull);
	if (address)
		vfs = names_frame(fixture->names, NAMES_IMAGE_KERNEL, address, true, true);
	resolve_names(fixture->resolve);
	for (size_t at = 0; at < count; at++)
		kill(pids[at], SIGKILL);
	assert_true(wait_names(fixture));
	assert_int_equal(kill(pids[0], 0), -1); /* no zombie either */
	assert_string_equal(frame_name(fixture, own), "wick_test_landmark");
	assert_non_null(strstr(frame_name(fixture, libc), "strtou"));
	if (address)
		assert_string_equal(frame_name(fixture, vfs), "vfs_read");
	assert_true(wait_image(fixture, 3, 1) && fixture->done[3].has_table);
}

/* A child that ended of idleness is made again, from the descriptor that was kept: the file is gone by now. */
static void test_asked_again_after_idleness(void **state)
{
	struct fixture *fixture = *state;
	uint64_t end = clock_monotonic_ns() + 2 * SYMBOLIZER_IDLE_S * NS_PER_S;
	struct resolve_stats stats;
	struct names_frame frame;
	char path[64];
	int pids[64];
	uint32_t id;

	snprintf(path, sizeof(path), "/tmp/wick-idle-%d", getpid());
	copy_self(path);
	ask_path(fixture, 2, path, 0);
	assert_true(wait_names(fixture));
	unlink(path);
	do {
		usleep(50000);
		resolve_get_stats(fixture->resolve, &stats);
	} while (stats.children && clock_monotonic_ns() < end);
	assert_int_equal(stats.children, 0);
	assert_int_equal(find_tree(fixture->parent_pid, pids, 64), 1);
	id = ask(fixture, 3, (void *)wick_test_landmark); /* for its offset only */
	names_get_frame(fixture->names, id, &frame);
	id = names_frame(fixture->names, 2, frame.address, true, false);
	assert_true(wait_names(fixture));
	assert_string_equal(frame_name(fixture, id), "wick_test_landmark");
	resolve_get_stats(fixture->resolve, &stats);
	assert_int_equal(stats.children, 3);
	assert_int_equal(stats.deaths, 0);
}

/* More files than children may live: the idle ones make room. */
static void test_more_files_than_children(void **state)
{
	struct fixture *fixture = *state;
	char paths[40][64];
	uint32_t ids[40];

	for (uint32_t at = 0; at < 40; at++) {
		snprintf(paths[at], sizeof(paths[at]), "/tmp/wick-many-%d-%u", getpid(), at);
		copy_self(paths[at]);
		ids[at] = ask_path(fixture, 2 + at, paths[at], 0);
	}
	assert_true(wait_names(fixture));
	for (uint32_t at = 0; at < 40; at++) {
		assert_true(wait_image(fixture, 2 + at, 1) && fixture->done[2 + at].has_table);
		assert_int_equal(frame_source(fixture, ids[at]), SYMBOL_NO_SYMBOL);
		unlink(paths[at]);
	}
}

/* With no right to become another user: the symbolizers keep the user and lose every capability. */
static int name_without_capabilities(void)
{
	cap_t none = cap_init();
	struct fixture *fixture;
	uint32_t id;

	if (!none || cap_set_proc(none))
		return 1;
	fixture = fixture_new(-1);
	if (!fixture)
		return 2;
	id = ask(fixture, 2, (void *)wick_test_landmark);
	if (!wait_names(fixture))
		return 3;
	if (strcmp(frame_name(fixture, id), "wick_test_landmark"))
		return 4;
	fixture_free(fixture);
	return 0;
}

static void test_without_capabilities(void **state)
{
	pid_t pid = fork();
	int status;

	(void)state;
	if (!pid)
		_exit(name_without_capabilities());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_without_capabilities), /* first: it forks, and there are no threads yet */
		cmocka_unit_test_setup_teardown(test_names_own_binary_and_libc, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pages_are_built_when_asked_for, setup, teardown),
		cmocka_unit_test_setup_teardown(test_return_address_is_looked_up_before, setup, teardown),
		cmocka_unit_test_setup_teardown(test_names_vdso, setup, teardown),
		cmocka_unit_test_setup_teardown(test_names_kernel, setup, teardown),
		cmocka_unit_test_setup_teardown(test_deleted_and_replaced_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_no_elf_file_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_same_file_is_one_subject, setup, teardown),
		cmocka_unit_test_setup_teardown(test_every_symbolizer_killed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_asked_again_after_idleness, setup, teardown),
		cmocka_unit_test_setup_teardown(test_more_files_than_children, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

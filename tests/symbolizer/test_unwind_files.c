/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every row of every file below /usr/bin and /usr/lib against libdw: its first address, the one before it, and one in
 * its middle. A few processes share the files. Where one of the two readers refuses what the other takes (libgcrypt has
 * DW_CFA_def_cfa_register behind an expression, which DWARF 5, 6.4.2.2 forbids; libitm changes stacks) nothing can be
 * compared.
 */
#include "file_comparison.h"

#include <elf.h>
#include <ftw.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define MAX_FILES 65536
#define WORKERS 3

struct shared { /* by the processes */
	_Atomic uint32_t next;
	_Atomic uint64_t files, rows, compared, uncovered, contexts, refused, differing;
};

static char *paths[MAX_FILES];
static struct { dev_t device; ino_t inode; } seen[MAX_FILES];
static uint32_t path_count;

static bool is_elf(const char *path)
{
	auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char magic[SELFMAG];

	return fd >= 0 && read(fd, magic, sizeof(magic)) == sizeof(magic) && !memcmp(magic, ELFMAG, SELFMAG);
}

static int add_file(const char *path, const struct stat *status, int type, struct FTW *at)
{
	(void)at;
	if (type != FTW_F || status->st_size < 4096 || !is_elf(path))
		return 0;
	assert_true(path_count < MAX_FILES);
	for (uint32_t i = 0; i < path_count; i++)
		if (seen[i].inode == status->st_ino && seen[i].device == status->st_dev)
			return 0;
	seen[path_count].device = status->st_dev;
	seen[path_count].inode = status->st_ino;
	paths[path_count++] = strdup(path);
	return 0;
}

static void compare_files(struct shared *shared)
{
	static struct comparison comparison;

	for (uint32_t at; (at = shared->next++) < path_count;) {
		if (!comparison_open(&comparison, paths[at]))
			continue;
		if (comparison.table.report.rows) {
			compare_rows(&comparison, 1);
			shared->files++;
			shared->rows += comparison.table.report.rows;
			shared->compared += comparison.compared;
			shared->uncovered += comparison.uncovered;
			shared->contexts += comparison.contexts;
			shared->refused += comparison.refused;
			shared->differing += comparison.differing;
		}
		comparison_close(&comparison);
	}
}

static void test_all_files(void **state)
{
	struct shared *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t workers[WORKERS];
	int status;

	(void)state;
	assert_ptr_not_equal(shared, MAP_FAILED);
	assert_int_equal(nftw("/usr/bin", add_file, 16, FTW_PHYS) | nftw("/usr/lib", add_file, 16, FTW_PHYS), 0);
	fflush(stdout);
	for (int i = 0; i < WORKERS; i++) {
		workers[i] = fork();
		assert_true(workers[i] >= 0);
		if (workers[i])
			continue;
		compare_files(shared);
		fflush(stdout);
		_exit(0);
	}
	for (int i = 0; i < WORKERS; i++) {
		assert_int_equal(waitpid(workers[i], &status, 0), workers[i]);
		assert_int_equal(status, 0);
	}
	print_message("%" PRIu64 " files, %" PRIu64 " rows, %" PRIu64 " places compared: %" PRIu64 " that libdw does not know, "
		      "%" PRIu64 " contexts, %" PRIu64 " that one of the two refuses, %" PRIu64 " differ\n", shared->files,
		      shared->rows, shared->compared, shared->uncovered, shared->contexts, shared->refused,
		      shared->differing);
	assert_true(shared->files > 100 && shared->rows > 100000);
	assert_int_equal(shared->differing, 0);
	assert_true((shared->contexts + shared->refused) * 100000 <= shared->compared);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_all_files) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}

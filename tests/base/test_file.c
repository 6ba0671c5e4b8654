/* SPDX-License-Identifier: Apache-2.0 */
/* Files of others: limits, and that no link, FIFO or dot leads out of a root or makes the reader wait. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clean.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

static char folder[] = "/tmp/wick-test-file-XXXXXX";
static int root = -1;

static void write_file(int directory, const char *path, const char *text)
{
	auto_fd int fd = openat(directory, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static int make_folder(void **state)
{
	(void)state;
	if (!mkdtemp(folder))
		return -1;
	root = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return root < 0;
}

static int remove_folder(void **state)
{
	static const char *const names[] = { "plain", "fifo", "link", "outside", "absolute", "loop", "in/plain", "large" };

	(void)state;
	for (size_t i = 0; i < array_size(names); i++)
		unlinkat(root, names[i], 0);
	unlinkat(root, "in", AT_REMOVEDIR);
	close(root);
	return rmdir(folder);
}

static void a_file_is_appended(void **state)
{
	auto_buf struct buf out = { 0 };

	(void)state;
	write_file(root, "plain", "some text");
	buf_add_string(&out, "before ");
	assert_int_equal(file_read(root, "plain", 9, &out), 0);
	assert_string_equal(out.data, "before some text");
	assert_int_equal(file_read(root, "absent", 9, &out), -ENOENT);
	assert_int_equal(file_read(root, ".", 9, &out), -EISDIR);
}

static void past_the_limit_it_is_refused(void **state)
{
	auto_buf struct buf out = { 0 };
	auto_fd int fd = openat(root, "large", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	(void)state;
	assert_int_equal(ftruncate(fd, 1 << 20), 0);
	assert_int_equal(file_read(root, "large", (1 << 20) - 1, &out), -EFBIG);
	buf_clear(&out);
	assert_int_equal(file_read(root, "large", 1 << 20, &out), 0);
	assert_int_equal(out.length, 1 << 20);
	buf_clear(&out);
	assert_int_equal(file_read(AT_FDCWD, "/dev/zero", 100000, &out), -EFBIG); /* has no end */
}

static void an_empty_file_is_no_error(void **state)
{
	auto_buf struct buf out = { 0 };

	(void)state;
	write_file(root, "plain", "");
	assert_int_equal(file_read(root, "plain", 0, &out), 0);
	assert_int_equal(out.length, 0);
	assert_string_equal(out.data, "");
}

static void what_is_opened_in_a_root(const char *path, const char *wanted)
{
	auto_fd int fd = file_open_in_root(root, path);
	auto_buf struct buf out = { 0 };

	assert_true(fd >= 0);
	assert_int_equal(file_read_fd(fd, 100, &out), 0);
	assert_string_equal(out.data, wanted);
}

static void links_stay_inside_their_root(void **state)
{
	(void)state;
	write_file(root, "plain", "inside");
	assert_int_equal(mkdirat(root, "in", 0700), 0);
	write_file(root, "in/plain", "deeper");
	assert_int_equal(symlinkat("in/plain", root, "link"), 0);
	assert_int_equal(symlinkat("../../../../../../plain", root, "outside"), 0);
	assert_int_equal(symlinkat("/plain", root, "absolute"), 0);
	what_is_opened_in_a_root("plain", "inside");
	what_is_opened_in_a_root("/plain", "inside");
	what_is_opened_in_a_root("link", "deeper");
	what_is_opened_in_a_root("outside", "inside"); /* above the root is the root */
	what_is_opened_in_a_root("absolute", "inside");
	assert_int_equal(file_open_in_root(root, "/etc/passwd"), -ENOENT);
	assert_int_equal(file_open_in_root(root, "../../../../etc/passwd"), -ENOENT);
}

static void only_regular_files_are_opened(void **state)
{
	auto_fd int system = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char own[64];

	(void)state;
	assert_int_equal(mkfifoat(root, "fifo", 0600), 0);
	assert_int_equal(file_open_in_root(root, "fifo"), -EINVAL); /* and nobody waits for its writer */
	assert_int_equal(file_open_in_root(root, "in"), -EINVAL);
	assert_int_equal(file_open_in_root(system, "dev/null"), -EINVAL);
	assert_int_equal(symlinkat("loop", root, "loop"), 0);
	assert_int_equal(file_open_in_root(root, "loop"), -ELOOP);
	snprintf(own, sizeof(own), "proc/self/fd/%d", root); /* a magic link leads anywhere */
	assert_int_equal(file_open_in_root(system, own), -ELOOP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file_is_appended),
		cmocka_unit_test(past_the_limit_it_is_refused),
		cmocka_unit_test(an_empty_file_is_no_error),
		cmocka_unit_test(links_stay_inside_their_root),
		cmocka_unit_test(only_regular_files_are_opened),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}

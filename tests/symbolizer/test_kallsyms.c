/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "symbolizer/kallsyms.h"

static int open_text(const char *text, size_t length)
{
	int fd = memfd_create("kallsyms", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, length), (ssize_t)length);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

static int read_text(const char *text, struct kallsyms **ret_kallsyms)
{
	int fd = open_text(text, strlen(text));
	int error = kallsyms_new(fd, ret_kallsyms);

	close(fd);
	return error;
}

static void check(const struct kallsyms *kallsyms, uint64_t address, const char *name, const char *module, uint64_t start)
{
	struct kallsyms_symbol symbol;

	assert_true(kallsyms_find(kallsyms, address, &symbol));
	assert_string_equal(symbol.name, name);
	assert_string_equal(symbol.module, module);
	assert_int_equal(symbol.start, start);
}

static const char sample[] =
	"0000000000000000 A fixed_percpu_data\n"
	"ffffffff81000200 t local_one\n"
	"ffffffff81000000 t _stext\n"
	"ffffffff81000000 W weak_text\n"
	"ffffffff81000000 T b_text\n"
	"ffffffff81000000 T a_text\n"
	"ffffffff810001f0 t __pfx_local_one\n"
	"ffffffff81000180 D some_data\n"
	"ffffffff81000190 R some_constant\n"
	"ffffffff81000300 w weak_only\n"
	"ffffffffc0201000 t ext4_read\t[ext4]\n"
	"ffffffffc0201040 T ext4_write\t[ext4]\n"
	"ffffffffc0301000 t bpf_prog_6deef7357e7b4530_sample\t[bpf]\n"
	"ffffffffc0301100 t last_one\t[xfs]";

static void test_names(void **state)
{
	struct kallsyms_symbol symbol;
	struct kallsyms *kallsyms;

	(void)state;
	assert_int_equal(read_text(sample, &kallsyms), 0);
	check(kallsyms, 0xffffffff81000000, "a_text", "", 0xffffffff81000000);
	check(kallsyms, 0xffffffff810001a0, "a_text", "", 0xffffffff81000000); /* data is no text */
	check(kallsyms, 0xffffffff810001f3, "local_one", "", 0xffffffff81000200); /* its padding */
	check(kallsyms, 0xffffffff81000200, "local_one", "", 0xffffffff81000200);
	check(kallsyms, 0xffffffff810002ff, "local_one", "", 0xffffffff81000200);
	check(kallsyms, 0xffffffff81000300, "weak_only", "", 0xffffffff81000300);
	check(kallsyms, 0xffffffffc020103f, "ext4_read", "ext4", 0xffffffffc0201000);
	check(kallsyms, 0xffffffffc0201040, "ext4_write", "ext4", 0xffffffffc0201040);
	check(kallsyms, 0xffffffffc0301020, "bpf_prog_6deef7357e7b4530_sample", "bpf", 0xffffffffc0301000);
	check(kallsyms, 0xffffffffc0301101, "last_one", "xfs", 0xffffffffc0301100);
	assert_false(kallsyms_find(kallsyms, 0xffffffff80ffffff, &symbol));
	assert_false(kallsyms_find(kallsyms, 0, &symbol));
	assert_false(kallsyms_find(kallsyms, 0xffffffff81000300 + KALLSYMS_MAX_REACH, &symbol));
	assert_false(kallsyms_find(kallsyms, UINT64_MAX, &symbol));
	assert_int_equal(kallsyms_dropped(kallsyms), 0);
	kallsyms_free(kallsyms);
}

static void test_hidden_and_broken(void **state)
{
	static char junk[200000];
	struct kallsyms *kallsyms = NULL;
	int fd;

	(void)state;
	assert_int_equal(read_text("0000000000000000 T _text\n0000000000000000 t do_it\t[mod]\n", &kallsyms), -EPERM);
	assert_int_equal(read_text("", &kallsyms), -ENODATA);
	assert_int_equal(read_text("ffffffff81000000 D data\n", &kallsyms), -ENODATA);
	assert_null(kallsyms);
	assert_int_equal(read_text("nonsense\n\nffffffff81000000 T\nffffffff81000000 T \nfffffffff81000000 T long\n"
				   "ffffffff81000000\tT x\nffffffff81000000 T good\n00000000000000ff T low\n", &kallsyms), 0);
	check(kallsyms, 0xffffffff81000000, "good", "", 0xffffffff81000000);
	assert_int_equal(kallsyms_count(kallsyms), 1);
	assert_int_equal(kallsyms_dropped(kallsyms), 7);
	kallsyms_free(kallsyms);
	memset(junk, 'x', sizeof(junk)); /* one line longer than any buffer, then a good one */
	strcpy(junk + sizeof(junk) - 40, "\nffffffff81000000 T good\n");
	fd = open_text(junk, strlen(junk));
	assert_int_equal(kallsyms_new(fd, &kallsyms), 0);
	check(kallsyms, 0xffffffff81000010, "good", "", 0xffffffff81000000);
	assert_true(kallsyms_dropped(kallsyms) > 0);
	kallsyms_free(kallsyms);
	close(fd);
}

/* Every text symbol of this kernel is found at its own address under one of its names there. */
static void test_this_kernel(void **state)
{
	int fd = open("/proc/kallsyms", O_RDONLY | O_CLOEXEC);
	size_t wrong_start = 0, seen = 0, same = 0;
	struct kallsyms *kallsyms;
	char line[1024];
	FILE *file;

	(void)state;
	if (fd < 0 || kallsyms_new(fd, &kallsyms) == -EPERM) {
		print_message("[  SKIPPED ] %s: this user may not see kernel addresses\n", __func__);
		skip();
	}
	close(fd);
	file = fopen("/proc/kallsyms", "r");
	assert_non_null(file);
	while (fgets(line, sizeof(line), file)) {
		struct kallsyms_symbol symbol;
		unsigned long long address;
		char type, name[512];

		if (sscanf(line, "%llx %c %511s", &address, &type, name) != 3 || !strchr("tTwW", type) ||
		    !strncmp(name, "__pfx_", 6) || strstr(line, "[bpf]")) /* programs come and go between the two reads */
			continue;
		seen++;
		assert_true(kallsyms_find(kallsyms, address, &symbol));
		wrong_start += symbol.start != address;
		same += !strcmp(symbol.name, name);
	}
	fclose(file);
	print_message("  %zu symbols, %zu kept in %zu bytes, %zu are an alias of the name told\n", seen,
		      kallsyms_count(kallsyms), kallsyms_bytes(kallsyms), seen - same);
	assert_true(seen > 1000);
	assert_int_equal(wrong_start, 0);
	assert_true(same * 10 > seen * 9);
	assert_int_equal(kallsyms_dropped(kallsyms), 0);
	assert_true(kallsyms_bytes(kallsyms) <= kallsyms_count(kallsyms) * 34 + 65536); /* 122,000: 4 MB */
	kallsyms_free(kallsyms);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names), cmocka_unit_test(test_hidden_and_broken), cmocka_unit_test(test_this_kernel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

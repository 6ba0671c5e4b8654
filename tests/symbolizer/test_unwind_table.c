/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table compiler against libdw, which reads the same .eh_frame by other code: real binaries of this
 * machine and of its compilers; then thousands of broken copies of one.
 */
#include "file_comparison.h"
#include "now.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>

/* ---- comparing ----------------------------------------------------------------------------------------- */

/* Random addresses find what the rows themselves cannot show: functions that were left out. */
static void compare_random(struct comparison *comparison, uint64_t samples)
{
	const struct symbolizer_segment *segments;
	size_t count = image_segments(comparison->image, &segments);

	for (size_t i = 0; i < count; i++) {
		if (!(segments[i].flags & PF_X) || !segments[i].filesz)
			continue;
		for (uint64_t sample = 0; sample < samples; sample++)
			compare(comparison,
				segments[i].vaddr +
					((uint64_t)random() << 20 ^ (uint64_t)random()) % segments[i].filesz);
	}
}

static void compare_pages(struct comparison *comparison, struct image *image);

static bool compare_file(const char *path, uint64_t samples, char *ret_kinds)
{
	struct comparison comparison;

	if (!comparison_open(&comparison, path))
		return false;
	compare_rows(&comparison, comparison.table.report.rows / samples + 1);
	compare_random(&comparison, samples);
	compare_pages(&comparison, comparison.image);
	print_message("%s: %u rows, %.2f bytes a row, %u escapes, %u unsupported, %" PRIu64 " compared\n",
		      path, comparison.table.report.rows,
		      (double)comparison.table.report.bytes / comparison.table.report.rows,
		      comparison.table.report.escapes, comparison.table.report.unsupported,
		      comparison.compared);
	assert_true(comparison.table.report.rows > 0);
	assert_int_equal(comparison.differing, 0);
	assert_true((comparison.contexts + comparison.refused) * 100 <= comparison.compared);
	if (ret_kinds)
		strcpy(ret_kinds, comparison.kinds);
	comparison_close(&comparison);
	return true;
}

/* Pages made alone or a few at a time, in any order, say what they say when the whole file is made. Where no FDE does,
 * the code is followed from other places then, which may find a little more or less. */
static void compare_pages(struct comparison *comparison, struct image *image)
{
	const struct table *whole = &comparison->table;
	uint64_t compared = 0, uncertain = 0;
	uint32_t first = whole->report.first_page, span = whole->report.span;
	struct unwind_table *rows;
	struct table part;

	assert_int_equal(unwind_table_new(image, &rows), 0);
	for (uint32_t turn = 0; turn < 60 && turn < 4 * span; turn++) {
		uint64_t wanted[3] = { first + (uint32_t)random() % span };
		size_t count = 1;

		for (uint64_t page = wanted[0] + 1 + turn % 2; count < 3 && turn % 3 && page < first + span; page++)
			wanted[count++] = page;
		table_open_pages(rows, wanted, count, &part);
		for (size_t i = 0; i < count; i++) {
			for (uint64_t vaddr = wanted[i] << 16; vaddr < (wanted[i] + 1) << 16; vaddr++) {
				char ours[160], theirs[160], oracle[160];

				if (table_find(&part, vaddr) == table_find(whole, vaddr) &&
				    table_find(whole, vaddr) >> 14 != UNWIND_KIND_ESCAPE)
					continue;
				describe(&part, vaddr, ours);
				describe(whole, vaddr, theirs);
				if (!strcmp(ours, theirs))
					continue;
				oracle_describe(comparison->cfi, vaddr, false, oracle);
				uncertain++;
				if (strcmp(oracle, "none"))
					fail_msg("%s 0x%" PRIx64 ": alone \"%s\", in the whole \"%s\"",
						 comparison->path, vaddr, ours, theirs);
			}
			compared += 1 << 16;
		}
		for (uint32_t p = 0; p < part.header->pages; p++)
			assert_in_range(part.pages[p].page, wanted[0], wanted[count - 1]);
		table_close(&part);
	}
	assert_true(uncertain <= compared / 100);
	unwind_table_free(rows);
}

static const char *find_library(const char *name, char *path)
{
	static const char *const folders[] = { "/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64",
					       "/usr/lib64" };

	for (size_t i = 0; i < array_size(folders); i++) {
		sprintf(path, "%s/%s", folders[i], name);
		if (!access(path, R_OK))
			return path;
	}
	return NULL;
}

static void test_system_files(void **state)
{
	static const char *const libraries[] = { "libc.so.6",      "ld-linux-x86-64.so.2",
						 "libcrypto.so.3", "libstdc++.so.6",
						 "libm.so.6",      "libgcc_s.so.1" };
	static char kinds[KINDS];
	char path[256];

	(void)state;
	assert_true(compare_file("/bin/bash", 5000, NULL));
	for (size_t i = 0; i < array_size(libraries); i++) {
		if (!find_library(libraries[i], path) || !compare_file(path, 3000, kinds)) {
			print_message("%s: not on this machine\n", libraries[i]);
			continue;
		}
		if (i == 0) { /* __restore_rt, vfork, longjmp */
			assert_non_null(strstr(kinds, "signal\n"));
			assert_non_null(strstr(kinds, "r7+0 bp same ra r5\n"));
			assert_non_null(strstr(kinds, "r8+0 bp =r9+0 ra r1\n"));
		}
		if (i == 1) /* _dl_runtime_resolve, and what it calls */
			assert_non_null(strstr(kinds, "r3+32 bp same ra -8 saved 4 0 0 0 0\n"));
		if (i == 2) /* its Montgomery multiplication */
			assert_non_null(strstr(kinds, "*(r7+8*r9+8)+8 bp "));
	}
}

/* ---- files that compilers make here -------------------------------------------------------------------- */

static char folder[] = "/tmp/test-unwind-table-XXXXXX";

static const char program[] =
	"#include <alloca.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n"
	"static int order(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }\n"
	"__attribute__((noinline)) int aligned(int n) {\n"
	"	char wide[64] __attribute__((aligned(64))); char *more = alloca((size_t)n);\n"
	"	memset(wide, n, 64); memset(more, n, (size_t)n); return puts(more) + wide[n & 63]; }\n"
	"__attribute__((noinline)) int deep(int n) { volatile char big[70000]; big[n] = 1;\n"
	"	return n ? deep(n - 1) + big[n] : 0; }\n"
	"__attribute__((noinline, noreturn)) void leave(int n) { printf(\"%d\\n\", n); exit(n); }\n"
	"int main(int argc, char **argv) { int v[8] = { 3, 1, argc };\n"
	"	qsort(v, 8, sizeof(int), order); if (argc > 9) leave(argc);\n"
	"	return aligned(argc) + deep(argc) + (argv[0] == 0); }\n";

static const char rust_program[] =
	"fn main() { let mut v: Vec<String> = std::env::args().collect(); v.sort(); println!(\"{:?}\", v); }\n";

static void write_file(const char *name, const char *text)
{
	char path[256];

	sprintf(path, "%s/%s", folder, name);
	auto_file FILE *file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
}

/* Runs a compiler in the folder; false: it is not installed or cannot. */
static bool compile(const char *command, char *ret_path)
{
	char line[1024];

	sprintf(line, "cd %s && rm -f out && %s -o out 2>/dev/null", folder, command);
	sprintf(ret_path, "%s/out", folder);
	return system(line) == 0;
}

static int setup_folder(void **state)
{
	(void)state;
	if (!mkdtemp(folder))
		return -1;
	write_file("program.c", program);
	write_file("program.rs", rust_program);
	return 0;
}

static int remove_folder(void **state)
{
	char line[256];

	(void)state;
	sprintf(line, "rm -rf %s", folder);
	return system(line);
}

static void write_bytes(const char *path, const void *bytes, size_t size)
{
	auto_fd int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, size), size);
}

/* The kernel's own image is in no file, but in the memory of every process. */
static void test_vdso(void **state)
{
	auto_file FILE *maps = fopen("/proc/self/maps", "r");
	char path[256], line[512];
	unsigned long start, end;

	(void)state;
	assert_non_null(maps);
	sprintf(path, "%s/vdso", folder);
	while (fgets(line, sizeof(line), maps))
		if (strstr(line, "[vdso]") && sscanf(line, "%lx-%lx", &start, &end) == 2)
			write_bytes(path, (const void *)start, end - start);
	assert_true(compare_file(path, 1000, NULL));
}

static void test_compiled_files(void **state)
{
	static const char *const commands[] = {
		"gcc -O2 -fomit-frame-pointer -fcf-protection=none -Wl,-z,lazy program.c",
		"gcc -O2 -fcf-protection=full -Wl,-z,lazy,-z,ibtplt -static-libgcc program.c",
		"gcc -O0 -fno-omit-frame-pointer -no-pie program.c",
		"gcc -O2 -fomit-frame-pointer -static program.c",
		"gcc -O2 -Wl,--no-eh-frame-hdr program.c",
		"clang-14 -O2 -fomit-frame-pointer program.c",
		"clang-14 -O0 -fno-omit-frame-pointer program.c",
		"rustc -O program.rs",
	};
	static char kinds[KINDS];
	char path[256];

	(void)state;
	for (size_t i = 0; i < array_size(commands); i++) {
		if (!compile(commands[i], path)) {
			print_message("skipped: %s\n", commands[i]);
			assert_int_not_equal(i, 0);
			continue;
		}
		assert_true(compare_file(path, 3000, kinds));
		if (i)
			continue;
		assert_non_null(strstr(kinds, "plt 11 bp same ra -8"));
		assert_non_null(strstr(kinds, "r10+0 bp ")); /* the DRAP of aligned() */
		assert_non_null(strstr(kinds, "*(r6"));
		assert_non_null(strstr(kinds, "bp r6+0"));
		assert_non_null(strstr(kinds, "r7+70")); /* a CFA offset past 11 bits */
	}
}

/* ---- broken copies of a real file ---------------------------------------------------------------------- */

static uint8_t *read_whole(const char *path, size_t *ret_size)
{
	auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat status;
	uint8_t *bytes;

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &status), 0);
	bytes = malloc((size_t)status.st_size);
	assert_non_null(bytes);
	assert_int_equal(read(fd, bytes, (size_t)status.st_size), status.st_size);
	*ret_size = (size_t)status.st_size;
	return bytes;
}

/* Whatever the bytes are: an error, or a file that check_page accepts. A copy, so that ASan knows its end. */
static void try_bytes(const uint8_t *bytes, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);
	struct image *image;
	struct table table;

	memcpy(copy, bytes, size);
	if (image_open_memory(copy, size, &image) == 0) {
		table_open(image, &table);
		table_close_both(&table, image);
	}
	free(copy);
}

static void test_broken_files(void **state)
{
	double start = now_s(), longest = 0;
	char path[256];
	uint8_t *bytes;
	size_t size;
	struct image *image;
	const struct image_section *frame;
	uint64_t low, high;

	(void)state;
	assert_true(compile("gcc -O2 -fomit-frame-pointer program.c", path));
	bytes = read_whole(path, &size);
	assert_int_equal(image_open_memory(bytes, size, &image), 0);
	frame = image_find(image, ".eh_frame");
	low = frame->offset - 256; /* with its header table */
	high = frame->offset + frame->size;
	image_close(image);
	for (size_t cut = 0; cut < size; cut += 61)
		try_bytes(bytes, cut);
	srandom(3);
	for (int round = 0; round < 4000; round++) {
		uint8_t *copy = malloc(size);
		double begun = now_s();

		memcpy(copy, bytes, size);
		for (long edits = 1 + random() % 8; edits > 0; edits--) {
			uint64_t area = random() % 8;
			uint64_t at = area ? low + (uint64_t)random() % (high - low)
					   : (uint64_t)random() % 1024;

			copy[at] = random() % 3 ? (uint8_t)random() : (uint8_t)(0xff * (random() & 1));
		}
		try_bytes(copy, size);
		free(copy);
		if (now_s() - begun > longest)
			longest = now_s() - begun;
		if (now_s() - start > 20)
			break;
	}
	print_message("the slowest broken file took %.1f ms\n", longest * 1e3);
	assert_true(longest < 1);
	free(bytes);
}

/* What `sstrip` leaves: .eh_frame is then found as the C library finds it, by PT_GNU_EH_FRAME. */
static void test_no_section_headers(void **state)
{
	char path[256];
	uint8_t *bytes;
	size_t size;

	(void)state;
	assert_true(compile("gcc -O2 -fomit-frame-pointer program.c", path));
	bytes = read_whole(path, &size);
	((Elf64_Ehdr *)bytes)->e_shoff = 0;
	((Elf64_Ehdr *)bytes)->e_shnum = 0;
	write_bytes(path, bytes, size);
	assert_true(compare_file(path, 1000, NULL));
	free(bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_system_files),
		cmocka_unit_test(test_compiled_files),
		cmocka_unit_test(test_vdso),
		cmocka_unit_test(test_no_section_headers),
		cmocka_unit_test(test_broken_files),
	};

	return cmocka_run_group_tests(tests, setup_folder, remove_folder);
}

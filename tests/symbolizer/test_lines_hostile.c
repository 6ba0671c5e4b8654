/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DWARF made to kill its reader: nesting, row bombs, inflation bombs, reference cycles, overlapping claims, cut
 * sections and random damage. Each must end soon, in bounded memory, with what is still right.
 */
#include "toolchain.h"

#include "base/buf.h"
#include "symbolizer/lines.h"


#define MAX_CALLS 64
#define LOW 0x400000ULL
#define SIZE 0x1000U

static void add_uleb(struct buf *buf, uint64_t value)
{
	do {
		buf_add_char(buf, (char)((value & 0x7f) | (value > 0x7f ? 0x80 : 0)));
		value >>= 7;
	} while (value);
}

static void add_fixed(struct buf *buf, uint64_t value, size_t bytes)
{
	buf_add(buf, &value, bytes);
}

static void add_bytes(struct buf *buf, const char *bytes, size_t length)
{
	buf_add(buf, bytes, length);
}

/* One table for all: 1 unit, 2 function, 3 block, 4 inlined call of a function, 5 function with an origin. */
static void add_abbrevs(struct buf *buf)
{
	static const uint8_t table[] = {
		1, 0x11, 1, 0x11, 0x01, 0x12, 0x06, 0x10, 0x17, 0x03, 0x08, 0, 0, /* low, high, stmt_list, name */
		2, 0x2e, 1, 0x11, 0x01, 0x12, 0x06, 0x03, 0x08, 0, 0,
		3, 0x0b, 1, 0x11, 0x01, 0x12, 0x06, 0, 0,
		4, 0x1d, 1, 0x11, 0x01, 0x12, 0x06, 0x31, 0x10, 0x59, 0x0b, 0, 0, /* origin by ref_addr, call_line */
		5, 0x2e, 0, 0x11, 0x01, 0x12, 0x06, 0x31, 0x10, 0, 0,
		0,
	};

	buf_add(buf, table, sizeof(table));
}

static void begin_unit(struct buf *info)
{
	add_fixed(info, 0, 4);
	add_fixed(info, 4, 2);
	add_fixed(info, 0, 4);
	add_fixed(info, 8, 1);
	add_uleb(info, 1);
	add_fixed(info, LOW, 8);
	add_fixed(info, SIZE, 4);
	add_fixed(info, 0, 4);
	add_bytes(info, "unit", 5);
}

static size_t add_function(struct buf *info, const char *name)
{
	size_t offset = info->length;

	add_uleb(info, 2);
	add_fixed(info, LOW, 8);
	add_fixed(info, SIZE, 4);
	add_bytes(info, name, strlen(name) + 1);
	return offset;
}

static void end_unit(struct buf *info)
{
	uint32_t length = (uint32_t)info->length - 4;

	memcpy(info->data, &length, 4);
}

/* A line program of version 4 with one file; `code` follows. */
static void add_line_program(struct buf *line, const struct buf *code)
{
	static const uint8_t head[] = { 1, 1, 1, (uint8_t)-5, 14, 13, 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1 };
	static const char files[] = "\0file.c\0\0\0\0";

	add_fixed(line, 2 + 4 + sizeof(head) + sizeof(files) - 1 + 1 + code->length, 4);
	add_fixed(line, 4, 2);
	add_fixed(line, sizeof(head) + sizeof(files) - 1 + 1, 4);
	buf_add(line, head, sizeof(head));
	buf_add(line, files, sizeof(files) - 1);
	add_fixed(line, 0, 1);
	buf_add(line, code->data, code->length);
}

struct made {
	uint8_t *file;
	struct image *image;
	struct lines *lines;
	int error;
};

static struct made make_lines(const struct buf *info, const struct buf *line)
{
	auto_buf struct buf abbrevs = { 0 };
	struct made made = { 0 };
	size_t size;

	add_abbrevs(&abbrevs);
	struct elf_section sections[] = {
		{ ".debug_info", info->data, info->length, true }, { ".debug_abbrev", abbrevs.data, abbrevs.length, false },
		{ ".debug_line", line ? line->data : "", line ? line->length : 0, true },
	};
	made.file = elf_make(sections, line ? 3 : 2, &size);
	assert_int_equal(image_open_memory(made.file, size, &made.image), 0);
	made.error = lines_new(made.image, NULL, &made.lines);
	return made;
}

static void made_done(struct made *made)
{
	lines_free(made->lines);
	image_close(made->image);
	free(made->file);
}

/* E1: libdw's dwarf_getscopes overflows its stack on this. */
static void test_nested_blocks(void **state)
{
	auto_buf struct buf info = { 0 };
	struct lines_call calls[MAX_CALLS];
	struct made made;

	(void)state;
	begin_unit(&info);
	add_function(&info, "deep");
	for (size_t level = 0; level < 200000; level++) {
		add_uleb(&info, 3);
		add_fixed(&info, LOW, 8);
		add_fixed(&info, SIZE, 4);
	}
	end_unit(&info);
	made = make_lines(&info, NULL);
	assert_int_equal(made.error, 0);
	assert_int_equal(lines_find(made.lines, LOW + 8, calls, MAX_CALLS), 1);
	assert_string_equal(calls[0].name, "deep");
	assert_int_equal(lines_find(made.lines, LOW + SIZE, calls, MAX_CALLS), 0);
	made_done(&made);
}

static void test_nested_calls(void **state)
{
	auto_buf struct buf info = { 0 };
	struct lines_call calls[MAX_CALLS];
	struct lines_stats stats;
	double start = now_s();
	struct made made;
	size_t function;

	(void)state;
	begin_unit(&info);
	function = add_function(&info, "around");
	for (size_t level = 0; level < 200000; level++) {
		add_uleb(&info, 4);
		add_fixed(&info, LOW, 8);
		add_fixed(&info, SIZE, 4);
		add_fixed(&info, function, 4);
		add_fixed(&info, 7, 1);
	}
	end_unit(&info);
	made = make_lines(&info, NULL);
	assert_int_equal(made.error, 0);
	for (size_t round = 0; round < 100; round++)
		assert_int_equal(lines_find(made.lines, LOW + round, calls, MAX_CALLS), MAX_CALLS);
	assert_string_equal(calls[0].name, "around");
	assert_int_equal(calls[MAX_CALLS - 1].line, 7);
	lines_stats(made.lines, &stats);
	assert_true(stats.bytes < 32 << 20);
	assert_true(now_s() - start < 5);
	made_done(&made);
}

/* E2: 20 million rows in 20 KB. */
static void test_row_bomb(void **state)
{
	auto_buf struct buf info = { 0 }, line = { 0 }, code = { 0 };
	struct lines_call calls[MAX_CALLS];
	struct lines_stats stats;
	double start = now_s();
	struct made made;

	(void)state;
	add_bytes(&code, "\0\x09\x02", 3);
	add_fixed(&code, LOW, 8);
	for (size_t row = 0; row < 20000000 / 64; row++) /* 64 times: next line, no and one byte further in turn */
		add_bytes(&code, "\x13\x21\x13\x21\x13\x21\x13\x21\x13\x21\x13\x21\x13\x21\x13\x21"
				 "\x13\x21\x13\x21\x13\x21\x13\x21\x13\x21\x13\x21\x13\x21\x13\x21"
				 "\x13\x21\x13\x21\x13\x21\x13\x21\x13\x21\x13\x21\x13\x21\x13\x21"
				 "\x13\x21\x13\x21\x13\x21\x13\x21\x13\x21\x13\x21\x13\x21\x13\x21", 64);
	add_bytes(&code, "\0\x01\x01", 3);
	add_line_program(&line, &code);
	begin_unit(&info);
	add_function(&info, "rows");
	end_unit(&info);
	made = make_lines(&info, &line);
	assert_int_equal(made.error, 0);
	start = now_s();
	assert_int_equal(lines_find(made.lines, LOW + 8, calls, MAX_CALLS), 1);
	assert_string_equal(calls[0].name, "rows");
	assert_string_equal(calls[0].file, "file.c");
	assert_true(calls[0].line > 1);
	lines_stats(made.lines, &stats);
	assert_true(stats.rows_dropped > 0);
	assert_true(stats.bytes < 64 << 20);
	assert_true(now_s() - start < 5);
	made_done(&made);
}

/* E3: a section of nothing, within the limit on inflated bytes and beyond it. */
static void test_zeros(void **state)
{
	static const size_t sizes[] = { 64 << 20, IMAGE_MAX_INFLATED + 1 };
	double start;

	(void)state;
	for (size_t at = 0; at < 2; at++) {
		struct buf info = { .data = calloc(1, sizes[at]), .length = sizes[at] };
		struct made made = make_lines(&info, NULL);

		free(info.data);
		assert_int_equal(made.error, -ENODATA);
		assert_null(made.lines);
		start = now_s();
		assert_int_equal(lines_new(made.image, NULL, &made.lines), -ENODATA);
		assert_true(now_s() - start < 2);
		made_done(&made);
	}
}

/* Entries that are their own origin, each other's, somewhere in the middle of another, nowhere. */
static void test_cycles(void **state)
{
	static const uint32_t pieces = 5;
	auto_buf struct buf info = { 0 };
	struct lines_call calls[MAX_CALLS];
	struct made made;
	size_t first;

	(void)state;
	begin_unit(&info);
	first = info.length;
	for (uint32_t at = 0; at < pieces; at++) {
		const uint64_t origins[] = { first, first + 2 * 17, first + 17, first + 5, UINT32_MAX };

		assert_int_equal(info.length, first + at * 17UL); /* code 1, low 8, high 4, origin 4 */
		add_uleb(&info, 5);
		add_fixed(&info, LOW + at * 16, 8);
		add_fixed(&info, 16, 4);
		add_fixed(&info, origins[at], 4);
	}
	end_unit(&info);
	made = make_lines(&info, NULL);
	assert_int_equal(made.error, 0);
	for (uint32_t at = 0; at < pieces; at++) {
		assert_int_equal(lines_find(made.lines, LOW + at * 16 + 3, calls, MAX_CALLS), 1);
		assert_null(calls[0].name);
		assert_int_equal(calls[0].line, 0);
	}
	made_done(&made);
}

/* ---- damage to what compilers write ---- */

static const char source[] =
	"template <class T> static inline T twice(T x) { volatile T y = x; return y + y; }\n"
	"namespace deep { __attribute__((noinline)) int work(int x) { return twice(x) + twice((long)x); } }\n"
	"int main(int argc, char **) { return deep::work(argc); }\n";

struct program {
	uint8_t *good, *copy;
	size_t size, text, text_size;
	size_t debug[32], debug_size[32], headers[32], count; /* of sections .debug_* */
};

static void load_program(struct program *program, const char *compiler)
{
	const struct image_section *sections;
	struct image *image;
	char path[128];
	FILE *file;

	*program = (struct program){ .good = malloc(1 << 20) };
	write_file("damage.cc", source);
	assert_int_equal(run("%s -O2 damage.cc -o damage", compiler), 0);
	snprintf(path, sizeof(path), "%s/damage", toolchain_folder);
	file = fopen(path, "r");
	program->size = fread(program->good, 1, 1 << 20, file);
	fclose(file);
	program->copy = malloc(program->size); /* exactly as long, so that the sanitizer knows the end */
	image = open_image("damage");
	for (size_t at = 0, count = image_sections(image, &sections); at < count; at++) {
		if (strncmp(sections[at].name, ".debug_", 7))
			continue;
		program->debug[program->count] = sections[at].offset;
		program->debug_size[program->count] = sections[at].size;
		program->headers[program->count++] = ((Elf64_Ehdr *)program->good)->e_shoff + at * sizeof(Elf64_Shdr);
	}
	program->text = image_find(image, ".text")->vaddr;
	program->text_size = image_find(image, ".text")->size;
	image_close(image);
	assert_true(program->count >= 4);
}

static void unload_program(struct program *program)
{
	free(program->good);
	free(program->copy);
}

/* Asks for all addresses; touches every string, which the sanitizer watches. A sum that damage changes. */
static uint64_t ask_all(const struct program *program)
{
	struct lines_call calls[8];
	struct lines *lines = NULL;
	struct image *image;
	uint64_t sum = 0;

	if (image_open_memory(program->copy, program->size, &image))
		return 0;
	if (!lines_new(image, NULL, &lines)) {
		for (size_t at = 0; at < program->text_size; at += 3) {
			int count = lines_find(lines, program->text + at, calls, 8);

			assert_true(count >= 0 && count <= 8);
			for (int i = 0; i < count; i++) {
				sum = sum * 31 + calls[i].line + calls[i].start_line + strlen(calls[i].file);
				sum += calls[i].name ? strlen(calls[i].name) : 0;
				sum += calls[i].linkage_name ? strlen(calls[i].linkage_name) : 0;
			}
		}
		lines_free(lines);
	}
	image_close(image);
	return sum;
}

static const char *const damaged[] = { "g++ -gdwarf-5", "g++ -gdwarf-4", "clang++-14 -gdwarf-5", "g++ -g -gz=zlib" };

static void test_cut_sections(void **state)
{
	(void)state;
	need("clang++-14");
	for (size_t compiler = 0; compiler < 4; compiler++) {
		struct program program;
		size_t changed = 0;
		uint64_t whole;

		load_program(&program, damaged[compiler]);
		memcpy(program.copy, program.good, program.size);
		whole = ask_all(&program);
		assert_true(whole != 0);
		for (size_t section = 0; section < program.count; section++)
			for (size_t part = 0; part < 16; part++) {
				Elf64_Shdr *header = (void *)(program.copy + program.headers[section]);

				memcpy(program.copy, program.good, program.size);
				header->sh_size = header->sh_size * part / 16;
				changed += ask_all(&program) != whole;
			}
		assert_true(changed > 16);
		unload_program(&program);
	}
}

static uint32_t random_next(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

static void test_random_damage(void **state)
{
	uint32_t seed = 20;

	(void)state;
	need("clang++-14");
	for (size_t compiler = 0; compiler < 4; compiler++) {
		struct program program;
		size_t changed = 0, rounds = 0;
		uint64_t whole;
		double slowest = 0;

		load_program(&program, damaged[compiler]);
		memcpy(program.copy, program.good, program.size);
		whole = ask_all(&program);
		for (double end = now_s() + 1.5; now_s() < end; rounds++) {
			double start = now_s();

			memcpy(program.copy, program.good, program.size);
			for (uint32_t flips = 1 + random_next(&seed) % 12; flips; flips--) {
				size_t section = random_next(&seed) % program.count;

				program.copy[program.debug[section] + random_next(&seed) % program.debug_size[section]] =
					(uint8_t)(random_next(&seed) % 3 ? random_next(&seed) : 0xff);
			}
			changed += ask_all(&program) != whole;
			if (now_s() - start > slowest)
				slowest = now_s() - start;
		}
		print_message("  %s: %zu rounds, %zu answered otherwise, slowest %.1f ms\n", damaged[compiler], rounds, changed,
			      slowest * 1e3);
		assert_true(changed > 10);
		assert_true(slowest < 1);
		unload_program(&program);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nested_blocks), cmocka_unit_test(test_nested_calls), cmocka_unit_test(test_row_bomb),
		cmocka_unit_test(test_zeros), cmocka_unit_test(test_cycles), cmocka_unit_test(test_cut_sections),
		cmocka_unit_test(test_random_damage),
	};

	return cmocka_run_group_tests(tests, toolchain_setup, toolchain_teardown);
}

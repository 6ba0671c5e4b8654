/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DWARF made to kill its reader: nesting, row bombs, inflation bombs, reference cycles, overlapping claims. Each
 * must end soon, in bounded memory, with what is still right.
 */
#include "section_maker.h"
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

/* One table for all: 1 unit, 2 function, 3 block, 4 inlined call of a function, 5 function with an origin, 6 with a name in .debug_str. */
static void add_abbrevs(struct buf *buf)
{
	static const uint8_t table[] = {
		1, 0x11, 1, 0x11, 0x01, 0x12, 0x06, 0x10, 0x17, 0x03, 0x08, 0, 0, /* low, high, stmt_list, name */
		2, 0x2e, 1, 0x11, 0x01, 0x12, 0x06, 0x03, 0x08, 0, 0,
		3, 0x0b, 1, 0x11, 0x01, 0x12, 0x06, 0, 0,
		4, 0x1d, 1, 0x11, 0x01, 0x12, 0x06, 0x31, 0x10, 0x59, 0x0b, 0, 0, /* origin by ref_addr, call_line */
		5, 0x2e, 0, 0x11, 0x01, 0x12, 0x06, 0x31, 0x10, 0, 0,
		6, 0x2e, 0, 0x11, 0x01, 0x12, 0x06, 0x03, 0x0e, 0, 0,
		0,
	};

	buf_add(buf, table, sizeof(table));
}

static void begin_unit_at(struct buf *info, uint64_t low)
{
	add_fixed(info, 0, 4);
	add_fixed(info, 4, 2);
	add_fixed(info, 0, 4);
	add_fixed(info, 8, 1);
	add_uleb(info, 1);
	add_fixed(info, low, 8);
	add_fixed(info, SIZE, 4);
	add_fixed(info, 0, 4);
	add_bytes(info, "unit", 5);
}

static void begin_unit(struct buf *info)
{
	begin_unit_at(info, LOW);
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

/* `strings`, if any, become .debug_str: inflated, so that the sanitizer knows where it ends. */
static struct made make_file(const struct buf *info, const struct buf *line, const char *strings, size_t length)
{
	auto_buf struct buf abbrevs = { 0 };
	struct made made = { 0 };
	size_t size;

	add_abbrevs(&abbrevs);
	struct elf_section sections[] = {
		{ ".debug_info", info->data, info->length, true }, { ".debug_abbrev", abbrevs.data, abbrevs.length, false },
		{ ".debug_line", line ? line->data : "", line ? line->length : 0, line != NULL },
		{ ".debug_str", strings, length, true },
	};
	made.file = elf_make(sections, strings ? 4 : 3, &size);
	assert_int_equal(image_open_memory(made.file, size, &made.image), 0);
	made.error = lines_new(made.image, NULL, &made.lines);
	return made;
}

static struct made make_lines(const struct buf *info, const struct buf *line)
{
	return make_file(info, line, NULL, 0);
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

/* A program of 20 million rows; compressed it is 20 KB. */
static void add_row_bomb(struct buf *line)
{
	auto_buf struct buf code = { 0 };
	char rows[64];

	for (size_t at = 0; at < sizeof(rows); at++) /* next line, and one byte further every other time */
		rows[at] = at % 2 ? 0x21 : 0x13;
	add_bytes(&code, "\0\x09\x02", 3);
	add_fixed(&code, LOW, 8);
	for (size_t row = 0; row < 20000000 / sizeof(rows); row++)
		add_bytes(&code, rows, sizeof(rows));
	add_bytes(&code, "\0\x01\x01", 3);
	add_line_program(line, &code);
}

/* E2: libdw takes 2 GiB and 10 s for this. */
static void test_row_bomb(void **state)
{
	auto_buf struct buf info = { 0 }, line = { 0 };
	struct lines_call calls[MAX_CALLS];
	struct lines_stats stats;
	struct made made;
	double start;

	(void)state;
	add_row_bomb(&line);
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

/* Several such units together: what is kept stays below its limit, by reading again. */
static void test_eviction(void **state)
{
	auto_buf struct buf info = { 0 }, line = { 0 };
	struct lines_call calls[MAX_CALLS], again[MAX_CALLS];
	struct lines_stats stats;
	struct made made;

	(void)state;
	add_row_bomb(&line);
	for (uint64_t unit = 0; unit < 5; unit++) {
		auto_buf struct buf one = { 0 };

		begin_unit_at(&one, LOW + unit * SIZE);
		add_uleb(&one, 2);
		add_fixed(&one, LOW + unit * SIZE, 8);
		add_fixed(&one, SIZE, 4);
		add_bytes(&one, "some", 5);
		end_unit(&one);
		buf_add(&info, one.data, one.length);
	}
	made = make_lines(&info, &line);
	assert_int_equal(made.error, 0);
	assert_int_equal(lines_find(made.lines, LOW + 8, calls, MAX_CALLS), 1);
	for (uint64_t unit = 1; unit < 5; unit++)
		assert_int_equal(lines_find(made.lines, LOW + unit * SIZE, again, MAX_CALLS), 1);
	assert_int_equal(lines_find(made.lines, LOW + 8, again, MAX_CALLS), 1);
	assert_string_equal(again[0].name, "some");
	assert_int_equal(again[0].line, calls[0].line);
	assert_ptr_equal(again[0].file, calls[0].file); /* what was given out stays valid */
	lines_stats(made.lines, &stats);
	assert_true(stats.evictions > 0);
	assert_true(stats.bytes < LINES_MAX_BYTES + (32 << 20));
	made_done(&made);
}

/* Units that claim code without having any do not hide the one that has. */
static void test_false_claims(void **state)
{
	auto_buf struct buf info = { 0 };
	struct lines_call calls[MAX_CALLS];
	struct made made;

	(void)state;
	for (size_t unit = 0; unit < 8; unit++) {
		auto_buf struct buf one = { 0 };

		begin_unit(&one);
		if (unit == 3)
			add_function(&one, "owner");
		end_unit(&one);
		buf_add(&info, one.data, one.length);
	}
	made = make_lines(&info, NULL);
	assert_int_equal(made.error, 0);
	assert_int_equal(lines_find(made.lines, LOW + 8, calls, MAX_CALLS), 1);
	assert_string_equal(calls[0].name, "owner");
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

/* Names that begin in the section but do not end there, begin at its end, or far from it. */
static void test_strings(void **state)
{
	static const char strings[] = { 'g', 'o', 'o', 'd', 0, 'n', 'o', ' ', 'e', 'n', 'd' };
	static const uint32_t offsets[] = { 0, 5, sizeof(strings) - 1, sizeof(strings), 1 << 30 };
	auto_buf struct buf info = { 0 };
	struct lines_call calls[MAX_CALLS];
	struct made made;

	(void)state;
	begin_unit(&info);
	for (uint32_t at = 0; at < 5; at++) {
		add_uleb(&info, 6);
		add_fixed(&info, LOW + at * 16, 8);
		add_fixed(&info, 16, 4);
		add_fixed(&info, offsets[at], 4);
	}
	end_unit(&info);
	made = make_file(&info, NULL, strings, sizeof(strings));
	assert_int_equal(made.error, 0);
	for (uint32_t at = 0; at < 5; at++) {
		assert_int_equal(lines_find(made.lines, LOW + at * 16, calls, MAX_CALLS), 1);
		if (at == 0)
			assert_string_equal(calls[0].name, "good");
		else
			assert_null(calls[0].name);
	}
	made_done(&made);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nested_blocks), cmocka_unit_test(test_nested_calls), cmocka_unit_test(test_row_bomb),
		cmocka_unit_test(test_eviction), cmocka_unit_test(test_false_claims),
		cmocka_unit_test(test_zeros), cmocka_unit_test(test_cycles), cmocka_unit_test(test_strings),
	};

	return cmocka_run_group_tests(tests, toolchain_setup, toolchain_teardown);
}

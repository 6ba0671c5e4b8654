/* SPDX-License-Identifier: Apache-2.0 */
/* Stack cases: what is written is read again, and no file does harm. */
#include "base/buf.h"
#include "base/clean.h"
#include "stack_case.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static const uint8_t bytes[40] = { 1, 2, 0xab, [20] = 4, 5, 6, 7, 8, 9, 10, 11, 12, [39] = 0xff };

static void sample_write(struct buf *out)
{
	const struct stack_part parts[] = { { 0, sizeof(bytes), bytes }, { 4000, 3, bytes } };
	const struct stack_part memory[] = { { 0x7ffc00001000, sizeof(bytes), bytes }, { 0x7ffc00002000, 8, bytes } };
	const struct stack_image images[] = { { "first file", 4096, parts, 2 }, { "empty", 0, NULL, 0 } };
	const struct stack_mapping mappings[] = { { 0x1000, 0x3000, 0x200, 0xe00, 0 },
						  { 0x3000, 0x4000, 0, 0, STACK_CASE_ANONYMOUS } };
	const uint64_t frames[] = { 0x1234, 0x2345 };
	const struct stack_case written = {
		.title = "a title\nwith a line",
		.oracle = "gdb",
		.pc = 0x1234,
		.reg = { [0] = 5, [15] = UINT64_MAX },
		.images = images,
		.image_count = 2,
		.mappings = mappings,
		.mapping_count = 2,
		.memory = memory,
		.memory_count = 2,
		.frames = frames,
		.frame_count = 2,
		.ends = REASON_COPY_END,
		.has_shortfall = true,
		.short_frames = 1,
		.short_reason = REASON_NO_RULE,
	};

	stack_case_write(&written, out);
	assert_false(out->failed);
}

static struct stack_case *must_read(const char *text, size_t size)
{
	struct stack_case *stack_case = NULL;
	uint32_t line = 77;

	if (stack_case_read(text, size, &stack_case, &line))
		fail_msg("line %u is refused", line);
	return stack_case;
}

static void what_is_written_is_read(void **state)
{
	auto_buf struct buf text = { 0 }, again = { 0 };
	struct stack_case *read;
	uint64_t word;

	(void)state;
	sample_write(&text);
	read = must_read(text.data, text.length);
	assert_string_equal(read->title, "a title?with a line");
	assert_string_equal(read->oracle, "gdb");
	assert_int_equal(read->pc, 0x1234);
	assert_int_equal(read->reg[15], UINT64_MAX);
	assert_int_equal(read->image_count, 2);
	assert_string_equal(read->images[0].name, "first file");
	assert_int_equal(read->images[0].part_count, 2);
	assert_int_equal(read->images[1].part_count, 0);
	assert_int_equal(read->images[0].parts[0].size, sizeof(bytes));
	assert_memory_equal(read->images[0].parts[0].bytes, bytes, sizeof(bytes));
	assert_ptr_equal(stack_case_mapping(read, 0x3fff), &read->mappings[1]);
	assert_int_equal(read->mappings[1].image, STACK_CASE_ANONYMOUS);
	assert_null(stack_case_mapping(read, 0x4000));
	assert_true(stack_case_word(read, 0x7ffc00001000 + 20, &word));
	assert_int_equal(word, 0x0b0a090807060504);
	assert_false(stack_case_word(read, 0x7ffc00001000 + 33, &word));
	assert_false(stack_case_word(read, 0x7ffc00000fff, &word));
	assert_int_equal(read->frames[1], 0x2345);
	assert_int_equal(read->ends, REASON_COPY_END);
	assert_int_equal(read->short_reason, REASON_NO_RULE);
	stack_case_write(read, &again);
	assert_int_equal(again.length, text.length);
	assert_memory_equal(again.data, text.data, text.length);
	stack_case_free(read);
}

static void an_image_becomes_a_sparse_file(void **state)
{
	auto_buf struct buf text = { 0 };
	struct stack_case *read;
	struct stat status;
	uint8_t back[4096];

	(void)state;
	sample_write(&text);
	read = must_read(text.data, text.length);
	auto_fd int fd = stack_case_image(read, 0);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &status), 0);
	assert_int_equal(status.st_size, 4096);
	assert_int_equal(pread(fd, back, sizeof(back), 0), sizeof(back));
	assert_memory_equal(back, bytes, sizeof(bytes));
	assert_int_equal(back[3999], 0);
	assert_memory_equal(back + 4000, bytes, 3);
	assert_int_equal(stack_case_image(read, 2), -EINVAL);
	stack_case_free(read);
}

#define FRONT "wick-stack 1\ntitle t\noracle o\npc 1\nregisters 0 1 2 3 4 5 6 7 8 9 a b c d e f\n"
#define BACK "ends none\n"

static void wrong_files_are_refused(void **state)
{
	static const struct {
		const char *text;
		uint32_t line;
	} wrong[] = {
		{ "", 0 },
		{ "wick-stack 2\n", 1 },
		{ FRONT, 0 },
		{ FRONT "ends nowhere\n", 6 },
		{ FRONT BACK "what\n", 7 },
		{ FRONT "memory 10\n" BACK, 6 },
		{ FRONT "memory 10\n\t0\n" BACK, 7 },
		{ FRONT "memory 10\n\t*99999999999\n" BACK, 7 },
		{ FRONT "memory 10\n\t*0\n" BACK, 7 },
		{ FRONT "memory 10\n\t*9000000\n\t*9000000\n" BACK, 8 },
		{ FRONT "bytes 10\n\t00\n" BACK, 6 },
		{ FRONT "memory fffffffffffffffc\n\t0011223344\n" BACK, 7 },
		{ FRONT "image 4 x\nbytes 4\n\t00\n" BACK, 8 },
		{ FRONT "image 100000001 x\n" BACK, 6 },
		{ FRONT "mapping 10 10 0 0 -\n" BACK, 6 },
		{ FRONT "mapping 10 20 0 0 0\n" BACK, 6 },
		{ FRONT "mapping 10 20 0 0 - x\n" BACK, 6 },
		{ FRONT "mapping 10 20 0 0 -\nmapping 1f 30 0 0 -\n" BACK, 7 },
		{ FRONT "frame 12345678123456789\n" BACK, 6 },
		{ FRONT "frame G\n" BACK, 6 },
		{ FRONT "pc 1 2\n" BACK, 6 },
		{ FRONT "shortfall 5000 none\n" BACK, 0 },
		{ "wick-stack 1\npc 1\nregisters 0 1 2 3 4 5 6 7 8 9 a b c d e f\noracle o\n" BACK, 0 },
	};
	struct stack_case *read = NULL;

	(void)state;
	for (size_t i = 0; i < array_size(wrong); i++) {
		uint32_t line = 77;

		assert_int_equal(stack_case_read(wrong[i].text, strlen(wrong[i].text), &read, &line), -EINVAL);
		if (line != wrong[i].line)
			fail_msg("case %zu: line %u", i, line);
	}
	assert_null(read);
	stack_case_free(must_read(FRONT BACK, strlen(FRONT BACK)));
}

/* More items than any case may have: refused at the limit, whatever memory there is. */
static void lists_have_their_limits(void **state)
{
	static const struct {
		const char *line;
		uint32_t limit;
	} lists[] = { { "frame 1\n", STACK_CASE_MAX_FRAMES }, { "memory 0\n\t00\n", STACK_CASE_MAX_PARTS }, { "image 1 x\n", STACK_CASE_MAX_IMAGES } };

	(void)state;
	for (size_t i = 0; i < array_size(lists); i++) {
		auto_buf struct buf text = { 0 };
		struct stack_case *read = NULL;
		uint32_t line;

		buf_add_string(&text, FRONT BACK);
		for (uint32_t n = 0; n < lists[i].limit; n++)
			buf_add_string(&text, lists[i].line);
		stack_case_free(must_read(text.data, text.length));
		buf_add_string(&text, lists[i].line);
		assert_int_equal(stack_case_read(text.data, text.length, &read, &line), -EINVAL);
	}
}

/* Every cut and thousands of changed bytes: an error or a case, never a read past the end (ASan looks on). */
static void broken_files_do_no_harm(void **state)
{
	auto_buf struct buf text = { 0 };
	unsigned int seed = 7, refused = 0;

	(void)state;
	sample_write(&text);
	for (size_t round = 0; round < text.length + 20000; round++) {
		size_t size = round < text.length ? round : text.length;
		auto_free char *copy = malloc(size ? size : 1);
		struct stack_case *read = NULL;
		uint32_t line;

		assert_non_null(copy);
		memcpy(copy, text.data, size);
		for (int i = 0; round >= text.length && i < 3; i++) {
			seed = seed * 1103515245 + 12345;
			copy[(seed >> 8) % size] = "\n\t *-0f9\377z"[(seed >> 4) % 10];
		}
		if (stack_case_read(copy, size, &read, &line))
			refused++;
		stack_case_free(read);
	}
	assert_in_range(refused, 10000, text.length + 19999);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_read),
		cmocka_unit_test(an_image_becomes_a_sparse_file),
		cmocka_unit_test(wrong_files_are_refused),
		cmocka_unit_test(lists_have_their_limits),
		cmocka_unit_test(broken_files_do_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

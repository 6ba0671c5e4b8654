/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rules for text without .eh_frame: what the analysis of code finds in programs whose .eh_frame was cut out, against
 * that .eh_frame.
 */
#include "repair_fixture.h"

#include "symbolizer/unwind_repair.h"
#include "symbolizer/x86.h"

/* ---- the analysis of code ---------------------------------------------------------------------------------- */

struct agreement {
	uint64_t same, none, wrong;
};

/* Compilers may say late that rbp was saved: it is still in the register then, too. */
static bool is_equal(const char *theirs, const char *ours)
{
	size_t cfa = strcspn(theirs, " ");

	return !strcmp(theirs, ours) ||
	       (!strncmp(theirs, ours, cfa) && !strcmp(theirs + cfa, " bp same ra -8") &&
		!strncmp(ours + cfa, " bp cfa", 7));
}

/* Rule by rule at each instruction of .text that `theirs`, made from .eh_frame, knows. */
static struct agreement compare(const struct image *image, const struct table *theirs, const struct table *ours)
{
	const struct image_section *text = image_find(image, ".text");
	const uint8_t *code = image_at(image, text->vaddr, text->size);
	struct agreement agreement = { 0 };
	struct x86 instruction;

	for (uint64_t at = 0; at < text->size; at += instruction.length) {
		char a[160], b[160];

		if (x86_decode(code + at, text->size - at, &instruction))
			instruction = (struct x86){ .length = 1, .kind = X86_NOP };
		describe(theirs, text->vaddr + at, a);
		describe(ours, text->vaddr + at, b);
		if (instruction.kind == X86_NOP || !strcmp(a, "none") || strstr(a, "*(") || !strncmp(a, "r10", 3))
			continue;
		if (!strcmp(b, "none"))
			agreement.none++;
		else if (is_equal(a, b))
			agreement.same++;
		else if (agreement.wrong++ < 3)
			print_message("  %" PRIx64 ": \"%s\" instead of \"%s\"\n", text->vaddr + at, b, a);
	}
	return agreement;
}

static struct agreement compare_bare(const char *name, const char *bare)
{
	struct image *image, *bare_image;
	struct table theirs, ours;
	struct agreement agreement;

	open_table(name, &image, &theirs);
	open_table(bare, &bare_image, &ours);
	agreement = compare(image, &theirs, &ours);
	print_message("  %s: %" PRIu64 " as .eh_frame, %" PRIu64 " none, %" PRIu64 " otherwise\n", bare,
		      agreement.same, agreement.none, agreement.wrong);
	table_close(&theirs);
	table_close(&ours);
	image_close(image);
	image_close(bare_image);
	return agreement;
}

#define CUT "objcopy --remove-section=.eh_frame --remove-section=.eh_frame_hdr"

static void code_tells_what_eh_frame_told(void **state)
{
	static const char *const compilers[] = {
		"gcc -O0", "gcc -O1", "gcc -O2", "gcc -Os", "gcc -O2 -fno-omit-frame-pointer", "gcc -O3 -fcf-protection=full",
		"gcc -O2 -fno-plt -mno-red-zone", "clang-14 -O0", "clang-14 -O2", "clang-14 -Os -fno-omit-frame-pointer",
	};

	(void)state;
	need("gcc");
	need("objcopy");
	for (size_t i = 0; i < sizeof(compilers) / sizeof(compilers[0]); i++) {
		struct agreement named, stripped;

		if (run("%s -o whole program.c 2>/dev/null", compilers[i])) {
			print_message("  without %s\n", compilers[i]);
			continue;
		}
		print_message("  %s\n", compilers[i]);
		assert_int_equal(run(CUT " whole named 2>/dev/null && strip -o stripped named 2>/dev/null"), 0);
		named = compare_bare("whole", "named");
		assert_int_equal(named.wrong, 0);
		assert_true(named.same > 250);
		assert_true(named.none * 50 <= named.same);
		stripped = compare_bare("whole", "stripped");
		assert_true(stripped.wrong * 100 <= stripped.same);
		assert_true(stripped.none * 5 <= stripped.same);
	}
}

/* A whole C library: jump tables, computed gotos, assembly, functions that do not return. */
static void a_static_library_is_read_too(void **state)
{
	struct agreement named;

	(void)state;
	need("objcopy");
	if (run("gcc -O2 -static -o whole program.c 2>/dev/null")) {
		print_message("[  SKIPPED ] %s: no static C library\n", __func__);
		skip();
	}
	assert_int_equal(run(CUT " whole named 2>/dev/null"), 0);
	named = compare_bare("whole", "named");
	assert_true(named.same > 100000);
	assert_true(named.none * 100 <= named.same);
	/* gcc's cold parts of one line, what ld.so is entered by with two words pushed, names of the same CFA */
	assert_true(named.wrong * 25 <= named.same);
}

/* musl's has neither call frame information nor frame pointers. */
static void musl_has_rules_up_to_its_root(void **state)
{
	struct image *image, *stripped_image;
	struct table named, stripped;
	struct agreement agreement;
	char text[160];

	(void)state;
	need("musl-gcc");
	need("strip");
	assert_int_equal(run("musl-gcc -O2 -static -o whole program.c && strip -o stripped whole"), 0);
	open_table("whole", &image, &named);
	open_table("stripped", &stripped_image, &stripped);
	describe(&named, image_entry(image) + 8, text);
	assert_string_equal(text, "outermost");
	describe(&stripped, image_entry(image) + 8, text);
	assert_string_equal(text, "outermost");
	agreement = compare(image, &named, &stripped);
	print_message("  %" PRIu64 " alike without symbols, %" PRIu64 " none, %" PRIu64 " otherwise\n", agreement.same,
		      agreement.none, agreement.wrong);
	assert_true(agreement.same > 3000);
	assert_true(agreement.none * 50 <= agreement.same);
	assert_true(agreement.wrong * 500 <= agreement.same);
	table_close(&named);
	table_close(&stripped);
	image_close(image);
	image_close(stripped_image);
}

struct rules {
	struct { uint64_t start; struct cfi_rule rule; } rows[60000];
	size_t count;
};

static void keep_rule(void *context, uint64_t start, const struct cfi_rule *rule)
{
	struct rules *rules = context;

	assert_true(rules->count < sizeof(rules->rows) / sizeof(rules->rows[0]));
	if (rules->count)
		assert_true(start >= rules->rows[rules->count - 1].start);
	rules->rows[rules->count].start = start;
	rules->rows[rules->count++].rule = *rule;
}

static const struct cfi_rule *rule_at(const struct rules *rules, uint64_t vaddr)
{
	static const struct cfi_rule none;
	size_t low = 0, high = rules->count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (rules->rows[middle].start <= vaddr)
			low = middle + 1;
		else
			high = middle;
	}
	return low ? &rules->rows[low - 1].rule : &none;
}

/* Pages are asked for one by one, in any order: they begin in the middle of functions. */
static void a_part_reads_as_the_whole(void **state)
{
	static struct rules whole, parts;
	const struct image_section *text;
	struct unwind_repair *repair;
	uint64_t same = 0, none = 0, wrong = 0;
	struct unwind_gap gap;
	struct image *image;

	(void)state;
	need("gcc");
	assert_int_equal(run("gcc -O2 -static -o whole program.c 2>/dev/null || gcc -O2 -o whole program.c"), 0);
	image = open_image("whole");
	text = image_find(image, ".text");
	whole.count = parts.count = 0;
	gap = (struct unwind_gap){ 0, UINT64_MAX, 0, UINT64_MAX };
	assert_int_equal(unwind_repair_new(image, &repair), 0);
	unwind_repair_gap(repair, &gap, keep_rule, &whole);
	unwind_repair_free(repair);
	assert_int_equal(unwind_repair_new(image, &repair), 0);
	for (uint64_t at = text->vaddr & ~4095ULL; at < text->vaddr + text->size; at += 4096) {
		gap.from = at;
		gap.to = at + 4096;
		unwind_repair_gap(repair, &gap, keep_rule, &parts);
	}
	unwind_repair_free(repair);
	for (uint64_t at = text->vaddr; at < text->vaddr + text->size; at++) {
		const struct cfi_rule *a = rule_at(&whole, at), *b = rule_at(&parts, at);

		if (!memcmp(a, b, sizeof(*a)))
			same++;
		else if (!a->cfa || !b->cfa)
			none++;
		else
			wrong++;
	}
	print_message("  %" PRIu64 " bytes alike, %" PRIu64 " known to one alone, %" PRIu64 " otherwise\n", same, none,
		      wrong);
	assert_true(none * 50 <= same);
	assert_true(wrong * 500 <= same);
	image_close(image);
}

/* Whatever stands in a text section: an end, within bounds (the sanitizers look on) and in time. */
static void any_text_ends(void **state)
{
	static const uint8_t usual[] = { 0x55, 0x48, 0x89, 0xe5, 0x5d, 0xc3, 0xe8, 0x74,
					 0xeb, 0xff, 0x41, 0x53, 0x5b, 0x90 };
	const struct image_section *text;
	double slowest = 0;
	struct image *image;

	(void)state;
	need("gcc");
	assert_int_equal(run("gcc -O2 -static -o part program.c 2>/dev/null || gcc -O2 -o part program.c"), 0);
	assert_int_equal(run(CUT " part 2>/dev/null && strip part"), 0);
	image = open_image("part");
	text = image_find(image, ".text");
	srandom(11);
	for (int round = 0; round < 6; round++) {
		char path[128];
		struct image *hostile;
		struct table table;
		FILE *file;
		double start;

		assert_int_equal(run("cp part hostile"), 0);
		snprintf(path, sizeof(path), "%s/hostile", toolchain_folder);
		file = fopen(path, "r+");
		assert_non_null(file);
		fseek(file, (long)text->offset, SEEK_SET);
		for (uint64_t i = 0; i < text->size; i++)
			fputc(round % 2 ? usual[random() % (long)sizeof(usual)] : (int)(random() & 0xff), file);
		fclose(file);
		hostile = open_image("hostile");
		start = now_s();
		table_open(hostile, &table);
		if (now_s() - start > slowest)
			slowest = now_s() - start;
		table_close(&table);
		image_close(hostile);
	}
	print_message("  the slowest took %.1f ms for %" PRIu64 " bytes\n", slowest * 1e3, text->size);
	assert_true(slowest < 2);
	image_close(image);
}

/* Its entry point has no FDE, and what lies at its stack pointer is no return address. */
static void the_loader_has_a_root(void **state)
{
	int fd = open("/lib64/ld-linux-x86-64.so.2", O_RDONLY | O_CLOEXEC);
	struct image *image;
	struct table table;

	(void)state;
	if (fd < 0)
		skip(); /* another C library's */
	assert_int_equal(image_open(fd, &image), 0);
	close(fd);
	table_open(image, &table);
	assert_int_equal(table_find(&table, image_entry(image)), UNWIND_RULE_OUTERMOST);
	table_close_both(&table, image);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(code_tells_what_eh_frame_told),
		cmocka_unit_test(a_static_library_is_read_too),
		cmocka_unit_test(musl_has_rules_up_to_its_root),
		cmocka_unit_test(a_part_reads_as_the_whole),
		cmocka_unit_test(the_loader_has_a_root),
		cmocka_unit_test(any_text_ends),
	};

	return cmocka_run_group_tests(tests, setup, toolchain_teardown);
}

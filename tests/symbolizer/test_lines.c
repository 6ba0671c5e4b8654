/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names and lines against programs whose answer is known, and against llvm-symbolizer over all their code. The
 * known answer: an assembler label in a function that is inlined three deep marks one address of one line.
 */
#include "toolchain.h"

#include "symbolizer/lines.h"
#include "symbolizer/symtab.h"

#define MAX_CALLS 64

static const char c_source[] =
	"static volatile int sink;\n"
	"static inline __attribute__((always_inline)) void deep(int x)\n"
	"{\n"
	"	__asm__ volatile(\".globl probe\\nprobe: nop\"); /* 4 */\n"
	"	sink += x;\n"
	"}\n"
	"static inline __attribute__((always_inline)) void middle(int x)\n"
	"{\n"
	"	sink ^= x;\n"
	"	deep(x + 1); /* 10 */\n"
	"}\n"
	"static inline __attribute__((always_inline)) void shallow(int x)\n"
	"{\n"
	"	if (x & 1)\n"
	"		middle(x * 2); /* 15 */\n"
	"}\n"
	"__attribute__((noinline)) int outermost(int x)\n"
	"{\n"
	"	for (int i = 0; i < x; i++)\n"
	"		shallow(i); /* 20 */\n"
	"	return sink;\n"
	"}\n"
	"__attribute__((noinline)) int unused_by_all(int x) { return x * 3 + sink; }\n"
	"int main(int argc, char **argv) { (void)argv; return outermost(argc); }\n";

/* The same file again as C++, with what only C++ has. */
static const char cxx_source[] =
	"#include <algorithm>\n#include <map>\n#include <string>\n#include <vector>\n"
	"namespace outer {\nnamespace inner {\n"
	"template <class T> struct box {\n"
	"	T v;\n"
	"	T twice() const { return v + v; }\n"
	"	T hard(int n) { T r = v; for (int i = 0; i < n; i++) r = r * 3 + twice(); return r; }\n"
	"};\n"
	"template <class T> static T mix(const box<T> &b, int n) { return b.twice() * n + 1; }\n"
	"}\n"
	"int work(std::vector<int> &v, std::map<std::string, int> &m) {\n"
	"	int s = 0;\n"
	"	for (auto &x : v) s += inner::mix(inner::box<int>{x}, x);\n"
	"	std::sort(v.begin(), v.end(), [](int a, int b) { return a > b; });\n"
	"	for (auto &p : m) s += p.second;\n"
	"	inner::box<double> d{1.5};\n"
	"	return s + (int)d.hard(s & 15);\n"
	"}\n}\n"
	"int main(int argc, char **) {\n"
	"	std::vector<int> v; std::map<std::string, int> m;\n"
	"	for (int i = 0; i < argc * 100; i++) { v.push_back(i * 7 % 13); m[\"k\" + std::to_string(i)] = i; }\n"
	"	return outer::work(v, m) & 1;\n"
	"}\n";

static const char rust_source[] =
	"use std::collections::BTreeMap;\n"
	"mod shop { pub struct Till<T> { pub sum: T }\n"
	"impl<T: Copy + std::ops::Add<Output = T>> Till<T> {\n"
	"	#[inline(always)] pub fn add(&mut self, x: T) -> T { self.sum = self.sum + x; self.sum }\n"
	"} }\n"
	"#[inline(never)] fn work(n: u64) -> u64 {\n"
	"	let mut till = shop::Till { sum: n }; let mut map = BTreeMap::new();\n"
	"	for i in 0..n { map.insert(i * 7 % 13, till.add(i)); }\n"
	"	let mut v: Vec<u64> = map.values().cloned().collect(); v.sort_by(|a, b| b.cmp(a)); v.iter().sum()\n"
	"}\n"
	"fn main() { println!(\"{}\", work(std::env::args().count() as u64 * 10)); }\n";

static uint64_t symbol_address(const char *file, const char *name)
{
	uint64_t address = 0;
	char line[512];
	FILE *output;

	assert_int_equal(run("nm %s > symbols", file), 0);
	output = open_output("symbols");
	while (fgets(line, sizeof(line), output)) {
		unsigned long long value;
		char found[256], type;

		if (sscanf(line, "%llx %c %255s", &value, &type, found) == 3 && !strcmp(found, name))
			address = value;
	}
	fclose(output);
	assert_true(address);
	return address;
}

static void check_call(const struct lines_call *call, const char *name, uint32_t line, uint32_t start_line)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/known.c", toolchain_folder);
	assert_non_null(call->name);
	assert_string_equal(call->name, name);
	assert_null(call->linkage_name);
	assert_string_equal(call->file, path);
	assert_int_equal(call->line, line);
	assert_int_equal(call->start_line, start_line);
}

static void check_known(const char *file, uint64_t probe)
{
	struct image *image = open_image(file);
	struct lines_call calls[MAX_CALLS];
	struct lines *lines;

	assert_int_equal(lines_new(image, NULL, &lines), 0);
	assert_int_equal(lines_find(lines, probe, calls, MAX_CALLS), 4);
	check_call(&calls[0], "deep", 4, 2);
	check_call(&calls[1], "middle", 10, 7);
	check_call(&calls[2], "shallow", 15, 12);
	check_call(&calls[3], "outermost", 20, 17);
	assert_int_equal(lines_find(lines, probe, calls, 2), 2); /* too little room: both ends are kept */
	check_call(&calls[0], "deep", 4, 2);
	check_call(&calls[1], "outermost", 20, 17);
	assert_int_equal(lines_find(lines, 1, calls, MAX_CALLS), 0);
	assert_int_equal(lines_find(lines, UINT64_MAX, calls, MAX_CALLS), 0);
	lines_free(lines);
	image_close(image);
}

static const char *const compilers[] = {
	"gcc -gdwarf-5", "gcc -gdwarf-4", "gcc -gdwarf-3 -gstrict-dwarf", "gcc -gdwarf64 -g",
	"gcc -g -flto", "gcc -g -gz=zlib", "gcc -g -gz=zlib-gnu", "gcc -g -static -no-pie",
	"gcc -g -ffunction-sections -Wl,--gc-sections", "clang-14 -gdwarf-5", "clang-14 -gdwarf-4", "clang-14 -g -gz=zlib",
	"clang-14 -gdwarf-4 -ffunction-sections -fuse-ld=lld-14 -Wl,--gc-sections",
	"clang-14 -gdwarf-5 -ffunction-sections -fuse-ld=lld-14 -Wl,--gc-sections",
};

static void test_known_inlines(void **state)
{
	(void)state;
	need("clang-14");
	write_file("known.c", c_source);
	for (size_t at = 0; at < sizeof(compilers) / sizeof(compilers[0]); at++) {
		if (strstr(compilers[at], "lld") && !have("ld.lld-14"))
			continue;
		print_message("  %s\n", compilers[at]);
		assert_int_equal(run("%s -O2 $PWD/known.c -o known", compilers[at]), 0);
		check_known("known", symbol_address("known", "probe"));
	}
}

/* DWARF 2 says neither where a unit in two sections lies nor where an inlined call was made. */
static void test_strict_dwarf2(void **state)
{
	static const char *const names[] = { "deep", "middle", "shallow", "outermost" };
	struct lines_call calls[MAX_CALLS];
	struct image *image;
	struct lines *lines;

	(void)state;
	write_file("known.c", c_source);
	assert_int_equal(run("gcc -gdwarf-2 -gstrict-dwarf -O2 $PWD/known.c -o known2"), 0);
	image = open_image("known2");
	assert_int_equal(lines_new(image, NULL, &lines), 0);
	assert_int_equal(lines_find(lines, symbol_address("known2", "probe"), calls, MAX_CALLS), 4);
	check_call(&calls[0], "deep", 4, 2);
	for (size_t at = 0; at < 4; at++)
		assert_string_equal(calls[at].name, names[at]);
	lines_free(lines);
	image_close(image);
}

static void test_separate_and_zstd(void **state)
{
	uint64_t probe;

	(void)state;
	write_file("known.c", c_source);
	assert_int_equal(run("gcc -g -O2 $PWD/known.c -o known && objcopy --only-keep-debug known known.debug"), 0);
	probe = symbol_address("known", "probe");
	check_known("known.debug", probe);
	if (run("objcopy --compress-debug-sections=zstd known known.zstd 2>/dev/null"))
		print_message("  objcopy knows no zstd: that part is left out\n");
	else
		check_known("known.zstd", probe);
}

/* The functions are in a .dwo that is not there: lines only, and no name. */
static void test_split(void **state)
{
	static const char *const splits[] = { "gcc -gdwarf-4", "gcc -gdwarf-5", "clang-14 -gdwarf-4", "clang-14 -gdwarf-5" };

	(void)state;
	need("clang-14");
	write_file("known.c", c_source);
	for (size_t at = 0; at < 4; at++) {
		struct lines_call calls[MAX_CALLS];
		struct lines *lines;
		struct image *image;
		uint64_t probe;

		assert_int_equal(run("%s -gsplit-dwarf -fno-split-dwarf-inlining -O2 $PWD/known.c -o split 2>/dev/null ||"
				     "%s -gsplit-dwarf -O2 $PWD/known.c -o split", splits[at], splits[at]), 0);
		probe = symbol_address("split", "probe");
		image = open_image("split");
		assert_int_equal(lines_new(image, NULL, &lines), 0);
		assert_int_equal(lines_find(lines, probe, calls, MAX_CALLS), 1);
		assert_null(calls[0].name);
		assert_int_equal(calls[0].line, 4);
		assert_non_null(strstr(calls[0].file, "/known.c"));
		lines_free(lines);
		image_close(image);
	}
}

/* dwz moves what two programs share to a third file: without it lines and places stay, with it all names. */
static void test_dwz(void **state)
{
	struct image *image, *alt;
	struct lines_call calls[MAX_CALLS];
	struct lines *lines;
	uint64_t probe;

	(void)state;
	need("dwz");
	write_file("known.c", c_source);
	assert_int_equal(run("gcc -gdwarf-4 -O2 $PWD/known.c -o one && cp one two && dwz -o single one 2>/dev/null || cp one single"), 0);
	probe = symbol_address("one", "probe");
	check_known("single", probe);
	assert_int_equal(run("dwz -l none -m shared one two"), 0);
	image = open_image("one");
	alt = open_image("shared");
	assert_int_equal(lines_new(image, alt, &lines), 0);
	assert_int_equal(lines_find(lines, probe, calls, MAX_CALLS), 4);
	check_call(&calls[0], "deep", 4, 2);
	check_call(&calls[3], "outermost", 20, 17);
	lines_free(lines);
	assert_int_equal(lines_new(image, NULL, &lines), 0);
	assert_int_equal(lines_find(lines, probe, calls, MAX_CALLS), 4);
	assert_int_equal(calls[0].line, 4);
	assert_int_equal(calls[3].line, 20);
	assert_null(calls[0].name);
	lines_free(lines);
	image_close(alt);
	image_close(image);
}

static void test_no_dwarf(void **state)
{
	struct lines *lines = NULL;
	struct image *image;

	(void)state;
	write_file("known.c", c_source);
	assert_int_equal(run("gcc -O2 -s known.c -o bare"), 0);
	image = open_image("bare");
	assert_int_equal(lines_new(image, NULL, &lines), -ENODATA);
	assert_null(lines);
	image_close(image);
}

/* ---- over all code, against llvm-symbolizer ---- */

struct totals {
	size_t addresses, frames, names_differ, lines_differ, counts_differ;
};

static char *read_line(FILE *file, char *line, int size)
{
	if (!fgets(line, size, file))
		return NULL;
	line[strcspn(line, "\n")] = '\0';
	return line;
}

/* "path:line:column" to "path:line" */
static void cut_column(char *text)
{
	char *colon = strrchr(text, ':');

	if (colon)
		*colon = '\0';
}

/* Linkers fold equal functions: then several names are right, and which one is told is each tool's choice. */
static bool is_alias(const char *name, uint64_t start)
{
	FILE *output = open_output("symbols");
	bool found = false;
	char line[65536];

	while (!found && read_line(output, line, sizeof(line)))
		found = strtoull(line, NULL, 16) == start && !strcmp(strrchr(line, ' ') + 1, name);
	fclose(output);
	return found;
}

static void compare_call(const struct lines_call *call, const struct symtab_symbol *outermost, const char *name,
			 const char *place, struct totals *totals)
{
	const char *own = call->linkage_name ? call->linkage_name : call->name ? call->name : "??";
	char own_place[8192];

	/* for the outermost function llvm prefers the symbol table: gcc gives statics no linkage name */
	if (strcmp(own, name) && !(outermost && is_alias(name, outermost->start)))
		totals->names_differ++;
	snprintf(own_place, sizeof(own_place), "%s:%u", call->file, call->line);
	if (call->line ? strcmp(own_place, place) != 0 : strcmp(strrchr(place, ':'), ":0") != 0) {
		if (!totals->lines_differ)
			print_message("  %s for %s\n", own_place, place);
		totals->lines_differ++;
	}
}

static void compare_address(struct lines *lines, const struct symtab *symtab, uint64_t address, FILE *output,
			    struct totals *totals)
{
	static char name[65536], place[65536];
	struct lines_call calls[MAX_CALLS];
	struct symtab_symbol symbol = { .name = "" };
	int count = lines_find(lines, address, calls, MAX_CALLS), at = 0;

	symtab_find(symtab, address, &symbol);
	totals->addresses++;
	for (; read_line(output, name, sizeof(name)) && *name; at++) {
		assert_non_null(read_line(output, place, sizeof(place)));
		cut_column(place);
		if (at < count)
			compare_call(&calls[at], at == count - 1 ? &symbol : NULL, name, place, totals);
		else if (count || strcmp(strrchr(place, ':'), ":0") || (strcmp(name, "??") && !is_alias(name, symbol.start)))
			totals->counts_differ++;
		totals->frames += at < count;
	}
	totals->counts_differ += at < count;
}

static void compare_file(const char *file, uint64_t step, struct totals *totals)
{
	struct image *image = open_image(file);
	const struct image_section *text = image_find(image, ".text");
	struct symtab *symtab;
	struct lines *lines;
	char path[128];
	FILE *list, *output;

	assert_non_null(text);
	snprintf(path, sizeof(path), "%s/addresses", toolchain_folder);
	list = fopen(path, "w");
	for (uint64_t at = text->vaddr; at < text->vaddr + text->size; at += step)
		fprintf(list, "0x%llx\n", (unsigned long long)at);
	fclose(list);
	assert_int_equal(run("nm %s > symbols", file), 0);
	assert_int_equal(run("llvm-symbolizer-14 --obj=%s --functions=linkage --no-demangle --inlines "
			     "--output-style=LLVM < addresses > answers", file), 0);
	assert_int_equal(lines_new(image, NULL, &lines), 0);
	assert_int_equal(symtab_new(image, &symtab), 0);
	output = open_output("answers");
	for (uint64_t at = text->vaddr; at < text->vaddr + text->size; at += step)
		compare_address(lines, symtab, at, output, totals);
	fclose(output);
	symtab_free(symtab);
	lines_free(lines);
	image_close(image);
}

static void check_totals(const char *what, const struct totals *totals, size_t least_frames)
{
	print_message("  %s: %zu addresses, %zu frames, differ: %zu names, %zu lines, %zu chains\n", what,
		      totals->addresses, totals->frames, totals->names_differ, totals->lines_differ, totals->counts_differ);
	assert_true(totals->frames >= least_frames);
	assert_int_equal(totals->counts_differ, 0);
	assert_int_equal(totals->names_differ, 0);
	assert_int_equal(totals->lines_differ, 0);
}

static void test_cxx_like_llvm(void **state)
{
	static const char *const cxx[] = {
		"g++ -gdwarf-5", "g++ -gdwarf-4", "clang++-14 -gdwarf-5", "clang++-14 -gdwarf-4", "g++ -g -flto",
		"g++ -g -fdebug-types-section -gz=zlib",
	};

	(void)state;
	need("g++");
	need("clang++-14");
	need("llvm-symbolizer-14");
	write_file("known.cc", cxx_source);
	for (size_t at = 0; at < sizeof(cxx) / sizeof(cxx[0]); at++) {
		struct totals totals = { 0 };

		assert_int_equal(run("%s -O2 $PWD/known.cc -o cxx", cxx[at]), 0);
		compare_file("cxx", 1, &totals);
		check_totals(cxx[at], &totals, totals.addresses * 2);
	}
}

static void test_rust_like_llvm(void **state)
{
	struct totals totals = { 0 };

	(void)state;
	need("rustc");
	need("llvm-symbolizer-14");
	write_file("known.rs", rust_source);
	assert_int_equal(run("rustc -g -O $PWD/known.rs -o rust 2>rust.log"), 0);
	compare_file("rust", 97, &totals);
	check_totals("rustc", &totals, totals.addresses);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_inlines), cmocka_unit_test(test_strict_dwarf2),
		cmocka_unit_test(test_separate_and_zstd), cmocka_unit_test(test_split), cmocka_unit_test(test_dwz),
		cmocka_unit_test(test_no_dwarf), cmocka_unit_test(test_cxx_like_llvm), cmocka_unit_test(test_rust_like_llvm),
	};

	return cmocka_run_group_tests(tests, toolchain_setup, toolchain_teardown);
}

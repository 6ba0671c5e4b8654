/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Go's own tables against Go's own tools (nm, addr2line) and against the DWARF of the same program, for several
 * ways to build it; then with random damage, where no answer may come from outside the file.
 */
#include "toolchain.h"

#include "symbolizer/gopclntab.h"
#include "symbolizer/lines.h"
#include "symbolizer/lookup.h"

#include <elf.h>

#define MAX_ADDRESSES 4000
#define GO "HOME=$PWD GOCACHE=/tmp/wick-test-go GOFLAGS=-mod=mod GOTOOLCHAIN=local GO111MODULE=on "

static const char program[] =
	"package main\n"
	"import (\"fmt\"; \"os\"; \"strings\")\n"
	"type box struct { n int }\n"
	"func mix(x uint64) uint64 { x ^= x << 13; x ^= x >> 7; return x ^ x << 17 }\n"
	"func twice(x uint64) uint64 { return mix(mix(x)) + 1 }\n"
	"//go:noinline\n"
	"func spin(x uint64, n int) uint64 {\n"
	"	for i := 0; i < n; i++ {\n"
	"		x = twice(x)\n"
	"	}\n"
	"	return x\n"
	"}\n"
	"//go:noinline\n"
	"func (b *box) run(s string) string { return strings.Repeat(s, b.n) }\n"
	"func main() {\n"
	"	f := func() uint64 { return spin(uint64(len(os.Args)), 10) }\n"
	"	fmt.Println(f(), (&box{2}).run(\"x\"))\n"
	"}\n";

static const char *const old_go = "/usr/lib/go-1.19/bin/go";

static void build(const char *go, const char *name, const char *options)
{
	write_file("main.go", program);
	write_file("go.mod", "module example.test/prog\ngo 1.18\n");
	assert_int_equal(run(GO "%s build %s -o %s . 2>&1", go, options, name), 0);
}

static struct gopclntab *open_table(struct image *image)
{
	struct gopclntab *table;

	assert_int_equal(gopclntab_new(image, &table), 0);
	return table;
}

struct function {
	uint64_t start, size;
	char name[512];
};

/* Functions by `go tool nm -size`, those of package main and some of the others. */
static size_t read_functions(const char *go, const char *name, struct function *functions, size_t max)
{
	char line[2048], kind[16];
	size_t count = 0, all = 0;
	FILE *file;

	assert_int_equal(run(GO "%s tool nm -size %s > symbols", go, name), 0);
	file = open_output("symbols");
	while (count < max && fgets(line, sizeof(line), file)) {
		struct function *to = &functions[count];
		int at = 0;

		if (sscanf(line, "%lx %lu %15s %n", &to->start, &to->size, kind, &at) != 3 || !at)
			continue;
		snprintf(to->name, sizeof(to->name), "%.*s", (int)strcspn(line + at, "\n"), line + at);
		if (strlen(to->name) > 5 && !strcmp(to->name + strlen(to->name) - 5, ".abi0"))
			to->name[strlen(to->name) - 5] = '\0'; /* of the symbol, not of the function */
		if ((*kind != 'T' && *kind != 't') || !to->size || !strncmp(to->name, "_cgo", 4) ||
		    !strchr(to->name, '.') || strchr(to->name, '[') || !strncmp(to->name, "go:", 3) ||
		    !strncmp(to->name, "type:", 5)) /* gcc's linker wants other letters in those */
			continue;
		if (!strncmp(to->name, "main.", 5) || all++ % 3 == 0)
			count++;
	}
	fclose(file);
	return count;
}

/* Of every function two addresses: `go tool addr2line` tells the function, and the line of the innermost call. */
static void compare_tools(const char *go, const char *stripped, const char *whole)
{
	static struct function functions[MAX_ADDRESSES / 2];
	struct image *image = open_image(stripped);
	struct gopclntab *table = open_table(image);
	struct gopclntab_call calls[64];
	char line[4096], wanted[4096];
	size_t count = read_functions(go, whole, functions, MAX_ADDRESSES / 2), names = 0, lines = 0, main_seen = 0;
	FILE *file;

	assert_true(count > 300);
	snprintf(line, sizeof(line), "%s/addresses", toolchain_folder);
	file = fopen(line, "w");
	for (size_t at = 0; at < count; at++)
		fprintf(file, "%#lx\n%#lx\n", functions[at].start, functions[at].start + functions[at].size / 2);
	fclose(file);
	assert_int_equal(run(GO "%s tool addr2line %s < addresses > answers", go, whole), 0);
	file = open_output("answers");
	for (size_t at = 0; at < 2 * count; at++) {
		const struct function *function = &functions[at / 2];
		uint64_t address = function->start + (at % 2 ? function->size / 2 : 0);
		size_t got = gopclntab_find(table, address, calls, 64);

		assert_non_null(fgets(line, sizeof(line), file)); /* the function */
		assert_non_null(fgets(line, sizeof(line), file));
		line[strcspn(line, "\n")] = '\0';
		assert_true(got > 0);
		names += !strcmp(calls[got - 1].name, function->name);
		main_seen += !strcmp(calls[got - 1].name, "main.spin");
		snprintf(wanted, sizeof(wanted), "%s:%u", calls[0].file, calls[0].line);
		lines += !strcmp(wanted, line) || !strcmp(line, "?:0");
	}
	fclose(file);
	print_message("%s: %zu addresses, %zu names and %zu lines as go's tools say\n", stripped, 2 * count, names, lines);
	assert_true(main_seen == 2);
	assert_int_equal(names, 2 * count);
	assert_int_equal(lines, 2 * count);
	gopclntab_free(table);
	image_close(image);
}

static void need_go(void)
{
	need("go");
}

static void test_static(void **state)
{
	(void)state;
	need_go();
	build("go", "whole", "");
	build("go", "bare", "-ldflags='-s -w'");
	compare_tools("go", "whole", "whole");
	compare_tools("go", "bare", "whole");
}

/* Addresses are relocations there; `go tool nm` reads the symbols of a build of the same layout. */
static void test_pie(void **state)
{
	(void)state;
	need_go();
	build("go", "pie", "-buildmode=pie");
	compare_tools("go", "pie", "pie");
	assert_int_equal(run("objcopy --strip-all pie pie_bare"), 0);
	compare_tools("go", "pie_bare", "pie");
}

/* By gcc, with C before the Go code. */
static void test_external(void **state)
{
	static const char *const modes[] = { "exe", "pie", "c-shared" };
	char options[128], name[32];

	(void)state;
	need_go();
	need("gcc");
	for (size_t at = 0; at < 3; at++) {
		snprintf(options, sizeof(options), "-buildmode=%s -ldflags=-linkmode=external", modes[at]);
		snprintf(name, sizeof(name), "external_%zu", at);
		build("go", name, options);
		assert_int_equal(run("objcopy --strip-all %s %s_bare", name, name), 0);
		compare_tools("go", name, name);
		snprintf(options, sizeof(options), "%s_bare", name);
		compare_tools("go", options, name);
	}
}

/* Without section headers: by scanning what is loaded. */
static void test_no_sections(void **state)
{
	struct image *image;
	struct gopclntab *table;
	struct gopclntab_call calls[64];
	Elf64_Ehdr header;
	char path[128];
	FILE *file;
	uint64_t address;

	(void)state;
	need_go();
	build("go", "headless", "");
	image = open_image("headless");
	table = open_table(image);
	for (address = image_find(image, ".text")->vaddr;; address += 32) {
		size_t got = gopclntab_find(table, address, calls, 64);

		assert_true(address < image_find(image, ".text")->vaddr + image_find(image, ".text")->size);
		if (got && !strcmp(calls[got - 1].name, "main.spin"))
			break;
	}
	gopclntab_free(table);
	image_close(image);
	snprintf(path, sizeof(path), "%s/headless", toolchain_folder);
	file = fopen(path, "r+");
	assert_int_equal(fread(&header, sizeof(header), 1, file), 1);
	header.e_shoff = header.e_shnum = header.e_shstrndx = 0;
	rewind(file);
	assert_int_equal(fwrite(&header, sizeof(header), 1, file), 1);
	fclose(file);
	image = open_image("headless");
	table = open_table(image);
	assert_true(gopclntab_has_inlining(table));
	assert_true(gopclntab_find(table, address, calls, 64) > 0);
	gopclntab_free(table);
	image_close(image);
}

/* All of main.spin: the same chain of inlined calls, files and lines as DWARF tells. */
static void compare_dwarf(const char *go, const char *name)
{
	static struct function functions[MAX_ADDRESSES / 2];
	struct image *image = open_image(name);
	struct gopclntab *table = open_table(image);
	struct gopclntab_call calls[64];
	struct lines_call by_dwarf[64];
	struct lines *lines;
	size_t compared = 0, deepest = 0, count = read_functions(go, name, functions, MAX_ADDRESSES / 2);

	assert_true(gopclntab_has_inlining(table));
	assert_int_equal(lines_new(image, NULL, &lines), 0);
	for (size_t at = 0; at < count; at++) {
		if (strncmp(functions[at].name, "main.", 5))
			continue;
		for (uint64_t pc = functions[at].start; pc < functions[at].start + functions[at].size; pc++) {
			size_t got = gopclntab_find(table, pc, calls, 64);
			int wanted = lines_find(lines, pc, by_dwarf, 64);

			assert_int_equal(got, wanted);
			for (size_t call = 0; call < got; call++) {
				assert_string_equal(calls[call].name, by_dwarf[call].name);
				assert_string_equal(calls[call].file, by_dwarf[call].file);
				assert_int_equal(calls[call].line, by_dwarf[call].line);
			}
			compared++;
			deepest = got > deepest ? got : deepest;
		}
	}
	print_message("%s: %zu addresses as by DWARF, up to %zu calls\n", name, compared, deepest);
	assert_true(compared > 300 && deepest >= 3);
	lines_free(lines);
	gopclntab_free(table);
	image_close(image);
}

static void test_inlining(void **state)
{
	(void)state;
	need_go();
	build("go", "inlining", "-ldflags=-compressdwarf=false");
	compare_dwarf("go", "inlining");
}

static void test_old_layout(void **state)
{
	(void)state;
	if (access(old_go, X_OK)) {
		print_message("[  SKIPPED ] %s: no %s\n", __func__, old_go);
		skip();
	}
	build(old_go, "old", "");
	build(old_go, "old_bare", "-ldflags='-s -w'");
	compare_tools(old_go, "old_bare", "old");
	compare_dwarf(old_go, "old");
	build(old_go, "old_pie", "-buildmode=pie");
	assert_int_equal(run("objcopy --strip-all old_pie old_pie_bare"), 0);
	compare_tools(old_go, "old_pie_bare", "old_pie");
}

static void test_order(void **state)
{
	static struct function functions[MAX_ADDRESSES / 2];
	static const char *const names[] = { "order", "order_nodwarf", "order_bare" };
	static const char *const options[] = { "", "-ldflags=-w", "-ldflags='-s -w'" };
	static const enum symbol_source sources[] = { SYMBOL_DWARF, SYMBOL_GOPCLNTAB, SYMBOL_GOPCLNTAB };
	struct lookup_line lines[LOOKUP_MAX_CALLS];
	static struct lookup *volatile lookups[3]; /* live as long as their process */
	size_t count = 0;

	(void)state;
	need_go();
	for (size_t at = 0; at < 3; at++) {
		size_t function;
		enum symbol_source source;
		char path[256];

		build("go", names[at], options[at]);
		if (!at)
			count = read_functions("go", names[0], functions, MAX_ADDRESSES / 2);
		for (function = 0; strcmp(functions[function].name, "main.spin"); function++)
			assert_true(function + 1 < count);
		snprintf(path, sizeof(path), "%s/%s", toolchain_folder, names[at]);
		lookups[at] = lookup_new(open(path, O_RDONLY | O_CLOEXEC), SYMBOLIZER_ELF);
		assert_int_equal(lookup_find(lookups[at], functions[function].start + 1, lines, &source), 1);
		assert_int_equal(source, sources[at]);
		assert_string_equal(lines[0].name, "main.spin");
		assert_int_equal(lines[0].start_line, 7);
		assert_non_null(strstr(lines[0].file, "main.go"));
	}
}

static void test_not_go(void **state)
{
	struct gopclntab *table;
	struct image *image = open_image("/proc/self/exe");

	(void)state;
	assert_int_equal(gopclntab_new(image, &table), -ENODATA);
	image_close(image);
}

/* Touches all that comes back; the sanitizer knows where the file ends. */
static uint64_t ask_all(const uint8_t *bytes, size_t size, uint64_t start, uint64_t end)
{
	struct gopclntab_call calls[16];
	struct gopclntab *table;
	struct image *image;
	uint64_t sum = 0;

	if (image_open_memory(bytes, size, &image))
		return 1;
	if (!gopclntab_new(image, &table)) {
		for (uint64_t pc = start; pc < end; pc += 7) {
			size_t count = gopclntab_find(table, pc, calls, 16);

			for (size_t at = 0; at < count; at++)
				sum = sum * 31 + strlen(calls[at].name) + strlen(calls[at].file) + calls[at].line;
		}
		gopclntab_free(table);
	}
	image_close(image);
	return sum;
}

static void test_damage(void **state)
{
	size_t size = 0, table_at, table_size, module_at, changed = 0;
	uint64_t text, good_sum;
	uint8_t *good = malloc(8 << 20), *copy;
	struct image *image;
	char path[128];
	FILE *file;

	(void)state;
	need_go();
	build("go", "damage", "-ldflags='-s -w'");
	snprintf(path, sizeof(path), "%s/damage", toolchain_folder);
	file = fopen(path, "r");
	size = fread(good, 1, 8 << 20, file);
	fclose(file);
	assert_true(size < 8 << 20);
	copy = malloc(size);
	image = open_image("damage");
	table_at = image_find(image, ".gopclntab")->offset;
	table_size = image_find(image, ".gopclntab")->size;
	module_at = image_find(image, ".go.module") ? image_find(image, ".go.module")->offset : table_at;
	text = image_find(image, ".text")->vaddr;
	image_close(image);
	good_sum = ask_all(good, size, text, text + 20000);
	srand(4711);
	for (int round = 0; round < 300; round++) {
		memcpy(copy, good, size);
		for (int at = 0; at < 1 << (round % 12); at++) {
			size_t place = round % 3 == 0 ? table_at + (size_t)rand() % 72 :
				       round % 3 == 1 ? table_at + (size_t)rand() % table_size :
							module_at + (size_t)rand() % 512;

			copy[place] = round % 2 ? (uint8_t)rand() : (uint8_t)(copy[place] ^ (1 << rand() % 8));
		}
		changed += ask_all(copy, size, text, text + 20000) != good_sum;
	}
	assert_true(changed > 50); /* the damage was where it counts */
	for (size_t cut = table_at; cut < table_at + table_size; cut += table_size / 50) {
		uint8_t *shorter = malloc(cut);

		memcpy(shorter, good, cut);
		ask_all(shorter, cut, text, text + 20000);
		free(shorter);
	}
	free(good);
	free(copy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_static),	   cmocka_unit_test(test_pie),	    cmocka_unit_test(test_external),
		cmocka_unit_test(test_no_sections), cmocka_unit_test(test_inlining), cmocka_unit_test(test_old_layout),
		cmocka_unit_test(test_order),	   cmocka_unit_test(test_not_go),   cmocka_unit_test(test_damage),
	};

	return cmocka_run_group_tests(tests, toolchain_setup, toolchain_teardown);
}

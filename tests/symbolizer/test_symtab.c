/* SPDX-License-Identifier: Apache-2.0 */
/* The symbol index against nm, and the names of linkage stubs against objdump, which makes them up as well. */
#include "toolchain.h"

#include "symbolizer/symtab.h"

static const char source[] =
	"#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n"
	"static __attribute__((noinline)) int local_work(int x) { __asm__ volatile(\"nop\\ninside_label: nop\"); return x * 3; }\n"
	"int shared_work(int x) { return local_work(x) + 1; }\n"
	"int weak_alias(int x) __attribute__((weak, alias(\"shared_work\")));\n"
	"int aa_shared_work(int x) __attribute__((alias(\"shared_work\")));\n"
	"int zz_aliased(int x) __attribute__((alias(\"shared_work\")));\n"
	"__asm__(\".pushsection .text\\n.p2align 12\\nby_hand: nop\\nnop\\nret\\n.p2align 4\\n"
	".globl after_hand\\n.type after_hand, @function\\nafter_hand: ret\\n.size after_hand, 1\\n"
	".p2align 12\\n.globl far_on\\n.type far_on, @function\\nfar_on: ret\\n.size far_on, 1\\n.popsection\\n\");\n"
	"int main(int argc, char **argv) {\n"
	"	char *copy = strdup(argv[0]);\n"
	"	void (*slot)(void *) = free; /* goes by .plt.got where the linker makes one */\n"
	"	printf(\"%d\", shared_work(argc) + atoi(copy)); slot(copy); free(0);\n"
	"	return puts(\"\") + (int)strlen(argv[0]) + (memchr(argv[0], argc, 2) != 0);\n"
	"}\n";

static struct symtab *open_symtab(const char *name, struct image **ret_image)
{
	struct symtab *symtab;

	*ret_image = open_image(name);
	assert_int_equal(symtab_new(*ret_image, &symtab), 0);
	return symtab;
}

static void close_symtab(struct symtab *symtab, struct image *image)
{
	symtab_free(symtab);
	image_close(image);
}

static uint64_t address_of(const char *file, const char *name)
{
	unsigned long long address = 0;
	FILE *output;

	assert_int_equal(run("nm %s | awk '$3 == \"%s\" { print $1 }' > one", file, name), 0);
	output = open_output("one");
	assert_int_equal(fscanf(output, "%llx", &address), 1);
	fclose(output);
	return address;
}

static void check(const struct symtab *symtab, uint64_t vaddr, const char *name, enum symbol_source source_wanted)
{
	struct symtab_symbol symbol;

	assert_true(symtab_find(symtab, vaddr, &symbol));
	assert_string_equal(symbol.name, name);
	assert_int_equal(symbol.source, source_wanted);
	assert_true(symbol.start <= vaddr);
}

static void test_rules(void **state)
{
	struct symtab_symbol symbol;
	struct symtab *symtab;
	struct image *image;
	uint64_t at;

	(void)state;
	write_file("rules.c", source);
	assert_int_equal(run("gcc -O2 rules.c -o rules"), 0);
	symtab = open_symtab("rules", &image);
	at = address_of("rules", "local_work");
	check(symtab, at, "local_work", SYMBOL_SYMTAB);
	assert_true(address_of("rules", "inside_label") > at);
	check(symtab, address_of("rules", "inside_label"), "local_work", SYMBOL_SYMTAB); /* a label is no function */
	check(symtab, address_of("rules", "shared_work"), "zz_aliased", SYMBOL_SYMTAB); /* global, then shortest */
	at = address_of("rules", "by_hand");
	check(symtab, at, "by_hand", SYMBOL_SYMTAB);
	check(symtab, at + 15, "by_hand", SYMBOL_SYMTAB); /* no size: until the next symbol */
	check(symtab, at + 16, "after_hand", SYMBOL_SYMTAB);
	assert_false(symtab_find(symtab, at + 17, &symbol)); /* a size: not past its end */
	assert_false(symtab_find(symtab, at + 4000, &symbol));
	check(symtab, at + 4096, "far_on", SYMBOL_SYMTAB);
	assert_false(symtab_find(symtab, 0, &symbol));
	assert_false(symtab_find(symtab, UINT64_MAX, &symbol));
	assert_int_equal(symtab_dropped(symtab), 0);
	close_symtab(symtab, image);
}

/* Every function nm lists is found at its first and last byte under a name nm has for that address. */
static void check_against_nm(const char *file, const char *options, size_t least)
{
	struct image *image;
	struct symtab *symtab = open_symtab(file, &image);
	char line[8192], name[4096], type;
	unsigned long long address, size;
	size_t seen = 0, wrong = 0, alias = 0;
	struct symtab_symbol symbol;
	FILE *output;

	assert_int_equal(run("nm -S %s --defined-only %s | grep -i ' [twi] ' > list", options, file), 0);
	output = open_output("list");
	while (fgets(line, sizeof(line), output)) {
		if (sscanf(line, "%llx %llx %c %4095s", &address, &size, &type, name) != 4)
			continue;
		name[strcspn(name, "@")] = '\0'; /* a version */
		seen++;
		wrong += !symtab_find(symtab, address, &symbol) || symbol.start != address;
		alias += strcmp(symbol.name, name) != 0;
		wrong += !symtab_find(symtab, address + size - 1, &symbol) || symbol.start < address;
	}
	fclose(output);
	print_message("  %s: %zu functions, %zu aliases\n", file, seen, alias);
	assert_true(seen >= least);
	assert_int_equal(wrong, 0);
	assert_true(alias * 2 < seen);
	close_symtab(symtab, image);
}

static void test_like_nm(void **state)
{
	(void)state;
	write_file("rules.c", source);
	assert_int_equal(run("gcc -O2 -static rules.c -o fixed"), 0);
	check_against_nm("fixed", "", 500);
	if (access("/lib/x86_64-linux-gnu/libc.so.6", R_OK) == 0)
		check_against_nm("/lib/x86_64-linux-gnu/libc.so.6", "-D", 1000);
}

static void check_stubs(const char *file, size_t least)
{
	struct image *image;
	struct symtab *symtab = open_symtab(file, &image);
	unsigned long long address;
	struct symtab_symbol symbol;
	char line[512], name[400];
	size_t seen = 0;
	FILE *output;

	assert_int_equal(run("objdump -d %s | grep -E '^[0-9a-f]+ <[^*+]+@plt>:' > stubs; test -s stubs", file), 0);
	output = open_output("stubs");
	while (fgets(line, sizeof(line), output)) {
		assert_int_equal(sscanf(line, "%llx <%399[^>]", &address, name), 2);
		check(symtab, address, name, SYMBOL_PLT);
		check(symtab, address + 7, name, SYMBOL_PLT);
		seen++;
	}
	fclose(output);
	assert_true(seen >= least);
	if (image_find(image, ".plt")->size > 16 && !image_find(image, ".plt.sec")) /* its head jumps to the linker */
		assert_false(symtab_find(symtab, image_find(image, ".plt")->vaddr, &symbol));
	close_symtab(symtab, image);
}

static void test_stubs(void **state)
{
	static const char *const links[] = {
		"gcc -O2", "gcc -O2 -Wl,-z,lazy", "gcc -O2 -Wl,-z,now", "gcc -O2 -fcf-protection -Wl,-z,ibtplt -Wl,-z,lazy",
		"gcc -O2 -Wl,-z,ibtplt -Wl,-z,now -fuse-ld=bfd", "gcc -O2 -no-pie", "gcc -O2 -fuse-ld=gold",
		"clang-14 -O2 -fuse-ld=lld-14", "clang-14 -O2 -fuse-ld=lld-14 -Wl,-z,force-ibt -Wl,-z,lazy",
	};

	(void)state;
	need("clang-14");
	write_file("rules.c", source);
	for (size_t at = 0; at < sizeof(links) / sizeof(links[0]); at++) {
		if ((strstr(links[at], "lld") && !have("ld.lld-14")) || (strstr(links[at], "gold") && !have("ld.gold")))
			continue;
		assert_int_equal(run("%s rules.c -o stubs.bin 2>/dev/null", links[at]), 0);
		print_message("  %s\n", links[at]);
		check_stubs("stubs.bin", 4);
		assert_int_equal(run("strip stubs.bin"), 0);
		check_stubs("stubs.bin", 4);
	}
}

/* Beside .plt.sec the stubs of .plt are entered once, to bind; they push the number of what .plt.sec jumps to. */
static void test_lazy_stubs(void **state)
{
	const struct image_section *lazy, *direct;
	struct symtab *symtab;
	struct image *image;

	(void)state;
	write_file("rules.c", source);
	assert_int_equal(run("gcc -O2 -fcf-protection -Wl,-z,ibtplt -Wl,-z,lazy rules.c -o ibt"), 0);
	symtab = open_symtab("ibt", &image);
	lazy = image_find(image, ".plt");
	direct = image_find(image, ".plt.sec");
	assert_non_null(direct);
	assert_int_equal(lazy->size, direct->size + 16);
	for (uint64_t at = 0; at < direct->size; at += 16) {
		struct symtab_symbol symbol;

		assert_true(symtab_find(symtab, direct->vaddr + at, &symbol));
		check(symtab, lazy->vaddr + 16 + at, symbol.name, SYMBOL_PLT);
	}
	close_symtab(symtab, image);
}

/* A stub that has an address instead of a symbol has the name of the function there. */
static void test_static_stubs(void **state)
{
	const struct image_section *section;
	struct symtab_symbol symbol;
	struct symtab *symtab;
	struct image *image;
	size_t named = 0;

	(void)state;
	write_file("rules.c", source);
	assert_int_equal(run("gcc -O2 -static -no-pie rules.c -o fixed"), 0);
	symtab = open_symtab("fixed", &image);
	section = image_find(image, ".plt");
	assert_non_null(section);
	for (uint64_t at = 0; at < section->size; at += 8)
		if (symtab_find(symtab, section->vaddr + at, &symbol))
			named += !strcmp(symbol.name, "strlen@plt") || !strcmp(symbol.name, "memchr@plt");
	assert_int_equal(named, 2);
	close_symtab(symtab, image);
}

static void test_debugdata(void **state)
{
	struct symtab *symtab, *bare;
	struct image *image, *bare_image;
	struct symtab_symbol symbol;
	uint64_t local, exported;

	(void)state;
	need("xz");
	write_file("rules.c", source);
	assert_int_equal(run("gcc -O2 -rdynamic rules.c -o full && objcopy --only-keep-debug full mini.debug && "
			     "echo local_work > keep && objcopy -S --keep-symbols=keep mini.debug mini && "
			     "rm -f mini.xz && xz -k mini && cp full bare && strip bare && "
			     "objcopy --add-section .gnu_debugdata=mini.xz bare packed"), 0);
	local = address_of("full", "local_work");
	exported = address_of("full", "shared_work");
	symtab = open_symtab("packed", &image);
	check(symtab, local, "local_work", SYMBOL_DEBUGDATA);
	check(symtab, exported, "zz_aliased", SYMBOL_DYNSYM);
	close_symtab(symtab, image);
	bare = open_symtab("bare", &bare_image);
	assert_false(symtab_find(bare, local, &symbol) && symbol.start == local);
	check(bare, exported, "zz_aliased", SYMBOL_DYNSYM);
	close_symtab(bare, bare_image);
}

/* Without any symbol the entry point, the root of every stack, still has its name; what lies behind has none. */
static void test_stripped_entry(void **state)
{
	struct symtab_symbol symbol;
	struct symtab *symtab;
	struct image *image;
	uint64_t entry;

	(void)state;
	write_file("rules.c", source);
	assert_int_equal(run("gcc -O2 rules.c -o entry.bin && cp entry.bin named.bin && strip entry.bin"), 0);
	entry = address_of("named.bin", "_start");
	symtab = open_symtab("entry.bin", &image);
	check(symtab, entry, "_start", SYMBOL_SYMTAB);
	check(symtab, entry + 0x20, "_start", SYMBOL_SYMTAB);
	assert_false(symtab_find(symtab, entry + 64, &symbol));
	close_symtab(symtab, image);
}

static uint32_t random_next(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

/* Broken copies: the index may be poor, but a name always ends inside the file and a hit contains its address. */
static void test_broken_copies(void **state)
{
	char path[128];
	uint8_t *good, *copy;
	size_t size, opened = 0, found = 0;
	uint32_t seed = 7;
	FILE *file;

	(void)state;
	write_file("rules.c", source);
	assert_int_equal(run("gcc -O2 rules.c -o rules"), 0);
	snprintf(path, sizeof(path), "%s/rules", toolchain_folder);
	file = fopen(path, "r");
	good = malloc(1 << 20);
	size = fread(good, 1, 1 << 20, file);
	fclose(file);
	copy = malloc(size); /* exactly as long, so that the sanitizer knows the end */
	for (double end = now_s() + 2; now_s() < end;) {
		struct symtab_symbol symbol;
		struct symtab *symtab;
		struct image *image;

		memcpy(copy, good, size);
		for (uint32_t flips = 1 + random_next(&seed) % 60; flips; flips--)
			copy[random_next(&seed) % size] = (uint8_t)random_next(&seed);
		for (uint32_t flips = random_next(&seed) % 8; flips; flips--) /* section headers lie at the end */
			copy[size - 1 - random_next(&seed) % 2000] = (uint8_t)random_next(&seed);
		if (image_open_memory(copy, size, &image))
			continue;
		opened++;
		if (!symtab_new(image, &symtab)) {
			for (uint64_t at = 0; at < 0x5000; at += 64)
				if (symtab_find(symtab, at, &symbol)) {
					found += *symbol.name != '\0';
					assert_true(strlen(symbol.name) < 1 << 20);
					assert_true(symbol.start <= at && (!symbol.size || at - symbol.start < symbol.size));
				}
			symtab_free(symtab);
		}
		image_close(image);
	}
	assert_true(opened > 10 && found > 10);
	free(copy);
	free(good);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rules), cmocka_unit_test(test_like_nm), cmocka_unit_test(test_stubs),
		cmocka_unit_test(test_lazy_stubs), cmocka_unit_test(test_static_stubs),
		cmocka_unit_test(test_debugdata), cmocka_unit_test(test_stripped_entry), cmocka_unit_test(test_broken_copies),
	};

	return cmocka_run_group_tests(tests, toolchain_setup, toolchain_teardown);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A program of many kinds of frames, and tables of files in the test's folder. */
#ifndef TESTS_REPAIR_FIXTURE_H
#define TESTS_REPAIR_FIXTURE_H

#include "toolchain.h"

#define now_s table_now_s
#include "table_reader.h"
#undef now_s

static const char program[] =
	"#include <alloca.h>\n#include <stdarg.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n"
	"static int order(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }\n"
	"__attribute__((noinline)) int choose(int n, const char *s) {\n"
	"	switch (n) { case 0: return puts(s); case 1: return printf(\"%s\", s); case 2: puts(s); puts(s); break;\n"
	"	case 3: return atoi(s); case 4: return (int)strlen(s) + puts(s); case 5: abort(); case 6: exit(3);\n"
	"	case 7: return rand(); case 8: puts(\"8\"); return choose(n - 1, s) + 1; default: break; }\n"
	"	return puts(s) + n; }\n"
	"__attribute__((noinline)) int room(int n) { char *more = alloca((size_t)n); memset(more, n, (size_t)n);\n"
	"	return puts(more); }\n"
	"__attribute__((noinline)) int deep(int n) { volatile char big[70000]; big[n] = 1;\n"
	"	return n ? deep(n - 1) + big[n] : 0; }\n"
	"__attribute__((noinline)) int many(int n, ...) { va_list v; int r = 0; va_start(v, n);\n"
	"	while (n--) r += va_arg(v, int) * choose(n, \"x\"); va_end(v); return r; }\n"
	"__attribute__((noinline)) long six(long a, long b, long c, long d, long e, long f, long g, long h) {\n"
	"	for (long i = 0; i < a; i++) { b += c * d ^ e; f -= g / (h | 1); if (b > f) choose((int)b, \"y\");\n"
	"	c = rand(); d += c + a; e ^= d; g += e; h += g; } return b + c + d + e + f + g + h; }\n"
	"int main(int argc, char **argv) { int v[8] = { 3, 1, argc };\n"
	"	qsort(v, 8, sizeof(int), order); if (argc > 9) return many(argc, 1, 2, 3);\n"
	"	return room(argc) + deep(argc) + (argv[0] == 0) + (int)six(1, 2, 3, 4, 5, 6, 7, 8); }\n";

static int setup(void **state)
{
	if (toolchain_setup(state))
		return -1;
	write_file("program.c", program);
	return 0;
}

static void open_table(const char *name, struct image **ret_image, struct table *ret_table)
{
	*ret_image = open_image(name);
	table_open(*ret_image, ret_table);
}

static inline void expect_rule(const struct table *table, uint64_t vaddr, const char *wanted)
{
	char text[160];

	describe(table, vaddr, text);
	if (strcmp(text, wanted))
		fail_msg("0x%" PRIx64 ": \"%s\" instead of \"%s\"", vaddr, text, wanted);
}

#endif

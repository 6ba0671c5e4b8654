/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unwind rows for Go's code, which has no .eh_frame. Go's linker writes a .debug_frame that is not loaded and that
 * strip removes: libdw's reading of it is the oracle.
 */
#include "now.h"
#include "rule_words.h"
#include "symbolizer/gopclntab.h"

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char folder[64];

static const char program[] =
	"package main\n"
	"import (\"fmt\"; \"os\"; \"sort\"; \"time\")\n"
	"//go:noinline\n"
	"func leaf(x int) int { return x*3 + 1 }\n"
	"func main() {\n"
	"	c := make(chan int)\n"
	"	go func() { c <- leaf(len(os.Args)) }()\n"
	"	s := []int{<-c, 3, 1}\n"
	"	sort.Ints(s)\n"
	"	fmt.Println(s, time.Now())\n"
	"}\n";

static int shell(const char *command)
{
	char text[1024];

	snprintf(text, sizeof(text), "unset ASAN_OPTIONS; cd %s && %s", folder, command);
	return system(text);
}

static int setup(void **state)
{
	FILE *file;
	char path[128];

	(void)state;
	strcpy(folder, "/tmp/wick-test-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/main.go", folder);
	file = fopen(path, "we");
	fputs(program, file);
	return fclose(file);
}

static int teardown(void **state)
{
	(void)state;
	return shell("rm -rf $PWD");
}

static struct image *open_image(const char *name)
{
	struct image *image;
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(image_open(fd, &image), 0);
	close(fd);
	return image;
}

struct counts {
	size_t equal, different, outermost, switches, early, signals;
};

/* The depth by .debug_frame; -1: it says nothing there. */
static int64_t depth_at(Dwarf_CFI *cfi, uint64_t pc)
{
	Dwarf_Frame *frame;
	int64_t depth = -1;
	Dwarf_Op *ops;
	size_t count;

	if (dwarf_cfi_addrframe(cfi, pc, &frame))
		return -1;
	if (!dwarf_frame_cfa(frame, &ops, &count) && count == 1 && ops[0].atom == DW_OP_bregx && ops[0].number == 7)
		depth = (int64_t)ops[0].number2;
	free(frame);
	return depth;
}

/* Two that change stacks have no frame at all: they are jumped to, or begin a thread. */
static bool is_frameless(const struct gopclntab *go, uint64_t pc)
{
	struct gopclntab_call call;

	return gopclntab_find(go, pc, &call, 1) && (!strcmp(call.name, "gogo") || !strcmp(call.name, "runtime.clone"));
}

static void compare(const struct table *table, const struct gopclntab *go, Dwarf_CFI *cfi, uint64_t start, uint64_t end,
		    struct counts *counts)
{
	char text[128];

	for (uint64_t pc = start; pc < end; pc++) {
		uint16_t rule = table_find(table, pc);
		int64_t depth = depth_at(cfi, pc);

		if (rule == UNWIND_RULE_OUTERMOST) {
			counts->outermost++;
		} else if (rule >> 14 == UNWIND_KIND_ESCAPE) {
			bool switches = table->escapes[rule & 0x3fff].cfa == UNWIND_CFA_SWITCH;

			counts->switches += switches;
			/* rbp is not the frame's before it is pushed, nor once it is popped */
			counts->early += switches && depth == 8 && !is_frameless(go, pc);
			counts->signals += table->escapes[rule & 0x3fff].cfa == UNWIND_CFA_SIGNAL;
		} else if (depth > 0) {
			/* beside the return address lies rbp, as soon as there is room for it */
			bool same = rule == UNWIND_RULE(UNWIND_KIND_RSP, depth > 8, depth / 8);

			counts->equal += same;
			counts->different += !same;
			describe(table, pc, text);
			if (!same && counts->different < 10)
				print_message("%#lx: %s, by .debug_frame %ld\n", pc, text, depth);
		}
	}
}

static void check(const char *name, const char *oracle, struct counts *ret_counts)
{
	struct image *image = open_image(name);
	const struct image_section *text = image_find(image, ".text");
	struct counts counts = { 0 };
	struct gopclntab *go = NULL;
	struct table table;
	char path[128];
	Dwarf *dwarf;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, oracle);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	dwarf = dwarf_begin(fd, DWARF_C_READ);
	assert_non_null(dwarf_getcfi(dwarf));
	table_open(image, &table);
	assert_int_equal(gopclntab_new(image, &go), 0);
	compare(&table, go, dwarf_getcfi(dwarf), text->vaddr, text->vaddr + text->size, &counts);
	print_message("%s: %zu bytes of text as by .debug_frame, %zu not; outermost %zu, switches %zu, signals %zu\n", name,
		      counts.equal, counts.different, counts.outermost, counts.switches, counts.signals);
	gopclntab_free(go);
	table_close_both(&table, image);
	dwarf_end(dwarf);
	close(fd);
	*ret_counts = counts;
}

static void test_depths(void **state)
{
	static const char *const modes[] = { "", "-buildmode=pie", "-buildmode=pie -ldflags='-linkmode=external -compressdwarf=false'" };
	struct counts counts, bare;
	double start = now_s();

	(void)state;
	if (shell("command -v go >/dev/null")) {
		print_message("[  SKIPPED ] %s: no go\n", __func__);
		skip();
	}
	for (size_t at = 0; at < 3; at++) {
		char command[512];

		snprintf(command, sizeof(command), "HOME=$PWD GOCACHE=/tmp/wick-test-go GOTOOLCHAIN=local GO111MODULE=off "
			 "go build %s -o whole main.go && strip -s -o bare whole", *modes[at] ? modes[at] :
			 "-ldflags=-compressdwarf=false");
		assert_int_equal(shell(command), 0);
		check("whole", "whole", &counts);
		assert_true(counts.equal > 300000);
		assert_true(counts.different * 10000 <= counts.equal);
		assert_int_equal(counts.early, 0);
		assert_true(counts.outermost > 10 && counts.switches > 100 && counts.signals > 0);
		check("bare", "whole", &bare);
		assert_memory_equal(&counts, &bare, sizeof(bare));
	}
	print_message("in %.1f s\n", now_s() - start);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_depths) };

	return cmocka_run_group_tests(tests, setup, teardown);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Rules for hand-written assembly: without information, from .debug_frame, in stubs, at roots and signal returns. */
#include "repair_fixture.h"

/* Links `text` with gcc's `flags`; a symbol's address goes to each of `ret_places`, in the order of `names`. */
static void assemble(const char *text, const char *flags, const char *const *names, uint64_t *ret_places,
		     size_t count)
{
	write_file("part.s", text);
	assert_int_equal(run("gcc %s -o part part.s", flags), 0);
	for (size_t i = 0; i < count; i++) {
		FILE *file;

		assert_int_equal(run("nm part | grep ' %s$' | cut -c1-16 >place", names[i]), 0);
		file = open_output("place");
		assert_int_equal(fscanf(file, "%" SCNx64, &ret_places[i]), 1);
		fclose(file);
	}
}

#define BARE "-nostdlib -Wl,--no-ld-generated-unwind-info"

static void assembly_without_any_information(void **state)
{
	static const char *const names[] = { "_start", "framed", "plain", "lost", "restorer", "table", "part",
					     "kernel", "short" };
	static const char text[] =
		".text\n.globl _start\n_start: mov %rsp, %rdi\n and $-16, %rsp\n call framed\n hlt\n"
		".type framed, @function\nframed: push %rbp\n mov %rsp, %rbp\n push %rbx\n call plain\n"
		" lea -8(%rbp), %rsp\n pop %rbx\n leave\n ret\n"
		".type plain, @function\nplain: sub $24, %rsp\n mov %rbp, 16(%rsp)\n mov %rdi, %rbp\n call lost\n"
		" mov 16(%rsp), %rbp\n add $24, %rsp\n ret\n"
		".type lost, @function\nlost: push %rbx\n mov %rsp, %rax\n mov %rdi, %rsp\n nopl (%rax)\n mov %rax, %rsp\n"
		" pop %rbx\n ret\n nop\n"
		".type restorer, @function\nrestorer: mov $15, %rax\n syscall\n nop\n nop\n"
		".type part, @function\npart: mov -16(%rbp), %rax\n push %rbx\n call lost\n pop %rbx\n ret\n"
		".type kernel, @function\nkernel: push %rbx\n mov %rsp, %rbx\n and $-4096, %rsp\n nopl (%rax)\n"
		" mov %rbx, %rsp\n pop %rbx\n ret\n"
		".type short, @function\nshort: mov %rsp, %r10\n and $-64, %rsp\n nopl (%rax)\n call kernel\n nopl (%rax)\n"
		" mov %rbx, %rsp\n ret\n"
		".type table, @function\ntable: push %rbx\n jmp *(%rax)\n call lost\n pop %rbx\n ret\n nop\n";
	uint64_t at[9];
	struct image *image;
	struct table table;

	(void)state;
	need("gcc");
	assemble(text, BARE " -static", names, at, 9);
	open_table("part", &image, &table);
	expect_rule(&table, at[0], "outermost"); /* though it says nothing of rbp */
	expect_rule(&table, at[0] + 11, "outermost");
	expect_rule(&table, at[1], "r7+8 bp same ra -8");
	expect_rule(&table, at[1] + 1, "r7+16 bp cfa-16 ra -8");
	expect_rule(&table, at[1] + 4, "r6+16 bp cfa-16 ra -8");
	expect_rule(&table, at[1] + 10, "r6+16 bp cfa-16 ra -8");
	expect_rule(&table, at[1] + 16, "r7+8 bp same ra -8"); /* ret */
	expect_rule(&table, at[2] + 4, "r7+32 bp same ra -8");
	expect_rule(&table, at[2] + 12, "r7+32 bp cfa-16 ra -8");
	expect_rule(&table, at[2] + 17, "r7+32 bp cfa-16 ra -8");
	expect_rule(&table, at[2] + 22, "r7+32 bp same ra -8"); /* rbp is loaded again */
	expect_rule(&table, at[2] + 26, "r7+8 bp same ra -8");
	expect_rule(&table, at[3] + 4, "r7+16 bp same ra -8");
	expect_rule(&table, at[3] + 7, "none"); /* no guess where rsp came from elsewhere */
	expect_rule(&table, at[4] - 2, "none");
	expect_rule(&table, at[4] - 1, "signal"); /* a return is looked up there */
	expect_rule(&table, at[4] + 9, "signal"); /* in the system call */
	expect_rule(&table, at[4] + 10, "r7+8 bp same ra -8");
	expect_rule(&table, at[7] + 4, "r7+16 bp same ra -8");
	expect_rule(&table, at[7] + 11, "r3+16 bp same ra -8"); /* rsp is realigned, rbx has the old one */
	expect_rule(&table, at[7] + 17, "r7+16 bp same ra -8");
	expect_rule(&table, at[8] + 7, "r10+8 bp same ra -8");
	expect_rule(&table, at[8] + 15, "none"); /* the call need not keep it, and rbx never had it */
	expect_rule(&table, at[8] + 18, "none");
	expect_rule(&table, at[6], "none"); /* in the frame of whoever jumped there */
	expect_rule(&table, at[6] + 5, "none");
	expect_rule(&table, at[5], "r7+8 bp same ra -8");
	expect_rule(&table, at[5] + 3, "r7+16 bp same ra -8"); /* a target of the jump through the table */
	table_close_both(&table, image);
}

/* A library's header names its first function where it has no entry. */
static void a_library_has_no_root(void **state)
{
	static const char *const names[] = { "first" };
	uint64_t at[1];
	struct image *image;
	struct table table;

	(void)state;
	need("gcc");
	assemble(".text\n.globl first\n.type first, @function\nfirst: push %rbx\n call *%rax\n pop %rbx\n ret\n",
		 BARE " -shared -Wl,-e,first", names, at, 1);
	open_table("part", &image, &table);
	assert_int_equal(image_entry(image), at[0]);
	expect_rule(&table, at[0] + 1, "r7+16 bp same ra -8");
	table_close_both(&table, image);
}

/* Rules that no code shows, so that they can come from there alone; compressed too, and a 64-bit one. */
static void debug_frame_fills_gaps(void **state)
{
	static const char *const names[] = { "_start", "told", "bare" };
	static const char *const flags[] = { BARE, BARE " -Wl,--compress-debug-sections=zlib" };
	static const char text[] =
		".cfi_sections .debug_frame\n.text\n.globl _start\n.type _start, @function\n_start: .cfi_startproc\n"
		" .cfi_undefined rip\n call told\n hlt\n .cfi_endproc\n .fill 80, 1, 0x90\n"
		".type told, @function\ntold: .cfi_startproc\n nop\n .cfi_def_cfa rdi, 24\n .cfi_offset rbp, -32\n nop\n ret\n"
		" .cfi_endproc\n"
		".type bare, @function\nbare: push %rbx\n call told\n pop %rbx\n ret\n"
		".section .debug_frame\n.fill 64, 1, 0\n"; /* zeros at its end are a gap */
	uint64_t at[3];
	struct image *image;
	struct table table;

	(void)state;
	need("gcc");
	for (size_t i = 0; i < 2; i++) {
		assemble(text, flags[i], names, at, 3);
		open_table("part", &image, &table);
		expect_rule(&table, at[0], "outermost");
		expect_rule(&table, at[1], "r7+8 bp same ra -8");
		expect_rule(&table, at[1] + 1, "r5+24 bp cfa-32 ra -8");
		expect_rule(&table, at[1] + 2, "r5+24 bp cfa-32 ra -8");
		expect_rule(&table, at[2], "r7+8 bp same ra -8");
		expect_rule(&table, at[2] + 1, "r7+16 bp same ra -8");
		table_close_both(&table, image);
	}
}

static void eh_frame_comes_before_debug_frame(void **state)
{
	static const char *const names[] = { "told" };
	static const char text[] =
		".cfi_sections .eh_frame\n.text\n.globl told\n.type told, @function\ntold: .cfi_startproc\n nop\n"
		" .cfi_def_cfa rdi, 24\n nop\n ret\n .cfi_endproc\n .fill 80, 1, 0xf4\n.globl _start\n_start: hlt\n"
		".section .debug_frame\n1: .long 2f-.-4\n .long -1\n .byte 1\n .asciz \"\"\n .uleb128 1\n .sleb128 -8\n"
		" .byte 16, 0x0c, 7, 8, 0x90, 1\n .balign 8, 0\n2: .long 3f-.-4\n .long 1b-.debug_frame\n .quad told, 3\n"
		" .byte 0x0e, 0x60\n .balign 8, 0\n3:\n";
	uint64_t at[1];
	struct image *image;
	struct table table;

	(void)state;
	need("gcc");
	assemble(text, BARE " -static", names, at, 1);
	open_table("part", &image, &table);
	expect_rule(&table, at[0] + 1, "r5+24 bp same ra -8");
	table_close_both(&table, image);
	assert_int_equal(run("objcopy --remove-section=.eh_frame part"), 0);
	open_table("part", &image, &table);
	expect_rule(&table, at[0] + 1, "r7+96 bp same ra -8");
	table_close_both(&table, image);
}

/* Other linkers than GNU's, and GNU's if told so, write no FDE for their stubs. */
static void stubs_without_information(void **state)
{
	static const struct {
		const char *flags, *section;
		uint64_t offset;
		const char *wanted;
	} stubs[] = {
		{ "-z,lazy", ".plt", 0, "r7+16 bp same ra -8" },
		{ "-z,lazy", ".plt", 6, "r7+24 bp same ra -8" },
		{ "-z,lazy", ".plt", 16, "plt 11 bp same ra -8" },
		{ "-z,lazy", ".plt", 30, "plt 11 bp same ra -8" },
		{ "-z,lazy,-z,ibtplt", ".plt", 16, "plt 10 bp same ra -8" },
		{ "-z,lazy,-z,ibtplt", ".plt.sec", 4, "r7+8 bp same ra -8" },
		{ "-z,now", ".plt.got", 0, "r7+8 bp same ra -8" },
	};

	(void)state;
	need("gcc");
	for (size_t i = 0; i < sizeof(stubs) / sizeof(stubs[0]); i++) {
		const struct image_section *section;
		struct image *image;
		struct table table;

		assert_int_equal(run("gcc -O2 -Wl,--no-ld-generated-unwind-info,%s -o part program.c", stubs[i].flags), 0);
		open_table("part", &image, &table);
		section = image_find(image, stubs[i].section);
		assert_non_null(section);
		expect_rule(&table, section->vaddr + stubs[i].offset, stubs[i].wanted);
		table_close_both(&table, image);
	}
}

/* A file whose code calls while its CFA is in rbx gets rows that follow it; one whose code does not, none. */
static void callee_saved_registers_where_needed(void **state)
{
	static const char *const names[] = { "needs", "callee" };
	static const char text[] =
		".text\n.globl needs\n.type needs, @function\nneeds: .cfi_startproc\n push %%rbx\n .cfi_def_cfa_offset 16\n"
		" .cfi_offset rbx, -16\n mov %%rsp, %%rbx\n .cfi_def_cfa_register rbx\n %s\n mov %%rbx, %%rsp\n"
		" .cfi_def_cfa_register rsp\n pop %%rbx\n .cfi_def_cfa_offset 8\n ret\n .cfi_endproc\n"
		".type callee, @function\ncallee: .cfi_startproc\n push %%r12\n .cfi_def_cfa_offset 16\n .cfi_offset r12, -16\n"
		" push %%rbx\n .cfi_def_cfa_offset 24\n .cfi_offset rbx, -24\n nop\n pop %%rbx\n pop %%r12\n ret\n .cfi_endproc\n";
	char filled[2048];
	uint64_t at[2];
	struct image *image;
	struct table table;

	(void)state;
	need("gcc");
	snprintf(filled, sizeof(filled), text, "call callee");
	assemble(filled, BARE " -shared", names, at, 2);
	open_table("part", &image, &table);
	expect_rule(&table, at[0], "r7+8 bp same ra -8 saved 0 0 0 0 0");
	expect_rule(&table, at[0] + 8, "r3+16 bp same ra -8 saved 2 0 0 0 0");
	expect_rule(&table, at[1] + 3, "r7+24 bp same ra -8 saved 3 2 0 0 0");
	table_close_both(&table, image);
	snprintf(filled, sizeof(filled), text, "lea callee(%rip), %rax");
	assemble(filled, BARE " -shared", names, at, 2);
	open_table("part", &image, &table);
	expect_rule(&table, at[0] + 8, "r3+16 bp same ra -8");
	expect_rule(&table, at[1] + 3, "r7+24 bp same ra -8");
	table_close_both(&table, image);
}

/* makecontext lets a function return to a place that nobody called; its rows must begin a byte earlier. */
static void contexts_end_where_they_begin(void **state)
{
	static const char *const names[] = { "before", "begin" };
	static const char text[] =
		".text\n.globl before\nbefore: .cfi_startproc\n ret\n .cfi_endproc\n .balign 16\n"
		"begin: .cfi_startproc\n mov %rbx, %rsp\n mov (%rsp), %rdi\n call before\n hlt\n .cfi_endproc\n";
	uint64_t at[2];
	struct image *image;
	struct table table;

	(void)state;
	need("gcc");
	assemble(text, BARE " -shared", names, at, 2);
	open_table("part", &image, &table);
	expect_rule(&table, at[0], "r7+8 bp same ra -8");
	expect_rule(&table, at[1] - 1, "outermost");
	expect_rule(&table, at[1] + 11, "outermost");
	table_close_both(&table, image);
}

/*
 * Without local symbols, bytes that look like a call or like the address of a function may begin one only where no
 * path leads. A call right before such a place is the end of the function it is in.
 */
static void what_looks_like_a_call_splits_no_function(void **state)
{
	static const char *const names[] = { "kernel", "inside", "leaves", "hidden", "second" };
	static const char text[] =
		".text\n.globl kernel\n.type kernel, @function\nkernel: push %rbx\n sub $32, %rsp\n nopl (%rax)\n"
		"inside: nopl (%rax)\n add $32, %rsp\n pop %rbx\n ret\n"
		".globl data\n.type data, @function\ndata: .byte 0x48, 0xb8, 0xe8\n .long inside-.-4\n .byte 0, 0, 0\n ret\n"
		".globl user\n.type user, @function\nuser: lea hidden(%rip), %rax\n ret\n"
		".globl leaves\n.type leaves, @function\nleaves: push %rbx\n call *%rax\n"
		"second: push %rbx\n call *%rax\n hlt\n"
		"hidden: push %rbx\n call second\n pop %rbx\n ret\n";
	uint64_t at[5];
	struct image *image;
	struct table table;

	(void)state;
	need("gcc");
	assemble(text, BARE " -shared", names, at, 5);
	assert_int_equal(run("strip part"), 0);
	open_table("part", &image, &table);
	expect_rule(&table, at[0] + 1, "r7+16 bp same ra -8");
	expect_rule(&table, at[1], "r7+48 bp same ra -8");
	expect_rule(&table, at[2] + 1, "r7+16 bp same ra -8");
	expect_rule(&table, at[3], "r7+8 bp same ra -8");
	expect_rule(&table, at[3] + 1, "r7+16 bp same ra -8");
	expect_rule(&table, at[4], "r7+8 bp same ra -8");
	expect_rule(&table, at[4] + 1, "r7+16 bp same ra -8");
	table_close_both(&table, image);
}

/* More code than is analysed at a time: no function is cut in two where symbols tell where one begins. */
static void long_code_is_cut_between_functions(void **state)
{
	static const char *const names[] = { "f0", "f1" };
	static const char text[] =
		".altmacro\n.macro function n\n.globl f\\n\n.type f\\n, @function\nf\\n: push %rbx\n"
		" .rept 1200\n nopl 0(%rax,%rax,1)\n .endr\n pop %rbx\n ret\n.endm\n"
		".text\n.set i, 0\n.rept 60\n function %i\n .set i, i+1\n.endr\n";
	uint64_t at[2];
	struct image *image;
	struct table table;

	(void)state;
	need("gcc");
	assemble(text, BARE " -shared", names, at, 2);
	assert_int_equal(run("strip part"), 0);
	open_table("part", &image, &table);
	for (uint64_t start = at[0], size = at[1] - at[0]; start < at[0] + 60 * size; start += size) {
		expect_rule(&table, start, "r7+8 bp same ra -8");
		for (uint64_t inside = 1; inside < size - 1; inside += 5)
			expect_rule(&table, start + inside, "r7+16 bp same ra -8");
		expect_rule(&table, start + size - 1, "r7+8 bp same ra -8");
	}
	table_close_both(&table, image);
}

/* glibc's checked memset is its FDE, a branch, and then the padding up to memset, which it runs through. */
static void padding_may_be_run_through(void **state)
{
	static const char *const names[] = { "checked", "plain" };
	static const char text[] =
		".text\n.globl checked\nchecked: .cfi_startproc\n push %rbx\n .cfi_def_cfa_offset 16\n cmp %rdx, %rcx\n"
		" .cfi_endproc\n .rept 4\n .byte 0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0\n .endr\n"
		"plain: .cfi_startproc\n .cfi_def_cfa_offset 16\n pop %rbx\n .cfi_def_cfa_offset 8\n ret\n .cfi_endproc\n"
		" .fill 32, 1, 0xcc\n.globl last\nlast: .cfi_startproc\n ret\n .cfi_endproc\n";
	uint64_t at[2];
	struct image *image;
	struct table table;

	(void)state;
	need("gcc");
	assemble(text, BARE " -shared", names, at, 2);
	open_table("part", &image, &table);
	expect_rule(&table, at[0] + 1, "r7+16 bp same ra -8");
	expect_rule(&table, at[1] - 40, "r7+16 bp same ra -8");
	expect_rule(&table, at[1] - 1, "r7+16 bp same ra -8");
	expect_rule(&table, at[1] + 1, "r7+8 bp same ra -8");
	expect_rule(&table, at[1] + 2, "none"); /* int3 is not run through */
	table_close_both(&table, image);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(assembly_without_any_information),
		cmocka_unit_test(a_library_has_no_root),
		cmocka_unit_test(debug_frame_fills_gaps),
		cmocka_unit_test(eh_frame_comes_before_debug_frame),
		cmocka_unit_test(stubs_without_information),
		cmocka_unit_test(callee_saved_registers_where_needed),
		cmocka_unit_test(contexts_end_where_they_begin),
		cmocka_unit_test(what_looks_like_a_call_splits_no_function),
		cmocka_unit_test(long_code_is_cut_between_functions),
		cmocka_unit_test(padding_may_be_run_through),
	};

	return cmocka_run_group_tests(tests, setup, toolchain_teardown);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Coroutines that work on stacks of their own, by glibc's ucontext or by a switch written by hand, which is what most
 * runtimes have. Each recurses, yields in the middle and goes on. argv[1]: ucontext or hand. Never ends. With `where`
 * it says which address in the C library is the outermost frame of ucontext's, which has no symbol there.
 */
#define _GNU_SOURCE /* dladdr, REG_RSP */
#include "split_work.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#define COROUTINES 16
#define STACK 65536

static ucontext_t contexts[COROUTINES], scheduler;
static void *saved[COROUTINES], *saved_scheduler;
static int now, by_hand;
static volatile uint64_t sink;

/* Keeps the callee-saved registers on the stack that is left, and leaves by the return address of the other. */
void hand_switch(void **from, void *to);
/* The outermost frame: unwinders stop where the return address is undefined. */
void hand_entry(void);
__asm__(".text\n.globl hand_switch\n.type hand_switch, @function\nhand_switch:\n"
	".cfi_startproc\n"
	"push %rbp\n.cfi_adjust_cfa_offset 8\n.cfi_rel_offset rbp, 0\n"
	"push %rbx\n.cfi_adjust_cfa_offset 8\npush %r12\n.cfi_adjust_cfa_offset 8\n"
	"push %r13\n.cfi_adjust_cfa_offset 8\npush %r14\n.cfi_adjust_cfa_offset 8\n"
	"push %r15\n.cfi_adjust_cfa_offset 8\n"
	"mov %rsp, (%rdi)\nmov %rsi, %rsp\n"
	"pop %r15\n.cfi_adjust_cfa_offset -8\npop %r14\n.cfi_adjust_cfa_offset -8\n"
	"pop %r13\n.cfi_adjust_cfa_offset -8\npop %r12\n.cfi_adjust_cfa_offset -8\n"
	"pop %rbx\n.cfi_adjust_cfa_offset -8\npop %rbp\n.cfi_adjust_cfa_offset -8\n.cfi_restore rbp\n"
	"ret\n.cfi_endproc\n.size hand_switch, . - hand_switch\n"
	".globl hand_entry\n.type hand_entry, @function\nhand_entry:\n"
	".cfi_startproc\n.cfi_undefined rip\n"
	"mov %r12, %rdi\ncall *%rbx\nud2\n.cfi_endproc\n.size hand_entry, . - hand_entry\n");

__attribute__((noinline)) static void pause_here(void)
{
	int self = now;

	if (by_hand)
		hand_switch(&saved[self], saved_scheduler);
	else
		swapcontext(&contexts[self], &scheduler);
}

__attribute__((noinline)) static uint64_t descend(int depth, uint64_t x)
{
	volatile uint64_t kept = x;

	SPLIT_WORK(x, 500);
	if (!depth)
		pause_here();
	else
		x += descend(depth - 1, x);
	return x + kept;
}

static void run(int number)
{
	for (;;)
		sink = descend(3 + number, sink + (uint64_t)number);
}

static void enter_by_hand(void *number)
{
	run((int)(intptr_t)number);
}

static char *new_stack(void)
{
	char *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);

	if (stack == MAP_FAILED)
		abort();
	return stack;
}

static void prepare(int number)
{
	char *stack = new_stack();

	if (by_hand) { /* r15 r14 r13 r12 rbx rbp, then where to go */
		void **top = (void **)(stack + STACK - 16);

		*--top = (void *)hand_entry;
		*--top = NULL;
		*--top = (void *)enter_by_hand;
		*--top = (void *)(intptr_t)number;
		top -= 3;
		saved[number] = top;
		return;
	}
	getcontext(&contexts[number]);
	contexts[number].uc_stack.ss_sp = stack;
	contexts[number].uc_stack.ss_size = STACK;
	contexts[number].uc_link = &scheduler;
	makecontext(&contexts[number], (void (*)(void))run, 1, number);
}

/* makecontext has put its address where the coroutine's function returns to. */
static int say_where(void)
{
	void **top;
	Dl_info info;

	prepare(0);
	top = (void **)(uintptr_t)contexts[0].uc_mcontext.gregs[REG_RSP];
	if (!dladdr(*top, &info))
		return 1;
	printf("%zx\n", (size_t)((char *)*top - (char *)info.dli_fbase));
	return 0;
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "where"))
		return say_where();
	by_hand = argc > 1 && !strcmp(argv[1], "hand");
	for (int i = 0; i < COROUTINES; i++)
		prepare(i);
	for (;; now = (now + 1) % COROUTINES) {
		if (by_hand)
			hand_switch(&saved_scheduler, saved[now]);
		else
			swapcontext(&scheduler, &contexts[now]);
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames of every rule class, in functions so short that many samples hit where frames are made and ended:
 * rules MODE SECONDS, MODE one of
 *   plain      main > outer > middle > leaf, by the compiler; built with and without call frame information
 *   register   as plain, but middle is assembly whose CFA is in rbx while it calls
 *   aligned    as plain, but middle is realigned and has a part of variable size
 *   context    the same chain in a coroutine of makecontext
 *   generated  the same chain in generated code with frame pointers, called by main
 *   vfork      children that end at once: vfork keeps its return address in a register
 */
#define _GNU_SOURCE
#include <alloca.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#ifdef __GLIBC__ /* musl has no coroutines */
#include <ucontext.h>
#endif

#define NOINLINE __attribute__((noinline))

static volatile long sum;

NOINLINE long leaf(long x)
{
	for (int i = 0; i < 4; i++)
		__asm__ volatile("imul $3, %0" : "+r"(x));
	return x + 1;
}

NOINLINE long leaf_caller(long x)
{
	long a = leaf(x), b = leaf(a + 1);

	sum += a;
	return a + b;
}

NOINLINE long middle(long x)
{
	long a = leaf_caller(x);

	sum += a;
	return a + leaf_caller(a);
}

long middle_register(long x);
__asm__(".text\n.globl middle_register\n.type middle_register, @function\n"
	"middle_register: .cfi_startproc\n"
	"	push %rbx\n	.cfi_def_cfa_offset 16\n	.cfi_offset %rbx, -16\n"
	"	mov %rsp, %rbx\n	.cfi_def_cfa_register %rbx\n"
	"	and $-64, %rsp\n	sub $64, %rsp\n"
	"	call leaf_caller\n"
	"	mov %rbx, %rsp\n	.cfi_def_cfa_register %rsp\n"
	"	pop %rbx\n	.cfi_def_cfa_offset 8\n"
	"	ret\n	.cfi_endproc\n.size middle_register, . - middle_register\n");

NOINLINE long middle_aligned(long x)
{
	char wide[64] __attribute__((aligned(64))), *more = alloca((size_t)(x & 63) + 1);

	memset(wide, (int)x, sizeof(wide));
	more[x & 63] = wide[x & 63];
	return leaf_caller(x) + more[x & 63];
}

NOINLINE long outer(long (*function)(long), long x)
{
	long a = function(x);

	sum += a;
	return a;
}

static double elapsed(void)
{
	static struct timespec start;
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (!start.tv_sec)
		start = now;
	return (double)(now.tv_sec - start.tv_sec) + (double)(now.tv_nsec - start.tv_nsec) / 1e9;
}

static void loop(long (*function)(long), double seconds)
{
	while (elapsed() < seconds)
		for (long i = 0; i < 20000; i++)
			outer(function, i);
}

#ifdef __GLIBC__
static ucontext_t before, coroutine;
static double coroutine_seconds;

static void run_coroutine(void)
{
	loop(middle, coroutine_seconds);
	swapcontext(&coroutine, &before);
}

static void run_context(double seconds)
{
	coroutine_seconds = seconds;
	getcontext(&coroutine);
	coroutine.uc_stack.ss_size = 1 << 16;
	coroutine.uc_stack.ss_sp = malloc(coroutine.uc_stack.ss_size);
	makecontext(&coroutine, run_coroutine, 0);
	swapcontext(&before, &coroutine);
}
#else
static void run_context(double seconds)
{
	loop(middle, seconds);
}
#endif

/* push rbp; mov rbp, rsp; call +N; leave; ret, so that each calls the next; the last does nothing in its frame */
static long (*generate(void))(long)
{
	static const unsigned char calls[] = { 0x55, 0x48, 0x89, 0xe5, 0xe8, 22, 0, 0, 0, 0xc9, 0xc3 };
	static const unsigned char last[] = { 0x55, 0x48, 0x89, 0xe5, 0x90, 0x5d, 0xc3 };
	unsigned char *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memset(code, 0xcc, 4096);
	for (int i = 0; i < 2; i++)
		memcpy(code + 31 * i, calls, sizeof(calls));
	memcpy(code + 62, last, sizeof(last));
	mprotect(code, 4096, PROT_READ | PROT_EXEC);
	return (long (*)(long))(uintptr_t)code;
}

static void run_vfork(double seconds)
{
	while (elapsed() < seconds) {
		pid_t child = vfork();

		if (!child)
			_exit(0);
		waitpid(child, NULL, 0);
	}
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "plain";
	double seconds = argc > 2 ? atof(argv[2]) : 1;

	elapsed();
	if (!strcmp(mode, "vfork"))
		run_vfork(seconds);
	else if (!strcmp(mode, "context"))
		run_context(seconds);
	else
		loop(!strcmp(mode, "register") ? middle_register : !strcmp(mode, "aligned") ? middle_aligned :
		     !strcmp(mode, "generated") ? generate() : middle, seconds);
	printf("{}\n");
	return 0;
}

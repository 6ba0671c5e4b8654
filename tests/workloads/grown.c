/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stack that goes on elsewhere, as that of rustc does when it has become deep: argv[1] KiB of frames lie on the first
 * stack, and 24 on one that was mapped. Never ends.
 */
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#define ROOM 960 /* a frame has a bit more: a KiB */
#define STACK (1U << 20)

typedef int call_fn(int depth);

static volatile uint64_t sink;
static char *top;

/* Calls on the stack that ends at `end`; the frame's own place stays behind in rbp. */
int on_stack(int depth, call_fn *call, void *end);
__asm__(".text\n.globl on_stack\n.type on_stack, @function\non_stack:\n"
	".cfi_startproc\n"
	"push %rbp\n.cfi_def_cfa_offset 16\n.cfi_offset rbp, -16\n"
	"mov %rsp, %rbp\n.cfi_def_cfa_register rbp\n"
	"mov %rdx, %rsp\ncall *%rsi\nmov %rbp, %rsp\n"
	"pop %rbp\n.cfi_def_cfa rsp, 8\n"
	"ret\n.cfi_endproc\n.size on_stack, . - on_stack\n");

__attribute__((noinline)) static int inner(int depth)
{
	volatile char room[ROOM];

	room[depth] = (char)depth;
	if (depth)
		return inner(depth - 1) + room[depth];
	for (int i = 0; i < 1000000; i++)
		sink = sink * 6364136223846793005u + 1442695040888963407u;
	return room[depth];
}

__attribute__((noinline)) static int outer(int depth)
{
	volatile char room[ROOM];

	room[depth % ROOM] = (char)depth;
	return (depth ? outer(depth - 1) : on_stack(24, inner, top)) + room[depth % ROOM];
}

int main(int argc, char **argv)
{
	top = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (argc < 2 || top == MAP_FAILED)
		return 2;
	top += STACK;
	for (;;)
		sink += (uint64_t)outer(atoi(argv[1]));
}

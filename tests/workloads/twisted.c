/* SPDX-License-Identifier: Apache-2.0 */
/*
 * twisted SECONDS: main > twisted > spin, where the CFA of twisted is an expression that multiplies. No compiler writes
 * such a thing and no row can say it; libunwind can.
 */
#include <stdlib.h>
#include <time.h>

volatile unsigned long sum;

__attribute__((noinline)) void spin(void)
{
	for (int i = 0; i < 1000; i++)
		sum += (unsigned long)i * sum + 1;
}

void twisted(void);
/* DW_CFA_def_cfa_expression: DW_OP_breg7 16, DW_OP_lit1, DW_OP_mul */
__asm__(".text\n.globl twisted\n.type twisted, @function\n"
	"twisted: .cfi_startproc\n"
	"	push %rbx\n	.cfi_def_cfa_offset 16\n	.cfi_offset %rbx, -16\n"
	"	.cfi_escape 0x0f, 0x04, 0x77, 0x10, 0x31, 0x1e\n"
	"	call spin\n"
	"	.cfi_def_cfa %rsp, 16\n"
	"	pop %rbx\n	.cfi_def_cfa_offset 8\n"
	"	ret\n	.cfi_endproc\n.size twisted, . - twisted\n");

int main(int argc, char **argv)
{
	time_t end = time(NULL) + (argc > 1 ? atoi(argv[1]) : 5);

	while (time(NULL) < end)
		for (int i = 0; i < 1000; i++)
			twisted();
	return 0;
}

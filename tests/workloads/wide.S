/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text with rows all over, for wide.c: DENSE functions of 64 bytes that call what rdi points at, behind them SPARSE
 * ones, one every 16 KiB.
 */
	.text
	.globl wide_base
	.p2align 16
wide_base:
	.rept DENSE
	.cfi_startproc
	sub $24, %rsp
	.cfi_def_cfa_offset 32
	call *%rdi
	add $24, %rsp
	.cfi_def_cfa_offset 8
	ret
	.cfi_endproc
	.p2align 6
	.endr
	.rept SPARSE
	.cfi_startproc
	sub $24, %rsp
	.cfi_def_cfa_offset 32
	add $24, %rsp
	.cfi_def_cfa_offset 8
	ret
	.cfi_endproc
	.p2align 14, 0
	.endr
	.section .note.GNU-stack, "", @progbits

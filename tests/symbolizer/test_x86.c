/* SPDX-License-Identifier: Apache-2.0 */
/* Lengths of instructions against binutils' disassembler, over libraries full of vector code; effects by hand. */
#include "symbolizer/x86.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct listing { /* what objdump says of a file, an instruction at a time */
	uint64_t at;
	uint8_t bytes[32];
	size_t size;
	char text[160];
};

/* "  401259:\t48 31 ed \txor %rbp,%rbp"; a long one goes on in lines without a text. */
static bool read_line(char *line, struct listing *listing)
{
	char *bytes = strchr(line, '\t'), *text = bytes ? strchr(bytes + 1, '\t') : NULL, *end;
	uint64_t at = strtoull(line, &end, 16);

	if (!bytes || *end != ':')
		return false;
	if (text) {
		listing->at = at;
		listing->size = 0;
		snprintf(listing->text, sizeof(listing->text), "%s", text + 1);
		*text = 0;
	}
	for (char *byte = bytes + 1; *byte; byte = end) {
		unsigned long value = strtoul(byte, &end, 16);

		if (end == byte)
			break;
		if (listing->size < sizeof(listing->bytes))
			listing->bytes[listing->size++] = (uint8_t)value;
	}
	return true;
}

static bool is_prefix_only(const char *text)
{
	static const char *const words[] = { "data16", "cs", "ds", "es", "fs", "gs", "ss", "lock", "repz", "repnz",
					     "addr32", "rex", "fwait" };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (!strncmp(text, words[i], strlen(words[i])) &&
		    (strchr(" .\n", text[strlen(words[i])]) || !text[strlen(words[i])]))
			return true;
	return strstr(text, "(bad)") || strstr(text, ".byte");
}

static void check(const struct listing *listing, const char *path, size_t *checked, size_t *wrong)
{
	struct x86 instruction;
	int error;

	if (!listing->size || is_prefix_only(listing->text))
		return;
	++*checked;
	error = x86_decode(listing->bytes, listing->size, &instruction);
	if (!error && instruction.length == listing->size)
		return;
	if (++*wrong <= 10)
		print_message("%s %" PRIx64 ": %d bytes instead of %zu: %s", path, listing->at,
			      error ? error : instruction.length, listing->size, listing->text);
}

static void compare(const char *path)
{
	char command[256], line[512];
	struct listing listing = { 0 }, next = { 0 };
	size_t checked = 0, wrong = 0;
	FILE *pipe;

	snprintf(command, sizeof(command), "objdump -d -j .text %s", path);
	pipe = popen(command, "r");
	assert_non_null(pipe);
	while (fgets(line, sizeof(line), pipe)) {
		next = listing;
		if (!read_line(line, &next))
			continue;
		if (next.at != listing.at)
			check(&listing, path, &checked, &wrong);
		listing = next;
	}
	pclose(pipe);
	print_message("%s: %zu instructions, %zu wrong\n", path, checked, wrong);
	assert_true(checked > 10000);
	assert_true(wrong * 20000 <= checked); /* tables between the functions are read as code by objdump */
}

static void lengths_are_those_of_objdump(void **state)
{
	static const char *const paths[] = { "libc.so.6", "libcrypto.so.3", "libmvec.so.1", "libstdc++.so.6" };
	char path[128];

	(void)state;
	if (system("command -v objdump >/dev/null")) {
		print_message("[  SKIPPED ] %s: no objdump\n", __func__);
		skip();
	}
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		snprintf(path, sizeof(path), "/lib/x86_64-linux-gnu/%s", paths[i]);
		if (!access(path, R_OK))
			compare(path);
	}
}

static const struct {
	const char *code;
	size_t size;
	enum x86_kind kind;
	int reg;
	int64_t value;
} effects[] = {
#define CODE(bytes) bytes, sizeof(bytes) - 1
	{ CODE("\x55"), X86_PUSH, 5, 0 },
	{ CODE("\x41\x55"), X86_PUSH, 13, 0 },
	{ CODE("\x68\x01\x00\x00\x00"), X86_PUSH, -1, 0 },
	{ CODE("\xff\x75\x08"), X86_PUSH, -1, 0 },
	{ CODE("\x5d"), X86_POP, 5, 0 },
	{ CODE("\x8f\x00"), X86_POP, -1, 0 },
	{ CODE("\x48\x83\xec\x28"), X86_ADD_RSP, -1, -40 },
	{ CODE("\x48\x81\xc4\x00\x01\x00\x00"), X86_ADD_RSP, -1, 256 },
	{ CODE("\x48\x83\xec\x80"), X86_ADD_RSP, -1, 128 },
	{ CODE("\x48\x8d\x64\x24\xf8"), X86_ADD_RSP, -1, -8 },
	{ CODE("\x48\x8d\x65\xd8"), X86_RSP_FROM_RBP, -1, -40 },
	{ CODE("\x48\x89\xec"), X86_RSP_FROM_RBP, -1, 0 },
	{ CODE("\x48\x89\xe5"), X86_RBP_FROM_RSP, -1, 0 },
	{ CODE("\x48\x8b\xec"), X86_RBP_FROM_RSP, -1, 0 },
	{ CODE("\x48\x8d\x6c\x24\x10"), X86_RBP_FROM_RSP, -1, 16 },
	{ CODE("\x48\x83\xe4\xf0"), X86_RSP_LOST, -1, 0 },
	{ CODE("\x4c\x89\xc4"), X86_RSP_FROM_REG, 8, 0 },
	{ CODE("\x49\x8d\x62\xf8"), X86_RSP_FROM_REG, 10, -8 },
	{ CODE("\x48\x89\xe3"), X86_COPY_RSP, 3, 0 },
	{ CODE("\x4c\x8d\x54\x24\x08"), X86_COPY_RSP, 10, 8 },
	{ CODE("\x48\x8b\x24\x25\x00\x00\x00\x00"), X86_RSP_LOST, -1, 0 },
	{ CODE("\x48\x89\x6c\x24\x20"), X86_SAVE_RBP, -1, 32 },
	{ CODE("\x48\x8b\x6c\x24\x20"), X86_LOAD_RBP, -1, 32 },
	{ CODE("\x31\xed"), X86_ZERO_RBP, -1, 0 },
	{ CODE("\x48\x31\xed"), X86_ZERO_RBP, -1, 0 },
	{ CODE("\x48\x89\xfd"), X86_RBP_LOST, -1, 0 },
	{ CODE("\xbd\x01\x00\x00\x00"), X86_RBP_LOST, -1, 0 },
	{ CODE("\x0f\xb6\x2f"), X86_RBP_LOST, -1, 0 },
	{ CODE("\x48\xff\xc5"), X86_RBP_LOST, -1, 0 },
	{ CODE("\x48\x89\xef"), X86_OTHER, -1, 0 },     /* mov rdi, rbp */
	{ CODE("\x49\x89\xfd"), X86_OTHER, -1, 0 },     /* mov r13, rdi */
	{ CODE("\x48\x39\xfd"), X86_OTHER, -1, 0 },     /* cmp */
	{ CODE("\x83\xfd\x05"), X86_OTHER, -1, 0 },     /* cmp */
	{ CODE("\x88\xe5"), X86_OTHER, -1, 0 },         /* mov ch, ah */
	{ CODE("\x0f\x28\xec"), X86_OTHER, -1, 0 },     /* movaps xmm5, xmm4 */
	{ CODE("\xc5\xfd\x6f\x6c\x24\x20"), X86_OTHER, -1, 0 }, /* vmovdqa ymm5, [rsp + 32] */
	{ CODE("\xe8\x00\x01\x00\x00"), X86_CALL, -1, 261 },
	{ CODE("\xff\x15\x00\x00\x00\x00"), X86_CALL, -1, 0 },
	{ CODE("\xeb\xf0"), X86_JUMP, -1, -14 },
	{ CODE("\x3e\xff\xe0"), X86_JUMP, -1, 0 },
	{ CODE("\xff\x24\xc5\x00\x00\x00\x00"), X86_JUMP, -1, 0 },
	{ CODE("\xff\x25\x00\x00\x00\x00"), X86_RETURN, -1, 0 },
	{ CODE("\x74\x10"), X86_BRANCH, -1, 18 },
	{ CODE("\x0f\x84\x00\x01\x00\x00"), X86_BRANCH, -1, 262 },
	{ CODE("\xeb\xfe"), X86_STOP, -1, 0 },
	{ CODE("\xf3\xc3"), X86_RETURN, -1, 0 },
	{ CODE("\xc2\x08\x00"), X86_RETURN, -1, 0 },
	{ CODE("\xc9"), X86_LEAVE, -1, 0 },
	{ CODE("\xf4"), X86_STOP, -1, 0 },
	{ CODE("\x0f\x0b"), X86_STOP, -1, 0 },
	{ CODE("\x0f\x05"), X86_OTHER, -1, 0 },
	{ CODE("\xf3\x0f\x1e\xfa"), X86_OTHER, -1, 0 }, /* endbr64 */
	{ CODE("\x66\x2e\x0f\x1f\x84\x00\x00\x00\x00\x00"), X86_NOP, -1, 0 },
	{ CODE("\x66\x90"), X86_NOP, -1, 0 },
	{ CODE("\x49\x90"), X86_OTHER, -1, 0 },         /* xchg r8, rax */
	{ CODE("\xcc"), X86_NOP, -1, 0 },
#undef CODE
};

static void effects_are_told(void **state)
{
	struct x86 instruction;

	(void)state;
	for (size_t i = 0; i < sizeof(effects) / sizeof(effects[0]); i++) {
		const uint8_t *code = (const uint8_t *)effects[i].code;

		if (x86_decode(code, effects[i].size, &instruction) || instruction.length != effects[i].size ||
		    instruction.kind != effects[i].kind || instruction.reg != effects[i].reg ||
		    instruction.value != effects[i].value)
			fail_msg("effect %zu: %d bytes, kind %d, reg %d, value %" PRId64, i, instruction.length,
				 instruction.kind, instruction.reg, instruction.value);
		for (size_t size = 0; size < effects[i].size; size++) { /* cut off, at the very end of memory */
			uint8_t *cut = malloc(size ? size : 1);

			memcpy(cut, code, size);
			assert_int_equal(x86_decode(cut, size, &instruction), -EINVAL);
			free(cut);
		}
	}
}

static void any_bytes_stay_inside(void **state)
{
	struct x86 instruction;
	uint8_t *code = malloc(X86_MAX_LENGTH);

	(void)state;
	srandom(5);
	for (int round = 0; round < 300000; round++) {
		size_t size = 1 + (size_t)random() % X86_MAX_LENGTH;

		for (size_t i = 0; i < size; i++)
			code[X86_MAX_LENGTH - size + i] = (uint8_t)random();
		if (!x86_decode(code + X86_MAX_LENGTH - size, size, &instruction))
			assert_in_range(instruction.length, 1, size);
	}
	free(code);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lengths_are_those_of_objdump),
		cmocka_unit_test(effects_are_told),
		cmocka_unit_test(any_bytes_stay_inside),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

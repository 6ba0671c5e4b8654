/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lengths after the opcode maps of the "Intel 64 and IA-32 Architectures Software Developer's Manual", volume 2,
 * appendix A, in 64-bit mode: which opcodes have a ModRM byte and which an immediate, a letter an opcode.
 */
#include "symbolizer/x86.h"

#include <errno.h>
#include <string.h>

/*
 * . alone          m ModRM         b ModRM + imm8     w ModRM + imm32 (16 with 66)
 * 1 imm8           2 imm16         4 imm32 (16 with 66)   8 imm32, 64 with REX.W (16 with 66)
 * o moffs          3 imm16 + imm8  g ModRM, imm8 if reg < 2   G ModRM, imm32 if reg < 2
 * r rel32          x not in 64-bit mode, or a prefix read before
 */
static const char one_byte[] =
	"mmmm14xxmmmm14xx" "mmmm14xxmmmm14xx" "mmmm14xxmmmm14xx" "mmmm14xxmmmm14xx" /* 00 */
	"xxxxxxxxxxxxxxxx" "................" "xxxmxxxx4w1b...." "1111111111111111" /* 40 */
	"bwxbmmmmmmmmmmmm" "..........x....." "oooo....14......" "1111111188888888" /* 80 */
	"bb2.xxbw3.2..1x." "mmmmxxx.mmmmmmmm" "11111111rrx1...." "x.x...gG......mm"; /* c0 */
static const char two_bytes[] =
	"mmmmx.....x.xm.b" "mmmmmmmmmmmmmmmm" "mmmmxxxxmmmmmmmm" "......x.xxxxxxxx" /* 00 */
	"mmmmmmmmmmmmmmmm" "mmmmmmmmmmmmmmmm" "mmmmmmmmmmmmmmmm" "bbbbmmm.mmxxmmmm" /* 40 */
	"rrrrrrrrrrrrrrrr" "mmmmmmmmmmmmmmmm" "...mbmxx...mbmmm" "mmmmmmmmmmbmmmmm" /* 80 */
	"mmbmbbbm........" "mmmmmmmmmmmmmmmm" "mmmmmmmmmmmmmmmm" "mmmmmmmmmmmmmmmm"; /* c0 */

struct decoder {
	const uint8_t *code;
	size_t size, at;
	uint8_t rex, modrm, opcode, map; /* map 0: one byte, 1: 0f, 2: 0f38, 3: 0f3a */
	bool narrow, vector, broken; /* narrow: prefix 66; vector: VEX, EVEX or XOP */
	int memory; /* the base register of a plain [base + displacement], -1: another operand */
	int32_t displacement;
	size_t immediate; /* where it begins */
	unsigned int immediate_bytes;
};

static uint8_t next_byte(struct decoder *decoder)
{
	if (decoder->at >= decoder->size) {
		decoder->broken = true;
		return 0;
	}
	return decoder->code[decoder->at++];
}

static int64_t signed_at(const struct decoder *decoder, size_t at, unsigned int bytes)
{
	int32_t value = 0;

	if (bytes == 1)
		return (int8_t)decoder->code[at];
	if (bytes == 2)
		return (int16_t)(decoder->code[at] | decoder->code[at + 1] << 8);
	memcpy(&value, decoder->code + at, 4);
	return value;
}

static void skip(struct decoder *decoder, unsigned int bytes)
{
	if (decoder->size - decoder->at < bytes)
		decoder->broken = true;
	else
		decoder->at += bytes;
}

static void read_modrm(struct decoder *decoder)
{
	uint8_t modrm = next_byte(decoder), mod = modrm >> 6, base = modrm & 7, sib = 0x24;
	unsigned int bytes = mod == 1 ? 1 : mod == 2 ? 4 : 0;

	decoder->modrm = modrm;
	decoder->memory = -1;
	if (mod == 3 || decoder->broken)
		return;
	if (base == 4) {
		sib = next_byte(decoder);
		base = sib & 7;
	}
	if (mod == 0 && base == 5) { /* no base: rip, or with a SIB byte none at all */
		skip(decoder, 4);
		return;
	}
	skip(decoder, bytes);
	if (decoder->broken)
		return;
	if ((sib & 0x38) == 0x20 && !(decoder->rex & 2)) /* no index */
		decoder->memory = base | (decoder->rex & 1) << 3;
	decoder->displacement = bytes ? (int32_t)signed_at(decoder, decoder->at - bytes, bytes) : 0;
}

static void read_immediate(struct decoder *decoder, unsigned int bytes)
{
	decoder->immediate = decoder->at;
	decoder->immediate_bytes = bytes;
	skip(decoder, bytes);
}

static void read_rest(struct decoder *decoder, char form)
{
	unsigned int word = decoder->narrow && !(decoder->rex & 8) ? 2 : 4;

	if (form == 'm' || form == 'b' || form == 'w' || form == 'g' || form == 'G')
		read_modrm(decoder);
	switch (form) {
	case 'x':
		decoder->broken = true;
		break;
	case 'b':
	case '1':
		read_immediate(decoder, 1);
		break;
	case 'w':
	case '4':
		read_immediate(decoder, word);
		break;
	case '2':
		read_immediate(decoder, 2);
		break;
	case '3':
		read_immediate(decoder, 3);
		break;
	case '8':
		read_immediate(decoder, decoder->rex & 8 ? 8 : word);
		break;
	case 'o':
		read_immediate(decoder, 8);
		break;
	case 'r': /* processors of AMD would take 16 bits of it with 66; compilers pad with 66 and mean 32 */
		read_immediate(decoder, 4);
		break;
	case 'g':
	case 'G':
		if (!(decoder->modrm & 0x30))
			read_immediate(decoder, form == 'g' ? 1 : word);
		break;
	}
}

/* c5, c4, 62 and 8f (XOP): the map of opcodes lies in the prefix, and REX's bits, inverted. */
static void read_vector(struct decoder *decoder, uint8_t prefix)
{
	uint8_t first = next_byte(decoder), map = 1;
	char form = 'm';

	decoder->vector = true;
	if (prefix != 0xc5) {
		map = first & (prefix == 0x62 ? 7 : 31);
		decoder->rex = (uint8_t)(~first >> 5 & 7);
		skip(decoder, prefix == 0x62 ? 2 : 1);
	} else {
		decoder->rex = (uint8_t)(~first >> 5 & 4);
	}
	decoder->opcode = next_byte(decoder);
	if (prefix == 0x8f)
		form = map == 8 ? 'b' : map == 9 ? 'm' : map == 10 ? 'w' : 'x';
	else if (map == 3)
		form = 'b';
	else if (map == 1)
		form = decoder->opcode == 0x77 ? '.' : two_bytes[decoder->opcode] == 'b' ? 'b' : 'm';
	else if (map != 2 && map != 5 && map != 6)
		form = 'x';
	if (form == 'w')
		decoder->narrow = false;
	decoder->map = map;
	read_rest(decoder, form);
}

static void read_escaped(struct decoder *decoder)
{
	decoder->opcode = next_byte(decoder);
	decoder->map = 1;
	if (decoder->opcode == 0x38 || decoder->opcode == 0x3a) {
		decoder->map = decoder->opcode == 0x38 ? 2 : 3;
		decoder->opcode = next_byte(decoder);
		read_rest(decoder, decoder->map == 2 ? 'm' : 'b');
		return;
	}
	read_rest(decoder, two_bytes[decoder->opcode]);
}

static bool read_prefixes(struct decoder *decoder, uint8_t *ret_opcode)
{
	uint8_t byte;

	for (;;) {
		byte = next_byte(decoder);
		if (decoder->broken)
			return false;
		if (byte == 0x66)
			decoder->narrow = true;
		else if (byte != 0x67 && byte != 0xf0 && byte != 0xf2 && byte != 0xf3 && (byte & 0xe7) != 0x26 &&
			 (byte & 0xfe) != 0x64)
			break;
	}
	if ((byte & 0xf0) == 0x40) {
		decoder->rex = byte;
		byte = next_byte(decoder);
	}
	*ret_opcode = byte;
	return true;
}

static bool decode(struct decoder *decoder)
{
	uint8_t opcode, next;

	if (!read_prefixes(decoder, &opcode))
		return false;
	next = decoder->at < decoder->size ? decoder->code[decoder->at] : 0;
	if (opcode == 0x62 || opcode == 0xc4 || opcode == 0xc5 || (opcode == 0x8f && (next & 31) >= 8)) {
		read_vector(decoder, opcode);
	} else if (opcode == 0x0f) {
		read_escaped(decoder);
	} else {
		decoder->opcode = opcode;
		read_rest(decoder, one_byte[opcode]);
	}
	return !decoder->broken && decoder->at <= X86_MAX_LENGTH;
}

/* ---- what it does ---------------------------------------------------------------------------------------- */

static int reg_operand(const struct decoder *decoder)
{
	return (decoder->modrm >> 3 & 7) | (decoder->rex & 4) << 1;
}

/* The register of the operand that may be memory; -1: it is. */
static int rm_operand(const struct decoder *decoder)
{
	return decoder->modrm >> 6 == 3 ? (decoder->modrm & 7) | (decoder->rex & 1) << 3 : -1;
}

/* A byte register of number 4 to 7 is a part of the first four without REX. */
static int byte_operand(const struct decoder *decoder, int reg)
{
	return reg >= 4 && !decoder->rex ? -1 : reg;
}

/* The general register an opcode of the first map writes; -1: none, or one that frames are not made of. */
static int written_plain(const struct decoder *decoder)
{
	uint8_t op = decoder->opcode;
	int reg = reg_operand(decoder), rm = rm_operand(decoder), extension = decoder->modrm >> 3 & 7;

	if (op < 0x38 && (op & 7) < 4) {
		rm = op & 2 ? reg : rm;
		return op & 1 ? rm : byte_operand(decoder, rm);
	}
	if (op == 0x63 || op == 0x69 || op == 0x6b || op == 0x8b || op == 0x8d)
		return reg;
	if (op == 0x8a)
		return byte_operand(decoder, reg);
	if (op == 0x81 || op == 0x83)
		return extension == 7 ? -1 : rm;
	if (op == 0x87 && reg == X86_RBP)
		return reg;
	if (op == 0x87 || op == 0x89 || op == 0x8c || op == 0xc1 || op == 0xd1 || op == 0xd3 || op == 0xc7)
		return rm;
	if (op == 0x88 || op == 0xc0 || op == 0xc6 || op == 0xd0 || op == 0xd2)
		return byte_operand(decoder, rm);
	if ((op & 0xf8) == 0x90 || (op & 0xf8) == 0xb8)
		return (op & 7) | (decoder->rex & 1) << 3;
	if ((op & 0xf8) == 0xb0)
		return byte_operand(decoder, (op & 7) | (decoder->rex & 1) << 3);
	if (op == 0xf7)
		return extension == 2 || extension == 3 ? rm : -1;
	return op == 0xff && extension < 2 ? rm : -1;
}

static int written_escaped(const struct decoder *decoder)
{
	uint8_t op = decoder->opcode;
	int reg = reg_operand(decoder), rm = rm_operand(decoder);

	if (decoder->map == 2) /* movbe, crc32; of the vector ones andn, pdep, pext, mulx, bextr, shifts */
		return (op & 0xfe) == 0xf0 || (decoder->vector && (op == 0xf2 || op >= 0xf5)) ? reg : -1;
	if (decoder->map == 3)
		return op == 0xf0 ? reg : op >= 0x14 && op <= 0x17 ? rm : -1;
	if (op == 0x50 || op == 0xc5 || op == 0xd7 || op == 0x2c || op == 0x2d)
		return reg;
	if (op == 0x7e)
		return rm;
	if (decoder->vector)
		return -1;
	if ((op & 0xf0) == 0x40 || op == 0xaf || (op & 0xf6) == 0xb6 || op == 0xb8 || op == 0xbc || op == 0xbd ||
	    op == 0x02 || op == 0x03)
		return reg;
	if ((op & 0xf0) == 0x90)
		return byte_operand(decoder, rm);
	if ((op & 0xf8) == 0xc8)
		return (op & 7) | (decoder->rex & 1) << 3;
	if (op == 0xa2) /* cpuid */
		return X86_RBX;
	if (op == 0xc0 || op == 0xc1)
		return reg == X86_RBP ? reg : rm;
	return op == 0xa4 || op == 0xa5 || op == 0xab || op == 0xac || op == 0xad || op == 0xb1 || op == 0xb3 ||
	       op == 0xba || op == 0xbb ? rm : -1;
}

static void set(struct x86 *instruction, enum x86_kind kind, int64_t value)
{
	instruction->kind = (uint8_t)kind;
	instruction->value = value;
}

/* From rsp or to it, by a move or a lea, whose displacement is 0 for the former. */
static void find_copy(const struct decoder *decoder, struct x86 *instruction, int to, int from)
{
	if (to >= 0 && to != X86_RSP && from == X86_RSP) {
		set(instruction, X86_COPY_RSP, decoder->displacement);
		instruction->reg = (int8_t)to;
	} else if (to == X86_RSP && from >= 0 && from != X86_RSP && from != X86_RBP) {
		set(instruction, X86_RSP_FROM_REG, decoder->displacement);
		instruction->reg = (int8_t)from;
	}
}

/* What is left of an instruction that writes rsp or rbp: a few forms by which compilers make and end frames. */
static void find_written(const struct decoder *decoder, struct x86 *instruction)
{
	int reg = reg_operand(decoder), rm = rm_operand(decoder);
	int written = decoder->map ? written_escaped(decoder) : written_plain(decoder);
	uint8_t op = decoder->map ? 0 : decoder->opcode;
	bool wide = decoder->rex & 8, move = op == 0x89 || op == 0x8b;
	int source = op == 0x89 ? reg : rm;

	instruction->written = (int8_t)written;
	if (op == 0x89 && reg == X86_RBP && wide && decoder->memory == X86_RSP)
		set(instruction, X86_SAVE_RBP, decoder->displacement);
	if (wide && written != X86_RBP && (move || op == 0x8d))
		find_copy(decoder, instruction, written, move ? source : decoder->memory);
	if ((written != X86_RSP && written != X86_RBP) || instruction->kind == X86_RSP_FROM_REG)
		return;
	set(instruction, written == X86_RSP ? X86_RSP_LOST : X86_RBP_LOST, 0);
	if (op == 0x8d && wide && written == X86_RSP && decoder->memory == X86_RSP)
		set(instruction, X86_ADD_RSP, decoder->displacement);
	else if (op == 0x8d && wide && decoder->memory == (written == X86_RSP ? X86_RBP : X86_RSP))
		set(instruction, written == X86_RSP ? X86_RSP_FROM_RBP : X86_RBP_FROM_RSP, decoder->displacement);
	else if (move && wide && source == (written == X86_RSP ? X86_RBP : X86_RSP))
		set(instruction, written == X86_RSP ? X86_RSP_FROM_RBP : X86_RBP_FROM_RSP, 0);
	else if (op == 0x8b && wide && written == X86_RBP && decoder->memory == X86_RSP)
		set(instruction, X86_LOAD_RBP, decoder->displacement);
	else if ((op == 0x31 || op == 0x33) && reg == X86_RBP && rm == X86_RBP)
		set(instruction, X86_ZERO_RBP, 0);
	else if ((op == 0x81 || op == 0x83) && wide && written == X86_RSP && !(decoder->modrm & 0x38))
		set(instruction, X86_ADD_RSP, signed_at(decoder, decoder->immediate, decoder->immediate_bytes));
	else if ((op == 0x81 || op == 0x83) && wide && written == X86_RSP && (decoder->modrm & 0x38) == 0x28)
		set(instruction, X86_ADD_RSP, -signed_at(decoder, decoder->immediate, decoder->immediate_bytes));
}

static void set_target(const struct decoder *decoder, struct x86 *instruction, enum x86_kind kind)
{
	int64_t relative = signed_at(decoder, decoder->immediate, decoder->immediate_bytes);

	set(instruction, kind, relative + (int64_t)decoder->at);
	if (!instruction->value) /* a jump to itself: nobody comes out of it */
		set(instruction, X86_STOP, 0);
}

/* push, pop, call and jmp through ModRM, and inc and dec, which write a register. */
static void find_group_5(const struct decoder *decoder, struct x86 *instruction)
{
	static const uint8_t kinds[] = { X86_OTHER, X86_OTHER, X86_CALL, X86_CALL,
					 X86_JUMP,  X86_JUMP,  X86_PUSH, X86_STOP };

	set(instruction, kinds[decoder->modrm >> 3 & 7], 0);
	if (instruction->kind == X86_OTHER)
		find_written(decoder, instruction);
	if (instruction->kind == X86_JUMP && (decoder->modrm & 0xc7) == 5)
		instruction->kind = X86_RETURN;
}

static void find_plain(const struct decoder *decoder, struct x86 *instruction)
{
	uint8_t op = decoder->opcode;

	if ((op & 0xf0) == 0x50) {
		set(instruction, op & 8 ? X86_POP : X86_PUSH, 0);
		instruction->reg = (int8_t)((op & 7) | (decoder->rex & 1) << 3);
	} else if (op == 0x68 || op == 0x6a || op == 0x9c) {
		set(instruction, X86_PUSH, 0);
	} else if (op == 0x8f || op == 0x9d) {
		set(instruction, X86_POP, 0);
		if (op == 0x8f && rm_operand(decoder) >= 0)
			instruction->reg = (int8_t)rm_operand(decoder);
	} else if ((op & 0xf0) == 0x70 || (op >= 0xe0 && op <= 0xe3)) {
		set_target(decoder, instruction, X86_BRANCH);
	} else if (op == 0xe9 || op == 0xeb || op == 0xe8) {
		set_target(decoder, instruction, op == 0xe8 ? X86_CALL : X86_JUMP);
	} else if (op == 0xc2 || op == 0xc3) {
		set(instruction, X86_RETURN, 0);
	} else if (op == 0xc8 || op == 0xca || op == 0xcb || op == 0xcf || op == 0xf4) {
		set(instruction, X86_STOP, 0);
	} else if (op == 0x90 && !(decoder->rex & 1)) {
		set(instruction, X86_NOP, 0);
	} else if (op == 0xcc) {
		set(instruction, X86_NOP, 0);
	} else if (op == 0xc9) {
		set(instruction, X86_LEAVE, 0);
	} else if (op == 0xff) {
		find_group_5(decoder, instruction);
	} else {
		find_written(decoder, instruction);
	}
}

static void find_escaped(const struct decoder *decoder, struct x86 *instruction)
{
	uint8_t op = decoder->map == 1 && !decoder->vector ? decoder->opcode : 0;

	if ((op & 0xf0) == 0x80)
		set_target(decoder, instruction, X86_BRANCH);
	else if (op == 0xa0 || op == 0xa8)
		set(instruction, X86_PUSH, 0);
	else if (op == 0xa1 || op == 0xa9)
		set(instruction, X86_POP, 0);
	else if (op == 0x0b || op == 0xb9 || op == 0xff || op == 0x07 || op == 0x35)
		set(instruction, X86_STOP, 0);
	else if (op == 0x1f)
		set(instruction, X86_NOP, 0);
	else
		find_written(decoder, instruction);
}

int x86_decode(const uint8_t *code, size_t size, struct x86 *ret_instruction)
{
	struct decoder decoder = { .code = code, .size = size < X86_MAX_LENGTH ? size : X86_MAX_LENGTH,
				   .memory = -1 };
	struct x86 instruction = { .kind = X86_OTHER, .reg = -1, .written = -1 };

	if (!decode(&decoder))
		return -EINVAL;
	instruction.length = (uint8_t)decoder.at;
	instruction.through_rbp = decoder.memory == X86_RBP;
	if (decoder.map || decoder.vector)
		find_escaped(&decoder, &instruction);
	else
		find_plain(&decoder, &instruction);
	*ret_instruction = instruction;
	return 0;
}

bool x86_begins_function(const uint8_t *code, size_t size)
{
	if (size < 4)
		return false;
	if (code[0] == 0x41) /* push r12 to r15 */
		return code[1] >= 0x54 && code[1] <= 0x57;
	return code[0] == 0x55 || code[0] == 0x53 || !memcmp(code, "\xf3\x0f\x1e\xfa", 4) ||
	       (code[0] == 0x48 && (code[1] == 0x83 || code[1] == 0x81) && code[2] == 0xec);
}

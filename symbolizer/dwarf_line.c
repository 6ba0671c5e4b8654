/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a unit's line program into rows. A row that repeats the line before it is not kept. */
#include "dwarf_line.h"

#include "dwarf_const.h"
#include "dwarf_files.h"

#include <errno.h>
#include <stdlib.h>

struct program {
	struct dwarf *dwarf;
	struct cursor cursor;
	struct dwarf_lines *lines;
	size_t row_room, sequence_room;
	/* what the head says */
	uint8_t min_length, line_range, opcode_base;
	int8_t line_base;
	uint8_t operands[256];
	/* the machine's registers, DWARF 5 section 6.2.2, without those that no name needs */
	uint64_t address, file, line;
	uint64_t low;      /* of the open sequence */
	size_t first;      /* its first row */
	bool open;
};

static void reset(struct program *program)
{
	program->address = 0;
	program->file = 1;
	program->line = 1;
	program->open = false;
}

static bool grow(void **array, size_t *room, size_t count, size_t size, size_t limit)
{
	size_t wanted = *room ? *room * 2 : 256;
	void *grown;

	if (count < *room)
		return true;
	if (count >= limit)
		return false;
	if (wanted > limit)
		wanted = limit;
	grown = realloc(*array, wanted * size);
	if (!grown)
		return false;
	*array = grown;
	*room = wanted;
	return true;
}

static void emit_row(struct program *program)
{
	struct dwarf_lines *lines = program->lines;
	uint32_t line = program->line > UINT32_MAX ? 0 : (uint32_t)program->line;
	uint32_t file = program->file > UINT32_MAX ? UINT32_MAX : (uint32_t)program->file;
	struct dwarf_row *last;

	if (!program->open) {
		program->open = true;
		program->low = program->address;
		program->first = lines->row_count;
	}
	last = lines->row_count > program->first ? &lines->rows[lines->row_count - 1] : NULL;
	if (program->address - program->low > UINT32_MAX) /* backwards, or further than a unit is long */
		return;
	if (last && last->line == line && last->file == file)
		return;
	if (last && program->low + last->at == program->address) { /* the last word at an address counts */
		last->line = line;
		last->file = file;
		return;
	}
	if (!grow((void **)&lines->rows, &program->row_room, lines->row_count, sizeof(*last), DWARF_MAX_ROWS)) {
		lines->rows_dropped++;
		return;
	}
	lines->rows[lines->row_count++] = (struct dwarf_row){ (uint32_t)(program->address - program->low), line, file };
}

static void end_sequence(struct program *program)
{
	struct dwarf_lines *lines = program->lines;
	uint64_t low = program->low, high = program->address;

	/* as with ranges: 0, -1 and -2 stand for code the linker removed */
	if (program->open && low && low < UINT64_MAX - 1 && high > low && lines->row_count > program->first &&
	    grow((void **)&lines->sequences, &program->sequence_room, lines->sequence_count, sizeof(*lines->sequences),
		 DWARF_MAX_SEQUENCES))
		lines->sequences[lines->sequence_count++] = (struct dwarf_sequence){
			low, high, (uint32_t)program->first, (uint32_t)(lines->row_count - program->first) };
	else if (program->open)
		lines->row_count = program->first;
	reset(program);
}

static void run_extended(struct program *program)
{
	struct cursor *cursor = &program->cursor, body = *cursor;
	uint64_t length = cursor_uleb(cursor), directory;
	const char *name;

	if (!length || length > cursor_left(cursor)) {
		if (length)
			cursor_fail(cursor);
		return;
	}
	body = *cursor;
	body.end = body.at + length;
	cursor_skip(cursor, length);
	switch (cursor_u8(&body)) {
	case LNE_END_SEQUENCE:
		end_sequence(program);
		break;
	case LNE_SET_ADDRESS:
		program->address = cursor_fixed(&body, cursor_left(&body) < 8 ? cursor_left(&body) : 8);
		break;
	case LNE_DEFINE_FILE:
		name = cursor_string(&body);
		directory = cursor_uleb(&body);
		if (name)
			dwarf_files_add(program->lines, name, directory);
		break;
	default: /* discriminators and vendors' own */
		break;
	}
}

static void run_standard(struct program *program, uint8_t opcode)
{
	struct cursor *cursor = &program->cursor;

	switch (opcode) {
	case LNS_COPY:
		emit_row(program);
		break;
	case LNS_ADVANCE_PC:
		program->address += cursor_uleb(cursor) * program->min_length;
		break;
	case LNS_ADVANCE_LINE:
		program->line += (uint64_t)cursor_sleb(cursor);
		break;
	case LNS_SET_FILE:
		program->file = cursor_uleb(cursor);
		break;
	case LNS_CONST_ADD_PC:
		if (program->line_range)
			program->address += (uint64_t)((255 - program->opcode_base) / program->line_range) * program->min_length;
		break;
	case LNS_FIXED_ADVANCE_PC:
		program->address += cursor_fixed(cursor, 2);
		break;
	default: /* column, statement marks, and what later versions add: skip the operands the head counts */
		for (uint8_t operands = program->operands[opcode]; operands; operands--)
			cursor_uleb(cursor);
	}
}

static void run(struct program *program)
{
	reset(program);
	while (program->cursor.at < program->cursor.end && !program->lines->rows_dropped) {
		uint8_t opcode = cursor_u8(&program->cursor);

		if (opcode >= program->opcode_base) {
			uint8_t adjusted = (uint8_t)(opcode - program->opcode_base);

			if (!program->line_range)
				break;
			program->address += (uint64_t)(adjusted / program->line_range) * program->min_length;
			program->line += (uint64_t)(int64_t)(program->line_base + adjusted % program->line_range);
			emit_row(program);
		} else if (opcode) {
			run_standard(program, opcode);
		} else {
			run_extended(program);
		}
	}
	end_sequence(program); /* what a cut program had so far */
}

/* Reads the head and leaves the cursor on the program. */
static int read_head(struct program *program, struct dwarf_unit *unit)
{
	const struct dwarf_section *section = dwarf_section(program->dwarf, DWARF_LINE);
	struct cursor cursor = cursor_make(section->bytes, section->size, unit->line_offset, section->size), code;
	uint64_t length = cursor_fixed(&cursor, 4);

	unit->offset_size = 4;
	if (length == UINT32_MAX) {
		length = cursor_fixed(&cursor, 8);
		unit->offset_size = 8;
	}
	if (cursor.failed || length > cursor_left(&cursor))
		return -EINVAL;
	cursor.end = cursor.at + length;
	program->lines->version = (uint8_t)cursor_fixed(&cursor, 2);
	if (program->lines->version < 2 || program->lines->version > 5)
		return -ENOTSUP;
	if (program->lines->version >= 5) {
		unit->address_size = cursor_u8(&cursor);
		cursor_u8(&cursor); /* segment selectors: none since the 286 */
	}
	length = cursor_fixed(&cursor, unit->offset_size);
	code = cursor;
	cursor_skip(&code, length);
	program->min_length = cursor_u8(&cursor);
	if (program->lines->version >= 4)
		cursor_u8(&cursor); /* operations an instruction: 1 but for VLIW machines */
	cursor_u8(&cursor);         /* default_is_stmt: rows of both kinds name lines */
	program->line_base = (int8_t)cursor_u8(&cursor);
	program->line_range = cursor_u8(&cursor);
	program->opcode_base = cursor_u8(&cursor);
	for (unsigned opcode = 1; opcode < program->opcode_base; opcode++)
		program->operands[opcode] = cursor_u8(&cursor);
	if (code.failed || cursor.failed)
		return -EINVAL;
	cursor.end = code.at > cursor.at ? code.at : cursor.at;
	dwarf_files_read(program->dwarf, unit, &cursor, program->lines);
	program->cursor = code;
	return 0;
}

static int compare_sequences(const void *left, const void *right)
{
	const struct dwarf_sequence *a = left, *b = right;

	if (a->low != b->low)
		return a->low < b->low ? -1 : 1;
	return a->first < b->first ? -1 : a->first > b->first;
}

int dwarf_lines_read(struct dwarf *dwarf, const struct dwarf_unit *unit, struct dwarf_lines *ret_lines)
{
	struct dwarf_lines lines = { 0 };
	struct program program = { .dwarf = dwarf, .lines = &lines };
	struct dwarf_unit head = *unit; /* the line table has its own idea of offset and address size */
	int error;

	if (unit->line_offset == UINT64_MAX)
		return -ENODATA;
	error = read_head(&program, &head);
	if (error) {
		dwarf_lines_done(&lines);
		return error;
	}
	run(&program);
	if (lines.sequence_count)
		qsort(lines.sequences, lines.sequence_count, sizeof(*lines.sequences), compare_sequences);
	if (lines.row_count) {
		struct dwarf_row *fitted = realloc(lines.rows, lines.row_count * sizeof(*fitted));

		if (fitted)
			lines.rows = fitted;
	}
	*ret_lines = lines;
	return 0;
}

void dwarf_lines_done(struct dwarf_lines *lines)
{
	free(lines->rows);
	free(lines->sequences);
	free(lines->files);
	free(lines->directories);
	*lines = (struct dwarf_lines){ 0 };
}

static const struct dwarf_row *find_row(const struct dwarf_lines *lines, const struct dwarf_sequence *sequence,
					uint32_t at)
{
	size_t low = sequence->first, high = low + sequence->count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (lines->rows[middle].at <= at)
			low = middle + 1;
		else
			high = middle;
	}
	return low > sequence->first ? &lines->rows[low - 1] : NULL;
}

const struct dwarf_row *dwarf_lines_find(const struct dwarf_lines *lines, uint64_t vaddr)
{
	size_t low = 0, high = lines->sequence_count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (lines->sequences[middle].low <= vaddr)
			low = middle + 1;
		else
			high = middle;
	}
	/* sequences don't overlap in sane files; a few steps back survive one that is contained in another */
	for (size_t tries = 0; low && tries < 8; tries++) {
		const struct dwarf_sequence *sequence = &lines->sequences[--low];

		if (vaddr < sequence->high && vaddr - sequence->low <= UINT32_MAX)
			return find_row(lines, sequence, (uint32_t)(vaddr - sequence->low));
	}
	return NULL;
}

size_t dwarf_lines_bytes(const struct dwarf_lines *lines)
{
	return lines->row_count * sizeof(*lines->rows) + lines->sequence_count * sizeof(*lines->sequences) +
	       lines->file_count * sizeof(*lines->files) + lines->directory_count * sizeof(*lines->directories);
}

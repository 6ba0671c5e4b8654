/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The entries of .eh_frame and .debug_frame: CIEs, kept by offset with the rule their program leaves, and FDEs.
 * Layout after the Linux Standard Base, "Exception Frames", and DWARF 5, section 6.4.1.
 */
#include "symbolizer/cfi_private.h"

#include "abi/unwind.h"

#include <errno.h>
#include <stdlib.h>

#define PE_OMIT 0xff
#define PE_PCREL 0x10
#define BUDGET_FACTOR 8 /* honest sections need 1, and a little for CIEs that fall out of the cache */

void cfi_init(struct cfi_section *section, const uint8_t *bytes, size_t size, uint64_t vaddr)
{
	memset(section, 0, sizeof(*section));
	section->bytes = bytes;
	section->size = size;
	section->vaddr = vaddr;
	section->budget = BUDGET_FACTOR * (uint64_t)size + 65536;
}

static uint64_t pointer_value(struct cursor *cursor, uint8_t format)
{
	switch (format) {
	case 0x00: /* absptr */
	case 0x04: /* udata8 */
	case 0x0c: /* sdata8 */
		return cursor_fixed(cursor, 8);
	case 0x02:
		return cursor_fixed(cursor, 2);
	case 0x03:
		return cursor_fixed(cursor, 4);
	case 0x0a:
		return (uint64_t)(int64_t)(int16_t)cursor_fixed(cursor, 2);
	case 0x0b:
		return (uint64_t)(int64_t)(int32_t)cursor_fixed(cursor, 4);
	default:
		return cursor_break(cursor);
	}
}

uint64_t cfi_pointer(struct cursor *cursor, uint8_t encoding, uint64_t vaddr)
{
	uint64_t value;

	if (encoding & 0xe0) /* text-, data- and function-relative or indirect: not used for code addresses */
		return cursor_break(cursor);
	value = pointer_value(cursor, encoding & 0x0f);
	return encoding & PE_PCREL ? value + vaddr : value;
}

struct record {
	struct cursor body; /* behind the length and the id */
	uint64_t end;       /* offset of the next one */
	bool is_cie;
	uint64_t cie; /* offset of an FDE's CIE */
};

/*
 * False: no record there, or a terminator. In .eh_frame the id is 4 bytes after an extended length too, 0 marks a
 * CIE and else it counts back from itself; in .debug_frame it is an offset from the section's start.
 */
static bool read_record(struct cfi_section *section, uint64_t offset, struct record *ret_record)
{
	struct record record = { 0 };
	struct cursor cursor;
	uint64_t length, id, at;
	bool wide;

	if (offset >= section->size)
		return false;
	cursor = (struct cursor){ section->bytes + offset, section->bytes + section->size, false };
	length = cursor_fixed(&cursor, 4);
	wide = length == UINT32_MAX;
	if (wide)
		length = cursor_fixed(&cursor, 8);
	if (cursor.broken || length < 4)
		return false;
	record.body = cursor_block(&cursor, length);
	if (cursor.broken)
		return false;
	record.end = (uint64_t)(record.body.end - section->bytes);
	at = (uint64_t)(record.body.at - section->bytes);
	id = cursor_fixed(&record.body, wide && section->debug ? 8 : 4);
	if (section->debug) {
		record.is_cie = id == (wide ? UINT64_MAX : UINT32_MAX);
		record.cie = id;
	} else {
		record.is_cie = !id;
		record.cie = at - id; /* past the section if it is no offset, where nothing is found */
	}
	*ret_record = record;
	return !record.body.broken;
}

/* What follows 'z': one datum a letter, in their order. */
static void read_augmentation(struct cfi_cie *cie, const char *letters, size_t count, struct cursor data)
{
	for (const char *letter = letters + 1; letter < letters + count; letter++) {
		switch (*letter) {
		case 'L':
			cursor_u8(&data);
			break;
		case 'P': {
			uint8_t encoding = cursor_u8(&data);

			if (encoding != PE_OMIT)
				pointer_value(&data, encoding & 0x0f);
			break;
		}
		case 'R':
			cie->pointer_encoding = cursor_u8(&data);
			break;
		case 'S':
			cie->signal = true;
			break;
		case 'B': /* aarch64's, has no datum */
			break;
		default:
			cie->valid = false; /* an 'R' may hide behind a datum of unknown size */
			return;
		}
	}
	if (data.broken)
		cie->valid = false;
}

static void read_cie(struct cfi_section *section, struct cfi_cie *cie, struct cursor body)
{
	uint8_t version = cursor_u8(&body);
	const char *letters = (const char *)body.at;
	size_t length = strnlen(letters, (size_t)(body.end - body.at));
	struct cfi_run run = { .cie = cie };
	uint64_t ra;

	cursor_block(&body, length + 1);
	if (version == 4 && (cursor_u8(&body) != 8 || cursor_u8(&body) != 0)) /* address and segment size */
		return;
	if (body.broken || (version != 1 && version != 3 && version != 4))
		return;
	cie->code_align = cursor_uleb(&body);
	cie->data_align = cursor_sleb(&body);
	ra = version == 1 ? cursor_u8(&body) : cursor_uleb(&body);
	if (body.broken || ra != DWARF_RA || (*letters && *letters != 'z'))
		return;
	cie->valid = true;
	if (*letters == 'z') {
		uint64_t size = cursor_uleb(&body);

		cie->has_augmentation = true;
		read_augmentation(cie, letters, length, cursor_block(&body, size));
	}
	cie->initial = (struct cfi_rule){ .cfa = UNWIND_CFA_NONE };
	run.program = body;
	if (body.broken || !cie->valid || cfi_program(&run, &cie->initial) < 0)
		cie->valid = false;
	section->budget -= section->budget < (uint64_t)(body.end - body.at) ? section->budget :
									      (uint64_t)(body.end - body.at);
}

static const struct cfi_cie *find_cie(struct cfi_section *section, uint64_t offset)
{
	struct cfi_cie *cie = &section->cies[(offset / 8 ^ offset / 512) % CFI_CACHED_CIES];
	struct record record;

	if (!cie->code_align || cie->offset != offset) {
		memset(cie, 0, sizeof(*cie));
		cie->offset = offset;
		if (read_record(section, offset, &record) && record.is_cie)
			read_cie(section, cie, record.body);
		if (!cie->code_align)
			cie->code_align = 1; /* also the mark of a slot in use */
	}
	return cie->valid ? cie : NULL;
}

static int read_fde(struct cfi_section *section, const struct record *record, struct cfi_fde *ret_fde)
{
	struct cursor body = record->body;
	struct cfi_fde fde = { 0 };
	uint64_t size;

	if (record->is_cie || record->cie >= section->size)
		return -EINVAL;
	fde.cie = find_cie(section, record->cie);
	if (!fde.cie)
		return -ENOTSUP;
	fde.start = cfi_pointer(&body, fde.cie->pointer_encoding,
				section->vaddr + (uint64_t)(body.at - section->bytes));
	size = pointer_value(&body, fde.cie->pointer_encoding & 0x0f);
	if (fde.cie->has_augmentation)
		cursor_block(&body, cursor_uleb(&body));
	if (body.broken || !size || fde.start + size < fde.start)
		return -EINVAL;
	fde.end = fde.start + size;
	fde.program = body.at;
	fde.program_end = body.end;
	*ret_fde = fde;
	return 0;
}

int cfi_fde(struct cfi_section *section, uint64_t offset, struct cfi_fde *ret_fde)
{
	struct record record;

	if (!read_record(section, offset, &record))
		return -EINVAL;
	return read_fde(section, &record, ret_fde);
}

static int compare_places(const void *left, const void *right)
{
	const struct cfi_place *a = left, *b = right;

	if (a->start != b->start)
		return a->start < b->start ? -1 : 1;
	return a->offset < b->offset ? -1 : a->offset > b->offset;
}

static int add_place(struct cfi_place **places, size_t *capacity, size_t count, struct cfi_place place)
{
	if (count == *capacity) {
		size_t wanted = *capacity ? *capacity * 2 : 256;
		struct cfi_place *bigger = reallocarray(*places, wanted, sizeof(**places));

		if (!bigger)
			return -ENOMEM;
		*places = bigger;
		*capacity = wanted;
	}
	(*places)[count] = place;
	return 0;
}

long cfi_scan(struct cfi_section *section, bool has_end, struct cfi_place **ret_places, uint64_t *bad)
{
	struct cfi_place *places = NULL;
	size_t capacity = 0, count = 0;

	for (uint64_t offset = 0; section->size - offset >= 4 && count < CFI_MAX_FDES;) {
		struct record record;
		struct cfi_fde fde;
		uint32_t word;

		memcpy(&word, section->bytes + offset, 4);
		if (!word) {
			if (!has_end)
				break;
			offset += 4;
			continue;
		}
		if (!read_record(section, offset, &record)) {
			(*bad)++;
			break; /* without its length nothing behind it can be found */
		}
		if (!record.is_cie && read_fde(section, &record, &fde) == 0) {
			if (add_place(&places, &capacity, count, (struct cfi_place){ fde.start, offset }) < 0) {
				free(places);
				return -ENOMEM;
			}
			count++;
		} else if (!record.is_cie) {
			(*bad)++;
		}
		offset = record.end;
	}
	if (count)
		qsort(places, count, sizeof(*places), compare_places);
	*ret_places = places;
	return (long)count;
}

void cfi_run(struct cfi_section *section, const struct cfi_fde *fde, uint64_t limit, cfi_row_fn *row,
	     void *context)
{
	uint64_t bytes = (uint64_t)(fde->program_end - fde->program);
	struct cfi_rule rule = fde->cie->initial;
	struct cfi_run run = {
		.cie = fde->cie,
		.program = { fde->program, fde->program_end, false },
		.program_vaddr = section->vaddr + (uint64_t)(fde->program - section->bytes),
		.start = fde->start,
		.limit = limit < fde->end ? limit : fde->end,
		.follow = section->follow,
		.row = row,
		.context = context,
	};

	if (bytes > section->budget) {
		run.program.end = run.program.at;
		run.program.broken = true;
		bytes = section->budget;
	}
	section->budget -= bytes;
	cfi_program(&run, &rule);
}

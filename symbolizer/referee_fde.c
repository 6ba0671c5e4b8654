/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Part of "referee": takes an object and a pc, gives libunwind a table to search. An entry of .debug_frame is
 * written anew in the form of .eh_frame: libunwind reads the former only through paths, or structures of its own.
 */
#include "symbolizer/referee_fde.h"

#include "symbolizer/cfi_private.h"

#define WINDOW_AT 0xfffe000000000000ULL
#define ENCODING_TABLE 0x3b /* DW_EH_PE_datarel | sdata4 */
#define UDATA4 0x03
#define ENTRY_BYTES 8

bool referee_fde_word(const struct referee_fde *fde, uint64_t address, uint64_t *ret_word)
{
	uint64_t offset = address - WINDOW_AT;

	if (offset >= fde->bytes || offset > sizeof(fde->window) - sizeof(*ret_word))
		return false;
	memcpy(ret_word, fde->window + offset, sizeof(*ret_word));
	return true;
}

static void add(struct referee_fde *fde, const void *bytes, size_t size)
{
	memcpy(fde->window + fde->bytes, bytes, size);
	fde->bytes += (uint32_t)size;
}

static void add_u32(struct referee_fde *fde, uint32_t value)
{
	add(fde, &value, sizeof(value));
}

/* A table with the one entry that fits any pc: an FDE `into` bytes behind `base`. */
static void open_table(struct referee_fde *fde, uint64_t base, uint32_t into, struct referee_table *ret_table)
{
	fde->bytes = 0;
	memset(fde->window, 0, ENTRY_BYTES);
	add_u32(fde, 0x80000000U); /* the least start */
	add_u32(fde, into);
	*ret_table = (struct referee_table){ base, WINDOW_AT, 1 };
}

static bool use_header(const struct space_object *object, struct referee_table *ret_table)
{
	struct image *image = object->image->image;
	uint64_t vaddr, size, count;
	struct cursor cursor;
	const uint8_t *hdr;

	if (image_eh_frame_hdr(image, &vaddr, &size) || size < 4)
		return false;
	hdr = image_at(image, vaddr, size);
	if (!hdr || hdr[0] != 1 || hdr[2] != UDATA4 || hdr[3] != ENCODING_TABLE)
		return false;
	cursor = (struct cursor){ hdr + 4, hdr + size, false };
	cfi_pointer(&cursor, hdr[1], 0);
	count = cursor_fixed(&cursor, 4);
	if (cursor.broken || !count || count > (uint64_t)(cursor.end - cursor.at) / ENTRY_BYTES)
		return false;
	*ret_table = (struct referee_table){ object->bias + vaddr,
					     object->bias + vaddr + (uint64_t)(cursor.at - hdr), count };
	return true;
}

/* The CIE of a .debug_frame entry as .eh_frame has it: id 0, and without version 4's two sizes. */
static bool copy_cie(struct referee_fde *fde, const struct cfi_section *section, uint64_t offset)
{
	struct cursor cursor = { section->bytes + offset, section->bytes + section->size, false };
	uint64_t length = cursor_fixed(&cursor, 4);
	struct cursor body = cursor_block(&cursor, length);
	uint32_t at = fde->bytes, bytes;
	uint8_t version, letters;

	cursor_fixed(&body, 4);
	version = cursor_u8(&body);
	letters = cursor_u8(&body);
	if (version == 4)
		cursor_fixed(&body, 2);
	if (cursor.broken || body.broken || letters || length > REFEREE_FDE_BYTES / 2)
		return false; /* DWARF's wide form, or an augmentation: nobody writes these here */
	add_u32(fde, 0);
	add_u32(fde, 0);
	add(fde, &(uint8_t){ version == 4 ? 3 : version }, 1);
	add(fde, "", 1);
	add(fde, body.at, (size_t)(body.end - body.at));
	bytes = fde->bytes - at - 4;
	memcpy(fde->window + at, &bytes, sizeof(bytes));
	return true;
}

static bool make_frame(struct referee_fde *fde, const struct space_object *object, uint64_t pc,
		       struct referee_table *ret_table)
{
	const uint64_t vaddr = pc - object->bias;
	const struct cfi_section *section;
	struct cfi_place place;
	struct cfi_fde found;
	uint64_t start, size;
	size_t program;

	if (!space_find_fde(object->image, 1, vaddr, &place, &found))
		return false;
	section = object->image->sections[1];
	program = (size_t)(found.program_end - found.program);
	start = found.start + object->bias;
	size = found.end - found.start;
	open_table(fde, WINDOW_AT, 0, ret_table);
	if (program > REFEREE_FDE_BYTES / 4 || !copy_cie(fde, section, found.cie->offset))
		return false;
	memcpy(fde->window + 4, &fde->bytes, sizeof(fde->bytes)); /* the entry's second half */
	add_u32(fde, (uint32_t)(4 + sizeof(start) + sizeof(size) + program));
	add_u32(fde, fde->bytes - ENTRY_BYTES); /* back to the CIE, which follows the entry */
	add(fde, &start, sizeof(start));
	add(fde, &size, sizeof(size));
	add(fde, found.program, program);
	memset(fde->window + fde->bytes, 0, 8);
	return true;
}

bool referee_fde_table(struct referee_fde *fde, const struct space_object *object, unsigned source, uint64_t pc,
		       struct referee_table *ret_table)
{
	struct cfi_place place;
	struct cfi_fde found;

	if (source == 0)
		return use_header(object, ret_table);
	if (source == 2)
		return make_frame(fde, object, pc, ret_table);
	if (use_header(object, ret_table)) /* it was asked already */
		return false;
	if (!space_find_fde(object->image, 0, pc - object->bias, &place, &found))
		return false;
	open_table(fde, object->bias + object->image->sections[0]->vaddr + place.offset, 0, ret_table);
	return true;
}

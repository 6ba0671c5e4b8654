/* SPDX-License-Identifier: Apache-2.0 */
/* Attribute values: reading each form, and turning a value into a string or an address. */
#include "dwarf_unit.h"

#include "dwarf_const.h"

static const uint8_t small_sizes[] = { 1, 2, 3, 4 };

static void read_block(struct cursor *cursor, uint64_t bytes, struct dwarf_value *value)
{
	value->class = DWARF_BLOCK;
	cursor_skip(cursor, bytes);
}

/* Forms that name a string or an index; false: not one of them. */
static bool read_string_form(const struct dwarf_unit *unit, struct cursor *cursor, uint16_t form, struct dwarf_value *value)
{
	switch (form) {
	case FORM_STRING:
		value->class = DWARF_STRING;
		value->string = cursor_string(cursor);
		return true;
	case FORM_STRP:
		value->class = DWARF_STRING_OFFSET;
		break;
	case FORM_LINE_STRP:
		value->class = DWARF_STRING_LINE;
		break;
	case FORM_STRP_SUP: case FORM_GNU_STRP_ALT:
		value->class = DWARF_STRING_ALT;
		break;
	case FORM_STRX: case FORM_GNU_STR_INDEX:
		value->class = DWARF_STRING_INDEX;
		value->number = cursor_uleb(cursor);
		return true;
	case FORM_STRX1: case FORM_STRX2: case FORM_STRX3: case FORM_STRX4:
		value->class = DWARF_STRING_INDEX;
		value->number = cursor_fixed(cursor, small_sizes[form - FORM_STRX1]);
		return true;
	default:
		return false;
	}
	value->number = cursor_fixed(cursor, unit->offset_size);
	return true;
}

static bool read_reference_form(const struct dwarf_unit *unit, struct cursor *cursor, uint16_t form,
				struct dwarf_value *value)
{
	value->class = DWARF_REFERENCE;
	switch (form) {
	case FORM_REF1: case FORM_REF2: case FORM_REF4: case FORM_REF8:
		value->number = unit->offset + cursor_fixed(cursor, (size_t)1 << (form - FORM_REF1));
		break;
	case FORM_REF_UDATA:
		value->number = unit->offset + cursor_uleb(cursor);
		break;
	case FORM_REF_ADDR:
		value->number = cursor_fixed(cursor, unit->version <= 2 ? unit->address_size : unit->offset_size);
		break;
	case FORM_GNU_REF_ALT: case FORM_REF_SUP4: case FORM_REF_SUP8:
		value->class = DWARF_REFERENCE_ALT;
		value->number = cursor_fixed(cursor, form == FORM_GNU_REF_ALT ? unit->offset_size :
						     form == FORM_REF_SUP4 ? 4 : 8);
		break;
	case FORM_REF_SIG8: /* into a type unit: no code there */
		value->class = DWARF_NONE;
		cursor_skip(cursor, 8);
		break;
	default:
		return false;
	}
	return true;
}

static bool read_address_form(const struct dwarf_unit *unit, struct cursor *cursor, uint16_t form,
			      struct dwarf_value *value)
{
	switch (form) {
	case FORM_ADDR:
		value->class = DWARF_ADDRESS;
		value->number = cursor_fixed(cursor, unit->address_size);
		return true;
	case FORM_ADDRX: case FORM_GNU_ADDR_INDEX:
		value->class = DWARF_ADDRESS_INDEX;
		value->number = cursor_uleb(cursor);
		return true;
	case FORM_ADDRX1: case FORM_ADDRX2: case FORM_ADDRX3: case FORM_ADDRX4:
		value->class = DWARF_ADDRESS_INDEX;
		value->number = cursor_fixed(cursor, small_sizes[form - FORM_ADDRX1]);
		return true;
	case FORM_SEC_OFFSET:
		value->class = DWARF_OFFSET;
		value->number = cursor_fixed(cursor, unit->offset_size);
		return true;
	case FORM_RNGLISTX: case FORM_LOCLISTX:
		value->class = DWARF_LIST_INDEX;
		value->number = cursor_uleb(cursor);
		return true;
	default:
		return false;
	}
}

static void read_plain_form(struct cursor *cursor, uint16_t form, int64_t implicit, struct dwarf_value *value)
{
	value->class = DWARF_CONSTANT;
	switch (form) {
	case FORM_DATA1: case FORM_FLAG:
		value->number = cursor_u8(cursor);
		break;
	case FORM_DATA2:
		value->number = cursor_fixed(cursor, 2);
		break;
	case FORM_DATA4:
		value->number = cursor_fixed(cursor, 4);
		break;
	case FORM_DATA8:
		value->number = cursor_fixed(cursor, 8);
		break;
	case FORM_SDATA:
		value->number = (uint64_t)cursor_sleb(cursor);
		break;
	case FORM_UDATA:
		value->number = cursor_uleb(cursor);
		break;
	case FORM_IMPLICIT_CONST:
		value->number = (uint64_t)implicit;
		break;
	case FORM_FLAG_PRESENT:
		value->number = 1;
		break;
	case FORM_DATA16:
		read_block(cursor, 16, value);
		break;
	case FORM_BLOCK1:
		read_block(cursor, cursor_u8(cursor), value);
		break;
	case FORM_BLOCK2:
		read_block(cursor, cursor_fixed(cursor, 2), value);
		break;
	case FORM_BLOCK4:
		read_block(cursor, cursor_fixed(cursor, 4), value);
		break;
	case FORM_BLOCK: case FORM_EXPRLOC:
		read_block(cursor, cursor_uleb(cursor), value);
		break;
	default: /* unknown: nothing behind it can be found */
		value->class = DWARF_NONE;
		cursor_fail(cursor);
	}
}

void dwarf_read_form(const struct dwarf_unit *unit, struct cursor *cursor, const struct dwarf_attribute *attribute,
		     struct dwarf_value *ret_value)
{
	struct dwarf_value value = { 0 };
	uint16_t form = attribute->form;

	if (form == FORM_INDIRECT) {
		uint64_t real = cursor_uleb(cursor);

		/* the inner form may be neither indirect nor implicit (7.5.3); 0 is unknown and fails */
		form = real == FORM_INDIRECT || real == FORM_IMPLICIT_CONST || real > UINT16_MAX ? 0 : (uint16_t)real;
	}
	if (!read_string_form(unit, cursor, form, &value) && !read_address_form(unit, cursor, form, &value) &&
	    !read_reference_form(unit, cursor, form, &value))
		read_plain_form(cursor, form, attribute->implicit, &value);
	if (cursor->failed)
		value = (struct dwarf_value){ 0 };
	*ret_value = value;
}

/* Most of a walk is this: entries of which nothing is wanted. */
void dwarf_skip_form(const struct dwarf_unit *unit, struct cursor *cursor, const struct dwarf_attribute *attribute)
{
	struct dwarf_value value;

	if (attribute->size != UINT32_MAX)
		return cursor_skip(cursor, attribute->size);
	switch (attribute->form) {
	case FORM_EXPRLOC: case FORM_BLOCK:
		return cursor_skip(cursor, cursor_uleb(cursor));
	case FORM_UDATA: case FORM_SDATA: case FORM_LOCLISTX: case FORM_RNGLISTX: case FORM_STRX: case FORM_ADDRX:
	case FORM_REF_UDATA:
		cursor_uleb(cursor);
		return;
	default:
		dwarf_read_form(unit, cursor, attribute, &value);
	}
}

static const char *string_at(const struct dwarf_section *section, uint64_t offset)
{
	struct cursor cursor = cursor_make(section->bytes, section->size, offset, section->size);

	return cursor_string(&cursor);
}

/* base + index * size, or the end of the address space when that overflows */
static uint64_t slot(uint64_t base, uint64_t index, uint64_t size)
{
	uint64_t offset;

	if (__builtin_mul_overflow(index, size, &offset) || __builtin_add_overflow(offset, base, &offset))
		return UINT64_MAX;
	return offset;
}

const char *dwarf_string(struct dwarf *dwarf, const struct dwarf_unit *unit, const struct dwarf_value *value)
{
	const struct dwarf_section *offsets;
	struct cursor cursor;
	uint64_t offset;

	switch (value->class) {
	case DWARF_STRING:
		return value->string;
	case DWARF_STRING_OFFSET:
		return string_at(dwarf_section(dwarf, DWARF_STR), value->number);
	case DWARF_STRING_LINE:
		return string_at(dwarf_section(dwarf, DWARF_LINE_STR), value->number);
	case DWARF_STRING_ALT:
		return dwarf->alt ? string_at(dwarf_section(dwarf->alt, DWARF_STR), value->number) : NULL;
	case DWARF_STRING_INDEX:
		offsets = dwarf_section(dwarf, DWARF_STR_OFFSETS);
		cursor = cursor_make(offsets->bytes, offsets->size,
				     slot(unit->str_offsets_base, value->number, unit->offset_size), offsets->size);
		offset = cursor_fixed(&cursor, unit->offset_size);
		return cursor.failed ? NULL : string_at(dwarf_section(dwarf, DWARF_STR), offset);
	default:
		return NULL;
	}
}

bool dwarf_address(struct dwarf *dwarf, const struct dwarf_unit *unit, const struct dwarf_value *value,
		   uint64_t *ret_address)
{
	const struct dwarf_section *section;
	struct cursor cursor;
	uint64_t address = value->number;

	if (value->class == DWARF_ADDRESS_INDEX) {
		section = dwarf_section(dwarf, DWARF_ADDR);
		cursor = cursor_make(section->bytes, section->size,
				     slot(unit->addr_base, value->number, unit->address_size), section->size);
		address = cursor_fixed(&cursor, unit->address_size);
		if (cursor.failed)
			return false;
	} else if (value->class != DWARF_ADDRESS) {
		return false;
	}
	*ret_address = address;
	return true;
}

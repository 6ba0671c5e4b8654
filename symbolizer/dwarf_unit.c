/* SPDX-License-Identifier: Apache-2.0 */
/* The units of .debug_info: sections, headers, and what a unit's first entry says about it. */
#include "dwarf_unit.h"

#include "dwarf_const.h"
#include "dwarf_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

const struct dwarf_section *dwarf_section(struct dwarf *dwarf, enum dwarf_section_id id)
{
	static const char *const names[DWARF_SECTIONS] = {
		[DWARF_INFO] = ".debug_info", [DWARF_ABBREV] = ".debug_abbrev", [DWARF_STR] = ".debug_str",
		[DWARF_LINE] = ".debug_line", [DWARF_LINE_STR] = ".debug_line_str", [DWARF_RANGES] = ".debug_ranges",
		[DWARF_RNGLISTS] = ".debug_rnglists", [DWARF_ADDR] = ".debug_addr",
		[DWARF_STR_OFFSETS] = ".debug_str_offsets",
	};
	struct dwarf_section *section = &dwarf->sections[id];
	const struct image_section *found;
	char old_name[32];

	if (section->tried)
		return section;
	section->tried = true; /* inflated when first needed; a broken one is not tried again */
	found = image_find(dwarf->image, names[id]);
	if (!found) { /* the GNU way to compress, before ELF had one */
		snprintf(old_name, sizeof(old_name), ".z%s", names[id] + 1);
		found = image_find(dwarf->image, old_name);
	}
	if (found && image_bytes(dwarf->image, found, &section->bytes, &section->size) < 0) {
		section->bytes = NULL;
		section->size = 0;
	}
	return section;
}

/* The header after its length; false: not a unit this reader knows. */
static bool read_header(struct cursor *cursor, struct dwarf_unit *unit)
{
	unit->version = (uint8_t)cursor_fixed(cursor, 2);
	if (unit->version < 2 || unit->version > 5)
		return false;
	if (unit->version == 5) {
		unit->type = cursor_u8(cursor);
		unit->address_size = cursor_u8(cursor);
		unit->abbrev_offset = cursor_fixed(cursor, unit->offset_size);
	} else {
		unit->type = UNIT_COMPILE;
		unit->abbrev_offset = cursor_fixed(cursor, unit->offset_size);
		unit->address_size = cursor_u8(cursor);
	}
	if (unit->type == UNIT_SKELETON || unit->type == UNIT_SPLIT_COMPILE)
		cursor_skip(cursor, 8);
	if (unit->type == UNIT_TYPE || unit->type == UNIT_SPLIT_TYPE)
		cursor_skip(cursor, 8U + unit->offset_size);
	return !cursor->failed && (unit->address_size == 8 || unit->address_size == 4);
}

static int add_unit(struct dwarf *dwarf, const struct dwarf_unit *unit, size_t *room)
{
	struct dwarf_unit *grown;

	if (dwarf->unit_count == DWARF_MAX_UNITS) {
		dwarf->units_dropped++;
		return -E2BIG;
	}
	if (dwarf->unit_count == *room) {
		*room = *room ? *room * 2 : 64;
		grown = realloc(dwarf->units, *room * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		dwarf->units = grown;
	}
	dwarf->units[dwarf->unit_count++] = *unit;
	return 0;
}

static int read_units(struct dwarf *dwarf)
{
	const struct dwarf_section *info = &dwarf->sections[DWARF_INFO];
	struct cursor cursor = cursor_make(info->bytes, info->size, 0, info->size);
	size_t room = 0, bad = 0;

	while (cursor_left(&cursor) > 4 && bad < DWARF_MAX_BAD_UNITS) {
		struct dwarf_unit unit = { .offset = (uint64_t)(cursor.at - info->bytes), .offset_size = 4,
					   .line_offset = UINT64_MAX };
		uint64_t length = cursor_fixed(&cursor, 4);
		struct cursor body;

		if (length == UINT32_MAX) {
			length = cursor_fixed(&cursor, 8);
			unit.offset_size = 8;
		}
		if (length > cursor_left(&cursor)) { /* cut short: read what is there, it is the last one */
			length = cursor_left(&cursor);
			dwarf->units_dropped++;
		}
		body = cursor;
		body.end = body.at + length;
		cursor.at += length;
		unit.end = (uint64_t)(cursor.at - info->bytes);
		if (!read_header(&body, &unit) || unit.end - unit.offset > UINT32_MAX) {
			bad += 1;
			continue;
		}
		unit.entries = (uint64_t)(body.at - info->bytes);
		int error = add_unit(dwarf, &unit, &room);
		if (error == -E2BIG)
			break;
		if (error)
			return error;
	}
	dwarf->units_dropped += bad;
	return 0;
}

int dwarf_open(struct dwarf *dwarf, struct image *image)
{
	const struct dwarf_section *info;
	int error;

	*dwarf = (struct dwarf){ .image = image, .scan_budget = DWARF_MAX_SCANS };
	dwarf_abbrevs_init(dwarf);
	info = dwarf_section(dwarf, DWARF_INFO);
	error = info->bytes ? read_units(dwarf) : -ENODATA;
	if (!error && !dwarf->unit_count)
		error = -ENODATA;
	if (error)
		dwarf_close(dwarf);
	return error;
}

void dwarf_close(struct dwarf *dwarf)
{
	if (!dwarf->image)
		return;
	free(dwarf->units);
	dwarf_abbrevs_free(dwarf);
	*dwarf = (struct dwarf){ 0 };
}

struct dwarf_unit *dwarf_unit_at(struct dwarf *dwarf, uint64_t offset)
{
	size_t low = 0, high = dwarf->unit_count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (dwarf->units[middle].end <= offset)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == dwarf->unit_count || dwarf->units[low].entries > offset)
		return NULL;
	return &dwarf->units[low];
}

struct cursor dwarf_cursor(struct dwarf *dwarf, const struct dwarf_unit *unit, uint64_t offset)
{
	const struct dwarf_section *info = dwarf_section(dwarf, DWARF_INFO);

	return cursor_make(info->bytes, info->size, offset, unit->end);
}



/* The directory waits as a value: a string index may stand before the base it counts from. */
static void take_root(struct dwarf_unit *unit, struct dwarf_value *directory, uint16_t name,
		      const struct dwarf_value *value)
{
	switch (name) {
	case AT_COMP_DIR:
		*directory = *value;
		break;
	case AT_STMT_LIST: /* data4 and data8 before DWARF 4 */
		if (value->class == DWARF_OFFSET || value->class == DWARF_CONSTANT)
			unit->line_offset = value->number;
		break;
	case AT_STR_OFFSETS_BASE:
		unit->str_offsets_base = value->number;
		break;
	case AT_ADDR_BASE: case AT_GNU_ADDR_BASE:
		unit->addr_base = value->number;
		break;
	case AT_RNGLISTS_BASE:
		unit->rnglists_base = value->number;
		break;
	default:
		break;
	}
}

bool dwarf_unit_root(struct dwarf *dwarf, struct dwarf_unit *unit, struct dwarf_extent *ret_extent)
{
	struct dwarf_attribute attributes[DWARF_MAX_ATTRIBUTES];
	struct cursor cursor = dwarf_cursor(dwarf, unit, unit->entries);
	struct dwarf_extent extent = { 0 };
	struct dwarf_abbrev abbrev;
	struct dwarf_value directory = { 0 };

	if (unit->type == UNIT_TYPE || unit->type == UNIT_SPLIT_TYPE)
		return false;
	if (!dwarf_abbrev_scan(dwarf, unit, cursor_uleb(&cursor), &abbrev, attributes) ||
	    (abbrev.tag != TAG_COMPILE_UNIT && abbrev.tag != TAG_SKELETON_UNIT))
		return false; /* partial and type units are only referred to */
	for (uint32_t at = 0; at < abbrev.count && !cursor.failed; at++) {
		struct dwarf_value value;

		dwarf_read_form(unit, &cursor, &attributes[at], &value);
		if (!dwarf_extent_take(&extent, attributes[at].name, &value))
			take_root(unit, &directory, attributes[at].name, &value);
	}
	unit->directory = dwarf_string(dwarf, unit, &directory);
	if (!dwarf_address(dwarf, unit, &extent.low, &unit->low_pc))
		unit->low_pc = 0;
	*ret_extent = extent;
	return true;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Where an entry's code lies: low and high pc, .debug_ranges of DWARF 3 and 4, .debug_rnglists of DWARF 5. */
#include "dwarf_range.h"

#include "dwarf_const.h"

bool dwarf_extent_take(struct dwarf_extent *extent, uint16_t name, const struct dwarf_value *value)
{
	if (name == AT_LOW_PC)
		extent->low = *value;
	else if (name == AT_HIGH_PC)
		extent->high = *value;
	else if (name == AT_RANGES)
		extent->ranges = *value;
	else
		return false;
	return true;
}

/* Linkers write 0, -1 or -2 for the start of code they removed; such a range would claim others' addresses. */
static bool keep_range(const struct dwarf_unit *unit, uint64_t low, uint64_t high, struct dwarf_range *ret_range)
{
	uint64_t top = unit->address_size == 4 ? UINT32_MAX : UINT64_MAX;

	if (!low || low >= top - 1 || high <= low || high > top - 1)
		return false;
	*ret_range = (struct dwarf_range){ low, high };
	return true;
}

static bool plain_range(struct dwarf *dwarf, const struct dwarf_unit *unit, const struct dwarf_extent *extent,
			struct dwarf_range *ret_range)
{
	uint64_t low, high;

	if (!dwarf_address(dwarf, unit, &extent->low, &low))
		return false;
	if (extent->high.class == DWARF_CONSTANT) { /* since DWARF 4: a length */
		if (__builtin_add_overflow(low, extent->high.number, &high))
			return false;
	} else if (!dwarf_address(dwarf, unit, &extent->high, &high)) {
		return false;
	}
	return keep_range(unit, low, high, ret_range);
}

/* .debug_rnglists entries by index: an offset table at the unit's base, offsets counted from there. */
static uint64_t list_offset(struct dwarf *dwarf, const struct dwarf_unit *unit, uint64_t index)
{
	const struct dwarf_section *section = dwarf_section(dwarf, DWARF_RNGLISTS);
	struct cursor cursor;
	uint64_t offset;

	if (index > section->size || unit->rnglists_base > section->size)
		return UINT64_MAX;
	cursor = cursor_make(section->bytes, section->size, unit->rnglists_base + index * unit->offset_size, section->size);
	offset = cursor_fixed(&cursor, unit->offset_size);
	return cursor.failed || offset > section->size ? UINT64_MAX : unit->rnglists_base + offset;
}

static void start_list(struct dwarf *dwarf, const struct dwarf_unit *unit, const struct dwarf_value *ranges,
		       struct dwarf_range_walk *walk)
{
	const struct dwarf_section *section;
	uint64_t offset = ranges->number;

	if (ranges->class == DWARF_LIST_INDEX)
		offset = list_offset(dwarf, unit, ranges->number);
	else if (ranges->class != DWARF_OFFSET && ranges->class != DWARF_CONSTANT)
		offset = UINT64_MAX;
	walk->list5 = unit->version >= 5;
	section = dwarf_section(dwarf, walk->list5 ? DWARF_RNGLISTS : DWARF_RANGES);
	walk->cursor = cursor_make(section->bytes, section->size, offset, section->size);
	walk->base = unit->low_pc;
}

static void set_base(const struct dwarf_unit *unit, struct dwarf_range_walk *walk, uint64_t base)
{
	walk->base = base;
	walk->removed = !base || base >= (unit->address_size == 4 ? UINT32_MAX : UINT64_MAX) - 1;
}

/* One entry of .debug_ranges; false: it is the end. An empty range: nothing to keep. */
static bool read_entry4(const struct dwarf_unit *unit, struct dwarf_range_walk *walk, struct dwarf_range *ret_raw)
{
	uint64_t low = cursor_fixed(&walk->cursor, unit->address_size);
	uint64_t high = cursor_fixed(&walk->cursor, unit->address_size);
	uint64_t top = unit->address_size == 4 ? UINT32_MAX : UINT64_MAX;

	*ret_raw = (struct dwarf_range){ 0 };
	if (walk->cursor.failed || (!low && !high))
		return false;
	if (low == top)
		set_base(unit, walk, high);
	else if (!walk->removed)
		*ret_raw = (struct dwarf_range){ walk->base + low, walk->base + high };
	return true;
}

static uint64_t indexed(struct dwarf *dwarf, const struct dwarf_unit *unit, struct cursor *cursor)
{
	struct dwarf_value value = { .class = DWARF_ADDRESS_INDEX, .number = cursor_uleb(cursor) };
	uint64_t address = 0;

	return dwarf_address(dwarf, unit, &value, &address) ? address : 0;
}

static bool read_entry5(struct dwarf *dwarf, const struct dwarf_unit *unit, struct dwarf_range_walk *walk,
			struct dwarf_range *ret_raw)
{
	uint64_t low = 0, high = 0;
	struct cursor *cursor = &walk->cursor;

	switch (cursor_u8(cursor)) {
	case RLE_BASE_ADDRESSX:
		set_base(unit, walk, indexed(dwarf, unit, cursor));
		break;
	case RLE_STARTX_ENDX:
		low = indexed(dwarf, unit, cursor);
		high = indexed(dwarf, unit, cursor);
		break;
	case RLE_STARTX_LENGTH:
		low = indexed(dwarf, unit, cursor);
		high = low + cursor_uleb(cursor);
		break;
	case RLE_OFFSET_PAIR:
		low = walk->base + cursor_uleb(cursor);
		high = walk->base + cursor_uleb(cursor);
		if (walk->removed)
			low = high = 0;
		break;
	case RLE_BASE_ADDRESS:
		set_base(unit, walk, cursor_fixed(cursor, unit->address_size));
		break;
	case RLE_START_END:
		low = cursor_fixed(cursor, unit->address_size);
		high = cursor_fixed(cursor, unit->address_size);
		break;
	case RLE_START_LENGTH:
		low = cursor_fixed(cursor, unit->address_size);
		high = low + cursor_uleb(cursor);
		break;
	default: /* the end, or a kind nobody has defined */
		return false;
	}
	*ret_raw = (struct dwarf_range){ low, high };
	return !cursor->failed;
}

bool dwarf_range_next(struct dwarf *dwarf, const struct dwarf_unit *unit, const struct dwarf_extent *extent,
		      struct dwarf_range_walk *walk, size_t *budget, struct dwarf_range *ret_range)
{
	struct dwarf_range raw;

	if (!walk->started) {
		walk->started = true;
		if (extent->ranges.class == DWARF_NONE) {
			walk->done = true;
			return plain_range(dwarf, unit, extent, ret_range);
		}
		start_list(dwarf, unit, &extent->ranges, walk);
	}
	while (!walk->done && *budget) {
		*budget -= 1;
		if (!(walk->list5 ? read_entry5(dwarf, unit, walk, &raw) : read_entry4(unit, walk, &raw)))
			break;
		if (keep_range(unit, raw.low, raw.high, ret_range))
			return true;
	}
	walk->done = true;
	return false;
}

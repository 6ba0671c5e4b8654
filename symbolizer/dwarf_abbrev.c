/* SPDX-License-Identifier: Apache-2.0 */
/* Abbreviation tables: which attributes an entry of a unit has, in which form. Read once a table, kept. */
#include "dwarf_unit.h"

#include "dwarf_const.h"
#include "dwarf_private.h"

#include <stdlib.h>

struct table_entry { /* sizes decide how long an entry is, so they are part of the key */
	struct {
		uint64_t offset;
		uint32_t version;
		uint16_t address_size, offset_size;
	} key;
	struct dwarf_abbrevs *table;
};

static uint32_t form_size(uint16_t form, const struct dwarf_unit *unit)
{
	switch (form) {
	case FORM_FLAG_PRESENT: case FORM_IMPLICIT_CONST:
		return 0;
	case FORM_DATA1: case FORM_FLAG: case FORM_REF1: case FORM_STRX1: case FORM_ADDRX1:
		return 1;
	case FORM_DATA2: case FORM_REF2: case FORM_STRX2: case FORM_ADDRX2:
		return 2;
	case FORM_STRX3: case FORM_ADDRX3:
		return 3;
	case FORM_DATA4: case FORM_REF4: case FORM_STRX4: case FORM_ADDRX4: case FORM_REF_SUP4:
		return 4;
	case FORM_DATA8: case FORM_REF8: case FORM_REF_SIG8: case FORM_REF_SUP8:
		return 8;
	case FORM_DATA16:
		return 16;
	case FORM_ADDR:
		return unit->address_size;
	case FORM_REF_ADDR:
		return unit->version <= 2 ? unit->address_size : unit->offset_size;
	case FORM_STRP: case FORM_LINE_STRP: case FORM_SEC_OFFSET: case FORM_STRP_SUP: case FORM_GNU_REF_ALT:
	case FORM_GNU_STRP_ALT:
		return unit->offset_size;
	default:
		return UINT32_MAX;
	}
}

/* One abbreviation; false at the end of the table or when it makes no sense. */
static bool read_abbrev(struct cursor *cursor, const struct dwarf_unit *unit, struct dwarf_abbrev *ret_abbrev,
			struct dwarf_attribute attributes[DWARF_MAX_ATTRIBUTES])
{
	struct dwarf_abbrev abbrev = { .code = cursor_uleb(cursor) };

	if (!abbrev.code)
		return false;
	abbrev.tag = (uint16_t)cursor_uleb(cursor);
	abbrev.children = cursor_u8(cursor) != 0;
	while (!cursor->failed) {
		uint64_t name = cursor_uleb(cursor), form = cursor_uleb(cursor);
		int64_t implicit = form == FORM_IMPLICIT_CONST ? cursor_sleb(cursor) : 0;
		uint32_t size = form_size((uint16_t)form, unit);

		if (!name && !form)
			break;
		if (abbrev.count == DWARF_MAX_ATTRIBUTES || name > UINT16_MAX || form > UINT16_MAX)
			return false;
		attributes[abbrev.count++] = (struct dwarf_attribute){ (uint16_t)name, (uint16_t)form, size, implicit };
		abbrev.fixed = size == UINT32_MAX || abbrev.fixed == UINT32_MAX ? UINT32_MAX : abbrev.fixed + size;
	}
	if (cursor->failed)
		return false;
	*ret_abbrev = abbrev;
	return true;
}

static bool make_room(void **array, size_t *capacity, size_t count, size_t size)
{
	size_t wanted = *capacity ? *capacity : 32;
	void *grown;

	if (count <= *capacity)
		return true;
	while (wanted < count)
		wanted *= 2;
	grown = realloc(*array, wanted * size);
	if (!grown)
		return false;
	*array = grown;
	*capacity = wanted;
	return true;
}

static int compare_codes(const void *left, const void *right)
{
	uint64_t a = ((const struct dwarf_abbrev *)left)->code, b = ((const struct dwarf_abbrev *)right)->code;

	return a < b ? -1 : a > b;
}

static bool fill_table(struct dwarf_abbrevs *table, struct cursor *cursor, const struct dwarf_unit *unit, size_t limit)
{
	struct dwarf_attribute attributes[DWARF_MAX_ATTRIBUTES];
	size_t abbrev_room = 0, attribute_room = 0;
	struct dwarf_abbrev abbrev;
	bool sorted = true;

	while (read_abbrev(cursor, unit, &abbrev, attributes)) {
		size_t total = table->attribute_count + abbrev.count;

		if (table->count == DWARF_MAX_ABBREVS || total * sizeof(attributes[0]) > limit ||
		    !make_room((void **)&table->abbrevs, &abbrev_room, table->count + 1, sizeof(abbrev)) ||
		    !make_room((void **)&table->attributes, &attribute_room, total, sizeof(attributes[0])))
			return false;
		abbrev.first = (uint32_t)table->attribute_count;
		if (abbrev.count)
			memcpy(table->attributes + abbrev.first, attributes, abbrev.count * sizeof(attributes[0]));
		sorted = sorted && (!table->count || table->abbrevs[table->count - 1].code < abbrev.code);
		table->abbrevs[table->count++] = abbrev;
		table->attribute_count = total;
	}
	if (!sorted)
		qsort(table->abbrevs, table->count, sizeof(abbrev), compare_codes);
	return table->count > 0;
}

static struct dwarf_abbrevs *read_table(struct dwarf *dwarf, const struct dwarf_unit *unit)
{
	const struct dwarf_section *section = dwarf_section(dwarf, DWARF_ABBREV);
	struct cursor cursor = cursor_make(section->bytes, section->size, unit->abbrev_offset, section->size);
	struct dwarf_abbrevs *table = calloc(1, sizeof(*table));
	size_t bytes;

	if (!table)
		return NULL;
	if (!fill_table(table, &cursor, unit, DWARF_MAX_ABBREV_BYTES - dwarf->abbrev_bytes)) {
		free(table->abbrevs);
		free(table->attributes);
		free(table);
		return NULL;
	}
	bytes = table->count * sizeof(*table->abbrevs) + table->attribute_count * sizeof(*table->attributes);
	dwarf->abbrev_bytes += bytes < DWARF_MAX_ABBREV_BYTES - dwarf->abbrev_bytes
				       ? bytes : DWARF_MAX_ABBREV_BYTES - dwarf->abbrev_bytes;
	return table;
}

const struct dwarf_abbrevs *dwarf_unit_abbrevs(struct dwarf *dwarf, struct dwarf_unit *unit)
{
	struct table_entry key = { .key = { unit->abbrev_offset, unit->version, unit->address_size, unit->offset_size } };
	struct table_entry *entry;
	bool is_new;

	if (unit->abbrevs)
		return unit->abbrevs;
	entry = hmap_insert(&dwarf->tables, &key.key, &is_new);
	if (!entry)
		return NULL;
	if (is_new)
		entry->table = read_table(dwarf, unit); /* a broken one stays NULL: it is not read again */
	unit->abbrevs = entry->table;
	return unit->abbrevs;
}

const struct dwarf_abbrev *dwarf_abbrev_find(const struct dwarf_abbrevs *abbrevs, uint64_t code)
{
	struct dwarf_abbrev key = { .code = code };

	if (code - 1 < abbrevs->count && abbrevs->abbrevs[code - 1].code == code) /* what compilers write */
		return &abbrevs->abbrevs[code - 1];
	return bsearch(&key, abbrevs->abbrevs, abbrevs->count, sizeof(key), compare_codes);
}

bool dwarf_abbrev_scan(struct dwarf *dwarf, const struct dwarf_unit *unit, uint64_t code, struct dwarf_abbrev *ret_abbrev,
		       struct dwarf_attribute attributes[DWARF_MAX_ATTRIBUTES])
{
	const struct dwarf_section *section = dwarf_section(dwarf, DWARF_ABBREV);
	struct cursor cursor = cursor_make(section->bytes, section->size, unit->abbrev_offset, section->size);

	for (; dwarf->scan_budget; dwarf->scan_budget--) {
		if (!read_abbrev(&cursor, unit, ret_abbrev, attributes))
			return false;
		if (ret_abbrev->code == code)
			return true;
	}
	return false;
}

void dwarf_abbrevs_free(struct dwarf *dwarf)
{
	struct table_entry *entry;

	for (size_t at = 0; (entry = hmap_next(&dwarf->tables, &at));) {
		if (!entry->table)
			continue;
		free(entry->table->abbrevs);
		free(entry->table->attributes);
		free(entry->table);
	}
	hmap_done(&dwarf->tables);
}

void dwarf_abbrevs_init(struct dwarf *dwarf)
{
	struct table_entry *entry;

	hmap_init(&dwarf->tables, sizeof(entry->key), sizeof(*entry), DWARF_MAX_UNITS);
}

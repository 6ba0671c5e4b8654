/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The units of one image's .debug_info and what their entries are made of: abbreviations, forms, strings,
 * addresses, ranges. DWARF 2 to 5, 32 and 64 bit. Owns what it allocates; strings point into the image.
 * Everything read is bounded by the section it is in, and everything kept by a limit below.
 */
#ifndef SYMBOLIZER_DWARF_UNIT_H
#define SYMBOLIZER_DWARF_UNIT_H

#include "base/hmap.h"
#include "dwarf_read.h"
#include "image.h"

#define DWARF_MAX_UNITS (1U << 18)
#define DWARF_MAX_BAD_UNITS 4096
#define DWARF_MAX_ABBREVS (1U << 16) /* in one table */
#define DWARF_MAX_ATTRIBUTES 1024    /* of one entry */
#define DWARF_MAX_ABBREV_BYTES (32U << 20)
#define DWARF_MAX_SCANS (16U << 20) /* abbreviations passed over to find the root entries of all units */
#define DWARF_MAX_CHAIN 8 /* abstract origins and specifications followed: real chains have 3 */

enum dwarf_section_id {
	DWARF_INFO, DWARF_ABBREV, DWARF_STR, DWARF_LINE, DWARF_LINE_STR, DWARF_RANGES, DWARF_RNGLISTS, DWARF_ADDR,
	DWARF_STR_OFFSETS, DWARF_SECTIONS
};

struct dwarf_section {
	const uint8_t *bytes;
	size_t size;
	bool tried;
};

struct dwarf_attribute {
	uint16_t name, form;
	uint32_t size;    /* of the form in this table's units, UINT32_MAX if it varies */
	int64_t implicit; /* DW_FORM_implicit_const */
};

struct dwarf_abbrev {
	uint64_t code;
	uint32_t first, count; /* of the table's attributes */
	uint32_t fixed;        /* bytes of an entry's attributes, UINT32_MAX if they vary */
	uint16_t tag;
	bool children;
};

struct dwarf_abbrevs {
	struct dwarf_abbrev *abbrevs;
	struct dwarf_attribute *attributes;
	size_t count, attribute_count;
};

struct dwarf_unit {
	uint64_t offset, end, entries; /* in .debug_info: header, next unit, first entry */
	uint64_t abbrev_offset;
	const struct dwarf_abbrevs *abbrevs; /* read when first needed, kept by the dwarf */
	uint64_t str_offsets_base, addr_base, rnglists_base;
	uint64_t low_pc, line_offset;  /* line_offset UINT64_MAX: no line program */
	const char *directory;         /* of the compiler; NULL: unknown */
	uint8_t version, address_size, offset_size, type;
};

struct dwarf {
	struct image *image;
	struct dwarf *alt; /* the file two dwz'd files share; NULL: references into it stay unnamed */
	struct dwarf_section sections[DWARF_SECTIONS];
	struct dwarf_unit *units;
	size_t unit_count, units_dropped;
	struct hmap tables; /* abbreviation tables by offset and sizes */
	size_t abbrev_bytes, scan_budget;
};

enum dwarf_class {
	DWARF_NONE, DWARF_CONSTANT, DWARF_ADDRESS, DWARF_ADDRESS_INDEX, DWARF_OFFSET, DWARF_LIST_INDEX, DWARF_REFERENCE,
	DWARF_REFERENCE_ALT, DWARF_STRING, DWARF_STRING_OFFSET, DWARF_STRING_LINE, DWARF_STRING_INDEX,
	DWARF_STRING_ALT, DWARF_BLOCK
};

struct dwarf_value {
	enum dwarf_class class;
	uint64_t number;    /* a reference is an offset in .debug_info */
	const char *string; /* DWARF_STRING only */
};

struct dwarf_extent { /* where an entry's code lies, as attributes */
	struct dwarf_value low, high, ranges;
};

int dwarf_open(struct dwarf *dwarf, struct image *image); /* reads the unit headers; -ENODATA: no .debug_info */
void dwarf_close(struct dwarf *dwarf);                     /* zeroed is fine */
const struct dwarf_section *dwarf_section(struct dwarf *dwarf, enum dwarf_section_id id); /* bytes NULL: none */
struct dwarf_unit *dwarf_unit_at(struct dwarf *dwarf, uint64_t offset); /* the unit an offset lies in, or NULL */
struct cursor dwarf_cursor(struct dwarf *dwarf, const struct dwarf_unit *unit, uint64_t offset);
const struct dwarf_abbrevs *dwarf_unit_abbrevs(struct dwarf *dwarf, struct dwarf_unit *unit); /* NULL: unreadable */
const struct dwarf_abbrev *dwarf_abbrev_find(const struct dwarf_abbrevs *abbrevs, uint64_t code);
void dwarf_read_form(const struct dwarf_unit *unit, struct cursor *cursor, const struct dwarf_attribute *attribute,
		     struct dwarf_value *ret_value);

void dwarf_skip_form(const struct dwarf_unit *unit, struct cursor *cursor, const struct dwarf_attribute *attribute);
const char *dwarf_string(struct dwarf *dwarf, const struct dwarf_unit *unit, const struct dwarf_value *value);
bool dwarf_address(struct dwarf *dwarf, const struct dwarf_unit *unit, const struct dwarf_value *value,
		   uint64_t *ret_address);
/* Reads the unit's first entry into the unit; its code's extent is given back. False: not a unit with code. */
bool dwarf_unit_root(struct dwarf *dwarf, struct dwarf_unit *unit, struct dwarf_extent *ret_extent);
/* True if the attribute belongs to an extent and was stored there. */
bool dwarf_extent_take(struct dwarf_extent *extent, uint16_t name, const struct dwarf_value *value);

#endif

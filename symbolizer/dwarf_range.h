/* SPDX-License-Identifier: Apache-2.0 */
/* Walks the address ranges of a unit, function or call. Owns nothing. */
#ifndef SYMBOLIZER_DWARF_RANGE_H
#define SYMBOLIZER_DWARF_RANGE_H

#include "dwarf_unit.h"

struct dwarf_range {
	uint64_t low, high;
};

/*
 * The ranges of an extent, one after the other, without what a linker left for removed code. Every entry read
 * takes one from *budget; at 0 the rest is dropped. Call with a zeroed walk until false.
 */
struct dwarf_range_walk {
	bool started, done, list5;
	bool removed; /* the base address is a linker's mark of removed code */
	struct cursor cursor;
	uint64_t base;
};
bool dwarf_range_next(struct dwarf *dwarf, const struct dwarf_unit *unit, const struct dwarf_extent *extent,
		      struct dwarf_range_walk *walk, size_t *budget, struct dwarf_range *ret_range);

#endif

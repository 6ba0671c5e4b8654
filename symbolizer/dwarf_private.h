/* SPDX-License-Identifier: Apache-2.0 */
/* What dwarf_unit.c takes from dwarf_abbrev.c. */
#ifndef SYMBOLIZER_DWARF_PRIVATE_H
#define SYMBOLIZER_DWARF_PRIVATE_H

#include "dwarf_unit.h"

void dwarf_abbrevs_init(struct dwarf *dwarf);
void dwarf_abbrevs_free(struct dwarf *dwarf);
/* One abbreviation of a unit without reading, or keeping, its table: most units are never looked into. */
bool dwarf_abbrev_scan(struct dwarf *dwarf, const struct dwarf_unit *unit, uint64_t code, struct dwarf_abbrev *ret_abbrev,
		       struct dwarf_attribute attributes[DWARF_MAX_ATTRIBUTES]);

#endif

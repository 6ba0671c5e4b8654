/* SPDX-License-Identifier: Apache-2.0 */
/* What dwarf_line.c takes from dwarf_files.c: the directories and files a line program begins with. */
#ifndef SYMBOLIZER_DWARF_FILES_H
#define SYMBOLIZER_DWARF_FILES_H

#include "dwarf_line.h"

void dwarf_files_read(struct dwarf *dwarf, const struct dwarf_unit *unit, struct cursor *cursor, struct dwarf_lines *lines);
bool dwarf_files_add(struct dwarf_lines *lines, const char *name, uint64_t directory);

#endif

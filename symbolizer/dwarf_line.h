/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A unit's line program, run once: rows sorted by address and the files they name. Owns both; strings point
 * into the image. At most DWARF_MAX_ROWS rows are kept: 20 KB can claim 20 million.
 */
#ifndef SYMBOLIZER_DWARF_LINE_H
#define SYMBOLIZER_DWARF_LINE_H

#include "dwarf_unit.h"

#define DWARF_MAX_ROWS (2U << 20)
#define DWARF_MAX_SEQUENCES (1U << 18)
#define DWARF_MAX_FILES (1U << 16) /* and as many directories */

struct dwarf_row {
	uint32_t at; /* from the sequence's low */
	uint32_t line, file;
};

struct dwarf_sequence {
	uint64_t low, high;
	uint32_t first, count; /* of the rows */
};

struct dwarf_file {
	const char *name; /* NULL: unknown */
	uint32_t directory;
};

struct dwarf_lines {
	struct dwarf_row *rows;
	struct dwarf_sequence *sequences; /* sorted by low */
	struct dwarf_file *files;
	const char **directories;
	size_t row_count, sequence_count, file_count, directory_count, rows_dropped;
	uint8_t version; /* file and directory numbers begin with 0 since 5, with 1 before */
};

/* 0 or negative errno; what could be read before an error in the program is kept and is success. */
int dwarf_lines_read(struct dwarf *dwarf, const struct dwarf_unit *unit, struct dwarf_lines *ret_lines);
void dwarf_lines_done(struct dwarf_lines *lines);
const struct dwarf_row *dwarf_lines_find(const struct dwarf_lines *lines, uint64_t vaddr); /* NULL: none */
/* Writes the path of a file number: compilation directory, directory, name. Its length; 0: unknown. */
size_t dwarf_lines_path(const struct dwarf_lines *lines, const struct dwarf_unit *unit, uint64_t file, char *out, size_t size);
size_t dwarf_lines_bytes(const struct dwarf_lines *lines);

#endif

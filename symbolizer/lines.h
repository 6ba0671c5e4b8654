/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Address -> inlined calls, files and lines, from an image's DWARF 2 to 5. Owns its tables and the path strings
 * it gives out; names point into the image, which must live longer. Units are found by an index of their own
 * ranges (clang and rustc write no .debug_aranges) and read when first hit; what was read is kept up to
 * LINES_MAX_BYTES, then all of it is dropped and read again as needed.
 */
#ifndef SYMBOLIZER_LINES_H
#define SYMBOLIZER_LINES_H

#include "image.h"

#define LINES_MAX_BYTES (64U << 20)
#define LINES_MAX_RANGES (1U << 20)
#define LINES_MAX_PATH_BYTES (8U << 20)

struct lines;

struct lines_call {
	const char *name;         /* DW_AT_name, as the source has it; NULL: unknown */
	const char *linkage_name; /* mangled; NULL: none, as in C */
	const char *file;         /* path as compiled; "" unknown. Valid as long as the lines */
	uint32_t line;            /* 0: unknown or made by the compiler */
	uint32_t start_line;      /* of the function's declaration; 0: unknown */
};

struct lines_stats { /* what a limit or broken data left out, and what is held */
	uint64_t units, units_dropped, ranges_dropped, entries_dropped, rows_dropped, evictions, bytes;
};

/* `alt`: the file .gnu_debugaltlink names, or NULL: names in it stay unknown. -ENODATA: no DWARF. */
int lines_new(struct image *image, struct image *alt, struct lines **ret_lines);
void lines_free(struct lines *lines); /* accepts NULL */
/*
 * The calls at an ELF virtual address, innermost first: all but the last were inlined into the next. Beyond
 * `max`, the innermost and the outermost are kept. 0: nothing known. One call without a name: only the line is.
 */
int lines_find(struct lines *lines, uint64_t vaddr, struct lines_call *ret_calls, size_t max);
void lines_stats(const struct lines *lines, struct lines_stats *ret_stats);

#endif

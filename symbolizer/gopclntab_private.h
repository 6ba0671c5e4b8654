/* SPDX-License-Identifier: Apache-2.0 */
/* What the reader of Go's tables (gopclntab.c) takes from the part that finds them in a file (gopclntab_find.c). */
#ifndef SYMBOLIZER_GOPCLNTAB_PRIVATE_H
#define SYMBOLIZER_GOPCLNTAB_PRIVATE_H

#include "symbolizer/gopclntab.h"

#define GOPCLNTAB_MAX_FUNCTIONS (4U << 20)

struct gopclntab {
	struct image *image;
	const uint8_t *bytes; /* from the header to the end of what holds it */
	size_t size;
	uint64_t vaddr;      /* of the header */
	bool is_old;         /* Go 1.18, 1.19 */
	uint32_t quantum;    /* program counters count in it */
	uint32_t functions;
	uint64_t names, units, files, values, table; /* offsets from the header, below size */
	uint64_t text;       /* where the first function lies */
	uint64_t function_data; /* of inlining trees; 0: not known */
};

struct gopclntab_function {
	uint64_t start; /* offset from text */
	uint32_t name, start_line, depth_values, file_values, line_values, unit;
	uint32_t inline_values, inline_tree; /* 0, UINT32_MAX: none */
	uint8_t flags;
};

struct gopclntab_cursor { /* walks a table of (value, length) pairs along a function's code */
	uint64_t at, pc;
	int64_t value;
	bool begun;
};

uint64_t gopclntab_entry(const struct gopclntab *table, uint32_t index); /* a function's start, or the last's end */
bool gopclntab_function(const struct gopclntab *table, uint32_t index, struct gopclntab_function *ret_function);
struct gopclntab_cursor gopclntab_values(const struct gopclntab *table, uint32_t offset, uint64_t start);
/* One pair further: `value` holds up to `pc`. False: the end, or broken. */
bool gopclntab_next(const struct gopclntab *table, struct gopclntab_cursor *cursor);
const char *gopclntab_string(const struct gopclntab *table, uint64_t offset); /* ends inside the table, or NULL */

/* Fills in all of *table from the image. 0 or -ENODATA. */
int gopclntab_locate(struct image *image, struct gopclntab *table);

#endif

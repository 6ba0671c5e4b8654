/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Address -> Go functions, files, lines and inlined calls, from the table that Go's runtime itself uses and that
 * therefore survives stripping (Go 1.18 and later). Owns nothing but its description of the table; names and
 * paths point into the image, which must live longer.
 */
#ifndef SYMBOLIZER_GOPCLNTAB_H
#define SYMBOLIZER_GOPCLNTAB_H

#include "image.h"

#include <stdbool.h>

struct gopclntab;

struct gopclntab_call {
	const char *name, *file; /* as Go has them; file "" where unknown */
	uint32_t line, start_line; /* 0: unknown */
};

int gopclntab_new(struct image *image, struct gopclntab **ret_table); /* -ENODATA: not a Go binary, or none known */
void gopclntab_free(struct gopclntab *table);                         /* accepts NULL */
/* The calls at an ELF virtual address, innermost first; beyond `max` the innermost and the outermost are kept. */
size_t gopclntab_find(const struct gopclntab *table, uint64_t vaddr, struct gopclntab_call *ret_calls, size_t max);
/* False: this version's inlining tables could not be located, all calls are plain functions. */
bool gopclntab_has_inlining(const struct gopclntab *table);

enum gopclntab_step { /* what leads from a place in the code to its caller */
	GOPCLNTAB_DEPTH,     /* the return address lies `depth` above the stack pointer, a saved rbp (depth > 0) below it */
	GOPCLNTAB_SWITCH,    /* another stack: rbp points at the frame there */
	GOPCLNTAB_SIGNAL,    /* the kernel's signal frame */
	GOPCLNTAB_OUTERMOST, /* nothing called it */
	GOPCLNTAB_NONE,      /* no code */
};
typedef void gopclntab_row_fn(void *context, uint64_t vaddr, enum gopclntab_step step, uint32_t depth);
/* Every place where the step changes, ascending, for the functions that touch [start, end); GOPCLNTAB_NONE ends the
 * table's last. */
void gopclntab_rows(const struct gopclntab *table, uint64_t start, uint64_t end, gopclntab_row_fn *row, void *context);
void gopclntab_range(const struct gopclntab *table, uint64_t *ret_start, uint64_t *ret_end); /* of its code */

#endif

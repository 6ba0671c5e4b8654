/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where functions begin in a stretch of code without call frame information: from the symbol table, or where that
 * names no local functions, from the calls in the text too. Owns the list of one stretch at a time.
 */
#ifndef SYMBOLIZER_UNWIND_STARTS_H
#define SYMBOLIZER_UNWIND_STARTS_H

#include "symbolizer/image.h"

#include <stdbool.h>

struct unwind_starts {
	struct image *image;
	const uint8_t *symbols; /* Elf64_Sym, unaligned */
	size_t symbol_count;
	const uint8_t *names; /* the symbols', not all of them terminated */
	size_t names_size;
	bool complete;   /* the table names local functions too */
	uint64_t root;   /* where the program begins to run, 0: a library */
	uint64_t budget; /* symbols and bytes of text that may still be read */
	uint64_t low, high; /* the stretch */
	struct unwind_start_list {
		uint64_t *at; /* ascending */
		size_t count, room;
	} sure, likely; /* likely: what calls seem to lead to; bytes that only look like a call are among them */
};

void unwind_starts_init(struct unwind_starts *starts, struct image *image);
void unwind_starts_done(struct unwind_starts *starts);
/* Makes [low, high) the stretch; `at_low`: a function begins there. What was given before is gone. */
void unwind_starts_load(struct unwind_starts *starts, uint64_t low, uint64_t high, bool at_low);
/* The starts in [low, high) of a list: how many. */
size_t unwind_starts_between(const struct unwind_start_list *list, uint64_t low, uint64_t high,
			     const uint64_t **ret_starts);
/* Where to begin so that the paths to vaddr are seen: at a sure start at or before it that is not too far. */
uint64_t unwind_starts_before(const struct unwind_starts *starts, uint64_t vaddr);

#endif

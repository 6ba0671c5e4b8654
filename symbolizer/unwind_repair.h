/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rules for the text that .eh_frame leaves out: from .debug_frame, from what linkers always write into their
 * stubs, or from the code itself (stack_height.h). Borrows the image; reads symbols and sections when first needed.
 * Work is bounded over its life: past that there are no rules.
 */
#ifndef SYMBOLIZER_UNWIND_REPAIR_H
#define SYMBOLIZER_UNWIND_REPAIR_H

#include "symbolizer/cfi.h"
#include "symbolizer/image.h"

struct unwind_repair;

struct unwind_gap { /* ELF virtual addresses, half open */
	uint64_t start, end; /* between two FDEs, or before the first and behind the last: 0, UINT64_MAX */
	uint64_t from, to;   /* the part of it that is wanted */
};

int unwind_repair_new(struct image *image, struct unwind_repair **ret_repair); /* 0 or -ENOMEM */
void unwind_repair_free(struct unwind_repair *repair);                         /* accepts NULL */
/* Gives rows from gap->from on, ascending. A rule whose `cfa` is 0 is none. */
void unwind_repair_gap(struct unwind_repair *repair, const struct unwind_gap *gap, cfi_row_fn *row, void *context);
/*
 * Whether frames need registers that only the rows of their callees can tell (cfi_section.follow): code that calls
 * while its CFA is in rbx or r12 to r15, as ld.so does when it binds a symbol. Looks only at small sections.
 */
bool unwind_repair_follows(const struct image *image, const struct cfi_section *section);

#endif

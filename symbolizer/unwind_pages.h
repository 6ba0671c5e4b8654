/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows in ascending order in, pages of a struct unwind_file out. Holds one page of rows, the escapes, the
 * page list and up to UNWIND_PAGES_BUFFER bytes of finished blocks; what is more goes to the descriptor at
 * once.
 */
#ifndef SYMBOLIZER_UNWIND_PAGES_H
#define SYMBOLIZER_UNWIND_PAGES_H

#include "abi/unwind.h"
#include "symbolizer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UNWIND_PAGES_BUFFER (1U << 17)

struct unwind_pages;

int unwind_pages_new(int fd, struct unwind_pages **ret_pages); /* the descriptor stays the caller's */
/* From here on only the pages from `first` up to `end` are kept; rows before them still say what is in force. */
void unwind_pages_begin(struct unwind_pages *pages, uint32_t first, uint32_t end);
/* What the last rows said goes on to the end of those pages. */
void unwind_pages_end(struct unwind_pages *pages);
void unwind_pages_free(struct unwind_pages *pages);            /* accepts NULL */
/* From `vaddr` on `rule` holds. Ascending; one at the same address replaces. Equal neighbours are one row. */
void unwind_pages_add(struct unwind_pages *pages, uint64_t vaddr, uint16_t rule);
uint16_t unwind_pages_escape(struct unwind_pages *pages, const struct unwind_escape *escape); /* -> its rule */
uint16_t unwind_pages_unsupported(struct unwind_pages *pages); /* the rule "cannot be said", and counts it */
bool unwind_pages_full(const struct unwind_pages *pages);      /* more rows would be dropped */
/* Writes all that is left; fills in the counts, `lost` FDEs included. */
int unwind_pages_finish(struct unwind_pages *pages, uint64_t lost, struct symbolizer_table *ret_table);

#endif

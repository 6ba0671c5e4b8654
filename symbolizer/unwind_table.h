/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compiles an image's .eh_frame, page by page as asked, into the rows by which the kernel side unwinds: a struct
 * unwind_file (include/symbolizer.h) with blocks as in include/abi/unwind.h. An image without .eh_frame gives a file
 * without pages: every look-up in it finds "no FDE here", which is the truth.
 */
#ifndef SYMBOLIZER_UNWIND_TABLE_H
#define SYMBOLIZER_UNWIND_TABLE_H

#include "symbolizer/image.h"

#define UNWIND_TABLE_MAX_ROWS (8U << 20)
#define UNWIND_TABLE_MAX_PAGES (1U << 15) /* 2 GiB of text, what x86-64's code model allows */

struct unwind_table;

int unwind_table_new(struct image *image, struct unwind_table **ret_table); /* the image must live longer */
void unwind_table_free(struct unwind_table *table);                         /* accepts NULL */
/*
 * Writes the rows of the `wanted` pages, ascending, from the start of `fd` and fills all but ret_report->reply. None
 * wanted: all of a file of at most SYMBOLIZER_WHOLE_PAGES; all of any file if `wanted` is NULL. 0 or -errno.
 */
int unwind_table_write(struct unwind_table *table, int fd, const uint64_t *wanted, size_t count,
		       struct symbolizer_table *ret_report);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: the pages of a file of unwind_table_write, and what a reader in the kernel relies on of each. The look-up
 * is the one of abi/unwind.h, written down a second time. */
#ifndef TESTS_TABLE_PAGE_H
#define TESTS_TABLE_PAGE_H

#include "abi/unwind.h"
#include "symbolizer/unwind_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

struct table {
	const uint8_t *bytes;
	size_t size;
	const struct unwind_file *header;
	const struct unwind_escape *escapes;
	const struct unwind_file_page *pages;
	struct symbolizer_table report;
};

static uint32_t page_rows(const struct table *table, const struct unwind_file_page *page)
{
	const uint16_t *starts = (const void *)(table->bytes + page->offset);

	return starts[UNWIND_BUCKETS] - starts[0];
}

/* Row `index` of a page: its rule, and where in the page it begins. */
static inline uint16_t page_row(const struct table *table, const struct unwind_file_page *page, uint32_t index,
				uint32_t *ret_pc)
{
	const uint16_t *starts = (const void *)(table->bytes + page->offset);
	const struct unwind_row *row = (const void *)(starts + starts[0] + index);
	uint32_t bucket = 0;

	while (starts[bucket + 1] <= starts[0] + index)
		bucket++;
	*ret_pc = bucket << UNWIND_BUCKET_BITS | row->pc;
	return starts[UNWIND_HEAD + row->rule];
}

/* Everything that a reader in the kernel relies on. */
static void check_page(const struct table *table, const struct unwind_file_page *page)
{
	const uint16_t *starts = (const void *)(table->bytes + page->offset), *palette = starts + UNWIND_HEAD;
	const struct unwind_row *rows = (const void *)(starts + starts[0]);
	uint32_t count = starts[UNWIND_BUCKETS] - starts[0], palette_count = starts[0] - UNWIND_HEAD;

	assert_int_equal(page->offset % 2, 0);
	assert_in_range(palette_count, 1, UNWIND_MAX_PALETTE);
	assert_int_equal(page->bytes, 2 * starts[UNWIND_BUCKETS]);
	for (uint32_t i = 0; i < palette_count; i++)
		if (palette[i] >> 14 == UNWIND_KIND_ESCAPE)
			assert_true((palette[i] & 0x3fff) < table->header->escapes);
	assert_true((uint64_t)page->offset + page->bytes <= table->size);
	assert_in_range(count, 1, UNWIND_MAX_PAGE_ROWS);
	assert_int_equal(rows[0].pc, 0);
	for (uint32_t bucket = 0; bucket < UNWIND_BUCKETS; bucket++) {
		uint32_t end = starts[bucket + 1] - starts[0];

		assert_true(starts[bucket + 1] >= starts[bucket]);
		for (uint32_t i = starts[bucket] - starts[0]; i < end; i++) {
			assert_true(rows[i].rule < palette_count);
			if (i && palette_count < UNWIND_MAX_PALETTE) /* the last place stands for many */
				assert_int_not_equal(rows[i].rule, rows[i - 1].rule);
			if (i + starts[0] > starts[bucket])
				assert_true(rows[i].pc > rows[i - 1].pc);
		}
	}
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests: the file of unwind_table_write, checked for all that a reader in the kernel relies on. The look-up is the one of abi/unwind.h, written down a second time.
 */
#ifndef TESTS_TABLE_READER_H
#define TESTS_TABLE_READER_H

#include "abi/unwind.h"
#include "base/clean.h"
#include "symbolizer/unwind_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
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

/* The pages wanted, all for NULL. */
static void table_open_pages(struct unwind_table *rows_of, const uint64_t *wanted, size_t count, struct table *ret_table)
{
	struct table table = { 0 };
	auto_fd int fd = memfd_create("rows", MFD_CLOEXEC);
	uint64_t rows = 0;
	struct stat status;

	assert_true(fd >= 0);
	assert_int_equal(unwind_table_write(rows_of, fd, wanted, count, &table.report), 0);
	assert_int_equal(fstat(fd, &status), 0);
	table.size = (size_t)status.st_size;
	assert_int_equal(table.size, table.report.bytes);
	table.bytes = mmap(NULL, table.size, PROT_READ, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(table.bytes, MAP_FAILED);
	table.header = (const void *)table.bytes;
	table.escapes = (const void *)(table.header + 1);
	table.pages = (const void *)(table.escapes + table.header->escapes);
	assert_int_equal(table.header->magic, UNWIND_FILE_MAGIC);
	assert_int_equal(table.header->pages, table.report.pages);
	assert_int_equal(table.header->escapes, table.report.escapes);
	assert_true(table.header->escapes <= UNWIND_MAX_ESCAPES);
	for (uint32_t i = 0; i < table.header->pages; i++) {
		if (i)
			assert_true(table.pages[i].page > table.pages[i - 1].page);
		check_page(&table, &table.pages[i]);
		rows += page_rows(&table, &table.pages[i]);
	}
	assert_int_equal(rows, table.report.rows);
	*ret_table = table;
}

static void table_open(struct image *image, struct table *ret_table)
{
	struct unwind_table *rows;

	assert_int_equal(unwind_table_new(image, &rows), 0);
	table_open_pages(rows, NULL, 0, ret_table);
	unwind_table_free(rows);
}

static void table_close(struct table *table)
{
	munmap((void *)table->bytes, table->size);
}

static inline void table_close_both(struct table *table, struct image *image)
{
	table_close(table);
	image_close(image);
}

static uint16_t table_find(const struct table *table, uint64_t vaddr)
{
	uint32_t low = 0, high = table->header->pages;
	const struct unwind_row *rows;
	const uint16_t *starts;
	uint32_t row;

	for (uint32_t middle; low < high;) {
		middle = (low + high) / 2;
		if (table->pages[middle].page < vaddr >> 16)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == table->header->pages || table->pages[low].page != vaddr >> 16)
		return UNWIND_RULE_NONE;
	starts = (const void *)(table->bytes + table->pages[low].offset);
	rows = (const void *)starts;
	row = starts[(vaddr >> 8) & 255];
	while (row < starts[((vaddr >> 8) & 255) + 1] && rows[row].pc <= (vaddr & 0xff))
		row++;
	return starts[UNWIND_HEAD + rows[row - 1].rule];
}

#endif

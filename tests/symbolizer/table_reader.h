/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: the file of unwind_table_write, checked whole. */
#ifndef TESTS_TABLE_READER_H
#define TESTS_TABLE_READER_H

#include "base/clean.h"
#include "table_page.h"

#include <sys/mman.h>
#include <sys/stat.h>

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

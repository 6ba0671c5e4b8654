/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests: the file of unwind_table_write, checked for all that a reader in the kernel relies on, and its
 * rules in words. The look-up is the one of abi/unwind.h, written down a second time.
 */
#ifndef TESTS_TABLE_READER_H
#define TESTS_TABLE_READER_H

#include "abi/unwind.h"
#include "base/clean.h"
#include "symbolizer/unwind_table.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
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

static uint16_t table_find(const struct table *table, uint64_t vaddr)
{
	uint32_t low = 0, high = table->header->pages;
	const struct unwind_row *rows;
	const uint16_t *starts;
	uint32_t row;

	while (low < high) {
		uint32_t middle = (low + high) / 2;

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

/* A rule in words, in which both sides are compared. */
static void describe_cfa(const struct unwind_escape *escape, char *text)
{
	const char *narrow = escape->flags & UNWIND_ESCAPE_NARROW ? "u32" : "";

	if (escape->cfa == UNWIND_CFA_REG)
		sprintf(text, "r%d%+d", escape->reg, escape->cfa_offset);
	else if (escape->cfa == UNWIND_CFA_DEREF)
		sprintf(text, "%s*(r%d%+d)%+d", narrow, escape->reg, escape->cfa_offset, escape->cfa_add);
	else if (escape->cfa == UNWIND_CFA_INDEX)
		sprintf(text, "*(r%d+8*r%d%+d)%+d", escape->reg, escape->index, escape->cfa_offset, escape->cfa_add);
	else
		sprintf(text, "plt %d", escape->cfa_offset);
}

static void describe_bp(const struct unwind_escape *escape, char *text)
{
	static const char *const forms[] = { [UNWIND_BP_SAME] = "same", [UNWIND_BP_UNKNOWN] = "unknown",
					     [UNWIND_BP_CFA] = "cfa%+d", [UNWIND_BP_VALUE] = "=cfa%+d" };

	if (escape->bp == UNWIND_BP_MEMORY)
		sprintf(text, "r%d%+d", escape->bp_reg, escape->bp_offset);
	else if (escape->bp == UNWIND_BP_REG)
		sprintf(text, "=r%d%+d", escape->bp_reg, escape->bp_offset);
	else if (escape->bp == UNWIND_BP_DEREF)
		sprintf(text, "*(r%d%+d)%+d", escape->bp_reg, escape->bp_offset, escape->bp_add);
	else
		sprintf(text, forms[escape->bp], escape->bp_offset);
}

static void describe_escape(const struct unwind_escape *escape, char *text)
{
	char bp[40], cfa[40];

	if (escape->cfa == UNWIND_CFA_NONE || escape->cfa == UNWIND_CFA_SIGNAL) {
		strcpy(text, escape->cfa == UNWIND_CFA_NONE ? "unsupported" : "signal");
		return;
	}
	describe_cfa(escape, cfa);
	describe_bp(escape, bp);
	text += sprintf(text, "%s bp %s ra ", cfa, bp);
	text += sprintf(text, escape->ra == UNWIND_RA_REG ? "r%d" : "%+d", escape->ra_offset);
	if (!(escape->flags & UNWIND_ESCAPE_SAVED))
		return;
	text += sprintf(text, " saved");
	for (int i = 0; i < UNWIND_SAVED; i++)
		text += sprintf(text, " %d", escape->saved[i]);
}

static void describe(const struct table *table, uint64_t vaddr, char *text)
{
	uint16_t rule = table_find(table, vaddr);
	int slot = rule >> 11 & 7, offset = (rule & 0x7ff) * 8;

	switch (rule >> 14) {
	case UNWIND_KIND_END:
		strcpy(text, rule == UNWIND_RULE_OUTERMOST ? "outermost" : "none");
		assert_true(rule <= UNWIND_RULE_OUTERMOST);
		return;
	case UNWIND_KIND_ESCAPE:
		describe_escape(&table->escapes[rule & 0x3fff], text);
		return;
	default:
		text += sprintf(text, "r%d%+d bp ", rule >> 14 == UNWIND_KIND_RSP ? 7 : 6, offset);
		text += slot ? sprintf(text, "cfa%+d", -8 * (slot + 1)) : sprintf(text, "same");
		strcpy(text, " ra -8");
	}
}

static inline double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

#endif

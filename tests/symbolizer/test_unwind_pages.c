/* SPDX-License-Identifier: Apache-2.0 */
/* Rows into page blocks, read back by the look-up that the kernel side compiles: every address of every page. */
#include "symbolizer/unwind_pages.h"

#include "base/clean.h"
#include "unwind_row.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#define PAGES 3
#define ADDRESSES (PAGES << UNWIND_PAGE_BITS)

struct result {
	struct symbolizer_table report;
	uint8_t *file;
	char *chunk; /* each page's block in turn, as the kernel side has it */
	const struct unwind_escape *escapes;
	const struct unwind_file_page *pages;
};

static struct unwind_pages *begin(int *ret_fd)
{
	struct unwind_pages *pages;

	*ret_fd = memfd_create("rows", MFD_CLOEXEC);
	assert_true(*ret_fd >= 0);
	assert_int_equal(unwind_pages_new(*ret_fd, &pages), 0);
	return pages;
}

static struct result end(struct unwind_pages *pages, int fd)
{
	struct result result = { 0 };
	const struct unwind_file *head;

	unwind_pages_add(pages, ADDRESSES, UNWIND_RULE_NONE);
	unwind_pages_end(pages);
	assert_int_equal(unwind_pages_finish(pages, 0, &result.report), 0);
	unwind_pages_free(pages);
	result.file = malloc(result.report.bytes);
	result.chunk = malloc(UNWIND_CHUNK_BYTES);
	assert_true(result.file && result.chunk);
	assert_int_equal(pread(fd, result.file, result.report.bytes, 0), result.report.bytes);
	close(fd);
	head = (const void *)result.file;
	result.escapes = (const void *)(head + 1);
	result.pages = (const void *)(result.escapes + head->escapes);
	assert_int_equal(head->pages, PAGES);
	return result;
}

static uint16_t find(const struct result *result, uint32_t address)
{
	const struct unwind_file_page *page = &result->pages[address >> UNWIND_PAGE_BITS];

	if (!(address & 0xffff))
		memcpy(result->chunk + 1024, result->file + page->offset, page->bytes);
	return unwind_find_rule(result->chunk, 1024, address & 0xffff);
}

static void done(struct result *result)
{
	free(result->file);
	free(result->chunk);
}

static void every_address_finds_its_rule(void **state)
{
	auto_free uint16_t *wanted = calloc(ADDRESSES, sizeof(*wanted));
	struct unwind_pages *pages;
	struct result result;
	uint16_t rule = 0;
	int fd;

	(void)state;
	for (unsigned seed = 1; seed <= 8; seed++) {
		uint32_t last = 0;

		srandom(seed);
		pages = begin(&fd);
		for (uint32_t at = 0; at < ADDRESSES; at++) {
			bool dense = (at >> 8) % 7 == 3; /* a bucket with a row each byte */

			if (!at || (dense && at - last < 300) || random() % (seed * 20) == 0) {
				rule = UNWIND_RULE(UNWIND_KIND_RSP, random() % 8, 1 + random() % 20);
				unwind_pages_add(pages, at, rule);
				last = at;
			}
			wanted[at] = rule;
		}
		result = end(pages, fd);
		for (uint32_t at = 0; at < ADDRESSES; at++)
			assert_int_equal(find(&result, at), wanted[at]);
		assert_int_equal(result.report.unsupported, 0);
		done(&result);
	}
}

/* A palette has 256 places: the rules that come last are told as not expressible, and counted. */
static void rules_past_the_palette_are_unsupported(void **state)
{
	struct unwind_pages *pages;
	struct result result;
	int fd;

	(void)state;
	pages = begin(&fd);
	for (uint32_t page = 0; page < PAGES; page++)
		for (uint32_t i = 0; i < 300; i++) /* page 1 has 300 rules, the others 100 */
			unwind_pages_add(pages, page << 16 | i * 200,
					 UNWIND_RULE(UNWIND_KIND_RBP, 1, 1 + (page == 1 ? i : i % 100)));
	result = end(pages, fd);
	for (uint32_t at = 0; at < ADDRESSES; at++) {
		uint32_t page = at >> 16, i = (at & 0xffff) / 200;
		uint16_t rule = find(&result, at);

		i = i < 300 ? i : 299;
		if (page == 1 && i >= 255) {
			assert_int_equal(rule >> 14, UNWIND_KIND_ESCAPE);
			assert_int_equal(result.escapes[rule & 0x3fff].cfa, UNWIND_CFA_NONE);
		} else {
			assert_int_equal(rule, UNWIND_RULE(UNWIND_KIND_RBP, 1, 1 + (page == 1 ? i : i % 100)));
		}
	}
	assert_int_equal(result.report.unsupported, 45);
	done(&result);
}

/* A row each byte does not fit: the page's first 16384 do, then it says that it does not know. */
static void rows_past_the_page_are_unsupported(void **state)
{
	struct unwind_pages *pages;
	struct result result;
	int fd;

	(void)state;
	pages = begin(&fd);
	for (uint32_t at = 0; at < ADDRESSES; at++)
		unwind_pages_add(pages, at, UNWIND_RULE(UNWIND_KIND_RSP, 0, 1 + at % 2));
	result = end(pages, fd);
	for (uint32_t at = 0; at < ADDRESSES; at++) {
		if ((at & 0xffff) < UNWIND_MAX_PAGE_ROWS - 1)
			assert_int_equal(find(&result, at), UNWIND_RULE(UNWIND_KIND_RSP, 0, 1 + at % 2));
		else
			assert_int_equal(find(&result, at) >> 14, UNWIND_KIND_ESCAPE);
	}
	assert_int_equal(result.report.rows, PAGES * UNWIND_MAX_PAGE_ROWS);
	done(&result);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_address_finds_its_rule),
		cmocka_unit_test(rules_past_the_palette_are_unsupported),
		cmocka_unit_test(rows_past_the_page_are_unsupported),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

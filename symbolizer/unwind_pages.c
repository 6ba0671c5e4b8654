/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The back end of the table compiler: rows become page blocks, rules too rare for 16 bits become escapes.
 * Small files are written packed and at once; where the blocks outgrow the buffer, room for all the escapes
 * and pages there can be is left in front of them as a hole, which a memfd does not store.
 */
#include "symbolizer/unwind_pages.h"

#include "symbolizer/unwind_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE_BYTES (1U << UNWIND_PAGE_BITS)
#define ESCAPE_SLOTS (2 * UNWIND_MAX_ESCAPES) /* of the hash, a power of two */
#define RESERVED                                                                                              \
	(sizeof(struct unwind_file) + UNWIND_MAX_ESCAPES * sizeof(struct unwind_escape) +                     \
	 UNWIND_TABLE_MAX_PAGES * sizeof(struct unwind_file_page))

struct full_row {
	uint16_t pc, rule;
};

struct unwind_pages {
	int fd, error;
	uint32_t first, end; /* pages that are wanted */
	uint32_t page; /* the one being filled */
	uint16_t rule; /* in force at its end */
	uint32_t row_count;
	struct full_row rows[UNWIND_MAX_PAGE_ROWS];
	uint16_t palette[UNWIND_MAX_PALETTE];
	uint32_t palette_count;
	uint8_t palette_place[1U << 16]; /* rule -> index, if the palette has it there */
	struct unwind_escape *escapes;
	uint16_t escape_slots[ESCAPE_SLOTS]; /* index + 1 */
	uint32_t escape_count, escape_capacity;
	uint16_t none; /* the rule of the escape UNWIND_CFA_NONE, 0: not made yet */
	struct unwind_file_page *list; /* offsets count from the first block until the end */
	uint32_t page_count, page_capacity;
	uint64_t total_rows, unsupported;
	uint64_t spilled; /* bytes of blocks already in the file */
	size_t buffered;
	_Alignas(2) uint8_t buffer[UNWIND_PAGES_BUFFER];
};

int unwind_pages_new(int fd, struct unwind_pages **ret_pages)
{
	/* So big that it comes fresh from the kernel: the parts that stay unused cost nothing. */
	struct unwind_pages *pages = calloc(1, sizeof(*pages));

	if (!pages)
		return -ENOMEM;
	pages->fd = fd;
	unwind_pages_begin(pages, 0, UINT32_MAX);
	*ret_pages = pages;
	return 0;
}

void unwind_pages_free(struct unwind_pages *pages)
{
	if (!pages)
		return;
	free(pages->escapes);
	free(pages->list);
	free(pages);
}

static int write_all(int fd, const void *bytes, size_t size, uint64_t offset)
{
	const uint8_t *at = bytes;

	while (size) {
		ssize_t wrote = pwrite(fd, at, size, (off_t)offset);

		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote <= 0)
			return wrote < 0 ? -errno : -EIO;
		at += wrote;
		offset += (uint64_t)wrote;
		size -= (size_t)wrote;
	}
	return 0;
}

static void spill(struct unwind_pages *pages)
{
	if (!pages->error)
		pages->error = write_all(pages->fd, pages->buffer, pages->buffered, RESERVED + pages->spilled);
	pages->spilled += pages->buffered;
	pages->buffered = 0;
}

/* The array with twice the room. NULL: there is no memory, and pages->error says so. */
static void *grow(struct unwind_pages *pages, void *array, size_t size, uint32_t *capacity)
{
	uint32_t wanted = *capacity ? *capacity * 2 : 64;
	void *bigger = reallocarray(array, wanted, size);

	if (bigger)
		*capacity = wanted;
	else
		pages->error = -ENOMEM;
	return bigger;
}

static struct unwind_file_page *add_page(struct unwind_pages *pages)
{
	if (pages->page_count == UNWIND_TABLE_MAX_PAGES ||
	    pages->total_rows + pages->row_count > UNWIND_TABLE_MAX_ROWS)
		return NULL;
	if (pages->page_count == pages->page_capacity) {
		void *bigger = grow(pages, pages->list, sizeof(*pages->list), &pages->page_capacity);

		if (!bigger)
			return NULL;
		pages->list = bigger;
	}
	return &pages->list[pages->page_count++];
}

static bool in_palette(const struct unwind_pages *pages, uint16_t rule)
{
	uint8_t place = pages->palette_place[rule];

	return place < pages->palette_count && pages->palette[place] == rule;
}

/* The last place is kept for "cannot be said", which stands for all rules that come too late. */
static uint8_t palette_index(struct unwind_pages *pages, uint16_t rule)
{
	if (!in_palette(pages, rule) && pages->palette_count >= UNWIND_MAX_PALETTE - 1)
		rule = unwind_pages_unsupported(pages);
	if (!in_palette(pages, rule) && pages->palette_count == UNWIND_MAX_PALETTE)
		return UNWIND_MAX_PALETTE - 1; /* without memory even that has no rule, and the file is given up */
	if (!in_palette(pages, rule)) {
		pages->palette_place[rule] = (uint8_t)pages->palette_count;
		pages->palette[pages->palette_count++] = rule;
	}
	return pages->palette_place[rule];
}

/* The page as a block; its size in bytes. */
static size_t write_block(struct unwind_pages *pages, uint16_t *block)
{
	uint32_t row = 0, first;

	pages->palette_count = 0;
	for (uint32_t i = 0; i < pages->row_count; i++)
		pages->rows[i].rule = palette_index(pages, pages->rows[i].rule);
	first = UNWIND_HEAD + pages->palette_count;
	for (uint32_t bucket = 0; bucket <= UNWIND_BUCKETS; bucket++) {
		while (row < pages->row_count && (uint32_t)pages->rows[row].pc >> UNWIND_BUCKET_BITS < bucket)
			row++;
		block[bucket] = (uint16_t)(first + row);
	}
	memcpy(block + UNWIND_HEAD, pages->palette, pages->palette_count * sizeof(uint16_t));
	for (uint32_t i = 0; i < pages->row_count; i++) {
		const struct unwind_row packed = { (uint8_t)pages->rows[i].pc, (uint8_t)pages->rows[i].rule };

		memcpy(block + first + i, &packed, sizeof(packed));
	}
	return (first + pages->row_count) * sizeof(uint16_t);
}

/* The finished page goes into the buffer, unless no FDE touches it. */
static void end_page(struct unwind_pages *pages)
{
	struct unwind_file_page *page;
	size_t bytes;

	if (pages->page < pages->first || pages->page >= pages->end || !pages->row_count ||
	    (pages->row_count == 1 && pages->rows[0].rule == UNWIND_RULE_NONE))
		return;
	page = add_page(pages);
	if (!page)
		return;
	if (UNWIND_MAX_BLOCK_BYTES > UNWIND_PAGES_BUFFER - pages->buffered)
		spill(pages);
	bytes = write_block(pages, (void *)(pages->buffer + pages->buffered));
	*page = (struct unwind_file_page){ pages->page, (uint32_t)(pages->spilled + pages->buffered),
					   (uint32_t)bytes };
	pages->buffered += bytes;
	pages->total_rows += pages->row_count;
}

static void begin_page(struct unwind_pages *pages, uint32_t page)
{
	pages->page = page;
	pages->rows[0] = (struct full_row){ 0, pages->rule };
	pages->row_count = 1;
}

static void move_to_page(struct unwind_pages *pages, uint32_t page)
{
	end_page(pages);
	/* A function longer than a page: the pages inside it hold nothing but its rule. */
	if (pages->rule != UNWIND_RULE_NONE) {
		uint32_t between = pages->page < pages->first ? pages->first : pages->page + 1;

		for (; between < page && between < pages->end && !unwind_pages_full(pages); between++) {
			begin_page(pages, between);
			end_page(pages);
		}
	}
	begin_page(pages, page);
}

void unwind_pages_begin(struct unwind_pages *pages, uint32_t first, uint32_t end)
{
	pages->first = first;
	pages->end = end;
	pages->rule = UNWIND_RULE_NONE;
	pages->row_count = 0;
}

void unwind_pages_end(struct unwind_pages *pages)
{
	if (pages->row_count && pages->page < pages->end)
		move_to_page(pages, pages->end);
	pages->row_count = 0;
}

void unwind_pages_add(struct unwind_pages *pages, uint64_t vaddr, uint16_t rule)
{
	uint32_t page = (uint32_t)(vaddr >> UNWIND_PAGE_BITS);
	uint16_t pc = (uint16_t)vaddr;
	struct full_row *last;

	if (rule == pages->rule && pages->row_count)
		return;
	if (page != pages->page || !pages->row_count)
		move_to_page(pages, page);
	pages->rule = rule;
	last = &pages->rows[pages->row_count - 1];
	if (pc == last->pc) {
		last->rule = rule;
		if (pages->row_count > 1 && last[-1].rule == rule)
			pages->row_count--;
	} else if (pages->row_count < UNWIND_MAX_PAGE_ROWS) {
		last[1] = (struct full_row){ pc, rule };
		pages->row_count++;
	} else { /* no compiler makes this: a row each 4 bytes. The rest of the page is unknown */
		last->rule = unwind_pages_unsupported(pages);
	}
}

static uint16_t add_escape(struct unwind_pages *pages, const struct unwind_escape *escape)
{
	if (pages->escape_count == pages->escape_capacity) {
		void *bigger = grow(pages, pages->escapes, sizeof(*pages->escapes), &pages->escape_capacity);

		if (!bigger)
			return UNWIND_RULE_NONE;
		pages->escapes = bigger;
	}
	pages->escapes[pages->escape_count] = *escape;
	return UNWIND_RULE(UNWIND_KIND_ESCAPE, 0, pages->escape_count++);
}

uint16_t unwind_pages_unsupported(struct unwind_pages *pages)
{
	static const struct unwind_escape none = { .cfa = UNWIND_CFA_NONE, .bp = UNWIND_BP_UNKNOWN };

	pages->unsupported++;
	if (!pages->none) /* the last index is kept free for it */
		pages->none = add_escape(pages, &none);
	return pages->none;
}

uint16_t unwind_pages_escape(struct unwind_pages *pages, const struct unwind_escape *escape)
{
	uint64_t hash = 0;
	uint32_t words[sizeof(*escape) / 4];
	uint32_t slot;
	uint16_t rule;

	memcpy(words, escape, sizeof(words));
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		hash = (hash ^ words[i]) * 0x9e3779b97f4a7c15ULL;
	for (slot = (uint32_t)(hash >> 40) % ESCAPE_SLOTS; pages->escape_slots[slot];
	     slot = (slot + 1) % ESCAPE_SLOTS) {
		uint32_t index = pages->escape_slots[slot] - 1U;

		if (!memcmp(&pages->escapes[index], escape, sizeof(*escape)))
			return UNWIND_RULE(UNWIND_KIND_ESCAPE, 0, index);
	}
	if (pages->escape_count >= UNWIND_MAX_ESCAPES - !pages->none)
		return unwind_pages_unsupported(pages);
	rule = add_escape(pages, escape);
	if (rule != UNWIND_RULE_NONE)
		pages->escape_slots[slot] = (uint16_t)pages->escape_count;
	return rule;
}

bool unwind_pages_full(const struct unwind_pages *pages)
{
	return pages->error || pages->page_count == UNWIND_TABLE_MAX_PAGES ||
	       pages->total_rows + UNWIND_MAX_PAGE_ROWS > UNWIND_TABLE_MAX_ROWS;
}

static int write_front(struct unwind_pages *pages, uint64_t blocks)
{
	const struct unwind_file header = {
		UNWIND_FILE_MAGIC, pages->escape_count, pages->page_count, (uint32_t)pages->total_rows,
	};
	size_t escape_bytes = pages->escape_count * sizeof(struct unwind_escape);
	int error = write_all(pages->fd, &header, sizeof(header), 0);

	for (uint32_t i = 0; i < pages->page_count; i++)
		pages->list[i].offset += (uint32_t)blocks;
	if (!error)
		error = write_all(pages->fd, pages->escapes, escape_bytes, sizeof(header));
	if (!error)
		error = write_all(pages->fd, pages->list, pages->page_count * sizeof(*pages->list),
				  sizeof(header) + escape_bytes);
	return error;
}

int unwind_pages_finish(struct unwind_pages *pages, uint64_t lost, struct symbolizer_table *ret_table)
{
	uint64_t blocks = RESERVED;
	int error;

	pages->unsupported += lost;
	if (!pages->spilled)
		blocks = sizeof(struct unwind_file) + pages->escape_count * sizeof(struct unwind_escape) +
			 pages->page_count * sizeof(struct unwind_file_page);
	error = pages->error;
	if (!error)
		error = write_all(pages->fd, pages->buffer, pages->buffered, blocks + pages->spilled);
	if (!error)
		error = write_front(pages, blocks);
	if (error)
		return error;
	ret_table->bytes = blocks + pages->spilled + pages->buffered;
	ret_table->pages = pages->page_count;
	ret_table->rows = (uint32_t)pages->total_rows;
	ret_table->escapes = pages->escape_count;
	ret_table->unsupported = (uint32_t)(pages->unsupported < UINT32_MAX ? pages->unsupported : UINT32_MAX);
	return 0;
}

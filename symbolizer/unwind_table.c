/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The front end of the table compiler: finds .eh_frame, walks the FDEs of all text or of the pages asked for in the
 * order of their addresses, and gives each rule of the CFI interpreter to the pages. One broken FDE costs its own rows
 * only.
 */
#include "symbolizer/unwind_table.h"

#include "symbolizer/cfi_private.h"
#include "symbolizer/gopclntab.h"
#include "symbolizer/unwind_pages.h"
#include "symbolizer/unwind_repair.h"
#include "symbolizer/unwind_rule.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>

#define PADDING 15 /* functions are aligned to 16; a gap below it is no code and needs no row of its own */
#define START_CONTEXT_BYTES 64
#define REPAIR_REQUESTS 64 /* its budget is for so many */
#define ENCODING_TABLE 0x3b /* DW_EH_PE_datarel | sdata4: what all linkers write */

struct table_entry { /* of .eh_frame_hdr, relative to its address */
	int32_t start, fde;
};

struct unwind_table {
	struct image *image;
	struct cfi_section section;
	uint64_t budget; /* of the section, for each request anew */
	const uint8_t *entries; /* struct table_entry, unaligned; NULL: use `places` */
	uint64_t hdr_vaddr;
	struct cfi_place *places;
	size_t count;
	bool has_end;   /* the section's size is known, not only its segment's */
	uint64_t scan_bad; /* what cfi_scan could not use */
	struct unwind_repair *repair;
	uint32_t repair_requests;
	struct gopclntab *go; /* NULL: not of Go */
	uint64_t go_start, go_end;
	uint64_t text_start, text_end; /* there is no text outside */
};

struct build { /* of one request */
	struct unwind_table *table;
	struct unwind_pages *pages;
	struct cfi_rule last; /* the one `rule` was made of */
	uint16_t rule;
	bool any;
	uint64_t from, to; /* the addresses whose rows are wanted now */
	uint64_t end;   /* of the last FDE */
	uint64_t bad;   /* FDEs of which nothing could be used */
	bool go_done;   /* Go's rows are there already */
};

/* The bytes from a virtual address to the end of its segment's file part. */
static const uint8_t *bytes_from(const struct image *image, uint64_t vaddr, size_t *ret_size)
{
	const struct symbolizer_segment *segments;
	size_t count = image_segments(image, &segments);

	for (size_t i = 0; i < count; i++) {
		uint64_t into = vaddr - segments[i].vaddr;
		const uint8_t *bytes;

		if (vaddr < segments[i].vaddr || into >= segments[i].filesz)
			continue;
		bytes = image_at(image, vaddr, segments[i].filesz - into);
		if (bytes) {
			*ret_size = segments[i].filesz - into;
			return bytes;
		}
	}
	return NULL;
}

/* Text that can be executed and is in the file: rows for anything else could only waste memory. */
static bool is_text(const struct image *image, uint64_t start, uint64_t end)
{
	const struct symbolizer_segment *segments;
	size_t count = image_segments(image, &segments);

	for (size_t i = 0; i < count; i++)
		if (segments[i].flags & PF_X && start >= segments[i].vaddr &&
		    end - segments[i].vaddr <= segments[i].filesz && image_at(image, start, end - start))
			return end >> (UNWIND_PAGE_BITS + 32) == 0;
	return false;
}

static void add_row(void *context, uint64_t start, const struct cfi_rule *rule)
{
	struct build *build = context;

	if (!build->any || memcmp(&build->last, rule, sizeof(*rule))) {
		build->last = *rule;
		build->rule = unwind_rule_encode(build->pages, *rule, build->table->section.follow);
		build->any = true;
	}
	unwind_pages_add(build->pages, start, build->rule);
}

/* Of these nobody knows where callee-saved registers are. */
static void add_repaired_row(void *context, uint64_t start, const struct cfi_rule *rule)
{
	struct cfi_rule copy = *rule;

	copy.saved[0] = CFI_SAVED_UNKNOWN;
	add_row(context, start, &copy);
}

/* What no FDE covers, up to `end`. */
static void add_gap(struct build *build, uint64_t end)
{
	const struct unwind_gap gap = { build->end, end, build->end > build->from ? build->end : build->from,
					end < build->to ? end : build->to };

	if (end > build->end && end - build->end > PADDING && gap.from < gap.to)
		unwind_repair_gap(build->table->repair, &gap, add_repaired_row, build);
}

/* Go's linker writes no FDEs for Go's code. */
static void add_go_row(void *context, uint64_t start, enum gopclntab_step step, uint32_t depth)
{
	struct cfi_rule rule = { .cfa = UNWIND_CFA_REG, .cfa_reg = DWARF_RSP, .ra = CFI_RA_CFA, .ra_offset = -8,
				 .bp = CFI_BP_SAME };
	struct build *build = context;

	if (step == GOPCLNTAB_NONE) {
		unwind_pages_add(build->pages, start, UNWIND_RULE_NONE);
		return;
	}
	rule.cfa_offset = (int32_t)depth + 8;
	if (depth || step == GOPCLNTAB_SWITCH) {
		rule.bp = CFI_BP_CFA;
		rule.bp_offset = -16;
	}
	if (step == GOPCLNTAB_SIGNAL)
		rule.cfa = UNWIND_CFA_SIGNAL;
	if (step == GOPCLNTAB_OUTERMOST)
		rule.ra = CFI_RA_OUTERMOST;
	if (step == GOPCLNTAB_SWITCH) {
		rule.cfa = UNWIND_CFA_SWITCH;
		rule.cfa_reg = DWARF_RBP;
		rule.cfa_offset = 16;
	}
	add_row(build, start, &rule);
}

/* Where all of it is text that no FDE before covers; else Go's frame pointers have to do. */
static void add_go(struct build *build)
{
	struct unwind_table *table = build->table;

	if (!table->go || build->go_done)
		return;
	build->go_done = true;
	if (table->go_start < build->end || !is_text(table->image, table->go_start, table->go_end))
		return;
	add_gap(build, table->go_start);
	gopclntab_rows(table->go, build->from, build->to, add_go_row, build);
	build->end = table->go_end;
}

/* Where FDE number `index` starts and lies; false: not in the section. */
static bool read_place(const struct unwind_table *table, size_t index, struct cfi_place *ret_place)
{
	struct table_entry entry;

	if (!table->entries) {
		*ret_place = table->places[index];
		return true;
	}
	memcpy(&entry, table->entries + index * sizeof(entry), sizeof(entry));
	ret_place->start = table->hdr_vaddr + (uint64_t)(int64_t)entry.start;
	ret_place->offset = table->hdr_vaddr + (uint64_t)(int64_t)entry.fde - table->section.vaddr;
	return ret_place->offset < table->section.size;
}

/*
 * glibc's __start_context, which makecontext lets its function "return" to: it begins by leaving its stack, so that
 * nobody can have called it, but its FDE does not say so.
 */
static bool begins_context(const struct build *build, const struct cfi_fde *fde)
{
	static const uint8_t mov_rbx_rsp[] = { 0x48, 0x89, 0xdc };
	const uint8_t *code;

	if (fde->end - fde->start > START_CONTEXT_BYTES ||
	    fde->program_end - fde->program > START_CONTEXT_BYTES)
		return false;
	for (const uint8_t *at = fde->program; at < fde->program_end; at++)
		if (*at)
			return false;
	code = image_at(build->table->image, fde->start, sizeof(mov_rbx_rsp));
	return code && !memcmp(code, mov_rbx_rsp, sizeof(mov_rbx_rsp));
}

/* One FDE, cut where the next one starts. */
static void add_fde(struct build *build, const struct cfi_place *place, uint64_t next)
{
	struct unwind_table *table = build->table;
	struct cfi_fde fde;

	if (place->start >= table->go_start)
		add_go(build);
	if (cfi_fde(&table->section, place->offset, &fde) < 0 || fde.start != place->start ||
	    fde.start < build->end || !is_text(table->image, fde.start, fde.end)) {
		build->bad++;
		return;
	}
	add_gap(build, fde.start);
	if (begins_context(build, &fde)) /* a return address is looked up a byte before: in padding */
		unwind_pages_add(build->pages, fde.start - (fde.start > build->end), UNWIND_RULE_OUTERMOST);
	else
		cfi_run(&table->section, &fde, next, add_row, build);
	build->end = fde.end < next ? fde.end : next;
}

/* The first FDE whose rows can be wanted: the last that starts before, for it may reach far. */
static size_t find_first(const struct unwind_table *table, uint64_t vaddr)
{
	size_t low = 0, count = table->count;
	struct cfi_place place = { 0 };

	while (count > 1) {
		size_t half = count / 2;

		read_place(table, low + half, &place);
		if (place.start < vaddr)
			low += half;
		count -= half;
	}
	return low;
}

/* Rows for the addresses from build->from up to build->to, and what holds before. */
static void add_range(struct build *build)
{
	const struct unwind_table *table = build->table;
	struct cfi_place place = { 0 }, next = { 0 };
	uint64_t behind = UINT64_MAX; /* where the first FDE lies that is not wanted */

	build->end = 0;
	build->go_done = false;
	for (size_t i = find_first(table, build->from); i < table->count && !unwind_pages_full(build->pages); i++) {
		bool known = read_place(table, i, &place);

		if (place.start > build->to) {
			behind = place.start;
			break;
		}
		next.start = UINT64_MAX;
		if (i + 1 < table->count)
			read_place(table, i + 1, &next);
		if (known && place.start < next.start)
			add_fde(build, &place, next.start);
		else
			build->bad++;
	}
	if (build->to > table->go_start)
		add_go(build);
	add_gap(build, behind);
}

/* Takes the sorted table of .eh_frame_hdr, if there is one of the usual form and truly sorted. */
static void use_table(struct unwind_table *table, const uint8_t *hdr, struct cursor cursor)
{
	uint64_t count = hdr[2] == 0x03 ? cursor_fixed(&cursor, 4) : 0; /* udata4 */
	int32_t last = INT32_MIN;

	if (hdr[3] != ENCODING_TABLE || cursor.broken || !count || count > CFI_MAX_FDES ||
	    count > (uint64_t)(cursor.end - cursor.at) / sizeof(struct table_entry))
		return;
	for (size_t i = 0; i < count; i++) {
		struct table_entry entry;

		memcpy(&entry, cursor.at + i * sizeof(entry), sizeof(entry));
		if (entry.start < last)
			return;
		last = entry.start;
	}
	table->entries = cursor.at;
	table->count = count;
}

/* .eh_frame by what .eh_frame_hdr points at, in which case it may lack an end of its own. */
static const uint8_t *find_by_hdr(struct unwind_table *table, uint64_t *ret_vaddr, size_t *ret_size)
{
	uint64_t vaddr, hdr_size, frame;
	const uint8_t *hdr;
	struct cursor cursor;

	if (image_eh_frame_hdr(table->image, &vaddr, &hdr_size) < 0 || hdr_size < 4)
		return NULL;
	hdr = image_at(table->image, vaddr, hdr_size);
	if (!hdr || hdr[0] != 1)
		return NULL;
	cursor = (struct cursor){ hdr + 4, hdr + hdr_size, false };
	frame = cfi_pointer(&cursor, hdr[1], vaddr + 4);
	if (cursor.broken)
		return NULL;
	table->hdr_vaddr = vaddr;
	use_table(table, hdr, cursor);
	*ret_vaddr = frame;
	return bytes_from(table->image, frame, ret_size);
}

static const uint8_t *find_frame(struct unwind_table *table, uint64_t *ret_vaddr, size_t *ret_size)
{
	const struct image_section *section = image_find(table->image, ".eh_frame");
	const uint8_t *bytes = find_by_hdr(table, ret_vaddr, ret_size), *section_bytes;
	size_t size;

	if (!section || image_bytes(table->image, section, &section_bytes, &size) < 0)
		return bytes;
	if (bytes && *ret_vaddr == section->vaddr) {
		if (size < *ret_size)
			*ret_size = size;
		table->has_end = true;
		return bytes;
	}
	if (bytes && table->entries) /* the loader's own pointer wins over a section header nobody loads */
		return bytes;
	*ret_vaddr = section->vaddr;
	*ret_size = size;
	table->has_end = true;
	return section_bytes;
}

static int find_rows(struct unwind_table *table)
{
	const uint8_t *bytes;
	uint64_t vaddr;
	size_t size;
	long count;

	if (gopclntab_new(table->image, &table->go))
		table->go = NULL;
	else
		gopclntab_range(table->go, &table->go_start, &table->go_end);
	bytes = find_frame(table, &vaddr, &size);
	if (!bytes)
		return 0;
	cfi_init(&table->section, bytes, size, vaddr);
	table->section.follow = unwind_repair_follows(table->image, &table->section);
	table->budget = table->section.budget;
	if (table->entries)
		return 0;
	count = cfi_scan(&table->section, table->has_end, &table->places, &table->scan_bad);
	if (count < 0)
		return (int)count;
	table->count = (size_t)count;
	return 0;
}

/* Where text can be that is in the file. */
static void find_text(struct unwind_table *table)
{
	const struct symbolizer_segment *segments;
	size_t count = image_segments(table->image, &segments);

	table->text_start = UINT64_MAX;
	for (size_t i = 0; i < count; i++) {
		uint64_t start = segments[i].vaddr, end = start + segments[i].filesz;

		if (!(segments[i].flags & PF_X) || end <= start || end >> (UNWIND_PAGE_BITS + 32))
			continue;
		if (start < table->text_start)
			table->text_start = start;
		if (end > table->text_end)
			table->text_end = end;
	}
	if (!table->text_end)
		table->text_start = table->text_end = 0;
}

int unwind_table_new(struct image *image, struct unwind_table **ret_table)
{
	struct unwind_table *table = calloc(1, sizeof(*table));
	int error;

	if (!table)
		return -ENOMEM;
	table->image = image;
	error = find_rows(table);
	if (error) {
		unwind_table_free(table);
		return error;
	}
	find_text(table);
	*ret_table = table;
	return 0;
}

void unwind_table_free(struct unwind_table *table)
{
	if (!table)
		return;
	free(table->places);
	gopclntab_free(table->go);
	unwind_repair_free(table->repair);
	free(table);
}

/* Neighbouring pages are made in one go. */
static void add_pages(struct build *build, const uint64_t *wanted, size_t count)
{
	for (size_t i = 0, next; i < count; i = next) {
		next = i + 1;
		if (wanted[i] >= UINT32_MAX - SYMBOLIZER_MAX_ADDRESSES || (i && wanted[i] <= wanted[i - 1]))
			continue;
		while (next < count && wanted[next] == wanted[next - 1] + 1)
			next++;
		build->from = wanted[i] << UNWIND_PAGE_BITS;
		build->to = (wanted[next - 1] + 1) << UNWIND_PAGE_BITS;
		unwind_pages_begin(build->pages, (uint32_t)wanted[i], (uint32_t)wanted[next - 1] + 1);
		add_range(build);
		unwind_pages_end(build->pages);
	}
}

int unwind_table_write(struct unwind_table *table, int fd, const uint64_t *wanted, size_t count,
		       struct symbolizer_table *ret_report)
{
	struct build build = { .table = table, .to = UINT64_MAX, .bad = table->scan_bad };
	uint64_t first = table->text_start >> UNWIND_PAGE_BITS;
	uint64_t span = table->text_end ? ((table->text_end - 1) >> UNWIND_PAGE_BITS) + 1 - first : 0;
	int error = unwind_pages_new(fd, &build.pages);

	if (error)
		return error;
	table->section.budget = table->budget;
	if (table->repair_requests++ % REPAIR_REQUESTS == 0) {
		unwind_repair_free(table->repair);
		table->repair = NULL;
		error = unwind_repair_new(table->image, &table->repair);
	}
	if (error) {
		unwind_pages_free(build.pages);
		return error;
	}
	if (count) {
		add_pages(&build, wanted, count);
	} else if (span <= SYMBOLIZER_WHOLE_PAGES || !wanted) {
		add_range(&build);
		unwind_pages_end(build.pages);
	}
	error = unwind_pages_finish(build.pages, build.bad, ret_report);
	unwind_pages_free(build.pages);
	ret_report->first_page = (uint32_t)first;
	ret_report->span = (uint32_t)span;
	return error;
}

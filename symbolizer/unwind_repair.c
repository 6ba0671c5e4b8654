/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cuts a gap along the executable sections; each part goes to .debug_frame, to the stub's rule, or to the analysis
 * of its code, a window of functions at a time.
 */
#include "symbolizer/unwind_repair.h"

#include "base/clean.h"
#include "symbolizer/cfi_private.h"
#include "symbolizer/stack_height.h"
#include "symbolizer/unwind_starts.h"
#include "symbolizer/x86.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>

#define MAX_RANGES 64
#define MIN_DEBUG_BYTES 64 /* what start files leave out is smaller: no reason to inflate a section */
#define STUB_BYTES 16
#define BUDGET_BYTES (32U << 20) /* of code analysed for one image */

enum range_kind { RANGE_CODE, RANGE_PLT, RANGE_PLT_PLAIN };

struct range {
	uint64_t start, end;
	enum range_kind kind;
};

struct unwind_repair {
	struct image *image;
	struct range ranges[MAX_RANGES]; /* ascending, without overlaps */
	size_t range_count;
	struct unwind_starts starts;
	uint64_t budget;
	bool debug_read;
	struct cfi_section *debug; /* .debug_frame, NULL: none */
	struct cfi_place *places;
	size_t place_count;
};

struct part { /* of a gap, within one range */
	uint64_t low, high; /* where nothing else is known: of the range or the gap */
	uint64_t from, to;  /* what of it is wanted */
	const struct range *range;
	cfi_row_fn *row;
	void *context;
};

static const struct cfi_rule no_rule;

static enum range_kind section_kind(const char *name)
{
	if (!strcmp(name, ".plt"))
		return RANGE_PLT;
	return !strcmp(name, ".plt.sec") || !strcmp(name, ".plt.got") ? RANGE_PLT_PLAIN : RANGE_CODE;
}

static void add_range(struct unwind_repair *repair, uint64_t start, uint64_t size, enum range_kind kind)
{
	if (repair->range_count < MAX_RANGES && size && size <= UINT32_MAX && !((start + size) >> 48) &&
	    image_at(repair->image, start, size))
		repair->ranges[repair->range_count++] = (struct range){ start, start + size, kind };
}

static int compare_ranges(const void *left, const void *right)
{
	const struct range *a = left, *b = right;

	return a->start < b->start ? -1 : a->start > b->start;
}

/* Executable sections, or segments where there are none. */
static void find_ranges(struct unwind_repair *repair)
{
	const struct symbolizer_segment *segments;
	const struct image_section *sections;
	size_t count = image_sections(repair->image, &sections), kept = 0;
	uint64_t end = 0;

	for (size_t i = 0; i < count; i++)
		if ((sections[i].flags & (SHF_EXECINSTR | SHF_ALLOC)) == (SHF_EXECINSTR | SHF_ALLOC) &&
		    sections[i].type == SHT_PROGBITS)
			add_range(repair, sections[i].vaddr, sections[i].size, section_kind(sections[i].name));
	if (!repair->range_count) {
		count = image_segments(repair->image, &segments);
		for (size_t i = 0; i < count; i++)
			if (segments[i].flags & PF_X)
				add_range(repair, segments[i].vaddr, segments[i].filesz, RANGE_CODE);
	}
	qsort(repair->ranges, repair->range_count, sizeof(repair->ranges[0]), compare_ranges);
	for (size_t i = 0; i < repair->range_count; i++) {
		if (repair->ranges[i].start < end)
			continue;
		end = repair->ranges[i].end;
		repair->ranges[kept++] = repair->ranges[i];
	}
	repair->range_count = kept;
}

int unwind_repair_new(struct image *image, struct unwind_repair **ret_repair)
{
	struct unwind_repair *repair = calloc(1, sizeof(*repair));

	if (!repair)
		return -ENOMEM;
	repair->image = image;
	repair->budget = BUDGET_BYTES;
	find_ranges(repair);
	unwind_starts_init(&repair->starts, image);
	*ret_repair = repair;
	return 0;
}

void unwind_repair_free(struct unwind_repair *repair)
{
	if (!repair)
		return;
	unwind_starts_done(&repair->starts);
	free(repair->debug);
	free(repair->places);
	free(repair);
}

/* ---- the code itself --------------------------------------------------------------------------------------- */

struct clipped { /* rows before `from` only tell what holds there */
	const struct part *part;
	struct cfi_rule rule;
	bool given;
};

static void give(struct clipped *clipped, uint64_t start, const struct cfi_rule *rule)
{
	const struct part *part = clipped->part;

	if (start > part->from && !clipped->given)
		part->row(part->context, part->from, &clipped->rule);
	clipped->given |= start > part->from;
	clipped->rule = *rule;
	if (start > part->from && start < part->to)
		part->row(part->context, start, rule);
}

static void give_row(void *context, uint64_t start, const struct cfi_rule *rule)
{
	give(context, start, rule);
}

/* Analyses [low, high) and gives what of it is wanted. */
static void analyse(struct unwind_repair *repair, const struct part *part, uint64_t low, uint64_t high)
{
	const uint8_t *code = image_at(repair->image, low, high - low);
	struct clipped clipped = { .part = part };
	struct stack_height input = {
		.code = code, .vaddr = low, .size = (uint32_t)(high - low), .root = repair->starts.root,
		.named = repair->starts.complete,
	};

	if (!code || high - low > repair->budget) {
		part->row(part->context, part->from, &no_rule);
		return;
	}
	repair->budget -= high - low;
	input.start_count = unwind_starts_between(&repair->starts.sure, low, high, &input.starts);
	input.likely_count = unwind_starts_between(&repair->starts.likely, low, high, &input.likely);
	if (stack_height_run(&input, give_row, &clipped) < 0)
		give(&clipped, low, &no_rule);
	give(&clipped, part->to, &no_rule); /* if all rows lie before `from` */
}

enum padding { PADDING_NONE, PADDING_NOPS, PADDING_TRAPS };

/* What linkers put between functions, and nothing else. */
static enum padding padding(const struct unwind_repair *repair, uint64_t from, uint64_t to)
{
	const uint8_t *code = image_at(repair->image, from, to - from);
	enum padding kind = code ? PADDING_NOPS : PADDING_TRAPS;
	struct x86 instruction;

	for (uint64_t at = 0; code && at < to - from; at += instruction.length) {
		if (!code[at])
			instruction.length = 1;
		else if (x86_decode(code + at, to - from - at, &instruction) || instruction.kind != X86_NOP)
			return PADDING_NONE;
		if (!code[at] || code[at] == 0xcc)
			kind = PADDING_TRAPS;
	}
	return kind;
}

/* Windows end where a function begins, if that is known: one that were cut in two would be followed from its middle. */
static void analyse_part(struct unwind_repair *repair, struct part part)
{
	uint64_t to = part.to, low;
	enum padding kind = padding(repair, part.from, to);

	if (kind == PADDING_TRAPS)
		part.row(part.context, part.from, &no_rule);
	if (kind) /* the code before may run through nops: then its rule holds on */
		return;
	/* A section may begin with what was moved out of functions; behind an FDE a function begins. */
	unwind_starts_load(&repair->starts, part.low, part.high, part.low != part.range->start);
	low = unwind_starts_before(&repair->starts, part.from);
	while (part.from < to) {
		uint64_t high = to - low <= STACK_HEIGHT_WINDOW ? to : low + STACK_HEIGHT_WINDOW;

		if (high < to) {
			uint64_t last = unwind_starts_before(&repair->starts, high);

			if (last > part.from)
				high = last;
		}
		part.to = high;
		analyse(repair, &part, low, high);
		part.from = high;
		low = unwind_starts_before(&repair->starts, high);
	}
}

/*
 * The linker's stubs: a lazy one pushes its number before it jumps to the first, which pushes a word more. One with
 * endbr64 pushes a byte earlier.
 */
static void stub_part(struct unwind_repair *repair, const struct part *part)
{
	const struct range *range = part->range;
	struct cfi_rule rule = { .cfa = UNWIND_CFA_REG, .cfa_reg = DWARF_RSP, .cfa_offset = 8, .ra = CFI_RA_CFA,
				 .ra_offset = -8 };
	const uint8_t *code = image_at(repair->image, range->start, range->end - range->start);
	struct clipped clipped = { .part = part };

	if (range->kind == RANGE_PLT && code && range->end - range->start >= STUB_BYTES) {
		bool first = range->end - range->start >= 2 * STUB_BYTES && code[0] == 0xff && code[1] == 0x35;
		bool marked = !memcmp(code + (first ? STUB_BYTES : 0), "\xf3\x0f\x1e\xfa", 4);

		if (first) {
			rule.cfa_offset = 16;
			give(&clipped, range->start, &rule);
			rule.cfa_offset = 24;
			give(&clipped, range->start + 6, &rule);
		}
		rule.cfa = UNWIND_CFA_PLT;
		rule.cfa_offset = marked ? 10 : 11;
		give(&clipped, range->start + (first ? STUB_BYTES : 0), &rule);
	} else {
		give(&clipped, range->start, &rule);
	}
	give(&clipped, part->to, &no_rule);
}

/* ---- .debug_frame ------------------------------------------------------------------------------------------ */

static void read_debug(struct unwind_repair *repair)
{
	const struct image_section *section = image_find(repair->image, ".debug_frame");
	const uint8_t *bytes;
	uint64_t bad = 0;
	size_t size;
	long count;

	repair->debug_read = true;
	if (!section || image_bytes(repair->image, section, &bytes, &size) < 0)
		return;
	repair->debug = malloc(sizeof(*repair->debug));
	if (!repair->debug)
		return;
	cfi_init(repair->debug, bytes, size, 0);
	repair->debug->debug = true;
	count = cfi_scan(repair->debug, true, &repair->places, &bad);
	repair->place_count = count > 0 ? (size_t)count : 0;
}

/* The first FDE that ends behind `from`. */
static size_t first_place(struct unwind_repair *repair, uint64_t from)
{
	size_t low = 0, high = repair->place_count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (repair->places[middle].start < from)
			low = middle + 1;
		else
			high = middle;
	}
	return low ? low - 1 : 0;
}

static void code_part(struct unwind_repair *repair, const struct part *whole)
{
	struct part part = *whole;

	if (!repair->debug_read && whole->to - whole->from >= MIN_DEBUG_BYTES)
		read_debug(repair);
	for (size_t i = first_place(repair, whole->from); i < repair->place_count && part.from < whole->to; i++) {
		struct clipped clipped = { .part = &part };
		uint64_t next = i + 1 < repair->place_count ? repair->places[i + 1].start : UINT64_MAX;
		struct cfi_fde fde;

		if (repair->places[i].start >= whole->to || cfi_fde(repair->debug, repair->places[i].offset, &fde) ||
		    fde.start != repair->places[i].start || fde.end <= part.from || fde.start < whole->low ||
		    next == fde.start)
			continue;
		part.to = part.high = fde.start;
		if (part.from < part.to)
			analyse_part(repair, part);
		if (part.from < fde.start)
			part.from = fde.start;
		fde.end = fde.end < next ? fde.end : next;
		part.to = fde.end < whole->to ? fde.end : whole->to;
		cfi_run(repair->debug, &fde, fde.end, give_row, &clipped);
		give(&clipped, fde.end, &no_rule);
		part.from = part.low = part.to;
	}
	part.to = whole->to;
	part.high = whole->high;
	if (part.from < part.to)
		analyse_part(repair, part);
}

void unwind_repair_gap(struct unwind_repair *repair, const struct unwind_gap *gap, cfi_row_fn *row, void *context)
{
	uint64_t end = gap->from;

	for (size_t i = 0; i < repair->range_count; i++) {
		const struct range *range = &repair->ranges[i];
		struct part part = { .range = range, .row = row, .context = context };

		part.low = range->start > gap->start ? range->start : gap->start;
		part.high = range->end < gap->end ? range->end : gap->end;
		part.from = range->start > gap->from ? range->start : gap->from;
		part.to = range->end < gap->to ? range->end : gap->to;
		if (part.from >= part.to)
			continue;
		if (part.from > end)
			row(context, end, &no_rule);
		if (range->kind == RANGE_CODE)
			code_part(repair, &part);
		else
			stub_part(repair, &part);
		end = part.to;
	}
	if (end < gap->to)
		row(context, end, &no_rule);
}

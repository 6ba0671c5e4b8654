/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The front end of the table compiler: finds .eh_frame, walks its FDEs in the order of their addresses and
 * gives each rule of the CFI interpreter to the pages. One broken FDE costs its own rows only.
 */
#include "symbolizer/unwind_table.h"

#include "base/clean.h"
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
#define ENCODING_TABLE 0x3b /* DW_EH_PE_datarel | sdata4: what all linkers write */

struct table_entry { /* of .eh_frame_hdr, relative to its address */
	int32_t start, fde;
};

struct build {
	struct image *image;
	struct cfi_section *section;
	const uint8_t *entries; /* struct table_entry, unaligned; NULL: use `places` */
	uint64_t hdr_vaddr;
	struct cfi_place *places;
	size_t count;
	struct unwind_pages *pages;
	struct unwind_repair *repair;
	struct cfi_rule last; /* the one `rule` was made of */
	uint16_t rule;
	bool any;
	uint64_t end;   /* of the last FDE */
	bool has_end;   /* the section's size is known, not only its segment's */
	uint64_t bad; /* FDEs of which nothing could be used */
	struct gopclntab *go; /* NULL: not of Go, or its rows are there already */
	uint64_t go_start, go_end;
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
		build->rule = unwind_rule_encode(build->pages, *rule, build->section->follow);
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
	const struct unwind_gap gap = { build->end, end, build->end, end };

	if (end > build->end && end - build->end > PADDING)
		unwind_repair_gap(build->repair, &gap, add_repaired_row, build);
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
	struct gopclntab *go = build->go;

	build->go = NULL;
	if (build->go_start >= build->end && is_text(build->image, build->go_start, build->go_end)) {
		add_gap(build, build->go_start);
		gopclntab_rows(go, add_go_row, build);
		build->end = build->go_end;
	}
	gopclntab_free(go);
}

/* Where FDE number `index` starts and lies; false: not in the section. */
static bool read_place(const struct build *build, size_t index, struct cfi_place *ret_place)
{
	struct table_entry entry;

	if (!build->entries) {
		*ret_place = build->places[index];
		return true;
	}
	memcpy(&entry, build->entries + index * sizeof(entry), sizeof(entry));
	ret_place->start = build->hdr_vaddr + (uint64_t)(int64_t)entry.start;
	ret_place->offset = build->hdr_vaddr + (uint64_t)(int64_t)entry.fde - build->section->vaddr;
	return ret_place->offset < build->section->size;
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
	code = image_at(build->image, fde->start, sizeof(mov_rbx_rsp));
	return code && !memcmp(code, mov_rbx_rsp, sizeof(mov_rbx_rsp));
}

/* One FDE, cut where the next one starts. */
static void add_fde(struct build *build, const struct cfi_place *place, uint64_t next)
{
	struct cfi_fde fde;

	if (build->go && place->start >= build->go_start)
		add_go(build);
	if (cfi_fde(build->section, place->offset, &fde) < 0 || fde.start != place->start ||
	    fde.start < build->end || !is_text(build->image, fde.start, fde.end)) {
		build->bad++;
		return;
	}
	add_gap(build, fde.start);
	if (begins_context(build, &fde)) /* a return address is looked up a byte before: in padding */
		unwind_pages_add(build->pages, fde.start - (fde.start > build->end), UNWIND_RULE_OUTERMOST);
	else
		cfi_run(build->section, &fde, next, add_row, build);
	build->end = fde.end < next ? fde.end : next;
}

static void add_all(struct build *build)
{
	struct cfi_place place = { 0 }, next;

	for (size_t i = 0; i < build->count && !unwind_pages_full(build->pages); i++) {
		bool known = read_place(build, i, &place);

		next.start = UINT64_MAX;
		if (i + 1 < build->count)
			read_place(build, i + 1, &next);
		if (known && place.start < next.start)
			add_fde(build, &place, next.start);
		else
			build->bad++;
	}
}

/* Takes the sorted table of .eh_frame_hdr, if there is one of the usual form and truly sorted. */
static void use_table(struct build *build, const uint8_t *hdr, struct cursor cursor)
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
	build->entries = cursor.at;
	build->count = count;
}

/* .eh_frame by what .eh_frame_hdr points at, in which case it may lack an end of its own. */
static const uint8_t *find_by_hdr(struct build *build, uint64_t *ret_vaddr, size_t *ret_size)
{
	uint64_t vaddr, hdr_size, frame;
	const uint8_t *hdr;
	struct cursor cursor;

	if (image_eh_frame_hdr(build->image, &vaddr, &hdr_size) < 0 || hdr_size < 4)
		return NULL;
	hdr = image_at(build->image, vaddr, hdr_size);
	if (!hdr || hdr[0] != 1)
		return NULL;
	cursor = (struct cursor){ hdr + 4, hdr + hdr_size, false };
	frame = cfi_pointer(&cursor, hdr[1], vaddr + 4);
	if (cursor.broken)
		return NULL;
	build->hdr_vaddr = vaddr;
	use_table(build, hdr, cursor);
	*ret_vaddr = frame;
	return bytes_from(build->image, frame, ret_size);
}

static const uint8_t *find_frame(struct build *build, uint64_t *ret_vaddr, size_t *ret_size)
{
	const struct image_section *section = image_find(build->image, ".eh_frame");
	const uint8_t *bytes = find_by_hdr(build, ret_vaddr, ret_size), *section_bytes;
	size_t size;

	if (!section || image_bytes(build->image, section, &section_bytes, &size) < 0)
		return bytes;
	if (bytes && *ret_vaddr == section->vaddr) {
		if (size < *ret_size)
			*ret_size = size;
		build->has_end = true;
		return bytes;
	}
	if (bytes && build->entries) /* the loader's own pointer wins over a section header nobody loads */
		return bytes;
	*ret_vaddr = section->vaddr;
	*ret_size = size;
	build->has_end = true;
	return section_bytes;
}

static int build_pages(struct build *build)
{
	const uint8_t *bytes;
	uint64_t vaddr;
	size_t size;

	if (gopclntab_new(build->image, &build->go))
		build->go = NULL;
	else
		gopclntab_range(build->go, &build->go_start, &build->go_end);
	bytes = find_frame(build, &vaddr, &size);
	if (!bytes) {
		if (build->go)
			add_go(build);
		add_gap(build, UINT64_MAX);
		return 0;
	}
	cfi_init(build->section, bytes, size, vaddr);
	build->section->follow = unwind_repair_follows(build->image, build->section);
	if (!build->entries) {
		long count = cfi_scan(build->section, build->has_end, &build->places, &build->bad);

		if (count < 0)
			return (int)count;
		build->count = (size_t)count;
	}
	add_all(build);
	if (build->go)
		add_go(build);
	add_gap(build, UINT64_MAX);
	return 0;
}

int unwind_table_write(struct image *image, int fd, struct symbolizer_table *ret_table)
{
	auto_free struct cfi_section *section = calloc(1, sizeof(*section));
	struct build build = { .image = image, .section = section };
	int error;

	if (!section)
		return -ENOMEM;
	error = unwind_pages_new(fd, &build.pages);
	if (!error)
		error = unwind_repair_new(image, &build.repair);
	if (!error)
		error = build_pages(&build);
	if (!error)
		error = unwind_pages_finish(build.pages, build.end, build.bad, ret_table);
	free(build.places);
	gopclntab_free(build.go);
	unwind_repair_free(build.repair);
	unwind_pages_free(build.pages);
	return error;
}

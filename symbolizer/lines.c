/* SPDX-License-Identifier: Apache-2.0 */
/* Finds the unit of an address, reads it when it is first hit, and puts calls and lines together. */
#include "lines.h"

#include "base/intern.h"
#include "dwarf_line.h"
#include "dwarf_range.h"
#include "dwarf_tree.h"

#include <errno.h>
#include <stdlib.h>

#define MERGE_GAP 15       /* padding between a unit's functions belongs to it for the index' sake */
#define MAX_CANDIDATES 16  /* units whose ranges overlap are tried, nearest begin first */
#define MAX_LOOK_BACK 64
#define MAX_PATH_LENGTH 4096
#define MAX_FALLBACK_BYTES (64U << 20) /* of line programs run only to learn where units lie */

struct span {
	uint64_t low, high;
	uint32_t unit;
};

struct body { /* what was read of a hit unit */
	struct dwarf_tree tree;
	struct dwarf_lines lines;
};

struct lines {
	struct dwarf dwarf, alt;
	struct span *spans; /* sorted by low */
	size_t span_count, span_room;
	struct body **bodies; /* by unit; NULL: not read */
	struct intern *paths;
	struct lines_stats stats;
};

static bool add_span(struct lines *lines, const struct dwarf_range *range, size_t unit)
{
	struct span *last = lines->span_count ? &lines->spans[lines->span_count - 1] : NULL, *grown;
	size_t room = lines->span_room ? lines->span_room * 2 : 256;

	if (last && last->unit == unit && range->low >= last->low && range->low - last->low <= UINT32_MAX &&
	    range->low <= last->high + MERGE_GAP) { /* compilers put a unit's functions one after the other */
		if (range->high > last->high)
			last->high = range->high;
		return true;
	}
	if (lines->span_count == LINES_MAX_RANGES) {
		lines->stats.ranges_dropped++;
		return true;
	}
	if (lines->span_count == lines->span_room) {
		grown = realloc(lines->spans, room * sizeof(*grown));
		if (!grown)
			return false;
		lines->spans = grown;
		lines->span_room = room;
	}
	lines->spans[lines->span_count++] = (struct span){ range->low, range->high, (uint32_t)unit };
	return true;
}

static int compare_spans(const void *left, const void *right)
{
	const struct span *a = left, *b = right;

	if (a->low != b->low)
		return a->low < b->low ? -1 : 1;
	if (a->high != b->high) /* the wider first, so that the narrower is nearer when searching back */
		return a->high > b->high ? -1 : 1;
	return a->unit < b->unit ? -1 : a->unit > b->unit;
}

/* DWARF 2 has no list of ranges: a unit in several sections says nothing, and only its line program knows. */
static bool add_sequences(struct lines *lines, size_t index, size_t *budget)
{
	const struct dwarf_section *section = dwarf_section(&lines->dwarf, DWARF_LINE);
	struct dwarf_unit *unit = &lines->dwarf.units[index];
	struct cursor cursor = cursor_make(section->bytes, section->size, unit->line_offset, section->size);
	uint64_t length = cursor_fixed(&cursor, 4);
	struct dwarf_lines program;
	bool added = true;

	if (length > *budget) {
		lines->stats.ranges_dropped++;
		return true;
	}
	*budget -= length;
	if (dwarf_lines_read(&lines->dwarf, unit, &program) < 0)
		return true;
	for (size_t at = 0; at < program.sequence_count && added; at++) {
		struct dwarf_range range = { program.sequences[at].low, program.sequences[at].high };

		added = add_span(lines, &range, index);
	}
	dwarf_lines_done(&program);
	return added;
}

static int index_units(struct lines *lines)
{
	size_t budget = LINES_MAX_RANGES * 4ULL, fallback_budget = MAX_FALLBACK_BYTES;
	struct span *fitted;

	for (size_t unit = 0; unit < lines->dwarf.unit_count; unit++) {
		struct dwarf_range_walk walk = { 0 };
		struct dwarf_extent extent;
		struct dwarf_range range;

		if (!dwarf_unit_root(&lines->dwarf, &lines->dwarf.units[unit], &extent))
			continue;
		while (dwarf_range_next(&lines->dwarf, &lines->dwarf.units[unit], &extent, &walk, &budget, &range))
			if (!add_span(lines, &range, unit))
				return -ENOMEM;
		if (extent.ranges.class == DWARF_NONE && extent.high.class == DWARF_NONE &&
		    !add_sequences(lines, unit, &fallback_budget))
			return -ENOMEM;
	}
	if (!budget)
		lines->stats.ranges_dropped++;
	if (lines->span_count) {
		qsort(lines->spans, lines->span_count, sizeof(*lines->spans), compare_spans);
		fitted = realloc(lines->spans, lines->span_count * sizeof(*fitted));
		if (fitted)
			lines->spans = fitted;
	}
	return 0;
}

int lines_new(struct image *image, struct image *alt, struct lines **ret_lines)
{
	struct lines *lines = calloc(1, sizeof(*lines));
	int error;

	if (!lines)
		return -ENOMEM;
	error = dwarf_open(&lines->dwarf, image);
	if (error)
		goto fail;
	if (alt && !dwarf_open(&lines->alt, alt)) /* unreadable is as good as missing */
		lines->dwarf.alt = &lines->alt;
	error = index_units(lines);
	if (error)
		goto fail;
	error = -ENOMEM;
	lines->bodies = calloc(lines->dwarf.unit_count, sizeof(struct body *));
	lines->paths = intern_new(LINES_MAX_PATH_BYTES);
	if (!lines->bodies || !lines->paths)
		goto fail;
	lines->stats.units = lines->dwarf.unit_count;
	lines->stats.units_dropped = lines->dwarf.units_dropped;
	*ret_lines = lines;
	return 0;
fail:
	lines_free(lines);
	return error;
}

static void drop_bodies(struct lines *lines)
{
	for (size_t unit = 0; lines->bodies && unit < lines->dwarf.unit_count; unit++) {
		if (!lines->bodies[unit])
			continue;
		dwarf_tree_done(&lines->bodies[unit]->tree);
		dwarf_lines_done(&lines->bodies[unit]->lines);
		free(lines->bodies[unit]);
		lines->bodies[unit] = NULL;
	}
	lines->stats.bytes = 0;
}

void lines_free(struct lines *lines)
{
	if (!lines)
		return;
	drop_bodies(lines);
	free(lines->bodies);
	free(lines->spans);
	intern_free(lines->paths);
	dwarf_close(&lines->alt);
	dwarf_close(&lines->dwarf);
	free(lines);
}

static struct body *get_body(struct lines *lines, size_t unit)
{
	struct body *body = lines->bodies[unit];

	if (body)
		return body;
	if (lines->stats.bytes > LINES_MAX_BYTES) {
		drop_bodies(lines);
		lines->stats.evictions++;
	}
	body = calloc(1, sizeof(*body));
	if (!body)
		return NULL;
	/* each is of use without the other, and an empty one says that reading again is of no use */
	dwarf_tree_read(&lines->dwarf, &lines->dwarf.units[unit], &body->tree);
	dwarf_lines_read(&lines->dwarf, &lines->dwarf.units[unit], &body->lines);
	lines->bodies[unit] = body;
	lines->stats.entries_dropped += body->tree.dropped;
	lines->stats.rows_dropped += body->lines.rows_dropped;
	lines->stats.bytes += sizeof(*body) + dwarf_tree_bytes(&body->tree) + dwarf_lines_bytes(&body->lines);
	return body;
}

static const char *get_path(struct lines *lines, const struct body *body, const struct dwarf_unit *unit, uint64_t file)
{
	char path[MAX_PATH_LENGTH];
	size_t length = dwarf_lines_path(&body->lines, unit, file, path, sizeof(path));

	return intern_get(lines->paths, length ? intern_add(lines->paths, path, length) : 0);
}

static int find_in_unit(struct lines *lines, size_t index, uint64_t vaddr, struct lines_call *calls, size_t max)
{
	struct dwarf_unit *unit = &lines->dwarf.units[index];
	struct body *body = get_body(lines, index);
	const struct dwarf_row *row;
	size_t count = 0;
	uint64_t file;
	uint32_t node, line;

	if (!body)
		return -ENOMEM;
	row = dwarf_lines_find(&body->lines, vaddr);
	node = dwarf_tree_find(&body->tree, vaddr);
	line = row ? row->line : 0;
	file = row && line ? row->file : UINT64_MAX;
	if (node == DWARF_NO_NODE) {
		if (!line)
			return 0;
		calls[0] = (struct lines_call){ .file = get_path(lines, body, unit, file), .line = line };
		return 1;
	}
	while (node != DWARF_NO_NODE) {
		const struct dwarf_node *at = &body->tree.nodes[node];
		struct dwarf_entry entry;

		dwarf_entry_read(&lines->dwarf, unit->offset + at->entry, &entry);
		calls[count < max ? count : max - 1] = (struct lines_call){
			entry.name, entry.linkage_name, get_path(lines, body, unit, file), line, entry.line };
		count++;
		line = at->call_line;
		file = line ? at->call_file : UINT64_MAX;
		node = at->parent;
	}
	return (int)(count < max ? count : max);
}

int lines_find(struct lines *lines, uint64_t vaddr, struct lines_call *ret_calls, size_t max)
{
	size_t low = 0, high = lines->span_count, candidates = 0;
	int line_only = 0;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (lines->spans[middle].low <= vaddr)
			low = middle + 1;
		else
			high = middle;
	}
	for (size_t back = 0; max && low && back < MAX_LOOK_BACK && candidates < MAX_CANDIDATES; back++) {
		const struct span *span = &lines->spans[--low];
		int count;

		if (vaddr >= span->high)
			continue;
		candidates++;
		count = find_in_unit(lines, span->unit, vaddr, ret_calls, max);
		if (count < 0 || (count && (ret_calls[0].name || ret_calls[0].linkage_name || count > 1)))
			return count;
		if (count)
			line_only = count; /* the last of them stays in ret_calls */
	}
	return line_only;
}

void lines_stats(const struct lines *lines, struct lines_stats *ret_stats)
{
	*ret_stats = lines->stats;
}

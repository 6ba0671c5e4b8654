/* SPDX-License-Identifier: Apache-2.0 */
/* Walks a unit's entries once and flattens what covers code into sorted segments. */
#include "dwarf_tree.h"

#include "dwarf_const.h"
#include "dwarf_range.h"

#include <errno.h>
#include <stdlib.h>

struct piece { /* a range of a node, before flattening */
	uint64_t low, high;
	uint32_t node, depth;
};

struct walk {
	struct dwarf *dwarf;
	struct dwarf_unit *unit;
	const struct dwarf_abbrevs *abbrevs;
	struct dwarf_tree *tree;
	struct piece *pieces;
	size_t node_room, piece_count, piece_room, range_budget;
	uint32_t around[DWARF_MAX_DEPTH + 1]; /* the node that entries of a depth lie in */
};

struct call {
	struct dwarf_extent extent;
	uint64_t file, line;
};

static bool grow(void **array, size_t *room, size_t count, size_t size, size_t limit)
{
	size_t wanted = *room ? *room * 2 : 64;
	void *grown;

	if (count < *room)
		return true;
	if (count >= limit)
		return false;
	grown = realloc(*array, (wanted > limit ? limit : wanted) * size);
	if (!grown)
		return false;
	*array = grown;
	*room = wanted > limit ? limit : wanted;
	return true;
}

static void skip_entry(struct walk *walk, struct cursor *cursor, const struct dwarf_abbrev *abbrev)
{
	const struct dwarf_attribute *attribute = walk->abbrevs->attributes + abbrev->first;

	if (abbrev->fixed != UINT32_MAX) {
		cursor_skip(cursor, abbrev->fixed);
		return;
	}
	for (uint32_t at = 0; at < abbrev->count && !cursor->failed; at++)
		dwarf_skip_form(walk->unit, cursor, &attribute[at]);
}

static void read_call(struct walk *walk, struct cursor *cursor, const struct dwarf_abbrev *abbrev, struct call *call)
{
	const struct dwarf_attribute *attribute = walk->abbrevs->attributes + abbrev->first;
	struct dwarf_value value;

	for (uint32_t at = 0; at < abbrev->count && !cursor->failed; at++) {
		switch (attribute[at].name) {
		case AT_LOW_PC: case AT_HIGH_PC: case AT_RANGES: case AT_CALL_FILE: case AT_CALL_LINE:
			break;
		default:
			dwarf_skip_form(walk->unit, cursor, &attribute[at]);
			continue;
		}
		dwarf_read_form(walk->unit, cursor, &attribute[at], &value);
		if (attribute[at].name == AT_CALL_FILE)
			call->file = value.number;
		else if (attribute[at].name == AT_CALL_LINE)
			call->line = value.number;
		else
			dwarf_extent_take(&call->extent, attribute[at].name, &value);
	}
}

static bool add_piece(struct walk *walk, const struct dwarf_range *range, uint32_t node, uint32_t depth)
{
	if (!grow((void **)&walk->pieces, &walk->piece_room, walk->piece_count, sizeof(*walk->pieces),
		  DWARF_MAX_SEGMENTS / 2)) {
		walk->tree->dropped++;
		return false;
	}
	walk->pieces[walk->piece_count++] = (struct piece){ range->low, range->high, node, depth };
	return true;
}

/* A function or inlined call; gives the node that its children lie in. */
static uint32_t add_call(struct walk *walk, const struct call *call, uint64_t entry, uint32_t parent, uint32_t depth)
{
	struct dwarf_range_walk ranges = { 0 };
	struct dwarf_tree *tree = walk->tree;
	struct dwarf_range range;
	uint32_t node = (uint32_t)tree->node_count;
	bool covers = false;

	if (!grow((void **)&tree->nodes, &walk->node_room, tree->node_count, sizeof(*tree->nodes), DWARF_MAX_NODES)) {
		tree->dropped++;
		return parent;
	}
	while (dwarf_range_next(walk->dwarf, walk->unit, &call->extent, &ranges, &walk->range_budget, &range))
		covers = add_piece(walk, &range, node, depth) || covers;
	if (!walk->range_budget)
		tree->dropped++;
	if (!covers && parent == DWARF_NO_NODE) /* a declaration, or the abstract form of an inlined function */
		return DWARF_NO_NODE;
	tree->nodes[tree->node_count++] = (struct dwarf_node){
		parent, (uint32_t)(entry - walk->unit->offset),
		call->file > UINT32_MAX ? 0 : (uint32_t)call->file, call->line > UINT32_MAX ? 0 : (uint32_t)call->line };
	return node;
}

static uint32_t visit(struct walk *walk, struct cursor *cursor, const struct dwarf_abbrev *abbrev, uint64_t entry,
		      size_t depth)
{
	uint32_t parent = walk->around[depth];
	struct call call = { 0 };

	if (abbrev->tag != TAG_SUBPROGRAM && abbrev->tag != TAG_INLINED_SUBROUTINE) {
		skip_entry(walk, cursor, abbrev);
		return parent;
	}
	read_call(walk, cursor, abbrev, &call);
	if (cursor->failed)
		return parent;
	if (abbrev->tag == TAG_SUBPROGRAM) /* also one that is nested in another: it is not called from there */
		parent = DWARF_NO_NODE;
	return add_call(walk, &call, entry, parent, (uint32_t)depth);
}

static void walk_entries(struct walk *walk)
{
	struct cursor cursor = dwarf_cursor(walk->dwarf, walk->unit, walk->unit->entries);
	const uint8_t *info = dwarf_section(walk->dwarf, DWARF_INFO)->bytes;
	size_t depth = 0, budget = DWARF_MAX_ENTRIES;

	walk->around[0] = DWARF_NO_NODE;
	while (cursor.at < cursor.end && budget--) {
		uint64_t entry = (uint64_t)(cursor.at - info), code = cursor_uleb(&cursor);
		const struct dwarf_abbrev *abbrev;
		size_t level = depth < DWARF_MAX_DEPTH ? depth : DWARF_MAX_DEPTH;
		uint32_t node;

		if (!code) {
			if (depth)
				depth--;
			continue;
		}
		abbrev = dwarf_abbrev_find(walk->abbrevs, code);
		if (!abbrev)
			break; /* nothing behind it can be understood */
		node = visit(walk, &cursor, abbrev, entry, level);
		if (!abbrev->children)
			continue;
		depth++;
		if (depth <= DWARF_MAX_DEPTH)
			walk->around[depth] = node;
	}
	if (cursor.at < cursor.end || cursor.failed)
		walk->tree->dropped++;
}

static int compare_pieces(const void *left, const void *right)
{
	const struct piece *a = left, *b = right;

	if (a->low != b->low)
		return a->low < b->low ? -1 : 1;
	if (a->depth != b->depth)
		return a->depth < b->depth ? -1 : 1;
	return a->node < b->node ? -1 : a->node > b->node;
}

static void add_segment(struct dwarf_tree *tree, uint64_t vaddr, uint32_t node)
{
	struct dwarf_segment *last = tree->segment_count ? &tree->segments[tree->segment_count - 1] : NULL;
	uint32_t start = (uint32_t)(vaddr - tree->base);

	if (last && last->start == start)
		last->node = node;
	else if (!last || last->node != node)
		tree->segments[tree->segment_count++] = (struct dwarf_segment){ start, node };
}

/* Ends the pieces that end by `until`; what lies below them comes to light again. */
static size_t pop_pieces(struct dwarf_tree *tree, struct piece *const *open, size_t count, uint64_t until)
{
	while (count && open[count - 1]->high <= until) {
		uint64_t end = open[--count]->high;

		while (count && open[count - 1]->high <= end)
			count--;
		add_segment(tree, end, count ? open[count - 1]->node : DWARF_NO_NODE);
	}
	return count;
}

/* Every piece begins at most one segment and ends one, so twice the pieces is room enough. */
static int flatten(struct walk *walk)
{
	struct dwarf_tree *tree = walk->tree;
	struct piece **open = calloc(walk->piece_count + 1, sizeof(struct piece *));
	struct dwarf_segment *fitted;
	size_t count = 0;

	tree->segments = calloc(walk->piece_count * 2 + 1, sizeof(*tree->segments));
	if (!open || !tree->segments) {
		free(open);
		return -ENOMEM;
	}
	if (walk->piece_count) {
		qsort(walk->pieces, walk->piece_count, sizeof(*walk->pieces), compare_pieces);
		tree->base = walk->pieces[0].low;
	}
	for (size_t at = 0; at < walk->piece_count; at++) {
		struct piece *piece = &walk->pieces[at];

		if (piece->high - tree->base > UINT32_MAX) { /* no unit's code is spread over 4 GiB */
			tree->dropped++;
			continue;
		}
		count = pop_pieces(tree, open, count, piece->low);
		open[count++] = piece;
		add_segment(tree, piece->low, piece->node);
	}
	pop_pieces(tree, open, count, UINT64_MAX);
	free(open);
	fitted = realloc(tree->segments, (tree->segment_count + 1) * sizeof(*fitted));
	if (fitted)
		tree->segments = fitted;
	return 0;
}

int dwarf_tree_read(struct dwarf *dwarf, struct dwarf_unit *unit, struct dwarf_tree *ret_tree)
{
	struct dwarf_tree tree = { 0 };
	struct walk walk = { .dwarf = dwarf, .unit = unit, .tree = &tree, .range_budget = DWARF_MAX_RANGE_STEPS };
	int error;

	walk.abbrevs = dwarf_unit_abbrevs(dwarf, unit);
	if (!walk.abbrevs)
		return -EINVAL;
	walk_entries(&walk);
	error = flatten(&walk);
	free(walk.pieces);
	if (error) {
		dwarf_tree_done(&tree);
		return error;
	}
	*ret_tree = tree;
	return 0;
}

void dwarf_tree_done(struct dwarf_tree *tree)
{
	free(tree->nodes);
	free(tree->segments);
	*tree = (struct dwarf_tree){ 0 };
}

uint32_t dwarf_tree_find(const struct dwarf_tree *tree, uint64_t vaddr)
{
	size_t low = 0, high = tree->segment_count;

	if (vaddr < tree->base || vaddr - tree->base > UINT32_MAX)
		return DWARF_NO_NODE;
	while (low < high) {
		size_t middle = (low + high) / 2;

		if (tree->segments[middle].start <= vaddr - tree->base)
			low = middle + 1;
		else
			high = middle;
	}
	return low ? tree->segments[low - 1].node : DWARF_NO_NODE;
}

size_t dwarf_tree_bytes(const struct dwarf_tree *tree)
{
	return tree->node_count * sizeof(*tree->nodes) + tree->segment_count * sizeof(*tree->segments);
}

/* Reads one entry's names into what is still unknown, and where it points for more. */
static struct dwarf_value read_names(struct dwarf *dwarf, uint64_t offset, struct dwarf_entry *entry)
{
	struct dwarf_unit *unit = dwarf_unit_at(dwarf, offset);
	const struct dwarf_abbrevs *abbrevs = unit ? dwarf_unit_abbrevs(dwarf, unit) : NULL;
	struct dwarf_value value, next = { 0 };
	const struct dwarf_abbrev *abbrev;
	struct cursor cursor;

	if (!abbrevs)
		return next;
	cursor = dwarf_cursor(dwarf, unit, offset);
	abbrev = dwarf_abbrev_find(abbrevs, cursor_uleb(&cursor));
	for (uint32_t at = 0; abbrev && at < abbrev->count && !cursor.failed; at++) {
		const struct dwarf_attribute *attribute = &abbrevs->attributes[abbrev->first + at];

		dwarf_read_form(unit, &cursor, attribute, &value);
		if (attribute->name == AT_NAME && !entry->name)
			entry->name = dwarf_string(dwarf, unit, &value);
		else if ((attribute->name == AT_LINKAGE_NAME || attribute->name == AT_MIPS_LINKAGE_NAME) &&
			 !entry->linkage_name)
			entry->linkage_name = dwarf_string(dwarf, unit, &value);
		else if (attribute->name == AT_DECL_LINE && !entry->line)
			entry->line = value.number > UINT32_MAX ? 0 : (uint32_t)value.number;
		else if (attribute->name == AT_ABSTRACT_ORIGIN || attribute->name == AT_SPECIFICATION)
			next = value;
	}
	return next;
}

void dwarf_entry_read(struct dwarf *dwarf, uint64_t offset, struct dwarf_entry *ret_entry)
{
	struct dwarf_value next = { .class = DWARF_REFERENCE, .number = offset };
	struct dwarf_entry entry = { 0 };

	for (size_t links = 0; links < DWARF_MAX_CHAIN && dwarf; links++) {
		if (next.class == DWARF_REFERENCE_ALT)
			dwarf = dwarf->alt; /* references from there stay there */
		else if (next.class != DWARF_REFERENCE)
			break;
		if (dwarf)
			next = read_names(dwarf, next.number, &entry);
	}
	*ret_entry = entry;
}

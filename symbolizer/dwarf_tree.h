/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The functions and inlined calls of one unit, flattened: which call is innermost at an address. One pass over
 * the unit's entries, without recursion; nesting deeper than DWARF_MAX_DEPTH counts to the level there. Owns its
 * tables. Names are not read here but by dwarf_entry_read, for the few entries that were hit.
 */
#ifndef SYMBOLIZER_DWARF_TREE_H
#define SYMBOLIZER_DWARF_TREE_H

#include "dwarf_unit.h"

#define DWARF_MAX_DEPTH 256
#define DWARF_MAX_NODES (1U << 20)
#define DWARF_MAX_SEGMENTS (2U << 20)
#define DWARF_MAX_ENTRIES (16U << 20)     /* of one unit */
#define DWARF_MAX_RANGE_STEPS (4U << 20)  /* list entries read for one unit */
#define DWARF_NO_NODE UINT32_MAX

struct dwarf_node {
	uint32_t parent; /* the call or function around it; DWARF_NO_NODE: this is a function */
	uint32_t entry;  /* its offset from the unit's */
	uint32_t call_file, call_line;
};

struct dwarf_segment { /* holds until the next one begins */
	uint32_t start; /* from the tree's base */
	uint32_t node;
};

struct dwarf_tree {
	struct dwarf_node *nodes;
	struct dwarf_segment *segments;
	uint64_t base;
	size_t node_count, segment_count, dropped;
};

struct dwarf_entry { /* NULL, 0: unknown */
	const char *name, *linkage_name;
	uint32_t line;
};

int dwarf_tree_read(struct dwarf *dwarf, struct dwarf_unit *unit, struct dwarf_tree *ret_tree);
void dwarf_tree_done(struct dwarf_tree *tree);
uint32_t dwarf_tree_find(const struct dwarf_tree *tree, uint64_t vaddr); /* a node, or DWARF_NO_NODE */
size_t dwarf_tree_bytes(const struct dwarf_tree *tree);
/* The names of the entry at an offset of .debug_info, following at most DWARF_MAX_CHAIN origins. */
void dwarf_entry_read(struct dwarf *dwarf, uint64_t offset, struct dwarf_entry *ret_entry);

#endif

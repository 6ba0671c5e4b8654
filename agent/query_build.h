/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of agent/query share: the tables of one profile while it grows. Strings go straight to the
 * profile's arena; tables are on the heap until query.c moves them there. All of it counts to QUERY_MAX_BYTES.
 */
#ifndef QUERY_BUILD_H
#define QUERY_BUILD_H

#include "query.h"

#include "base/arena.h"
#include "base/hmap.h"

#include <regex.h>

struct query_list { /* items by value */
	char *items;
	size_t count, capacity, size;
};

enum query_mark { QUERY_FOCUS = 1, QUERY_IGNORE = 2, QUERY_HIDE = 4 };

struct query_regex {
	regex_t compiled;
	const char *text; /* NULL: none was given */
	size_t matched_bytes; /* since it was compiled */
};

struct query_filter {
	const struct query_selector *selector;
	struct query_regex focus, ignore, hide;
	uint64_t spent_ns;
	bool exhausted; /* the expressions took too long: the marks are not to be trusted */
};

struct query_stack { /* an item of `stacks` */
	uint32_t first, depth; /* in stack_locations */
	uint32_t marks;
};

struct query_build {
	struct names *names;
	struct cgroup_table *cgroups;
	struct query_filter filter;
	struct arena *arena;
	size_t list_bytes;
	struct query_list mappings, functions, function_marks, lines, locations, labels, samples, stacks,
		stack_locations;
	struct query_list mapping_counts;
	struct hmap strings, images, function_slots, location_slots, frames, stack_slots, label_slots,
		containers, sample_slots;
};

/* query.c */
void *query_push(struct query_build *build, struct query_list *list, const void *item); /* NULL: no memory */

/* query_select.c */
int query_filter_init(struct query_filter *filter, const struct query_selector *selector, char *error,
		      size_t error_size);
void query_filter_done(struct query_filter *filter);
uint32_t query_filter_marks(struct query_filter *filter, const char *name);
bool query_filter_labels(const struct query_filter *filter, const struct profile_labels *labels);

/* query_text.c */
/* Valid UTF-8 without control characters; what is not becomes U+FFFD. NULL: no memory. */
const char *query_clean(struct arena *arena, const char *text);
void query_clean_to(struct buf *out, const char *text);

/* query_stack.c: the out stack of a stack of frame ids, interned. 0 or -ENOMEM. */
int query_stack_add(struct query_build *build, const uint32_t *frames, uint32_t depth, uint32_t *ret_stack);

/* query_labels.c: *ret_labels UINT32_MAX: the selector leaves them out. 0 or -ENOMEM. */
int query_labels_add(struct query_build *build, const struct window_labels *labels, uint32_t *ret_labels);

#endif

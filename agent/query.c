/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Turns slices into one profile: slice by slice the wanted labels, their stacks and counts are merged into growing
 * tables, which at the end move into the profile's arena. Owns nothing after it returned.
 */
#include "query_build.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NO_INDEX UINT32_MAX
#define NOT_YET (UINT32_MAX - 1)

struct sample_slot {
	struct { uint32_t labels, stack; } key;
	uint32_t index;
};

void *query_push(struct query_build *build, struct query_list *list, const void *item)
{
	if (list->count == list->capacity) {
		size_t capacity = list->capacity ? 2 * list->capacity : 64;
		size_t more = (capacity - list->capacity) * list->size;
		char *items;

		if (list->count >= UINT32_MAX / 4 ||
		    more > QUERY_MAX_BYTES / 2 - build->list_bytes) /* the other half is the arena's */
			return NULL;
		items = realloc(list->items, capacity * list->size);
		if (!items)
			return NULL;
		build->list_bytes += more;
		list->items = items;
		list->capacity = capacity;
	}
	return memcpy(list->items + list->count++ * list->size, item, list->size);
}

static void list_done(struct query_list *list)
{
	free(list->items);
	list->items = NULL;
}

static int build_init(struct query_build *build, const struct query_selector *selector, struct names *names,
		      struct cgroup_table *cgroups, char *error, size_t error_size)
{
	size_t limit = QUERY_MAX_BYTES / 64; /* entries; each is below 64 bytes */

	*build = (struct query_build){
		.names = names, .cgroups = cgroups,
		.mappings.size = sizeof(struct profile_mapping), .mapping_counts.size = sizeof(uint64_t),
		.functions.size = sizeof(struct profile_function), .function_marks.size = sizeof(uint32_t),
		.lines.size = sizeof(struct profile_line), .locations.size = sizeof(struct profile_location),
		.labels.size = sizeof(struct profile_labels), .samples.size = sizeof(struct profile_sample),
		.stacks.size = sizeof(struct query_stack), .stack_locations.size = sizeof(uint32_t),
	};
	hmap_init(&build->strings, 4, 16, limit);
	hmap_init(&build->images, 4, 8, limit);
	hmap_init(&build->function_slots, 16, 20, limit);
	hmap_init(&build->location_slots, 16, 24, limit);
	hmap_init(&build->frames, 4, 12, limit);
	hmap_init(&build->stack_slots, 16, 24, limit);
	hmap_init(&build->label_slots, sizeof(struct window_labels), sizeof(struct window_labels) + 4, limit);
	hmap_init(&build->containers, 4, 40, limit);
	hmap_init(&build->sample_slots, 8, 12, limit);
	build->arena = arena_new(QUERY_MAX_BYTES);
	if (!build->arena)
		return -ENOMEM;
	return query_filter_init(&build->filter, selector, error, error_size);
}

static void build_done(struct query_build *build)
{
	struct query_list *lists[] = { &build->mappings, &build->functions, &build->function_marks, &build->lines,
				       &build->locations, &build->labels, &build->samples, &build->stacks,
				       &build->stack_locations, &build->mapping_counts };
	struct hmap *maps[] = { &build->strings, &build->images, &build->function_slots, &build->location_slots,
				&build->frames, &build->stack_slots, &build->label_slots, &build->containers,
				&build->sample_slots };

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		list_done(lists[i]);
	for (size_t i = 0; i < sizeof(maps) / sizeof(maps[0]); i++)
		hmap_done(maps[i]);
	query_filter_done(&build->filter);
	arena_free(build->arena);
}

/* Does the stack belong to the answer? One that hide left nothing of goes too. */
static bool wanted(const struct query_build *build, uint32_t stack_index)
{
	const struct query_stack *stack = (const struct query_stack *)(const void *)build->stacks.items + stack_index;

	if (build->filter.focus.text && !(stack->marks & QUERY_FOCUS))
		return false;
	return !(stack->marks & QUERY_IGNORE) && (stack->depth || !(stack->marks & QUERY_HIDE));
}

/* count holds nanoseconds until the end: slices may differ in their period. */
static int add_sample(struct query_build *build, uint32_t labels, uint32_t stack_index, uint64_t ns)
{
	const struct query_stack *stack = (const struct query_stack *)(const void *)build->stacks.items + stack_index;
	struct sample_slot key = { .key = { labels, stack_index } }, *slot;
	struct profile_sample sample = { labels, stack->first, stack->depth, 0 };
	bool is_new;

	slot = hmap_insert(&build->sample_slots, &key.key, &is_new);
	if (!slot)
		return -ENOMEM;
	if (is_new) {
		slot->index = (uint32_t)build->samples.count;
		if (!query_push(build, &build->samples, &sample))
			return -ENOMEM;
	}
	((struct profile_sample *)(void *)build->samples.items)[slot->index].count += ns;
	return 0;
}

static int add_slice(struct query_build *build, const struct window *slice, uint32_t *labels, uint32_t *stacks)
{
	int status;

	for (uint32_t i = 0; i < slice->label_count; i++)
		labels[i] = NOT_YET;
	for (uint32_t i = 0; i < slice->stack_count; i++)
		stacks[i] = NOT_YET;
	for (uint32_t i = 0; i < slice->sample_count; i++) {
		const struct window_sample *sample = &slice->samples[i];
		uint32_t *label = &labels[sample->labels], *stack = &stacks[sample->stack];
		const struct window_stack *from = &slice->stacks[sample->stack];

		if (!sample->count)
			continue;
		if (*label == NOT_YET && (status = query_labels_add(build, &slice->labels[sample->labels], label)))
			return status;
		if (*label == NO_INDEX)
			continue;
		if (*stack == NOT_YET &&
		    (status = query_stack_add(build, slice->frames + from->first, from->depth, stack)))
			return status;
		if (wanted(build, *stack) &&
		    (status = add_sample(build, *label, *stack, sample->count * slice->period_ns)))
			return status;
	}
	return 0;
}

static int add_slices(struct query_build *build, struct window *const *slices, size_t count)
{
	int status = 0;

	for (size_t i = 0; i < count && !status; i++) {
		size_t indexes = (size_t)slices[i]->label_count + slices[i]->stack_count;
		uint32_t *memory = malloc((indexes + 1) * sizeof(*memory));

		status = memory ? add_slice(build, slices[i], memory, memory + slices[i]->label_count) : -ENOMEM;
		free(memory);
	}
	return status;
}

/* pprof calls the first mapping the main binary: the user binary that most samples were in. */
static void main_first(struct query_build *build)
{
	struct profile_mapping *mappings = (void *)build->mappings.items, swap;
	struct profile_location *locations = (void *)build->locations.items;
	const struct profile_sample *samples = (const void *)build->samples.items;
	const uint32_t *all = (const uint32_t *)(const void *)build->stack_locations.items;
	uint64_t *counts = (void *)build->mapping_counts.items;
	uint32_t best = NO_INDEX;

	for (size_t i = 0; i < build->samples.count; i++)
		for (uint32_t j = 0; j < samples[i].depth; j++) {
			const struct profile_location *at = &locations[all[samples[i].first_location + j]];

			if (at->mapping != NO_INDEX && !mappings[at->mapping].kernel) {
				counts[at->mapping] += samples[i].count;
				break;
			}
		}
	for (uint32_t i = 0; i < build->mappings.count; i++)
		if (!mappings[i].kernel && (best == NO_INDEX || counts[i] > counts[best]))
			best = i;
	if (best == NO_INDEX || best == 0)
		return;
	swap = mappings[0];
	mappings[0] = mappings[best];
	mappings[best] = swap;
	for (size_t i = 0; i < build->locations.count; i++)
		if (locations[i].mapping == 0)
			locations[i].mapping = best;
		else if (locations[i].mapping == best)
			locations[i].mapping = 0;
}

static int move(struct query_build *build, struct query_list *list, void *ret_items, size_t *ret_count)
{
	void *items = arena_array(build->arena, list->count + 1, list->size);

	if (!items)
		return -ENOMEM;
	if (list->count)
		memcpy(items, list->items, list->count * list->size);
	memcpy(ret_items, &items, sizeof(items));
	*ret_count = list->count;
	list_done(list);
	return 0;
}

static int move_tables(struct query_build *build, struct profile *profile)
{
	if (move(build, &build->mappings, &profile->mappings, &profile->mapping_count) ||
	    move(build, &build->functions, &profile->functions, &profile->function_count) ||
	    move(build, &build->lines, &profile->lines, &profile->line_count) ||
	    move(build, &build->locations, &profile->locations, &profile->location_count) ||
	    move(build, &build->labels, &profile->labels, &profile->label_count) ||
	    move(build, &build->samples, &profile->samples, &profile->sample_count) ||
	    move(build, &build->stack_locations, &profile->stack_locations, &profile->stack_location_count))
		return -ENOMEM;
	return 0;
}

static int finish(struct query_build *build, struct window *const *slices, size_t count,
		  struct profile **ret_profile)
{
	struct profile *profile = arena_alloc(build->arena, sizeof(*profile));
	const char *asked = build->filter.selector->asked;

	if (!profile)
		return -ENOMEM;
	main_first(build);
	profile->types[0] = (struct profile_type){ "samples", "count" };
	profile->types[1] = profile->period_type = (struct profile_type){ "cpu", "nanoseconds" };
	profile->period = count && slices[0]->period_ns ? slices[0]->period_ns : 1;
	profile->time_ns = count ? slices[0]->from_wall_ns : 0;
	for (size_t i = 0; i < count; i++)
		profile->duration_ns += slices[i]->to_ns - slices[i]->from_ns;
	profile->comment = query_clean(build->arena, asked ? asked : "");
	if (!profile->comment || move_tables(build, profile))
		return -ENOMEM;
	for (size_t i = 0; i < profile->sample_count; i++)
		profile->samples[i].count = (profile->samples[i].count + profile->period / 2) / profile->period;
	profile->arena = build->arena;
	build->arena = NULL;
	*ret_profile = profile;
	return 0;
}

int query_profile(struct window *const *slices, size_t count, const struct query_selector *selector,
		  struct names *names, struct cgroup_table *cgroups, struct profile **ret_profile, char *error,
		  size_t error_size)
{
	struct query_build build;
	int status = build_init(&build, selector, names, cgroups, error, error_size);

	if (!status)
		status = add_slices(&build, slices, count);
	if (!status && build.filter.exhausted) {
		snprintf(error, error_size, "focus, ignore and hide: matching takes too long, simplify them");
		status = -EINVAL;
	}
	if (!status)
		status = finish(&build, slices, count, ret_profile);
	build_done(&build);
	return status;
}

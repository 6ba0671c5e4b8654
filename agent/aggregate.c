/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stages "resolve" and "aggregate". Takes drained samples, gives a slice of the window: counts over label sets and
 * stacks of frame ids. Addresses become (image, ELF address) here, so a stack stays nameable after its process
 * died. Owns the open slice and the look-up tables that fill it.
 */
#include "aggregate.h"

#include "base/clock.h"
#include "base/hmap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLICE_MAX_FRAMES (8U << 20)
#define KERNEL_OWNER (1ULL << 63) /* in the cache, above all serials of processes */
#define STACK_MAX_FRAMES (SAMPLE_MAX_USER_FRAMES + SAMPLE_MAX_KERNEL_FRAMES + 1)

struct label_slot {
	struct window_labels labels;
	uint32_t index;
};
struct stack_slot {
	uint64_t hash;
	uint32_t index;
};
struct sample_slot {
	struct {
		uint32_t labels, stack;
	} key;
	uint32_t index;
};

struct array { /* a growing array of one element size */
	char *items;
	size_t count, capacity, size;
};

struct aggregate {
	struct aggregate_opts opts;
	struct frame_cache *cache;
	struct hmap label_slots, stack_slots, sample_slots;
	struct array labels, stacks, samples, frames;
	uint32_t notes[REASON_COUNT]; /* frame ids of [truncated: …], 0: not made yet */
	uint32_t unknown_note, gap_note, stale_note, overflow_note; /* likewise */
	uint64_t stale; /* samples that end in the latter */
	uint32_t scratch[STACK_MAX_FRAMES];
};

static void *array_add(struct array *array, size_t count)
{
	if (array->count + count > array->capacity) {
		size_t capacity = array->capacity ? array->capacity * 2 : 64;
		char *items;

		while (capacity < array->count + count)
			capacity *= 2;
		items = realloc(array->items, capacity * array->size);
		if (!items)
			return NULL;
		array->items = items;
		array->capacity = capacity;
	}
	array->count += count;
	return array->items + (array->count - count) * array->size;
}

struct aggregate *aggregate_new(const struct aggregate_opts *opts)
{
	struct aggregate *aggregate = calloc(1, sizeof(*aggregate));

	if (!aggregate)
		return NULL;
	aggregate->cache = frame_cache_new();
	if (!aggregate->cache) {
		free(aggregate);
		return NULL;
	}
	aggregate->opts = *opts;
	aggregate->labels.size = sizeof(struct window_labels);
	aggregate->stacks.size = sizeof(struct window_stack);
	aggregate->samples.size = sizeof(struct window_sample);
	aggregate->frames.size = sizeof(uint32_t);
	hmap_init(&aggregate->label_slots, sizeof(struct window_labels), sizeof(struct label_slot), 0);
	hmap_init(&aggregate->stack_slots, sizeof(uint64_t), sizeof(struct stack_slot), 0);
	hmap_init(&aggregate->sample_slots, 2 * sizeof(uint32_t), sizeof(struct sample_slot), 0);
	return aggregate;
}

void aggregate_free(struct aggregate *aggregate)
{
	if (!aggregate)
		return;
	frame_cache_free(aggregate->cache);
	hmap_done(&aggregate->label_slots);
	hmap_done(&aggregate->stack_slots);
	hmap_done(&aggregate->sample_slots);
	free(aggregate->labels.items);
	free(aggregate->stacks.items);
	free(aggregate->samples.items);
	free(aggregate->frames.items);
	free(aggregate);
}

/* The frame that ends a stack which could not be finished: "[truncated: no unwind rule]". */
static uint32_t truncation_note(struct aggregate *aggregate, enum reason reason)
{
	static const char *const labels[] = {
#define REASON(id, label, sentence) label,
		REASON_LIST(REASON)
#undef REASON
	};
	char text[96];

	if (aggregate->notes[reason])
		return aggregate->notes[reason];
	snprintf(text, sizeof(text), "[truncated: %s]", labels[reason]);
	for (char *at = text; *at; at++)
		if (*at == '_')
			*at = ' ';
	aggregate->notes[reason] = names_note(aggregate->opts.names, text);
	return aggregate->notes[reason];
}

static uint32_t unknown_frame(struct aggregate *aggregate)
{
	if (!aggregate->unknown_note)
		aggregate->unknown_note = names_note(aggregate->opts.names, "[unknown mapping]");
	return aggregate->unknown_note;
}

/* In place of what a stack deeper than SAMPLE_MAX_DEPTH lacks in its middle, so that its root still groups. */
static uint32_t gap_frame(struct aggregate *aggregate)
{
	if (!aggregate->gap_note)
		aggregate->gap_note = names_note(aggregate->opts.names, "[gap: frames left out]");
	return aggregate->gap_note;
}

/* In place of frames that were found with, or may be of, what lay at an address before. */
static uint32_t stale_frame(struct aggregate *aggregate)
{
	if (!aggregate->stale_note)
		aggregate->stale_note = names_note(aggregate->opts.names, "[stale mapping]");
	return aggregate->stale_note;
}

/* All files that the table of images had no room for. */
static uint32_t overflow_frame(struct aggregate *aggregate)
{
	if (!aggregate->overflow_note)
		aggregate->overflow_note = names_note(aggregate->opts.names, "[too many files]");
	return aggregate->overflow_note;
}

/* *ret_misread: what the walk found behind this frame is not to be believed. */
static uint32_t user_frame(struct aggregate *aggregate, const struct drain_sample *sample, struct process *process,
			   uint64_t frame, bool *ret_misread)
{
	bool exact = frame & SAMPLE_FRAME_EXACT, is_vaddr;
	uint64_t address = frame & ~SAMPLE_FRAME_EXACT, at = exact ? address : address - 1, vaddr;
	const struct process_mapping *mapping;
	struct process_image *image;
	uint32_t id;

	if (frame == SAMPLE_FRAME_GAP)
		return gap_frame(aggregate);
	if (!process || !address)
		return unknown_frame(aggregate);
	if (!process->recycles && frame_cache_find(aggregate->cache, process->serial, frame, &id))
		return id;
	mapping = process_mapping_at(process, at, sample->value->last_ns);
	if (!mapping)
		return unknown_frame(aggregate);
	*ret_misread = process_mapping_misread(process, mapping, sample->value->table_version);
	if (process_mapping_mixed(aggregate->opts.processes, mapping, sample->value->count)) {
		*ret_misread = true;
		return stale_frame(aggregate);
	}
	image = mapping->image;
	if (image->overflow)
		return overflow_frame(aggregate);
	is_vaddr = process_mapping_vaddr(mapping, at, &vaddr);
	if (image->anonymous)
		image = process_jit_image(aggregate->opts.processes, process, image);
	id = names_frame(aggregate->opts.names, image->id, exact ? vaddr : vaddr + 1, exact, is_vaddr);
	/* Else it may have a better answer the next time, or another for another moment. */
	if (id && is_vaddr && !mapping->recycled && !image->doubted)
		frame_cache_add(aggregate->cache, process->serial, frame, id);
	return id;
}

/* kallsyms knows the kernel; a BPF program that came later is named by its KSYMBOL event, also when it is gone. */
static uint32_t look_up_kernel_frame(struct aggregate *aggregate, uint64_t address, bool exact)
{
	uint32_t id = names_frame(aggregate->opts.names, NAMES_IMAGE_KERNEL, address, exact, true);
	const char *symbol = process_ksymbol(aggregate->opts.processes, exact ? address : address - 1);
	struct names_frame frame;
	struct names_line line = { 0 };

	if (!symbol)
		return id;
	names_get_frame(aggregate->opts.names, id, &frame);
	if (frame.state == NAMES_DONE)
		return id;
	line.name = line.system_name = names_string(aggregate->opts.names, symbol);
	if (line.name != UINT32_MAX)
		names_set_lines(aggregate->opts.names, id, SYMBOL_KSYMBOL, &line, 1);
	return id;
}

static uint32_t kernel_frame(struct aggregate *aggregate, uint64_t address, bool exact)
{
	uint64_t owner = KERNEL_OWNER | process_ksymbol_changes(aggregate->opts.processes) << 1 | exact;
	uint32_t id;

	if (frame_cache_find(aggregate->cache, owner, address, &id))
		return id;
	id = look_up_kernel_frame(aggregate, address, exact);
	if (id)
		frame_cache_add(aggregate->cache, owner, address, id);
	return id;
}

/* Why a stack ends before its root. A kernel thread's has no user part that tells. */
static enum reason cut_reason(const struct drain_sample *sample)
{
	uint32_t kernel_reason = sample->key->kernel_reason;

	if (sample->user_reason == REASON_NONE && !sample->user_depth && kernel_reason < REASON_COUNT)
		return (enum reason)kernel_reason;
	return sample->user_reason;
}

static uint32_t resolve_frames(struct aggregate *aggregate, const struct drain_sample *sample,
			       struct process *process)
{
	enum reason reason = cut_reason(sample);
	uint32_t depth = 0;
	bool misread = false;

	for (uint32_t i = 0; i < sample->kernel_depth; i++)
		aggregate->scratch[depth++] = kernel_frame(aggregate, sample->kernel[i], i == 0);
	for (uint32_t i = 0; i < sample->user_depth; i++) {
		aggregate->scratch[depth++] = user_frame(aggregate, sample, process, sample->user[i], &misread);
		if (!misread)
			continue;
		if (i + 1 < sample->user_depth && aggregate->scratch[depth - 1] != stale_frame(aggregate))
			aggregate->scratch[depth++] = stale_frame(aggregate);
		aggregate->stale += sample->value->count;
		return depth;
	}
	if (!depth && reason == REASON_NONE)
		reason = REASON_STACK_MISSING;
	if (reason != REASON_NONE)
		aggregate->scratch[depth++] = truncation_note(aggregate, reason);
	return depth;
}

static bool add_stack(struct aggregate *aggregate, uint32_t depth, uint32_t *ret_stack)
{
	size_t bytes = depth * sizeof(uint32_t);
	uint64_t hash = hmap_hash(aggregate->scratch, bytes);
	struct stack_slot *slot;
	struct window_stack *stack;
	uint32_t *frames;
	bool new;

	for (;; hash++) { /* equal hashes of different stacks take the next number */
		slot = hmap_insert(&aggregate->stack_slots, &hash, &new);
		if (!slot)
			return false;
		if (new)
			break;
		stack = (struct window_stack *)aggregate->stacks.items + slot->index;
		frames = (uint32_t *)aggregate->frames.items + stack->first;
		if (stack->depth == depth && !memcmp(frames, aggregate->scratch, bytes)) {
			*ret_stack = slot->index;
			return true;
		}
	}
	slot->index = (uint32_t)aggregate->stacks.count;
	if (aggregate->frames.count + depth > SLICE_MAX_FRAMES || !(frames = array_add(&aggregate->frames, depth)) ||
	    !(stack = array_add(&aggregate->stacks, 1))) {
		hmap_remove(&aggregate->stack_slots, &hash);
		return false;
	}
	memcpy(frames, aggregate->scratch, bytes);
	*stack = (struct window_stack){ .first = (uint32_t)(aggregate->frames.count - depth), .depth = depth };
	*ret_stack = slot->index;
	return true;
}

static uint32_t string_or_empty(struct names *names, const char *text)
{
	uint32_t id = names_string(names, text);

	return id == UINT32_MAX ? 0 : id;
}

static bool add_labels(struct aggregate *aggregate, const struct drain_sample *sample,
		       const struct process *process, uint32_t *ret_labels)
{
	struct names *names = aggregate->opts.names;
	char thread[sizeof(sample->value->comm) + 1] = { 0 };
	char comm[sizeof(process->comm) + 1] = { 0 };
	struct window_labels labels = { .pid = sample->key->tgid };
	struct label_slot *slot;
	bool new;

	memcpy(thread, sample->value->comm, sizeof(sample->value->comm));
	memcpy(comm, process && process->comm[0] ? process->comm : thread, sizeof(process->comm));
	labels.container = cgroup_container(aggregate->opts.cgroups, sample->key->cgroup);
	labels.comm = string_or_empty(names, comm);
	labels.thread = strcmp(comm, thread) ? string_or_empty(names, thread) : 0;
	labels.tid = aggregate->opts.keep_threads ? sample->key->tid : 0;
	labels.root = process ? process->root : 0;
	slot = hmap_insert(&aggregate->label_slots, &labels, &new);
	if (!slot)
		return false;
	if (new) {
		struct window_labels *place = array_add(&aggregate->labels, 1);

		if (!place) {
			hmap_remove(&aggregate->label_slots, &labels);
			return false;
		}
		*place = labels;
		slot->index = (uint32_t)aggregate->labels.count - 1;
	}
	*ret_labels = slot->index;
	return true;
}

enum reason aggregate_take(void *context, const struct drain_sample *sample)
{
	struct aggregate *aggregate = context;
	struct process *process = process_find(aggregate->opts.processes, sample->key->tgid, sample->value->last_ns);
	struct window_sample added = { .count = sample->value->count };
	struct sample_slot *slot;
	uint32_t key[2];
	bool new;

	if (!add_labels(aggregate, sample, process, &added.labels) ||
	    !add_stack(aggregate, resolve_frames(aggregate, sample, process), &added.stack))
		return REASON_WINDOW_FULL;
	key[0] = added.labels;
	key[1] = added.stack;
	slot = hmap_insert(&aggregate->sample_slots, key, &new);
	if (!slot)
		return REASON_WINDOW_FULL;
	if (new) {
		struct window_sample *place = array_add(&aggregate->samples, 1);

		if (!place) {
			hmap_remove(&aggregate->sample_slots, key);
			return REASON_WINDOW_FULL;
		}
		*place = added;
		slot->index = (uint32_t)aggregate->samples.count - 1;
	} else {
		((struct window_sample *)aggregate->samples.items)[slot->index].count += added.count;
	}
	return REASON_NONE;
}

void aggregate_get_stats(struct aggregate *aggregate, struct frame_cache_stats *ret_stats)
{
	frame_cache_get_stats(aggregate->cache, ret_stats);
}

uint64_t aggregate_stale(const struct aggregate *aggregate)
{
	return aggregate->stale;
}

static void *move_items(char **to, struct array *array)
{
	size_t bytes = array->count * array->size;
	void *place = *to;

	if (bytes)
		memcpy(place, array->items, bytes);
	*to += (bytes + 15) & ~(size_t)15;
	array->count = 0;
	return place;
}

/* One block holds the slice: header, then the four arrays, each aligned to 16 bytes. */
struct window *aggregate_close(struct aggregate *aggregate, uint64_t from_ns, uint64_t to_ns)
{
	const struct array *arrays[] = { &aggregate->labels, &aggregate->stacks, &aggregate->samples,
					 &aggregate->frames };
	size_t bytes = (sizeof(struct window) + 15) & ~(size_t)15;
	struct window *slice;
	char *to;

	for (size_t i = 0; i < 4; i++)
		bytes += (arrays[i]->count * arrays[i]->size + 15) & ~(size_t)15;
	slice = calloc(1, bytes);
	if (!slice)
		return NULL;
	atomic_init(&slice->references, 1);
	frame_cache_settle(aggregate->cache);
	slice->from_ns = from_ns;
	slice->to_ns = to_ns;
	slice->from_wall_ns = clock_wall_ns() - (clock_monotonic_ns() - from_ns);
	slice->period_ns = aggregate->opts.period_ns;
	slice->label_count = (uint32_t)aggregate->labels.count;
	slice->stack_count = (uint32_t)aggregate->stacks.count;
	slice->sample_count = (uint32_t)aggregate->samples.count;
	slice->frame_count = (uint32_t)aggregate->frames.count;
	slice->bytes = bytes;
	to = (char *)slice + ((sizeof(struct window) + 15) & ~(size_t)15);
	slice->labels = move_items(&to, &aggregate->labels);
	slice->stacks = move_items(&to, &aggregate->stacks);
	slice->samples = move_items(&to, &aggregate->samples);
	slice->frames = move_items(&to, &aggregate->frames);
	hmap_clear(&aggregate->label_slots);
	hmap_clear(&aggregate->stack_slots);
	hmap_clear(&aggregate->sample_slots);
	return slice;
}

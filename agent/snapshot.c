/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stage "snapshot". Takes records of abi/snapshot.h and drained samples, gives samples with whole stacks. Owns the
 * copies, one behind the other in a block of memory that leaves at the end of their slice.
 */
#include "snapshot.h"

#include "base/hmap.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define DONE 255
#define MAX_WALKS 16 /* of a copy whose rows do not come */

struct copy_slot {
	uint64_t id;
	uint32_t offset; /* in the block */
	uint8_t walks;   /* of snapshot_demand; DONE: nothing is missing that could come */
};

struct snapshot_store {
	struct process_table *processes;
	struct snapshot_rules rules;
	snapshot_slow_fn slow; /* NULL: nobody */
	void *slow_context;
	uint8_t *block;
	uint32_t used;     /* bytes, a multiple of 8 */
	uint32_t told;     /* their areas */
	struct hmap slots; /* struct copy_slot */
	uint64_t frames[SAMPLE_MAX_USER_FRAMES];
	pthread_mutex_t lock; /* guards stats */
	struct snapshot_stats stats;
};

struct snapshot_store *snapshot_new(struct process_table *processes, const struct snapshot_rules *rules)
{
	struct snapshot_store *store = calloc(1, sizeof(*store));

	if (!store)
		return NULL;
	store->block = mmap(NULL, SNAPSHOT_LIMIT_BYTES, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (store->block == MAP_FAILED) {
		free(store);
		return NULL;
	}
	(void)madvise(store->block, SNAPSHOT_LIMIT_BYTES, MADV_DONTDUMP);
	(void)mlock2(store->block, SNAPSHOT_LIMIT_BYTES, MLOCK_ONFAULT); /* never swapped out, where that is allowed */
	store->processes = processes;
	store->rules = *rules;
	hmap_init(&store->slots, sizeof(uint64_t), sizeof(struct copy_slot), 0);
	pthread_mutex_init(&store->lock, NULL);
	return store;
}

void snapshot_free(struct snapshot_store *store)
{
	if (!store)
		return;
	munmap(store->block, SNAPSHOT_LIMIT_BYTES);
	hmap_done(&store->slots);
	pthread_mutex_destroy(&store->lock);
	free(store);
}

void snapshot_set_slow(struct snapshot_store *store, snapshot_slow_fn slow, void *context)
{
	store->slow = slow;
	store->slow_context = context;
}

static uint32_t copy_bytes(const struct snapshot *copy)
{
	return (uint32_t)(sizeof(*copy) + copy->bytes + 7) & ~7U;
}

static const struct snapshot *copy_at(const struct snapshot_store *store, uint32_t offset)
{
	return (const struct snapshot *)(const void *)(store->block + offset);
}

static bool keep(struct snapshot_store *store, const struct snapshot *copy)
{
	struct copy_slot *slot;
	bool new;

	if (copy_bytes(copy) > SNAPSHOT_LIMIT_BYTES - store->used)
		return false;
	slot = hmap_insert(&store->slots, &copy->id, &new);
	if (!slot || !new)
		return false;
	slot->offset = store->used;
	slot->walks = 0;
	memcpy(store->block + store->used, copy, sizeof(*copy) + copy->bytes);
	snapshot_clear_holes(copy, store->block + store->used + sizeof(*copy));
	store->used += copy_bytes(copy);
	return true;
}

bool snapshot_is_whole(const void *data, size_t size)
{
	const struct snapshot *copy = data;

	return size >= sizeof(*copy) && copy->id & SNAPSHOT_ID && copy->bytes <= size - sizeof(*copy) &&
	       copy->near_bytes <= copy->bytes &&
	       copy->bytes <= (copy->flags & SNAPSHOT_REFEREE ? SNAPSHOT_REFEREE_BYTES : SNAPSHOT_BYTES);
}

void snapshot_clear_holes(const struct snapshot *copy, uint8_t *stack)
{
	uint64_t page = copy->from / SNAPSHOT_PIECE * SNAPSHOT_PIECE, end = copy->from + copy->near_bytes;

	for (uint32_t holes = copy->holes; holes; holes >>= 1, page += SNAPSHOT_PIECE)
		if (holes & 1 && page >= copy->from && page < end)
			memset(stack + (page - copy->from), 0, end - page < SNAPSHOT_PIECE ? end - page : SNAPSHOT_PIECE);
}

int snapshot_receive(void *context, void *data, size_t size)
{
	struct snapshot_store *store = context;
	const struct snapshot *copy = data;
	bool kept = snapshot_is_whole(data, size) && keep(store, copy);

	pthread_mutex_lock(&store->lock);
	store->stats.received++;
	store->stats.refused += !kept;
	pthread_mutex_unlock(&store->lock);
	return 0;
}

void snapshot_tell_areas(struct snapshot_store *store, uint64_t until_ns)
{
	for (; store->told < store->used; store->told += copy_bytes(copy_at(store, store->told))) {
		const struct snapshot *copy = copy_at(store, store->told);
		const struct snapshot_area *area = &copy->area;
		struct process_found found = {
			.start = area->start, .end = area->end, .offset = area->offset,
			.file = { area->major, area->minor, area->inode, area->generation },
		};

		if (copy->time_ns > until_ns)
			return;
		if (area->address)
			process_table_found(store->processes, copy->tgid, copy->time_ns, area->address, &found);
	}
}

static bool awaits_image(const struct process *process)
{
	for (size_t i = 0; i < process->mapping_count; i++)
		if (process->mappings[i].image->state == PROCESS_IMAGE_ASKED)
			return true;
	return false;
}

bool snapshot_awaits_images(const struct snapshot_store *store, uint64_t until_ns)
{
	for (uint32_t offset = 0; offset < store->used; offset += copy_bytes(copy_at(store, offset))) {
		const struct snapshot *copy = copy_at(store, offset);
		const struct process *process = process_find(store->processes, copy->tgid, copy->time_ns);

		if (copy->time_ns <= until_ns && process && awaits_image(process))
			return true;
	}
	return false;
}

/* True: the walk of the copy lacks rows. */
static bool demand(struct snapshot_store *store, struct copy_slot *slot)
{
	const struct snapshot *copy = copy_at(store, slot->offset);
	const struct process *process = process_find(store->processes, copy->tgid, copy->time_ns);
	const uint8_t *stack = (const uint8_t *)(copy + 1);
	enum reason reason;

	if (!process || slot->walks >= MAX_WALKS)
		return false;
	(void)snapshot_walk(copy, stack, process, &store->rules, store->frames, &reason);
	if (reason != REASON_NO_TABLE) {
		slot->walks = awaits_image(process) ? slot->walks : DONE;
		return false;
	}
	if (!slot->walks++)
		snapshot_want(copy, stack, process, &store->rules);
	return true;
}

size_t snapshot_demand(struct snapshot_store *store, uint64_t until_ns)
{
	size_t count = 0;

	for (uint32_t offset = 0; offset < store->used; offset += copy_bytes(copy_at(store, offset))) {
		const struct snapshot *copy = copy_at(store, offset);
		struct copy_slot *slot = hmap_find(&store->slots, &copy->id);

		if (slot && slot->walks != DONE && copy->time_ns <= until_ns)
			count += demand(store, slot);
	}
	return count;
}

/* As the kernel side's walk_leave_gap: how many are kept. */
static uint32_t keep_both_ends(const uint64_t *frames, uint32_t depth, enum reason reason, uint64_t *to)
{
	if (depth > SAMPLE_MAX_DEPTH && (reason == REASON_TIME || reason == REASON_DEPTH))
		depth = SAMPLE_INNER_FRAMES;
	if (depth <= SAMPLE_MAX_DEPTH) {
		memcpy(to, frames, depth * sizeof(*frames));
		return depth;
	}
	memcpy(to, frames, SAMPLE_INNER_FRAMES * sizeof(*frames));
	to[SAMPLE_INNER_FRAMES] = SAMPLE_FRAME_GAP;
	memcpy(to + SAMPLE_INNER_FRAMES + 1, frames + depth - SAMPLE_OUTER_FRAMES, SAMPLE_OUTER_FRAMES * sizeof(*frames));
	return SAMPLE_MAX_DEPTH + 1;
}

/* A rule stands in the way: libunwind may have followed it meanwhile. */
static bool finish_slowly(struct snapshot_store *store, const struct snapshot *copy, struct drain_sample *sample)
{
	const uint64_t *frames;
	enum reason reason;
	uint32_t depth = store->slow ? store->slow(store->slow_context, copy->id, &frames, &reason) : 0;

	if (depth < sample->user_depth || (depth == sample->user_depth && reason))
		return false;
	sample->user = store->frames;
	sample->user_depth = keep_both_ends(frames, depth, reason, store->frames);
	sample->user_reason = reason;
	return true;
}

/* The statistic that it counts for; the sample stays as it was unless that is `finished`. */
static uint64_t *finish(struct snapshot_store *store, struct drain_sample *sample)
{
	const struct copy_slot *slot = hmap_find(&store->slots, &sample->key->user_stack);
	const struct snapshot *copy = slot ? copy_at(store, slot->offset) : NULL;
	const struct process *process;
	enum reason reason;
	bool gained = false;
	uint32_t depth;

	if (!copy || copy->tgid != sample->key->tgid)
		return &store->stats.missing;
	process = process_find(store->processes, copy->tgid, copy->time_ns);
	if (!process)
		return &store->stats.missing;
	depth = snapshot_walk(copy, (const uint8_t *)(copy + 1), process, &store->rules, store->frames, &reason);
	if (depth && (!reason || depth >= sample->user_depth)) {
		sample->user = store->frames;
		sample->user_depth = depth;
		sample->user_reason = reason;
		gained = true;
	}
	if (reason == REASON_UNSUPPORTED_RULE)
		return finish_slowly(store, copy, sample) ? &store->stats.slow : &store->stats.slow_useless;
	return gained ? &store->stats.finished : &store->stats.useless;
}

void snapshot_finish(struct snapshot_store *store, struct drain_sample *sample)
{
	uint64_t *counter;

	if (!(sample->key->flags & SAMPLE_SNAPSHOT))
		return;
	counter = finish(store, sample);
	pthread_mutex_lock(&store->lock);
	*counter += sample->value->count;
	store->stats.outcomes[sample->user_reason] += sample->value->count;
	pthread_mutex_unlock(&store->lock);
}

/* Those of the slice that has begun meanwhile move to the front; the memory behind them is given back. */
void snapshot_drop(struct snapshot_store *store, uint64_t until_ns)
{
	uint32_t page = (uint32_t)sysconf(_SC_PAGESIZE), used = store->used, kept = 0, bytes;

	hmap_clear(&store->slots);
	for (uint32_t offset = 0; offset < used; offset += bytes) {
		const struct snapshot *copy = copy_at(store, offset);
		struct copy_slot *slot;

		bytes = copy_bytes(copy);
		if (copy->time_ns <= until_ns)
			continue;
		slot = hmap_insert(&store->slots, &copy->id, NULL);
		if (!slot)
			continue;
		slot->offset = kept;
		slot->walks = 0;
		memmove(store->block + kept, copy, bytes);
		kept += bytes;
	}
	store->used = kept;
	store->told = 0; /* a second time does no harm */
	kept = (kept + page - 1) & ~(page - 1);
	if (used > kept && madvise(store->block + kept, used - kept, MADV_DONTNEED_LOCKED))
		(void)madvise(store->block + kept, used - kept, MADV_DONTNEED);
}

void snapshot_get_stats(struct snapshot_store *store, struct snapshot_stats *ret_stats)
{
	pthread_mutex_lock(&store->lock);
	*ret_stats = store->stats;
	pthread_mutex_unlock(&store->lock);
}

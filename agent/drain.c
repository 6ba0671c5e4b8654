/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stage "drain". Takes the kernel's two sets of count and stack maps, gives samples with their frames. Owns the
 * buffers a set is read into and the user side's half of the accounts.
 *
 * Exactness: a handler reads the active index once. After the index flipped, replacing a slot of an array of
 * maps makes the kernel wait for every program that was running (maybe_wait_bpf_programs, kernel/bpf/syscall.c),
 * so the old set is then written by nobody and what is read from it is all of it.
 */
#include "drain.h"

#include "base/clean.h"
#include "base/clock.h"
#include "base/hmap.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 1024 /* elements a lookup_and_delete call; grows when one bucket holds more */

struct batch_map { /* one kernel map read whole into memory */
	char *keys, *values;
	size_t key_bytes, value_bytes, capacity, count;
};

struct chunk_slot {
	struct stack_key key;
	uint32_t index; /* in stacks.values */
};

struct drain {
	struct loader *loader;
	uint32_t active;
	uint64_t since_ns; /* when the active set became it */
	int grace_fd[2];
	unsigned grace_next;
	unsigned cpus;
	struct sample_counters *per_cpu;
	struct batch_map counts, stacks;
	struct hmap chunks;
	uint64_t user[SAMPLE_MAX_USER_FRAMES], kernel[SAMPLE_MAX_KERNEL_FRAMES];

	pthread_mutex_t lock; /* guards what follows and per_cpu */
	struct sample_counters settled[SAMPLE_SETS]; /* the kernel's counters of a set when it was last collected */
	uint64_t stored, lost[REASON_COUNT], stacks_missing;
};

static int make_grace_maps(struct drain *drain)
{
	for (int i = 0; i < 2; i++) {
		drain->grace_fd[i] = bpf_map_create(BPF_MAP_TYPE_ARRAY, "wick_grace", 4, 4, 1, NULL);
		if (drain->grace_fd[i] < 0)
			return -errno;
	}
	return 0;
}

int drain_new(struct loader *loader, struct drain **ret_drain)
{
	struct drain *drain = calloc(1, sizeof(*drain));
	int cpus = libbpf_num_possible_cpus(), error = -ENOMEM;

	if (!drain)
		return -ENOMEM;
	pthread_mutex_init(&drain->lock, NULL);
	drain->grace_fd[0] = drain->grace_fd[1] = -1;
	drain->loader = loader;
	drain->since_ns = clock_monotonic_ns();
	drain->counts = (struct batch_map){ .key_bytes = sizeof(struct sample_key),
					    .value_bytes = sizeof(struct sample_value) };
	drain->stacks = (struct batch_map){ .key_bytes = sizeof(struct stack_key),
					    .value_bytes = sizeof(struct stack_chunk) };
	hmap_init(&drain->chunks, sizeof(struct stack_key), sizeof(struct chunk_slot), 0);
	drain->cpus = cpus > 0 ? (unsigned)cpus : 1;
	drain->per_cpu = calloc(drain->cpus, sizeof(*drain->per_cpu));
	if (drain->per_cpu)
		error = make_grace_maps(drain);
	if (error) {
		drain_free(drain);
		return error;
	}
	*ret_drain = drain;
	return 0;
}

void drain_free(struct drain *drain)
{
	if (!drain)
		return;
	for (int i = 0; i < 2; i++)
		if (drain->grace_fd[i] >= 0)
			close(drain->grace_fd[i]);
	free(drain->per_cpu);
	free(drain->counts.keys);
	free(drain->counts.values);
	free(drain->stacks.keys);
	free(drain->stacks.values);
	hmap_done(&drain->chunks);
	pthread_mutex_destroy(&drain->lock);
	free(drain);
}

/* The sum over CPUs of one set's counters, of max_ns the largest. The lock must be held: per_cpu is shared. */
static int read_counters(struct drain *drain, uint32_t set, struct sample_counters *ret_sum)
{
	struct sample_counters sum = { 0 };
	uint64_t max_ns = 0;
	uint64_t *to = (uint64_t *)&sum;

	if (bpf_map_lookup_elem(loader_map_fd(drain->loader, LOADER_COUNTERS), &set, drain->per_cpu))
		return -errno;
	for (unsigned cpu = 0; cpu < drain->cpus; cpu++) {
		const uint64_t *from = (const uint64_t *)&drain->per_cpu[cpu];

		for (size_t i = 0; i < sizeof(sum) / sizeof(*to); i++)
			to[i] += from[i];
		if (drain->per_cpu[cpu].max_ns > max_ns)
			max_ns = drain->per_cpu[cpu].max_ns;
	}
	sum.max_ns = max_ns;
	*ret_sum = sum;
	return 0;
}

int drain_switch(struct drain *drain, uint64_t *ret_from_ns, uint64_t *ret_to_ns)
{
	uint32_t zero = 0, next = 1 - drain->active;
	uint64_t now;

	loader_activate(drain->loader, next);
	now = clock_monotonic_ns();
	drain->active = next;
	*ret_from_ns = drain->since_ns;
	*ret_to_ns = now;
	drain->since_ns = now;
	if (bpf_map_update_elem(loader_map_fd(drain->loader, LOADER_GRACE), &zero,
				&drain->grace_fd[drain->grace_next++ % 2], BPF_ANY))
		return -errno;
	return 0;
}

static int batch_reserve(struct batch_map *map, size_t more)
{
	size_t want = map->count + more;
	char *keys, *values;

	if (want <= map->capacity)
		return 0;
	want = want < 2 * map->capacity ? 2 * map->capacity : want;
	keys = realloc(map->keys, want * map->key_bytes);
	if (keys)
		map->keys = keys;
	values = realloc(map->values, want * map->value_bytes);
	if (values)
		map->values = values;
	if (!keys || !values)
		return -ENOMEM;
	map->capacity = want;
	return 0;
}

/* Reads and empties a map. Nobody writes to it meanwhile, so one pass sees every element once. */
static int batch_take(struct batch_map *map, int fd)
{
	char token[64];
	void *from = NULL;
	uint32_t step = BATCH;

	map->count = 0;
	for (;;) {
		uint32_t count = step;
		int error;

		if (batch_reserve(map, step))
			return -ENOMEM;
		error = bpf_map_lookup_and_delete_batch(fd, from, token, map->keys + map->count * map->key_bytes,
							map->values + map->count * map->value_bytes, &count,
							NULL);
		if (error && errno == ENOSPC && !count && step < 65536) {
			step *= 2; /* a bucket holds more than fits */
			continue;
		}
		if (error && errno == EINTR)
			continue;
		if (error && errno != ENOENT)
			return -errno;
		map->count += count;
		if (error)
			return 0;
		from = token;
	}
}

static int index_chunks(struct drain *drain)
{
	const struct stack_key *keys = (const void *)drain->stacks.keys;

	hmap_clear(&drain->chunks);
	for (size_t i = 0; i < drain->stacks.count; i++) {
		struct chunk_slot *slot = hmap_insert(&drain->chunks, &keys[i], NULL);

		if (!slot)
			return -ENOMEM;
		slot->index = (uint32_t)i;
	}
	return 0;
}

/* The frames of a stack; fewer than depth when a chunk is missing. */
static uint32_t gather(struct drain *drain, uint64_t hash, uint32_t depth, uint64_t *frames)
{
	const struct stack_chunk *values = (const void *)drain->stacks.values;
	struct stack_key key = { .hash = hash };
	uint32_t got = 0;

	while (hash && got < depth) {
		const struct chunk_slot *slot = hmap_find(&drain->chunks, &key);
		uint32_t count = depth - got < SAMPLE_CHUNK_FRAMES ? depth - got : SAMPLE_CHUNK_FRAMES;

		if (!slot)
			break;
		memcpy(frames + got, values[slot->index].frames, count * sizeof(*frames));
		got += count;
		key.chunk++;
	}
	return got;
}

static uint32_t at_most(uint32_t value, uint32_t limit)
{
	return value < limit ? value : limit;
}

static void fill_sample(struct drain *drain, size_t index, struct drain_sample *ret_sample)
{
	const struct sample_key *key = (const void *)(drain->counts.keys + index * sizeof(*key));
	const struct sample_value *value = (const void *)(drain->counts.values + index * sizeof(*value));
	uint32_t user_depth = at_most(value->user_depth, SAMPLE_MAX_USER_FRAMES);
	struct drain_sample sample = { .key = key, .value = value, .user = drain->user, .kernel = drain->kernel };

	sample.user_depth = gather(drain, key->user_stack, user_depth, drain->user);
	sample.kernel_depth = gather(drain, key->kernel_stack,
				     at_most(value->kernel_depth, SAMPLE_MAX_KERNEL_FRAMES), drain->kernel);
	sample.user_reason = key->user_reason < REASON_COUNT ? key->user_reason : REASON_STACK_MISSING;
	if (key->user_stack && sample.user_depth < user_depth)
		sample.user_reason = REASON_STACK_MISSING;
	*ret_sample = sample;
}

int drain_collect(struct drain *drain, drain_fn take, void *context)
{
	uint32_t set = 1 - drain->active;
	uint64_t stored = 0, missing = 0, lost[REASON_COUNT] = { 0 };
	struct sample_counters settled;
	struct drain_sample sample;
	int error;

	error = batch_take(&drain->counts, loader_map_fd(drain->loader, set ? LOADER_COUNTS_B : LOADER_COUNTS_A));
	if (!error)
		error = batch_take(&drain->stacks,
				   loader_map_fd(drain->loader, set ? LOADER_STACKS_B : LOADER_STACKS_A));
	if (!error)
		error = index_chunks(drain);
	if (error)
		return error;
	for (size_t i = 0; i < drain->counts.count; i++) {
		enum reason reason;

		fill_sample(drain, i, &sample);
		missing += sample.user_reason == REASON_STACK_MISSING ? sample.value->count : 0;
		reason = take(context, &sample);
		if (reason == REASON_NONE)
			stored += sample.value->count;
		else
			lost[reason] += sample.value->count;
	}
	pthread_mutex_lock(&drain->lock);
	error = read_counters(drain, set, &settled);
	if (!error)
		drain->settled[set] = settled;
	drain->stored += stored;
	drain->stacks_missing += missing;
	for (int reason = 0; reason < REASON_COUNT; reason++)
		drain->lost[reason] += lost[reason];
	pthread_mutex_unlock(&drain->lock);
	return error ? error : (int)drain->counts.count;
}

static uint64_t sum_lost(const struct sample_counters *counters)
{
	uint64_t sum = 0;

	for (int reason = 0; reason < REASON_COUNT; reason++)
		sum += counters->lost[reason];
	return sum;
}

/*
 * `pending` is what handlers took since a set was last collected and did not lose; `stored` and the user side's
 * losses are counted one by one as counts come out of the maps. So the sum is right only if each collection
 * found exactly what the handlers had put in.
 */
void drain_accounting(struct drain *drain, struct view_accounting *ret_view)
{
	struct view_accounting view = { 0 };
	struct sample_counters live;

	pthread_mutex_lock(&drain->lock);
	for (uint32_t set = 0; set < SAMPLE_SETS; set++) {
		const struct sample_counters *settled = &drain->settled[set];

		if (read_counters(drain, set, &live))
			continue;
		view.taken += live.taken;
		view.pending += live.taken - sum_lost(&live) - (settled->taken - sum_lost(settled));
		view.frames += live.frames;
		view.searched += live.searched;
		view.run_ns += live.run_ns;
		view.run_max_ns = live.max_ns > view.run_max_ns ? live.max_ns : view.run_max_ns;
		for (int bucket = 0; bucket < DURATION_BUCKETS; bucket++)
			view.runs[bucket] += live.runs[bucket];
		view.copies += live.snapshots;
		view.copies_limited += live.snapshots_limited;
		view.copies_full += live.snapshots_full;
		for (int reason = 0; reason < REASON_COUNT; reason++) {
			view.lost[reason] += live.lost[reason];
			view.user[reason] += live.user[reason];
			view.kernel[reason] += live.kernel[reason];
		}
	}
	view.stored = drain->stored;
	for (int reason = 0; reason < REASON_COUNT; reason++)
		view.lost[reason] += drain->lost[reason];
	view.user[REASON_STACK_MISSING] += drain->stacks_missing;
	view.user[REASON_NONE] -= view.user[REASON_NONE] < drain->stacks_missing ? view.user[REASON_NONE] :
										   drain->stacks_missing;
	pthread_mutex_unlock(&drain->lock);
	*ret_view = view;
}

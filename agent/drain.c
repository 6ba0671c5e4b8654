/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stage "drain". Takes the kernel's two sets of blocks, gives samples with their frames. Owns the buffer a
 * block is read into and the user side's half of the accounts.
 *
 * Exactness: a handler reads the turn once. After the next began, replacing a slot of an array of maps makes the
 * kernel wait for every program that was running (maybe_wait_bpf_programs, kernel/bpf/syscall.c), so the old set is then
 * written by nobody and what is read from it is all of it.
 */
#include "drain.h"

#include "base/clean.h"
#include "base/clock.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>

struct drain {
	struct loader *loader;
	uint32_t turn;     /* the one that is over */
	uint64_t since_ns; /* when the next one began */
	int grace_fd[2];
	unsigned grace_next;
	unsigned cpus;
	struct sample_counters *per_cpu;
	struct sample_block *block; /* the one being read */
	uint32_t *numbers;          /* of those to be read */

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
	drain->cpus = cpus > 0 ? (unsigned)cpus : 1;
	drain->per_cpu = calloc(drain->cpus, sizeof(*drain->per_cpu));
	drain->block = malloc(sizeof(*drain->block));
	drain->numbers = calloc(loader_blocks(loader), sizeof(*drain->numbers));
	if (drain->per_cpu && drain->block && drain->numbers)
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
	free(drain->block);
	free(drain->numbers);
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
	uint32_t zero = 0;
	uint64_t now;

	drain->turn = loader_next_turn(drain->loader);
	now = clock_monotonic_ns();
	*ret_from_ns = drain->since_ns;
	*ret_to_ns = now;
	drain->since_ns = now;
	if (bpf_map_update_elem(loader_map_fd(drain->loader, LOADER_GRACE), &zero,
				&drain->grace_fd[drain->grace_next++ % 2], BPF_ANY))
		return -errno;
	return 0;
}

struct collection {
	drain_fn take;
	void *context;
	uint64_t stored, missing, lost[REASON_COUNT];
	int count;
};

/* `bytes` are the record's and what follows in its block. */
static void fill_sample(const struct sample_record *record, size_t bytes, struct drain_sample *ret_sample)
{
	const uint64_t *frames = (const uint64_t *)(record + 1);
	uint32_t room = (uint32_t)((bytes - sizeof(*record)) / sizeof(*frames));
	uint32_t kernel = record->value.kernel_depth, user = record->value.user_depth;
	struct drain_sample sample = { .key = &record->key, .value = &record->value, .kernel = frames };

	if (kernel <= room && kernel <= SAMPLE_MAX_KERNEL_FRAMES)
		sample.kernel_depth = kernel;
	sample.user = frames + sample.kernel_depth;
	sample.user_depth = user <= room - sample.kernel_depth && user <= SAMPLE_MAX_USER_FRAMES ? user : 0;
	sample.user_reason = record->key.user_reason < REASON_COUNT ? record->key.user_reason : REASON_STACK_MISSING;
	if (sample.user_depth < user)
		sample.user_reason = REASON_STACK_MISSING;
	*ret_sample = sample;
}

static void collect_block(const struct sample_block *block, struct collection *collection)
{
	size_t at = offsetof(struct sample_block, records);
	size_t end = block->used < SAMPLE_BLOCK_BYTES ? block->used : SAMPLE_BLOCK_BYTES;

	while (at + sizeof(struct sample_record) <= end) {
		const struct sample_record *record = (const void *)((const char *)block + at);
		struct drain_sample sample;
		enum reason reason;

		fill_sample(record, end - at, &sample);
		at += sizeof(*record) + (sample.kernel_depth + sample.user_depth) * sizeof(*sample.user);
		collection->missing += sample.user_reason == REASON_STACK_MISSING ? record->value.count : 0;
		reason = collection->take(collection->context, &sample);
		if (reason == REASON_NONE)
			collection->stored += record->value.count;
		else
			collection->lost[reason] += record->value.count;
		collection->count++;
	}
}

int drain_collect(struct drain *drain, drain_fn take, void *context)
{
	struct collection collection = { .take = take, .context = context };
	unsigned count = loader_used_blocks(drain->loader, drain->turn, drain->numbers);
	int blocks = loader_map_fd(drain->loader, LOADER_BLOCKS), error;
	uint32_t set = drain->turn % SAMPLE_SETS;
	struct sample_counters settled;

	for (unsigned at = 0; at < count; at++) {
		if (bpf_map_lookup_elem(blocks, &drain->numbers[at], drain->block))
			return -errno;
		collect_block(drain->block, &collection);
	}
	pthread_mutex_lock(&drain->lock);
	error = read_counters(drain, set, &settled);
	if (!error)
		drain->settled[set] = settled;
	drain->stored += collection.stored;
	drain->stacks_missing += collection.missing;
	for (int reason = 0; reason < REASON_COUNT; reason++)
		drain->lost[reason] += collection.lost[reason];
	pthread_mutex_unlock(&drain->lock);
	return error ? error : collection.count;
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
 * losses are counted one by one as records come out of the blocks. So the sum is right only if each collection
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

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stage "referee". Takes copies and drained samples, gives verdicts and finished stacks. Owns the jobs, their copies
 * in a block of memory, and the thread that works on one after the other.
 */
#include "referee_private.h"

#include "base/clock.h"
#include "snapshot.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#define BLOCK_BYTES ((size_t)REFEREE_JOBS * SNAPSHOT_REFEREE_BYTES)
#define UNMATCHED_NS 3000000000ULL /* a sample comes out of the kernel's blocks within two slices */
#define MOST_NS 600000000ULL /* CPU time a second to judge, however many are asked for */
#define MAX_BLAMED 16 /* binaries of one stack that a verdict is noted for */

static bool is_slow(const struct referee_job *job)
{
	return !(job->copy.flags & SNAPSHOT_REFEREE);
}

/* Stacks to be finished go first: a slice waits for them. NULL: nothing is queued. */
static struct referee_job *next_job(struct referee *referee)
{
	struct referee_job *next = NULL;

	for (size_t i = 0; i < REFEREE_JOBS; i++) {
		struct referee_job *job = &referee->jobs[i];

		if (job->state != JOB_QUEUED)
			continue;
		if (!next || is_slow(job) > is_slow(next) ||
		    (is_slow(job) == is_slow(next) && job->sequence < next->sequence))
			next = job;
	}
	return next;
}

/* What is said to have been spent in a child is not believed beyond the time that went by. */
static uint64_t cost_ns(const struct referee_job *job, uint64_t cpu_ns, uint64_t wall_ns, bool failed)
{
	return cpu_ns + (failed || job->child_ns > wall_ns ? wall_ns : job->child_ns);
}

static void work_one(struct referee *referee, struct referee_job *job)
{
	uint64_t one = 1, begin_ns = clock_monotonic_ns(), cpu_ns = clock_read_ns(CLOCK_THREAD_CPUTIME_ID);
	int error;

	job->state = JOB_RUNNING;
	job->child_ns = 0;
	pthread_mutex_unlock(&referee->lock);
	error = job->keep ? work_keep(referee, job) : work_unwind(referee, job);
	pthread_mutex_lock(&referee->lock);
	job->state = JOB_ANSWERED;
	budget_spend(&referee->budgets[is_slow(job)],
		     cost_ns(job, clock_read_ns(CLOCK_THREAD_CPUTIME_ID) - cpu_ns, clock_monotonic_ns() - begin_ns, error));
	if (job->keep) {
		referee->stats.kept += !error;
		referee->stats.keep_failed += error != 0;
	} else {
		referee->stats.failed += error != 0;
	}
	/* It fails only when the counter is full, and then the pipeline is awake. */
	if (write(referee->opts.wake_fd, &one, sizeof(one)) < 0)
		return;
}

static void *run(void *argument)
{
	struct referee *referee = argument;
	struct referee_job *job;

	prctl(PR_SET_NAME, "wick-referee");
	pthread_mutex_lock(&referee->lock);
	while (!atomic_load(&referee->stop)) {
		job = next_job(referee);
		if (job)
			work_one(referee, job);
		else
			pthread_cond_wait(&referee->queued, &referee->lock);
	}
	pthread_mutex_unlock(&referee->lock);
	work_close_fds(referee);
	return NULL;
}

/* Signals are the main thread's. */
static int start(struct referee *referee)
{
	sigset_t all, old;
	int error;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	error = pthread_create(&referee->thread, NULL, run, referee);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	referee->started = !error;
	return -error;
}

static void set_budgets(struct referee *referee, uint32_t interval)
{
	uint64_t now_ns = clock_monotonic_ns(), judge_ns = (uint64_t)REFEREE_JUDGE_NS * REFEREE_INTERVAL;

	judge_ns /= interval ? interval : REFEREE_INTERVAL;
	budget_init(&referee->budgets[0], judge_ns < MOST_NS ? judge_ns : MOST_NS, now_ns);
	budget_init(&referee->budgets[1], REFEREE_FINISH_NS, now_ns);
}

int referee_new(const struct referee_opts *opts, struct referee **ret_referee)
{
	struct referee *referee = calloc(1, sizeof(*referee));
	int error = -ENOMEM;

	if (!referee)
		return -ENOMEM;
	referee->keep_fd = opts->keep_fd;
	referee->opts = *opts;
	set_budgets(referee, opts->interval);
	pthread_mutex_init(&referee->lock, NULL);
	pthread_cond_init(&referee->queued, NULL);
	referee->tally = tally_new();
	referee->block = mmap(NULL, BLOCK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			      -1, 0);
	if (referee->block == MAP_FAILED)
		referee->block = NULL;
	if (referee->block && referee->tally) {
		(void)madvise(referee->block, BLOCK_BYTES, MADV_DONTDUMP);
		(void)mlock2(referee->block, BLOCK_BYTES, MLOCK_ONFAULT);
		for (size_t i = 0; i < REFEREE_JOBS; i++)
			referee->jobs[i].stack = referee->block + i * SNAPSHOT_REFEREE_BYTES;
		error = start(referee);
	}
	if (error) {
		referee_free(referee);
		return error;
	}
	*ret_referee = referee;
	return 0;
}

void referee_free(struct referee *referee)
{
	if (!referee)
		return;
	if (referee->started) {
		pthread_mutex_lock(&referee->lock);
		atomic_store(&referee->stop, true);
		pthread_cond_signal(&referee->queued);
		pthread_mutex_unlock(&referee->lock);
		pthread_join(referee->thread, NULL);
	}
	for (size_t i = 0; i < REFEREE_JOBS && referee->block; i++)
		job_clear(&referee->jobs[i]);
	if (referee->block)
		munmap(referee->block, BLOCK_BYTES);
	tally_free(referee->tally);
	pthread_cond_destroy(&referee->queued);
	pthread_mutex_destroy(&referee->lock);
	free(referee);
}

/* Nobody but the pipeline thread makes a job FREE or QUEUED. */
static struct referee_job *free_job(struct referee *referee, uint32_t bytes, bool slow)
{
	struct referee_job *job = NULL;
	uint64_t used = bytes;

	pthread_mutex_lock(&referee->lock);
	for (size_t i = 0; i < REFEREE_JOBS; i++) {
		if (referee->jobs[i].state == JOB_FREE)
			job = &referee->jobs[i];
		else
			used += referee->jobs[i].copy.bytes;
	}
	if (used > REFEREE_LIMIT_BYTES || !budget_allows(&referee->budgets[slow], clock_monotonic_ns()))
		job = NULL;
	referee->stats.asked++;
	referee->stats.refused += !job;
	pthread_mutex_unlock(&referee->lock);
	return job;
}

void referee_receive(struct referee *referee, const struct snapshot *copy, const struct process *process)
{
	struct referee_job *job = free_job(referee, copy->bytes, !(copy->flags & SNAPSHOT_REFEREE));

	if (!job)
		return;
	job->copy = *copy;
	memcpy(job->stack, copy + 1, copy->bytes);
	snapshot_clear_holes(copy, job->stack);
	if (job_fill(job, process)) {
		job_clear(job);
		return;
	}
	pthread_mutex_lock(&referee->lock);
	job->sequence = ++referee->sequence;
	job->state = JOB_QUEUED;
	pthread_cond_signal(&referee->queued);
	pthread_mutex_unlock(&referee->lock);
}

bool referee_awaits(struct referee *referee, uint64_t until_ns)
{
	bool awaits = false;

	pthread_mutex_lock(&referee->lock);
	for (size_t i = 0; i < REFEREE_JOBS && !awaits; i++) {
		const struct referee_job *job = &referee->jobs[i];

		awaits = (job->state == JOB_QUEUED || job->state == JOB_RUNNING) && is_slow(job) &&
			 job->copy.time_ns <= until_ns;
	}
	pthread_mutex_unlock(&referee->lock);
	return awaits;
}

static enum job_state state_of(struct referee *referee, const struct referee_job *job)
{
	enum job_state state;

	pthread_mutex_lock(&referee->lock);
	state = job->state;
	pthread_mutex_unlock(&referee->lock);
	return state;
}

uint32_t referee_finished(struct referee *referee, uint64_t id, const uint64_t **ret_frames, enum reason *ret_reason)
{
	for (size_t i = 0; i < REFEREE_JOBS; i++) {
		const struct referee_job *job = &referee->jobs[i];

		if (job->copy.id != id || !is_slow(job) || state_of(referee, job) != JOB_ANSWERED || !job->judged)
			continue;
		*ret_frames = job->judged;
		if (job->judged_certain >= job->judged_depth) {
			*ret_reason = job->judged_reason;
			return job->judged_depth;
		}
		*ret_reason = REASON_NO_RULE; /* a guess is none of a profile's */
		return job->judged_certain;
	}
	return 0;
}

/* Where a frame lies, as /status has it. False: in no mapping. */
static bool place_of(const struct process *process, uint64_t at_ns, uint64_t frame, struct tally_place *ret_place)
{
	uint64_t address = (frame & ~SAMPLE_FRAME_EXACT) - !(frame & SAMPLE_FRAME_EXACT), vaddr = 0;
	const struct process_mapping *mapping = process ? process_mapping_at(process, address, at_ns) : NULL;

	if (!mapping)
		return false;
	ret_place->path = mapping->image->path;
	ret_place->address = !mapping->image->anonymous && process_mapping_vaddr(mapping, address, &vaddr) ? vaddr : 0;
	return true;
}

/* By the last frame in a mapping: what is beyond it could not be found by its rule. */
static void note_end(struct referee *referee, enum tally_list list, const struct referee_opinion *opinion,
		     const struct process *process, uint64_t at_ns, uint64_t count)
{
	struct tally_place place = { .reason = opinion->reason, .count = count };
	uint32_t at = opinion->depth;

	while (at && !place_of(process, at_ns, opinion->frames[at - 1], &place))
		at--;
	if (!at)
		place.path = "[unknown]";
	tally_place(referee->tally, list, &place);
}

static void take_walked(struct referee_job *job, const struct drain_sample *sample)
{
	job->walked = malloc(sample->user_depth * sizeof(uint64_t) + 1);
	if (!job->walked)
		return;
	memcpy(job->walked, sample->user, sample->user_depth * sizeof(uint64_t));
	job->walked_depth = sample->user_depth;
	job->walked_reason = sample->user_reason;
}

void referee_observe(struct referee *referee, const struct drain_sample *sample, struct process_table *processes)
{
	const struct sample_key *key = sample->key;

	if (sample->user_reason && !(key->flags & SAMPLE_KTHREAD))
		note_end(referee, TALLY_UNFINISHED,
			 &(struct referee_opinion){ sample->user, sample->user_depth, 0, sample->user_reason },
			 process_find(processes, key->tgid, sample->value->last_ns), sample->value->last_ns,
			 sample->value->count);
	if (!key->user_stack || key->flags & SAMPLE_SNAPSHOT)
		return;
	for (size_t i = 0; i < REFEREE_JOBS; i++) {
		struct referee_job *job = &referee->jobs[i];

		/* `walked` is never the thread's, and a job that is free has no hash */
		if (job->copy.hash == key->user_stack && job->copy.tgid == key->tgid && !job->walked && !is_slow(job))
			take_walked(job, sample);
	}
}

/* Each binary of the frames that agree once; where they part, the one whose rule led astray. */
static void note_binaries(struct referee *referee, const struct referee_job *job, const struct process *process,
			  const struct referee_verdict *verdict)
{
	const char *seen[MAX_BLAMED]; /* one image, one pointer */
	struct tally_place place = { .count = 1 };
	uint32_t count = 0;

	for (uint32_t i = 0; i < verdict->compared && count < MAX_BLAMED; i++) {
		uint32_t at = 0;

		if (!place_of(process, job->copy.time_ns, job->walked[i], &place))
			continue;
		while (at < count && seen[at] != place.path)
			at++;
		if (at < count)
			continue;
		seen[count++] = place.path;
		if (verdict->outcome == REFEREE_AGREE)
			tally_binary(referee->tally, TALLY_BINARY, place.path, verdict);
	}
	if (verdict->outcome != REFEREE_DISAGREE || !verdict->compared ||
	    !place_of(process, job->copy.time_ns, job->walked[verdict->compared - 1], &place))
		return;
	place.reason = job->walked_reason;
	tally_binary(referee->tally, TALLY_BINARY, place.path, verdict);
	tally_place(referee->tally, TALLY_PARTED, &place);
}

/* The kernel maps it lowest; but what some runtime generates may lie below. */
static const char *program_of(const struct process *process)
{
	for (size_t i = 0; i < process->mapping_count; i++)
		if (!process->mappings[i].image->anonymous)
			return process->mappings[i].image->path;
	return "[unknown]";
}

static void judge(struct referee *referee, struct referee_job *job, const struct process *process)
{
	struct referee_opinion walked = { job->walked, job->walked_depth, 0, job->walked_reason };
	struct referee_opinion judged = { job->judged, job->judged_depth, job->judged_certain, job->judged_reason };
	struct referee_verdict verdict = referee_compare(&walked, &judged);

	job->compared = verdict.compared;
	job->keep = verdict.outcome == REFEREE_DISAGREE && referee->keep_fd >= 0;
	tally_verdict(referee->tally, &verdict);
	if (!verdict.root && !judged.reason && verdict.outcome == REFEREE_AGREE && !walked.reason) {
		judged.reason = REASON_NO_RULE; /* it guessed from there on */
		judged.depth = job->judged_certain < judged.depth ? job->judged_certain : judged.depth;
	}
	if (judged.reason)
		note_end(referee, TALLY_LEFT, &judged, process, job->copy.time_ns, 1);
	if (verdict.outcome == REFEREE_SHORT)
		return;
	tally_binary(referee->tally, TALLY_PROGRAM, process ? program_of(process) : "[unknown]", &verdict);
	note_binaries(referee, job, process, &verdict);
}

/* True: nothing more is to be done with a job that was answered. */
static bool is_done(const struct referee_job *job, uint64_t until_ns)
{
	if (!job->judged || job->keep)
		return true;
	if (is_slow(job))
		return job->copy.time_ns <= until_ns;
	return job->walked || job->copy.time_ns + UNMATCHED_NS < until_ns;
}

static void settle_job(struct referee *referee, struct referee_job *job, struct process_table *processes,
		       uint64_t until_ns)
{
	bool done = is_done(job, until_ns);

	if (job->walked && job->judged && !job->keep)
		judge(referee, job, process_find(processes, job->copy.tgid, job->copy.time_ns));
	if (!done)
		return;
	pthread_mutex_lock(&referee->lock);
	referee->stats.unmatched += !is_slow(job) && job->judged && !job->walked;
	if (job->keep && !job->written) {
		job->written = true;
		job->state = JOB_QUEUED;
		pthread_cond_signal(&referee->queued);
	} else {
		job_clear(job); /* and free */
	}
	pthread_mutex_unlock(&referee->lock);
}

void referee_settle(struct referee *referee, struct process_table *processes, uint64_t until_ns)
{
	for (size_t i = 0; i < REFEREE_JOBS; i++)
		if (state_of(referee, &referee->jobs[i]) == JOB_ANSWERED)
			settle_job(referee, &referee->jobs[i], processes, until_ns);
}

struct referee_tally *referee_tally(struct referee *referee)
{
	return referee->tally;
}

void referee_get_stats(struct referee *referee, struct referee_stats *ret_stats)
{
	pthread_mutex_lock(&referee->lock);
	*ret_stats = referee->stats;
	pthread_mutex_unlock(&referee->lock);
}

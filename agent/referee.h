/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stage "referee": stacks that libunwind reads too. Takes copies of stacks, has each unwound in a sandboxed child
 * (referee_talk.h) by a thread of its own, and with the answer either judges the frames that the kernel side found,
 * or finishes a stack whose rules it could not follow. The pipeline thread calls; copies are tenants' memory, kept
 * as agent/snapshot keeps them.
 */
#ifndef REFEREE_H
#define REFEREE_H

#include "abi/snapshot.h"
#include "drain.h"
#include "process.h"
#include "referee_tally.h"
#include "resolve.h"

#include <stdbool.h>
#include <stdint.h>

#define REFEREE_JOBS 128 /* copies held at a time; a comparison waits up to two seconds for its sample */
#define REFEREE_JUDGE_NS 30000000U  /* CPU time a second to judge one sample in REFEREE_INTERVAL; */
#define REFEREE_FINISH_NS 60000000U /* to finish stacks */
#define REFEREE_INTERVAL 500
#define REFEREE_LIMIT_BYTES (8U << 20) /* of stack in all of them */

struct referee;

struct referee_opts {
	struct resolve *resolve; /* outlives the referee, as do its processes' images */
	int wake_fd; /* an eventfd, written when an answer came */
	uint32_t interval; /* one sample in so many is judged: more of them may cost more */
	int keep_fd; /* the directory of stacks that are read otherwise (referee_keep.h), -1: none */
};

struct referee_stats {
	uint64_t asked;
	uint64_t refused;   /* no place for the copy, or too much was spent on others */
	uint64_t failed;    /* no answer: the child died, or took too long */
	uint64_t unmatched; /* the sample of the copy did not come */
	uint64_t kept, keep_failed;
};

int referee_new(const struct referee_opts *opts, struct referee **ret_referee);
void referee_free(struct referee *referee); /* within a second; accepts NULL */
/* A copy, with the process as it was then. */
void referee_receive(struct referee *referee, const struct snapshot *copy, const struct process *process);
/* Would waiting help a stack of up to then that is to be finished? */
bool referee_awaits(struct referee *referee, uint64_t until_ns);
/* The frames of a copy that was to be finished, borrowed until referee_settle; 0: no answer yet, or none. */
uint32_t referee_finished(struct referee *referee, uint64_t id, const uint64_t **ret_frames, enum reason *ret_reason);
/* Every drained sample: those that wait for their frames are handed them, unfinished ones are listed by place. */
void referee_observe(struct referee *referee, const struct drain_sample *sample, struct process_table *processes);
/* The slice is complete: judges what has both opinions, drops what was copied up to then. */
void referee_settle(struct referee *referee, struct process_table *processes, uint64_t until_ns);
struct referee_tally *referee_tally(struct referee *referee);
void referee_get_stats(struct referee *referee, struct referee_stats *ret_stats); /* any thread */

#endif

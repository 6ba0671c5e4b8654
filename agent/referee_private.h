/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of "referee" share: referee.c (the pipeline's side), referee_work.c (the thread's). */
#ifndef REFEREE_PRIVATE_H
#define REFEREE_PRIVATE_H

#include "referee.h"
#include "referee_budget.h"
#include "referee_talk.h"

#include <pthread.h>
#include <stdatomic.h>

#define REFEREE_CACHED_FDS 128

enum job_state { JOB_FREE, JOB_QUEUED, JOB_RUNNING, JOB_ANSWERED };

struct referee_job {
	enum job_state state; /* under the lock; all else is the thread's while it is RUNNING */
	uint64_t sequence;
	struct snapshot copy;
	uint8_t *stack; /* copy.bytes of it, in the referee's block */
	struct referee_mapping *mappings;
	size_t mapping_count, file_count;
	struct resolve_image_request files[REFEREE_MAX_IMAGES]; /* by the mappings' image; paths are its own */
	uint64_t *judged, *walked; /* NULL: not there (yet) */
	uint32_t judged_depth, judged_certain, walked_depth, compared;
	uint64_t child_ns; /* CPU time of the child that answered */
	bool keep, written; /* they disagree, and the stack is to be written down; is it queued for that? */
	enum reason judged_reason, walked_reason;
};

struct cached_fd {
	bool open; /* there is one */
	struct sideband_file file; /* inode 0: it can be told from no other */
	int fd;
	uint64_t used; /* a job's sequence */
};

struct referee {
	struct referee_opts opts;
	struct referee_tally *tally;
	uint8_t *block;
	pthread_t thread;
	bool started;
	int keep_fd; /* the directory of kept stacks, -1: none */
	atomic_bool stop;
	struct cached_fd fds[REFEREE_CACHED_FDS]; /* the thread's */
	_Alignas(8) uint8_t packet[REFEREE_ANSWER_PACKET]; /* the thread's */

	pthread_mutex_t lock; /* guards the jobs' states, budgets and stats */
	pthread_cond_t queued;
	uint64_t sequence;
	struct referee_budget budgets[2]; /* to judge, to finish */
	struct referee_job jobs[REFEREE_JOBS];
	struct referee_stats stats;
};

/* referee_job.c */
/* What the unwind of the copy may need: mappings, and the files that something on the stack points into. */
int job_fill(struct referee_job *job, const struct process *process);
void job_clear(struct referee_job *job); /* the stack's bytes too */

/* referee_work.c: on the thread */
int work_unwind(struct referee *referee, struct referee_job *job); /* judged is set then */
int work_keep(struct referee *referee, struct referee_job *job); /* into the directory of kept stacks */
void work_close_fds(struct referee *referee);

#endif

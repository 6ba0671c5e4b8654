/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Side-band perf events of all CPUs (MMAP2, COMM, FORK, EXIT, KSYMBOL), merged by time. A DUMMY event per CPU
 * with a ring of its own; opened before the first pass over /proc. Stage "drain" for processes.
 */
#ifndef SIDEBAND_H
#define SIDEBAND_H

#include "base/cpus.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sideband;

enum sideband_kind { SIDEBAND_MMAP, SIDEBAND_COMM, SIDEBAND_EXEC, SIDEBAND_FORK, SIDEBAND_EXIT, SIDEBAND_KSYMBOL, SIDEBAND_LOST };

struct sideband_file { /* the inode, as the event gives it */
	uint32_t major, minor;
	uint64_t inode, generation;
};

struct sideband_event { /* borrowed for the call */
	enum sideband_kind kind;
	uint64_t time_ns; /* CLOCK_MONOTONIC */
	uint32_t pid, tid;   /* initial namespace; FORK: the child's */
	uint32_t parent_pid; /* FORK; pid == parent_pid: a thread */
	uint64_t start, end, offset; /* MMAP, KSYMBOL (start, end) */
	struct sideband_file file;   /* MMAP */
	uint32_t protection;         /* MMAP: PROT_… */
	const char *name;            /* MMAP: path; COMM, EXEC: comm; KSYMBOL: symbol */
	bool unregister;             /* KSYMBOL */
	uint64_t lost;               /* LOST: records */
	int cpu;                     /* LOST */
};

typedef void (*sideband_fn)(void *context, const struct sideband_event *event);

int sideband_open(struct sideband **ret_sideband, char *error, size_t error_size);
void sideband_close(struct sideband *sideband); /* accepts NULL */
int sideband_epoll_fd(const struct sideband *sideband); /* readable when a ring is filling up */
void sideband_woken(struct sideband *sideband); /* it was readable: call this, then read */
/* Hands out, in order of time, everything older than `until_ns` (leave 2 ms for writers on other CPUs);
 * returns the number of events. */
int sideband_read(struct sideband *sideband, uint64_t until_ns, sideband_fn take, void *context);
int sideband_tick(struct sideband *sideband, const struct cpus *cpus); /* those online now; how many came or went */

#endif

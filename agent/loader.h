/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loads the kernel side and attaches its tracepoints; the only file that includes the skeleton. Every map is
 * sized here, before load. Errors come with a sentence for the user in `error`.
 */
#ifndef LOADER_H
#define LOADER_H

#include "abi/knobs.h"
#include "collector.h"

#include <stdbool.h>
#include <stddef.h>

struct loader;

struct loader_opts {
	unsigned frequency, cpus;       /* size the blocks of samples: what can be taken in a second */
	unsigned sample_blocks;         /* that processors share in a set, 0: from frequency and cpus */
	unsigned referee_interval;      /* one sample in so many is copied for the referee, 0: none */
	enum cgroup_source cgroup_source;
	bool allow_freezing_kernel;     /* load even where user reads from an interrupt can freeze the host */
};

enum loader_map {
	LOADER_BLOCKS, LOADER_GRACE, LOADER_COUNTERS, LOADER_PROCESSES, LOADER_MAPPINGS, LOADER_DIRECTORY, LOADER_ROWS, LOADER_ESCAPES,
	LOADER_EVENTS, LOADER_ACCOUNT_CPU, LOADER_SNAPSHOTS, LOADER_WANTED, LOADER_EXECS, LOADER_MAP_COUNT,
};

int loader_open(const struct loader_opts *opts, struct loader **ret_loader, char *error, size_t error_size);
void loader_close(struct loader *loader); /* accepts NULL */
int loader_map_fd(const struct loader *loader, enum loader_map map);
int loader_sample_fd(const struct loader *loader); /* the perf_event program */
/* Runs the task iterator once: what every living task ran since its last visit is banked. 0 or -errno. */
int loader_account_tasks(struct loader *loader);
/* Programs and maps of ours for /metrics; arrays live as long as the loader. Run counts need bpf statistics. */
size_t loader_programs(struct loader *loader, const struct view_program **ret_programs);
size_t loader_maps(struct loader *loader, const struct view_map **ret_maps);
/* What processors remember of rules is void from now on: before entries of the directory get another meaning, and when
 * pages' marks were taken, which remembered rules do not put back. */
void loader_forget_rules(struct loader *loader);
/* Likewise, of the process's entry in LOADER_PROCESSES: after each change of it. */
void loader_forget_process(struct loader *loader, uint32_t tgid);
/* Handlers that ask from now on write to the other set. Returns the turn that is over. */
uint32_t loader_next_turn(struct loader *loader);
unsigned loader_blocks(const struct loader *loader); /* of each set */
/* The keys in LOADER_BLOCKS of those that handlers wrote to in the turn, at most loader_blocks; the shared ones are free
 * again. Once nobody writes there. */
unsigned loader_used_blocks(struct loader *loader, uint32_t turn, uint32_t *ret_numbers);
void loader_wake_after(struct loader *loader, uint64_t at_ns); /* from then on a copy of a stack makes its ring readable */
uint64_t loader_events_lost(const struct loader *loader); /* of cgroups, for want of room in their ring */

/* A kernel release such as "6.1.0-28-amd64" that can freeze when user memory is read from an interrupt. */
bool loader_kernel_freezes(const char *release);

#endif

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Births and deaths of cgroups, over the `events` ring buffer. Every record opens with its kind. */
#ifndef ABI_PROCESS_H
#define ABI_PROCESS_H

#include "abi/types.h"

#define EVENT_CGROUP_MADE 1
#define EVENT_CGROUP_GONE 2
#define EVENT_PATH_BYTES 512

struct event_cgroup {
	__u32 kind;
	__u32 path_bytes; /* without the final NUL; a longer path is cut and looked up by its id instead */
	__u64 id;         /* kernfs id */
	__u64 time_ns;    /* CLOCK_MONOTONIC */
	char path[EVENT_PATH_BYTES]; /* below the root of its hierarchy */
};
ABI_SIZE(struct event_cgroup, 24 + EVENT_PATH_BYTES);

#endif

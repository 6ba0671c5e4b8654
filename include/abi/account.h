/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * CPU time per cgroup. The task iterator, cgroup_attach_task, sched_process_exit and sched_process_free each add
 * what a task ran since its last visit to its cgroup's accumulator; nothing is ever subtracted, so no counter
 * falls.
 */
#ifndef ABI_ACCOUNT_H
#define ABI_ACCOUNT_H

#include "abi/types.h"

#define ACCOUNT_MAX_CGROUPS 8192 /* past it time goes to the key 0, which is `_host` */

struct account_cpu { /* value of the `account_cpu` map, key: u64 cgroup id */
	__u64 user_ns;
	__u64 system_ns;
};
ABI_SIZE(struct account_cpu, 16);

struct account_task { /* task storage: what was already added, and where the task then was */
	__u64 cgroup;
	__u64 user_ns;
	__u64 system_ns;
};
ABI_SIZE(struct account_task, 24);

#endif

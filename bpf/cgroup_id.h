/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Which cgroup a task is in, by the hierarchy that `knobs.cgroup_source` chose. */
#ifndef CGROUP_ID_H
#define CGROUP_ID_H

#include "abi/knobs.h"
#include "kernel.h"

#include <linux/bpf.h>
#include <stdbool.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define SUBSYS(name) bpf_core_enum_value(enum cgroup_subsys_id, name)

extern const volatile struct knobs knobs; /* maps.bpf.c */

/* knobs is read-only data by load time, so the verifier keeps one branch and drops the others with whatever
 * the kernel does not have. Loads are direct: a chain of probe reads costs twice as much. */
static __always_inline __u64 task_cgroup_id(struct task_struct *task)
{
	struct css_set *set = task->cgroups;

	switch (knobs.cgroup_source) {
	case CGROUP_SOURCE_MEMORY:
		return set->subsys[SUBSYS(memory_cgrp_id)]->cgroup->kn->id;
	case CGROUP_SOURCE_CPU:
		return set->subsys[SUBSYS(cpu_cgrp_id)]->cgroup->kn->id;
	case CGROUP_SOURCE_PIDS:
		return set->subsys[SUBSYS(pids_cgrp_id)]->cgroup->kn->id;
	case CGROUP_SOURCE_IO:
		return set->subsys[SUBSYS(io_cgrp_id)]->cgroup->kn->id;
	default:
		return set->dfl_cgrp->kn->id;
	}
}

/* Is it of the hierarchy that names tasks? */
static __always_inline bool cgroup_is_chosen(struct cgroup *cgroup)
{
	struct cgroup_root *root = cgroup->root;

	switch (knobs.cgroup_source) {
	case CGROUP_SOURCE_MEMORY:
		return root->subsys_mask & 1U << SUBSYS(memory_cgrp_id);
	case CGROUP_SOURCE_CPU:
		return root->subsys_mask & 1U << SUBSYS(cpu_cgrp_id);
	case CGROUP_SOURCE_PIDS:
		return root->subsys_mask & 1U << SUBSYS(pids_cgrp_id);
	case CGROUP_SOURCE_IO:
		return root->subsys_mask & 1U << SUBSYS(io_cgrp_id);
	default:
		return !root->hierarchy_id; /* the v2 hierarchy is number 0 */
	}
}

#endif

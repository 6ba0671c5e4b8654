/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Which cgroup a task is in, by the hierarchy that `knobs.cgroup_source` names. */
#ifndef CGROUP_ID_H
#define CGROUP_ID_H

#include "abi/knobs.h"
#include "kernel.h"

#include <linux/bpf.h>
#include <stdbool.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define HAS_SUBSYS(name) bpf_core_enum_value_exists(enum cgroup_subsys_id, name)
#define SUBSYS(name) bpf_core_enum_value(enum cgroup_subsys_id, name)

extern volatile struct knobs knobs; /* maps.bpf.c */

/* What the kernel does not have is dead code to the verifier. Loads are direct: a chain of probe reads costs twice as
 * much. */
static __always_inline __u64 task_cgroup_id(struct task_struct *task)
{
	struct css_set *set = task->cgroups;
	__u32 source = knobs.cgroup_source;

	if (source == CGROUP_SOURCE_MEMORY && HAS_SUBSYS(memory_cgrp_id))
		return set->subsys[SUBSYS(memory_cgrp_id)]->cgroup->kn->id;
	if (source == CGROUP_SOURCE_CPU && HAS_SUBSYS(cpu_cgrp_id))
		return set->subsys[SUBSYS(cpu_cgrp_id)]->cgroup->kn->id;
	if (source == CGROUP_SOURCE_PIDS && HAS_SUBSYS(pids_cgrp_id))
		return set->subsys[SUBSYS(pids_cgrp_id)]->cgroup->kn->id;
	if (source == CGROUP_SOURCE_IO && HAS_SUBSYS(io_cgrp_id))
		return set->subsys[SUBSYS(io_cgrp_id)]->cgroup->kn->id;
	return set->dfl_cgrp->kn->id;
}

/* Is it of the hierarchy that names tasks? */
static __always_inline bool cgroup_is_chosen(struct cgroup *cgroup)
{
	struct cgroup_root *root = cgroup->root;
	__u32 source = knobs.cgroup_source;

	if (source == CGROUP_SOURCE_MEMORY && HAS_SUBSYS(memory_cgrp_id))
		return root->subsys_mask & 1U << SUBSYS(memory_cgrp_id);
	if (source == CGROUP_SOURCE_CPU && HAS_SUBSYS(cpu_cgrp_id))
		return root->subsys_mask & 1U << SUBSYS(cpu_cgrp_id);
	if (source == CGROUP_SOURCE_PIDS && HAS_SUBSYS(pids_cgrp_id))
		return root->subsys_mask & 1U << SUBSYS(pids_cgrp_id);
	if (source == CGROUP_SOURCE_IO && HAS_SUBSYS(io_cgrp_id))
		return root->subsys_mask & 1U << SUBSYS(io_cgrp_id);
	return !root->hierarchy_id; /* the v2 hierarchy is number 0 */
}

#endif

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The few kernel structs that are read, with the fields that are read; CO-RE moves them at load. */
#ifndef KERNEL_H
#define KERNEL_H

#include "abi/types.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct kernfs_node {
	__u64 id;
};

struct cgroup_root {
	unsigned int subsys_mask; /* the controllers of a v1 hierarchy */
	int hierarchy_id;         /* 0: v2 */
};

struct cgroup {
	struct kernfs_node *kn;
	struct cgroup_root *root;
};

struct cgroup_subsys_state {
	struct cgroup *cgroup;
};

struct css_set {
	struct cgroup_subsys_state *subsys[16]; /* as many as the kernel was built with, by enum cgroup_subsys_id */
	struct cgroup *dfl_cgrp;
};

struct mm_struct {
	unsigned long start_stack; /* where the first thread's stack began */
};

struct super_block {
	__u32 s_dev;
};

struct inode {
	__u32 i_generation;
	unsigned long i_ino;
	struct super_block *i_sb;
};

struct file {
	struct inode *f_inode;
};

struct vm_area_struct {
	unsigned long vm_start, vm_end, vm_pgoff;
	struct file *vm_file;
};

struct sched_entity {
	__u64 sum_exec_runtime;
};

struct task_struct {
	unsigned int flags;
	__u32 self_exec_id;
	int pid;
	int tgid;
	__u64 start_time; /* CLOCK_MONOTONIC */
	struct mm_struct *mm;
	char comm[16];
	struct css_set *cgroups;
	struct task_struct *group_leader;
	struct sched_entity se;
	unsigned in_execve : 1;
	__u64 utime, stime; /* as ticks saw them; their sum is not se.sum_exec_runtime */
};

struct bpf_iter_meta {
	__u64 seq_num;
};

struct bpf_iter__task { /* context of iter/task */
	struct bpf_iter_meta *meta;
	struct task_struct *task; /* NULL at the end */
};

/* The numbers depend on the kernel's configuration; only the names are meant. */
enum cgroup_subsys_id { cpu_cgrp_id, io_cgrp_id, memory_cgrp_id, pids_cgrp_id };

#pragma clang attribute pop

#define PF_IO_WORKER 0x00000010 /* runs for its process, but never in user mode */
#define PF_KTHREAD 0x00200000

/*
 * struct pt_regs of x86-64, which is a user interface and needs no relocation. New kernels declare cs as a u16
 * beside its padding; a perf_event context must be read in whole words.
 */
struct kernel_regs {
	__u64 r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs, flags, sp, ss;
};

#define KERNEL_USER64_CS 0x33

#endif

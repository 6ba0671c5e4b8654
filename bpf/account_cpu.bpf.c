/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Kernel side of "account": what every task ran, summed per cgroup (abi/account.h). Takes tasks from the task
 * iterator (at scrape) and from tracepoints, gives sums in `account_cpu`. Nothing here runs on a context
 * switch. Each visit adds what the task ran since the visit before, to the cgroup it was in at that time.
 */
#include "abi/account.h"

#include "cgroup_id.h"

/*
 * key: u64 cgroup id, value: struct account_cpu. Written here, read and emptied (dead cgroups only) by
 * agent/cgroup. Full: the time goes to key 0, which the first iterator run makes. Never an LRU: an evicted
 * entry would let a counter fall. Not preallocated: most hosts have a few dozen cgroups.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, ACCOUNT_MAX_CGROUPS);
	__type(key, __u64);
	__type(value, struct account_cpu);
} account_cpu SEC(".maps");

struct account_slot {
	struct account_task task;
	__u64 visited;             /* jiffies of the last visit */
	__u64 moved;               /* of the thread group's last move; a leader's only */
	struct bpf_spin_lock lock; /* the iterator and a tracepoint can meet on one task from two CPUs */
	__u32 pad;
};

/* task -> what was already added. Read and written here alone; dies with its task. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct account_slot);
} account_tasks SEC(".maps");

static __always_inline struct account_cpu *find_sum(__u64 cgroup)
{
	struct account_cpu zero = {};
	struct account_cpu *sum = bpf_map_lookup_elem(&account_cpu, &cgroup);

	if (sum)
		return sum;
	bpf_map_update_elem(&account_cpu, &cgroup, &zero, BPF_NOEXIST); /* another CPU may be first */
	return bpf_map_lookup_elem(&account_cpu, &cgroup);
}

static __always_inline void add(__u64 cgroup, __u64 user_ns, __u64 system_ns)
{
	struct account_cpu *sum;

	if (!user_ns && !system_ns)
		return;
	sum = find_sum(cgroup);
	if (!sum)
		sum = find_sum(0);
	if (!sum)
		return;
	if (user_ns)
		__sync_fetch_and_add(&sum->user_ns, user_ns);
	if (system_ns)
		__sync_fetch_and_add(&sum->system_ns, system_ns);
}

/*
 * runtime * system / (user + system) without a 128-bit product: the tick-based times are shifted until their
 * sum fits 32 bits, then quotient and rest of runtime are scaled apart and neither product can overflow.
 */
static __always_inline __u64 scale_system(__u64 runtime, __u64 user, __u64 system)
{
	__u64 total = user + system;

	for (int bit = 0; bit < 32; bit++) {
		if (!(total >> 32))
			break;
		total >>= 1;
		system >>= 1;
	}
	if (!total || total >> 32)
		return 0;
	return runtime / total * system + runtime % total * system / total;
}

/*
 * The precise runtime, split as the tick saw user and system, like the kernel's cputime_adjust(): neither half
 * ever falls, and both sum up to the runtime. Moves the task's record; what is new goes to `ret_new`.
 */
static __always_inline void split(struct account_task *task, __u64 runtime, __u64 user, __u64 system,
				  struct account_task *ret_new)
{
	__u64 system_ns, user_ns;

	ret_new->user_ns = ret_new->system_ns = 0;
	if (runtime <= task->user_ns + task->system_ns)
		return;
	if (!system)
		system_ns = 0;
	else if (!user)
		system_ns = runtime;
	else
		system_ns = scale_system(runtime, user, system);
	if (system_ns < task->system_ns)
		system_ns = task->system_ns;
	user_ns = system_ns < runtime ? runtime - system_ns : 0;
	if (user_ns < task->user_ns) {
		user_ns = task->user_ns;
		system_ns = runtime - user_ns;
	}
	ret_new->user_ns = user_ns - task->user_ns;
	ret_new->system_ns = system_ns - task->system_ns;
	task->user_ns = user_ns;
	task->system_ns = system_ns;
}

/*
 * Moving a process is told for its leader alone. Of another thread, found elsewhere than it was, we know when it
 * moved but not how much it had run by then: its time is parted as the time since its last visit is. The part,
 * in 1/1024, that belongs to the old cgroup.
 */
static __always_inline __u64 part_before_move(struct task_struct *task, __u64 visited, __u64 now)
{
	struct account_slot *leader = bpf_task_storage_get(&account_tasks, task->group_leader, 0, 0);
	__u64 moved = leader ? leader->moved : 0;

	if (moved < visited || moved >= now)
		return 1024;
	return (moved - visited) * 1024 / (now - visited);
}

/* Banks what the task ran since its last visit where it then was, and notes where it is now. */
static __always_inline void visit(struct task_struct *task, struct account_slot *slot, bool told)
{
	struct account_task new;
	__u64 cgroup = task_cgroup_id(task), now = bpf_jiffies64();
	__u64 runtime, user, system, before, visited, part = 1024;

	bpf_spin_lock(&slot->lock);
	runtime = task->se.sum_exec_runtime;
	user = task->utime;
	system = task->stime;
	split(&slot->task, runtime, user, system, &new);
	before = slot->task.cgroup;
	visited = slot->visited;
	slot->task.cgroup = cgroup;
	slot->visited = now;
	bpf_spin_unlock(&slot->lock);
	if (!before) /* a task older than this program, met for the first time */
		before = cgroup;
	if (before != cgroup && !told)
		part = part_before_move(task, visited, now);
	if (part == 1024) {
		add(before, new.user_ns, new.system_ns);
		return;
	}
	user = new.user_ns * part / 1024;
	system = new.system_ns * part / 1024;
	add(before, user, system);
	add(cgroup, new.user_ns - user, new.system_ns - system);
}

SEC("iter/task")
int account_task(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct account_slot *slot;

	if (!ctx->meta->seq_num)
		find_sum(0); /* exists before the map can be full */
	if (!task)
		return 0;
	slot = bpf_task_storage_get(&account_tasks, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (slot)
		visit(task, slot, false);
	return 0;
}

/* After the move: the record still says where the task was, so its time so far is charged there. */
SEC("tp_btf/cgroup_attach_task")
int BPF_PROG(account_attach, struct cgroup *to, const char *path, struct task_struct *task, bool threadgroup)
{
	struct account_slot *slot =
		bpf_task_storage_get(&account_tasks, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (!slot)
		return 0;
	visit(task, slot, true);
	slot->moved = bpf_jiffies64();
	return 0;
}

/* A child begins where it was born with nothing run, so a move before its first visit charges the right one. */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(account_fork, struct task_struct *parent, struct task_struct *child)
{
	struct account_slot *slot =
		bpf_task_storage_get(&account_tasks, child, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (slot)
		visit(child, slot, true);
	return 0;
}

/*
 * Most of what a task ran, as it begins to exit: the visit at its free waits for a grace period, which takes a
 * second on a busy host, and a build's processes are gone from the iterator by then.
 */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(account_exit, struct task_struct *task)
{
	struct account_slot *slot = bpf_task_storage_get(&account_tasks, task, 0, 0);

	if (slot)
		visit(task, slot, false);
	return 0;
}

/*
 * The last visit, when the task can run no more (at sched_process_exit it still does). A task without
 * a record was never met, or its record could not be had: then its time is left out rather than risked twice.
 */
SEC("tp_btf/sched_process_free")
int BPF_PROG(account_free, struct task_struct *task)
{
	struct account_slot *slot = bpf_task_storage_get(&account_tasks, task, 0, 0);

	if (slot)
		visit(task, slot, false);
	return 0;
}

char account_license[] SEC("license") = "Dual BSD/GPL";

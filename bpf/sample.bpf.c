/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Kernel side of "sample" and "count": takes a tick of a CPU's clock, gives a count under who ran and what its
 * stacks are (abi/sample.h) in a block of the active set. Counts each run first and every shortfall by its reason.
 */
#include "cgroup_id.h"
#include "kernel.h"
#include "maps.bpf.h"
#include "snapshot.h"

#include <stdbool.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

struct copy {
	struct walk *walk;
	struct sample_block *block;
	__u32 to, from, gap; /* gap: frames between the innermost and the outermost that are kept */
};

static long copy_chunk(__u32 index, struct copy *copy)
{
	__u32 from = copy->from + index * SAMPLE_CHUNK_FRAMES;
	__u32 to = copy->to + index * SAMPLE_CHUNK_FRAMES * sizeof(__u64);
	const __u64 *source;
	__u64 *target;

	if (index >= SAMPLE_INNER_FRAMES / SAMPLE_CHUNK_FRAMES)
		from += copy->gap;
	UNWIND_HIDE(from);
	UNWIND_HIDE(to);
	if (from > WALK_FRAMES || to > SAMPLE_BLOCK_BYTES - SAMPLE_CHUNK_FRAMES * sizeof(__u64))
		return 1;
	source = &copy->walk->frames[from];
	target = (__u64 *)((char *)copy->block + to);
#pragma unroll
	for (int i = 0; i < SAMPLE_CHUNK_FRAMES; i++)
		target[i] = source[i];
	return 0;
}

static __always_inline void copy_frames(struct copy *copy, __u32 from, __u32 depth)
{
	copy->from = from;
	bpf_loop((depth + SAMPLE_CHUNK_FRAMES - 1) / SAMPLE_CHUNK_FRAMES, copy_chunk, copy, 0);
	copy->to += depth * sizeof(__u64);
}

static __always_inline struct sample_block *find_block(__u32 number)
{
	return bpf_map_lookup_elem(&blocks, &number);
}

static __always_inline struct sample_record *record_at(struct sample_block *block, __u32 at)
{
	UNWIND_HIDE(at);
	return block && at <= SAMPLE_BLOCK_BYTES - sizeof(struct sample_record) ? (void *)((char *)block + at) : NULL;
}

/* In a turn first the processor's own. False: all are taken. */
static __noinline bool take_block(struct walk *walk, __u32 turn)
{
	__u32 set = turn % SAMPLE_SETS, own = bpf_get_smp_processor_id(), next = own;
	volatile __u32 *taken = &knobs.blocks_taken[set];

	if (walk->log.turn != turn && own < knobs.own_blocks) {
		UNWIND_HIDE(own);
		own_turns[set][own & (SAMPLE_OWN_BLOCKS - 1)] = turn;
	} else {
		if (*taken >= knobs.shared_blocks) /* nor does the number grow for ever */
			return false;
		next = __sync_fetch_and_add(taken, 1);
		if (next >= knobs.shared_blocks)
			return false;
		next += knobs.own_blocks;
	}
	walk->log.turn = turn;
	walk->log.block = set * (knobs.own_blocks + knobs.shared_blocks) + next;
	walk->log.at = offsetof(struct sample_block, records);
	return true;
}

/* Of a copy (SAMPLE_SNAPSHOT) the id stays: user space has its frames. */
static __always_inline void drop_stacks(struct walk *walk)
{
	if (walk->key.kernel_stack)
		walk->key.kernel_reason = REASON_STACK_MAP_FULL;
	walk->key.kernel_stack = 0;
	if (walk->key.user_stack && !(walk->key.flags & SAMPLE_SNAPSHOT)) {
		walk->key.user_reason = REASON_STACK_MAP_FULL;
		walk->key.user_stack = 0;
	}
	walk->value.kernel_depth = walk->value.user_depth = 0;
}

static __always_inline __u32 slot_of(const struct sample_key *key)
{
	__u64 hash = walk_hash(walk_hash(key->user_stack, key->kernel_stack), key->tid);

	UNWIND_HIDE(hash); /* else clang mixes after the mask, and 6.1 knows no bound of an exclusive or */
	return hash >> 32 & (WALK_RECENT - 1);
}

static __always_inline bool same_key(const struct sample_key *a, const struct sample_key *b)
{
	const __u64 *left = (const __u64 *)a, *right = (const __u64 *)b;
	__u64 differ = 0;

#pragma unroll
	for (unsigned long i = 0; i < sizeof(*a) / sizeof(*left); i++)
		differ |= left[i] ^ right[i];
	return !differ;
}

/* Where was counted last, or near it, is mostly counted next. */
static __always_inline void touch_last(struct walk *walk)
{
	struct sample_record *record = record_at(find_block(walk->last.block), walk->last.at);

	if (record)
		WALK_TOUCH(record->value.count);
	WALK_TOUCH(walk->recent[walk->last.slot & (WALK_RECENT - 1)]);
}

static __always_inline bool count_again(struct walk *walk, __u32 turn)
{
	__u32 slot = slot_of(&walk->key);
	__u64 recent = walk->recent[slot];
	struct sample_record *record;

	walk->last.slot = slot;
	if (recent >> 32 != turn)
		return false;
	record = record_at(find_block((__u32)recent >> 16), recent & 0xffff);
	if (!record || !same_key(&record->key, &walk->key))
		return false;
	walk->last.block = (__u32)recent >> 16;
	walk->last.at = recent & 0xffff;
	record->value.count++; /* nobody else writes to this processor's blocks */
	record->value.last_ns = walk->value.last_ns;
	record->value.table_version = walk->value.table_version;
	__builtin_memcpy(record->value.comm, walk->value.comm, sizeof(walk->value.comm));
	return true;
}

/* A record for a key that has none this processor remembers. 0, or 1 when it was lost. Looks its scratch up itself: so
 * it is verified alone. */
__attribute__((noinline)) int sample_append(__u32 turn)
{
	__u32 zero = 0, at;
	struct walk *walk = bpf_map_lookup_elem(&scratch, &zero);
	struct copy copy = { .walk = walk };
	struct sample_record *record;

	if (!walk)
		return 1;
	if ((walk->log.turn != turn || walk->log.at > SAMPLE_BLOCK_BYTES - SAMPLE_RECORD_MOST) && !take_block(walk, turn)) {
		if (walk->log.turn != turn)
			return 1;
		drop_stacks(walk);
		if (count_again(walk, turn))
			return 0;
	}
	at = walk->log.at;
	copy.block = find_block(walk->log.block);
	record = record_at(copy.block, at);
	if (!record)
		return 1;
	record->key = walk->key;
	record->value = walk->value;
	copy.to = at + sizeof(*record);
	if (walk->value.kernel_depth)
		copy_frames(&copy, WALK_KERNEL, walk->value.kernel_depth);
	if (walk->value.user_depth) {
		copy.gap = walk->value.user_depth > SAMPLE_MAX_DEPTH ? WALK_OUTER - SAMPLE_INNER_FRAMES : 0;
		copy_frames(&copy, 0, walk->value.user_depth);
	}
	walk->log.at = copy.block->used = copy.to;
	walk->last.block = walk->log.block;
	walk->last.at = at;
	walk->recent[walk->last.slot & (WALK_RECENT - 1)] = (__u64)turn << 32 | walk->log.block << 16 | at;
	return 0;
}

static __always_inline void read_kernel_stack(struct walk *walk, void *ctx)
{
	long bytes = bpf_get_stack(ctx, &walk->frames[WALK_KERNEL], SAMPLE_MAX_KERNEL_FRAMES * sizeof(__u64), 0);
	__u64 hash = 0;
	__u32 depth;

	if (bytes <= 0) {
		walk->key.kernel_reason = REASON_KERNEL_STACK;
		return;
	}
	depth = (__u32)bytes / sizeof(__u64);
	for (__u32 i = 0; i < SAMPLE_MAX_KERNEL_FRAMES && i < depth; i++)
		hash = walk_hash(hash, walk->frames[WALK_KERNEL + i]);
	walk->value.kernel_depth = depth;
	walk->key.kernel_stack = hash ? hash : 1;
}

/* In DWARF's order of registers. A context is read in whole words, which `volatile` keeps clang to. */
#define TAKE_REGISTERS(to, from)                                                                              \
	do {                                                                                                  \
		(to)->reg[0] = (from)->ax, (to)->reg[1] = (from)->dx, (to)->reg[2] = (from)->cx;              \
		(to)->reg[3] = (from)->bx, (to)->reg[4] = (from)->si, (to)->reg[5] = (from)->di;              \
		(to)->reg[6] = (from)->bp, (to)->reg[7] = (from)->sp, (to)->reg[8] = (from)->r8;              \
		(to)->reg[9] = (from)->r9, (to)->reg[10] = (from)->r10, (to)->reg[11] = (from)->r11;          \
		(to)->reg[12] = (from)->r12, (to)->reg[13] = (from)->r13, (to)->reg[14] = (from)->r14;        \
		(to)->reg[15] = (from)->r15, (to)->pc = (from)->ip;                                           \
	} while (0)

/* The registers the task had in user mode; its code segment, 0 if there are none. */
static __always_inline __u32 read_registers(struct walk *walk, volatile struct kernel_regs *ctx,
					    struct task_struct *task, bool in_kernel)
{
	struct unwind_regs *regs = &walk->regs;
	volatile struct kernel_regs *saved;

	regs->exact = 1;
	regs->rbp_lost = 0;
	regs->linked = 0;
	if (!in_kernel) {
		TAKE_REGISTERS(regs, ctx);
		return (__u32)ctx->cs;
	}
	saved = (volatile struct kernel_regs *)bpf_task_pt_regs((void *)task);
	TAKE_REGISTERS(regs, saved);
	return *(volatile __u16 *)&saved->cs;
}

/* The frame that was interrupted, alone. */
static __always_inline void keep_leaf(struct walk *walk, enum reason reason)
{
	walk->frames[0] = walk->regs.pc | SAMPLE_FRAME_EXACT;
	walk->hash = walk_hash(0, walk->frames[0]) | 1;
	walk->depth = walk->walked = 1;
	walk->reason = reason;
}

/* Off the usual path. A walk that began has changed the registers: they are read once more. */
static __noinline void copy_user_stack(struct walk *walk, void *ctx, struct task_struct *task, __u32 set)
{
	if (walk->reason != REASON_PROCESS_UNKNOWN)
		read_registers(walk, ctx, task, walk->key.flags & SAMPLE_IN_KERNEL);
	snapshot_take(walk, set);
}

static __noinline void copy_for_referee(struct walk *walk, void *ctx, struct task_struct *task)
{
	if (walk->regs.reg[UNWIND_RSP] - walk->far > SNAPSHOT_STACK_BYTES)
		walk->far = 0; /* not of a stack: the walk did not end there */
	read_registers(walk, ctx, task, walk->key.flags & SAMPLE_IN_KERNEL);
	snapshot_refer(walk);
}

/* In exec, once the old memory is gone, the saved registers speak of a stack that is no more, and the new program
 * has none yet. */
static __always_inline bool between_programs(const struct walk *walk, struct task_struct *task, bool in_kernel)
{
	__u64 word;

	return in_kernel && bpf_core_field_exists(task->in_execve) && BPF_CORE_READ_BITFIELD(task, in_execve) &&
	       bpf_probe_read_user(&word, sizeof(word), (const void *)walk->regs.reg[UNWIND_RSP]);
}

/* Where the first thread's stack began lies its root: the dynamic loader's entry has no rule that says so. */
static __always_inline bool at_root(const struct walk *walk, struct task_struct *task)
{
	return walk->regs.reg[UNWIND_RSP] == task->mm->start_stack;
}

/* Which mappings were found last still counts if the table is the same one. */
static __always_inline void choose_table(struct walk *walk, const struct unwind_process *process)
{
	struct walk_table *table = &walk->table;

	if (table->version == process->version && table->start_ns == walk->key.start_ns &&
	    table->tgid == walk->key.tgid && table->exec_id == walk->key.exec_id &&
	    table->chunk == process->chunk && table->first == process->first && table->count == process->count)
		return;
	table->version = process->version;
	table->start_ns = walk->key.start_ns;
	table->tgid = walk->key.tgid;
	table->exec_id = walk->key.exec_id;
	table->chunk = process->chunk;
	table->first = process->first;
	table->count = process->count;
	walk->at.start = walk->at.end = 0;
#pragma unroll
	for (int i = 0; i < WALK_NEAR; i++)
		walk->near[i].start = walk->near[i].end = 0;
}

/* `epoch` was read before. REASON_NONE, or why there is no table. */
static __noinline int look_up_table(struct walk *walk, __u32 epoch)
{
	__u32 tgid = walk->key.tgid;
	const struct unwind_process *process = bpf_map_lookup_elem(&processes, &tgid);

	if (!process || walk->key.start_ns > process->known_ns)
		return REASON_PROCESS_UNKNOWN;
	choose_table(walk, process);
	walk->table.epoch = epoch;
	walk->table.flags = process->flags;
	return REASON_NONE;
}

/* Mostly a processor finds the process that it sampled before, and nothing new was published for it. */
static __always_inline enum reason find_table(struct walk *walk)
{
	const struct walk_table *table = &walk->table;
	__u32 epoch = knobs.process_epochs[walk->key.tgid & (KNOB_PROCESS_EPOCHS - 1)];

	if (table->version && table->epoch == epoch && table->start_ns == walk->key.start_ns &&
	    table->tgid == walk->key.tgid && table->exec_id == walk->key.exec_id)
		return REASON_NONE;
	return look_up_table(walk, epoch);
}

/* Off the usual path: user space knows what was mapped at this very moment, the table here only what was a while ago. */
static __noinline int take_recycling(struct walk *walk, __u32 set)
{
	keep_leaf(walk, REASON_STALE_MAPPING);
	walk->ask = walk->regs.pc; /* mremap is told by nobody */
	return snapshot_take(walk, set);
}

static __always_inline bool copy_recycling(struct walk *walk, __u32 set)
{
	return walk->table.flags & UNWIND_PROCESS_RECYCLES && take_recycling(walk, set);
}

static __always_inline void read_user_stack(struct walk *walk, void *ctx, struct task_struct *task,
					    bool in_kernel, __u32 set)
{
	__u32 segment = read_registers(walk, ctx, task, in_kernel);

	if (!segment) {
		walk->key.user_reason = REASON_NO_REGISTERS;
		return;
	}
	if (between_programs(walk, task, in_kernel)) {
		walk->key.flags |= SAMPLE_KTHREAD;
		return;
	}
	if (segment != KERNEL_USER64_CS) {
		keep_leaf(walk, REASON_COMPAT);
	} else if (find_table(walk)) {
		keep_leaf(walk, REASON_PROCESS_UNKNOWN);
	} else if (!copy_recycling(walk, set)) {
		walk->value.table_version = walk->table.version;
		touch_last(walk);
		unwind_native(walk);
		if (walk->table.flags & UNWIND_PROCESS_RECYCLES) /* an equal stack may be of other files */
			walk->hash = walk_hash(walk->hash, walk->value.last_ns) | 1;
	}
	if (walk->reason && at_root(walk, task))
		walk->reason = REASON_NONE;
	if (!(walk->key.flags & SAMPLE_SNAPSHOT) &&
	    ((walk->reason >= REASON_PROCESS_UNKNOWN && walk->reason <= REASON_NO_TABLE) ||
	     walk->reason == REASON_UNSUPPORTED_RULE))
		copy_user_stack(walk, ctx, task, set);
	walk->key.user_stack = walk->hash;
	walk->key.user_reason = walk->reason;
	walk->value.user_depth = walk->depth;
}

/* The kernel pads it with zeros. A helper would take three times as long. */
static __always_inline void read_name(struct sample_value *value, struct task_struct *task)
{
	const __u64 *from = (const __u64 *)task->comm;
	__u64 *to = (__u64 *)value->comm;

	_Static_assert(sizeof(value->comm) == sizeof(task->comm), "a name is two words");
	to[0] = from[0];
	to[1] = from[1];
}

static __always_inline void name_sample(struct walk *walk, struct task_struct *task)
{
	__builtin_memset(&walk->key, 0, sizeof(walk->key));
	walk->key.cgroup = task_cgroup_id(task);
	walk->key.start_ns = task->group_leader->start_time;
	walk->key.tgid = task->tgid;
	walk->key.tid = task->pid;
	walk->key.exec_id = task->self_exec_id;
	walk->value.count = 1;
	walk->value.user_depth = walk->value.kernel_depth = 0;
	walk->value.table_version = 0;
	read_name(&walk->value, task);
	walk->deadline_ns = walk->value.last_ns + KNOB_MAX_SAMPLE_NS;
	walk->depth = walk->walked = walk->searched = 0;
}

static __always_inline void take(struct walk *walk, struct sample_counters *counted, __u32 turn,
				 volatile struct kernel_regs *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	bool in_kernel = !(ctx->cs & 3);
	__u32 reason, interval = knobs.referee_interval;

	name_sample(walk, task);
	if (in_kernel) {
		walk->key.flags |= SAMPLE_IN_KERNEL;
		read_kernel_stack(walk, (void *)ctx);
	}
	if (task->flags & (PF_KTHREAD | PF_IO_WORKER) || !task->mm || !walk->key.tgid)
		walk->key.flags |= SAMPLE_KTHREAD;
	else
		read_user_stack(walk, (void *)ctx, task, in_kernel, turn % SAMPLE_SETS);
	if (interval && !(counted->taken % interval) && walk->value.table_version &&
	    !(walk->key.flags & (SAMPLE_KTHREAD | SAMPLE_SNAPSHOT)))
		copy_for_referee(walk, (void *)ctx, task);
	counted->frames += walk->walked;
	counted->searched += walk->searched;
	if (!count_again(walk, turn) && sample_append(turn)) {
		counted->lost[REASON_COUNTS_MAP_FULL]++;
		walk->key.flags &= ~SAMPLE_SNAPSHOT; /* nobody will ask for it */
	}
	reason = walk->key.user_reason;
	if (!(walk->key.flags & (SAMPLE_KTHREAD | SAMPLE_SNAPSHOT)) && reason < REASON_COUNT)
		counted->user[reason]++;
	reason = walk->key.kernel_reason;
	if (walk->key.flags & SAMPLE_IN_KERNEL && reason < REASON_COUNT)
		counted->kernel[reason]++;
}

static __always_inline void count_time(struct sample_counters *counted, __u64 ns)
{
	__u32 bucket = duration_bucket(ns);

	counted->run_ns += ns;
	if (ns > counted->max_ns)
		counted->max_ns = ns;
	UNWIND_HIDE(bucket);
	if (bucket < DURATION_BUCKETS)
		counted->runs[bucket]++;
}

SEC("perf_event")
int sample(struct kernel_regs *ctx)
{
	__u32 zero = 0, turn = knobs.turn, set = turn % SAMPLE_SETS;
	struct sample_counters *counted;
	struct walk *walk;

	counted = bpf_map_lookup_elem(&counters, &set);
	if (!counted)
		return 0;
	counted->taken++;
	walk = bpf_map_lookup_elem(&scratch, &zero);
	if (!walk) {
		counted->lost[REASON_NO_SCRATCH]++;
		return 0;
	}
	walk->value.last_ns = bpf_ktime_get_ns();
	take(walk, counted, turn, ctx);
	count_time(counted, bpf_ktime_get_ns() - walk->value.last_ns);
	return 0;
}

/* A new program never runs under the old one's table. agent/publish hears of the exec a little later. */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(sample_exec, struct task_struct *task)
{
	__u64 now = bpf_ktime_get_ns();
	__u32 tgid = task->tgid;

	bpf_map_update_elem(&execs, &tgid, &now, BPF_ANY);
	bpf_map_delete_elem(&processes, &tgid);
	__sync_fetch_and_add(&knobs.process_epochs[tgid & (KNOB_PROCESS_EPOCHS - 1)], 1);
	return 0;
}

char sample_license[] SEC("license") = "Dual BSD/GPL";

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Kernel side of "snapshot": takes a walk whose registers are the interrupted ones, gives a copy of them and of
 * the stack (abi/snapshot.h), for a process that user space will know a moment later. Bounded by number a second
 * and by the ring; past either the sample stays as it is.
 */
#include "kernel.h"
#include "maps.bpf.h"
#include "snapshot.h"

#include <bpf/bpf_core_read.h>

#define SECOND_NS 1000000000ULL
#define FIRST_STACK_BYTES (128ULL << 20) /* nothing else is mapped so near below it (MIN_GAP, arch/x86/mm/mmap.c) */
#define PIECES (SNAPSHOT_BYTES / SNAPSHOT_PIECE + 1) /* the first is the rest of a page */

struct snapshot_scratch {
	__u64 sequence, since_ns;
	__u32 copies, old_copies; /* since since_ns */
	struct snapshot snapshot;
	__u8 stack[SNAPSHOT_BYTES + SNAPSHOT_PIECE];
};

/* key 0, value: the copy being made, one a CPU. Only the sampler uses it; runs on a CPU never nest. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct snapshot_scratch);
} snapshot_scratch SEC(".maps");

/* Records of abi/snapshot.h. Written by the sampler, read by agent/snapshot; sized by agent/loader. Full: no copy,
 * counted in sample_counters.snapshots_full. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} snapshots SEC(".maps");

/* From when on a copy wakes the reader. Written by the pipeline, which has read all there was a moment ago, and by the
 * copy that woke it. */
__u64 copies_wake_ns = 0;

static __always_inline int is_old(const struct walk *walk)
{
	return walk->reason == REASON_NO_MAPPING && walk->value.last_ns - walk->key.start_ns > SNAPSHOT_YOUNG_NS;
}

/* A process nobody knows yet must not wait for its table until the agent wakes up by itself. Not worth a waking is each
 * of the copies that come with many of them, nor what stays unknown for ever. */
static __always_inline __u64 wake_or_not(const struct snapshot_scratch *scratch, const struct walk *walk)
{
	volatile __u64 *wake_ns = &copies_wake_ns;
	__u64 now = walk->value.last_ns;

	if ((now < *wake_ns || (is_old(walk) && scratch->old_copies > SNAPSHOT_OLD_WAKES)) &&
	    bpf_ringbuf_query(&snapshots, BPF_RB_AVAIL_DATA) < bpf_ringbuf_query(&snapshots, BPF_RB_RING_SIZE) / 2)
		return BPF_RB_NO_WAKEUP;
	*wake_ns = now + SNAPSHOT_WAKE_NS;
	return BPF_RB_FORCE_WAKEUP;
}

/* What stays unknown to user space (memory nobody told of) must not cost a copy each time. Rows that are about to be
 * there do not. */
static __always_inline int within_rate(struct snapshot_scratch *scratch, const struct walk *walk)
{
	__u64 now = walk->value.last_ns;

	if (now - scratch->since_ns > SECOND_NS) {
		scratch->since_ns = now;
		scratch->copies = scratch->old_copies = 0;
	}
	if (is_old(walk) && scratch->old_copies++ >= SNAPSHOT_OLD_RATE)
		return 0;
	return scratch->copies++ < SNAPSHOT_RATE;
}

static long note_end(struct task_struct *task, struct vm_area_struct *mapping, __u64 *end)
{
	*end = mapping->vm_end;
	return 0;
}

/* What to copy at most. The first thread's stack ends below the arguments and the environment, which no frame
 * needs; another lies in a mapping of its own, and what is behind that is none of ours. Where the kernel will not
 * tell, because somebody changes the mappings right now, the first failing read ends it. */
static __always_inline __u32 bytes_wanted(struct task_struct *task, __u64 from, __u64 end)
{
	if (end - from > FIRST_STACK_BYTES) {
		end = 0;
		if (bpf_find_vma(task, from, note_end, &end, 0) || end <= from)
			return SNAPSHOT_BYTES;
	}
	return end - from < SNAPSHOT_BYTES ? (__u32)(end - from) : SNAPSHOT_BYTES;
}

static __always_inline __u32 copy_stack(struct snapshot_scratch *scratch, struct task_struct *task, __u64 from)
{
	__u32 wanted = bytes_wanted(task, from, scratch->snapshot.start_stack), done = 0;

	scratch->snapshot.from = from;
	for (int i = 0; i < PIECES; i++) {
		__u32 piece = SNAPSHOT_PIECE - ((from + done) & (SNAPSHOT_PIECE - 1));

		if (piece > wanted - done)
			piece = wanted - done;
		UNWIND_HIDE(piece);
		UNWIND_HIDE(done);
		if (!piece || piece > SNAPSHOT_PIECE || done > SNAPSHOT_BYTES)
			break;
		if (!bpf_probe_read_user(scratch->stack + done, piece, (const void *)(from + done))) {
			done += piece;
			continue;
		}
		if (done)
			break;
		from += piece;
		wanted -= piece;
		scratch->snapshot.from = from;
	}
	return done;
}

struct area_search {
	struct snapshot_area *area;
};

static long note_area(struct task_struct *task, struct vm_area_struct *vma, struct area_search *search)
{
	struct snapshot_area *area = search->area;
	struct inode *inode;

	(void)task;
	area->start = vma->vm_start;
	area->end = vma->vm_end;
	area->offset = (__u64)vma->vm_pgoff << 12;
	if (vma->vm_file) {
		inode = vma->vm_file->f_inode;
		area->inode = inode->i_ino;
		area->generation = inode->i_generation;
		area->major = inode->i_sb->s_dev >> 20;
		area->minor = inode->i_sb->s_dev & 0xfffff;
	}
	return 0;
}

/* The kernel answers one such question a run, if nobody is changing the mappings now: the end of a thread's stack is
 * not asked then. */
static __always_inline void ask_area(struct snapshot_area *area, struct task_struct *task,
				     const struct walk *walk)
{
	struct area_search search = { .area = area };
	__u32 last = walk->depth - 1;
	__u64 frame;

	__builtin_memset(area, 0, sizeof(*area));
	if (walk->reason != REASON_NO_MAPPING && walk->reason != REASON_STALE_MAPPING)
		return;
	UNWIND_HIDE(last);
	last &= SAMPLE_MAX_USER_FRAMES - 1;
	frame = walk->frames[last];
	frame = frame & SAMPLE_FRAME_EXACT ? frame & ~SAMPLE_FRAME_EXACT : frame - 1;
	if (!bpf_find_vma(task, frame, note_area, &search, 0) && area->end)
		area->address = frame;
}

__attribute__((noinline)) int snapshot_take(struct walk *walk, __u32 set)
{
	__u32 zero = 0, done;
	struct task_struct *task = bpf_get_current_task_btf();
	struct snapshot_scratch *scratch = bpf_map_lookup_elem(&snapshot_scratch, &zero);
	struct sample_counters *counted;
	struct snapshot *snapshot;

	set &= SAMPLE_SETS - 1;
	counted = bpf_map_lookup_elem(&counters, &set);
	if (!walk || !scratch || !counted)
		return 0;
	if (walk->reason == REASON_NO_TABLE && walk->at.flags & UNWIND_MAPPING_ANON)
		return 0; /* generated code: there will be no rows */
	if (!within_rate(scratch, walk)) {
		counted->snapshots_limited++;
		return 0;
	}
	snapshot = &scratch->snapshot;
	snapshot->id = SNAPSHOT_ID | (__u64)bpf_get_smp_processor_id() << 40 | ++scratch->sequence;
	snapshot->time_ns = walk->value.last_ns;
	snapshot->tgid = walk->key.tgid;
	ask_area(&snapshot->area, task, walk);
	snapshot->start_stack = task->mm->start_stack;
	snapshot->pc = walk->regs.pc;
	__builtin_memcpy(snapshot->reg, walk->regs.reg, sizeof(snapshot->reg));
	done = copy_stack(scratch, task, walk->regs.reg[UNWIND_RSP]);
	UNWIND_HIDE(done);
	if (done > SNAPSHOT_BYTES)
		return 0;
	snapshot->bytes = done;
	if (bpf_ringbuf_output(&snapshots, snapshot, sizeof(*snapshot) + done, wake_or_not(scratch, walk))) {
		counted->snapshots_full++;
		return 0;
	}
	counted->snapshots++;
	walk->hash = snapshot->id;
	walk->key.flags |= SAMPLE_SNAPSHOT;
	return 1;
}

char snapshot_license[] SEC("license") = "Dual BSD/GPL";

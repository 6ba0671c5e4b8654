/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Kernel side of "snapshot": takes a walk whose registers are the interrupted ones, gives a copy of them and of
 * the stack (abi/snapshot.h), for a process that user space will know a moment later. Bounded by number a second
 * and by the ring; past either the sample stays as it is.
 */
#include "kernel.h"
#include "maps.bpf.h"
#include "snapshot.h"

#include <stdbool.h>

#include <bpf/bpf_core_read.h>

#define SECOND_NS 1000000000ULL
#define PIECES(limit) ((limit) / SNAPSHOT_PIECE + 1) /* the first is the rest of a page */
#define BELOW_BYTES 512 /* of a stack that the walk leapt to: what registers were saved by who left it */

struct snapshot_scratch {
	__u64 sequence, since_ns, referee_since_ns;
	__u32 copies, old_copies; /* since since_ns */
	__u32 referee_copies, pad; /* since referee_since_ns */
	struct snapshot snapshot;
	__u8 stack[SNAPSHOT_BYTES + SNAPSHOT_PIECE];
};

_Static_assert(sizeof(struct snapshot_scratch) <= 32768, "PCPU_MIN_UNIT_SIZE is the most that a CPU's value may have");

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
	return walk->reason == REASON_UNSUPPORTED_RULE ||
	       (walk->reason == REASON_NO_MAPPING && walk->value.last_ns - walk->key.start_ns > SNAPSHOT_YOUNG_NS);
}

/* A process nobody knows yet must not wait for its table until the agent wakes up by itself. Not worth a waking is each
 * of the copies that come with many of them, nor what stays unknown for ever, nor one that has its table. */
static __always_inline __u64 wake_or_not(const struct snapshot_scratch *scratch, const struct walk *walk)
{
	volatile __u64 *wake_ns = &copies_wake_ns;
	__u64 now = walk->value.last_ns;

	if ((now < *wake_ns || walk->reason == REASON_STALE_MAPPING ||
	     (is_old(walk) && scratch->old_copies > SNAPSHOT_OLD_WAKES)) &&
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
 * tell, because somebody changes the mappings right now, it is not `known`, and the first failing read behind
 * one that did not ends it. */
static __always_inline __u32 bytes_wanted(__u64 from, __u64 end, __u32 limit, bool *ret_known)
{
	*ret_known = true;
	if (end - from > SNAPSHOT_STACK_BYTES) {
		end = 0;
		if (bpf_find_vma(bpf_get_current_task_btf(), from, note_end, &end, 0) || end <= from) {
			*ret_known = false;
			return limit;
		}
	}
	return end - from < limit ? (__u32)(end - from) : limit;
}

struct copying {
	struct snapshot *snapshot; /* the bytes follow */
	__u64 base, end;           /* base: user address of the first, if this stack were the only one */
	__u32 read;                /* bytes up to the last that could be read */
	bool skips;                /* what cannot be read is left out */
};

/* One piece more, if there is room for `limit` bytes and a piece. What changes from one to the next lies in the copy:
 * there the verifier expects anything, once, and not each sum of pieces. */
static __always_inline long copy_piece(struct copying *copying, __u32 limit)
{
	struct snapshot *snapshot = copying->snapshot;
	__u64 from = copying->base + snapshot->bytes;
	__u32 done = snapshot->bytes, piece = SNAPSHOT_PIECE - (from & (SNAPSHOT_PIECE - 1));

	if (from >= copying->end)
		return 1;
	if (piece > copying->end - from)
		piece = (__u32)(copying->end - from);
	UNWIND_HIDE(piece);
	UNWIND_HIDE(done);
	if (!piece || piece > SNAPSHOT_PIECE || done > limit)
		return 1;
	if (!bpf_probe_read_user((__u8 *)(snapshot + 1) + done, piece, (const void *)from)) {
		copying->read = snapshot->bytes = done + piece;
		return 0;
	}
	if (!done) {
		copying->base += piece;
		snapshot->from += piece;
		return 0;
	}
	if (!copying->skips)
		return 1;
	snapshot->holes |= 1U << snapshot_page(snapshot, from);
	snapshot->bytes = done + piece;
	return 0;
}

static long copy_short(__u32 index, struct copying *copying)
{
	return copy_piece(copying, SNAPSHOT_BYTES);
}

static long copy_long(__u32 index, struct copying *copying)
{
	return copy_piece(copying, SNAPSHOT_REFEREE_BYTES);
}

static __always_inline void describe(struct snapshot *snapshot, const struct walk *walk, __u64 id)
{
	snapshot->id = id;
	snapshot->time_ns = walk->value.last_ns;
	snapshot->hash = walk->hash;
	snapshot->tgid = walk->key.tgid;
	snapshot->reason = walk->reason;
	snapshot->start_stack = bpf_get_current_task_btf()->mm->start_stack;
	snapshot->from = walk->regs.reg[UNWIND_RSP];
	snapshot->bytes = snapshot->near_bytes = snapshot->flags = 0;
	snapshot->far = 0;
	snapshot->holes = 0;
	__builtin_memset(&snapshot->area, 0, sizeof(snapshot->area)); /* a place in the ring has another's */
	snapshot->pc = walk->regs.pc;
	__builtin_memcpy(snapshot->reg, walk->regs.reg, sizeof(snapshot->reg));
}

static __always_inline __u64 next_id(struct snapshot_scratch *scratch)
{
	return SNAPSHOT_ID | (__u64)bpf_get_smp_processor_id() << 40 | ++scratch->sequence;
}

static __always_inline bool is_generated(const struct walk *walk)
{
	return walk->reason == REASON_NO_TABLE && walk->at.flags & UNWIND_MAPPING_ANON;
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

/* The kernel answers one such question a run, if nobody is changing the mappings now: where a stack ends comes first. */
static __always_inline void ask_area(struct snapshot_area *area, const struct walk *walk)
{
	struct area_search search = { .area = area };

	if (!walk->ask || (walk->reason != REASON_NO_MAPPING && walk->reason != REASON_STALE_MAPPING))
		return;
	if (!bpf_find_vma(bpf_get_current_task_btf(), walk->ask, note_area, &search, 0) && area->end)
		area->address = walk->ask;
}

__attribute__((noinline)) int snapshot_take(struct walk *walk, __u32 set)
{
	__u32 zero = 0, done;
	struct snapshot_scratch *scratch = bpf_map_lookup_elem(&snapshot_scratch, &zero);
	struct sample_counters *counted;
	struct snapshot *snapshot;
	struct copying copying;

	set &= SAMPLE_SETS - 1;
	counted = bpf_map_lookup_elem(&counters, &set);
	if (!walk || !scratch || !counted)
		return 0;
	if (is_generated(walk))
		return 0; /* there will be no rows */
	if (!within_rate(scratch, walk)) {
		counted->snapshots_limited++;
		return 0;
	}
	snapshot = &scratch->snapshot;
	describe(snapshot, walk, next_id(scratch));
	copying.snapshot = snapshot;
	copying.base = snapshot->from;
	copying.read = 0;
	copying.end = snapshot->from +
		      bytes_wanted(snapshot->from, snapshot->start_stack, SNAPSHOT_BYTES, &copying.skips);
	bpf_loop(PIECES(SNAPSHOT_BYTES), copy_short, &copying, 0);
	done = snapshot->near_bytes = snapshot->bytes = copying.read;
	UNWIND_HIDE(done);
	if (done > SNAPSHOT_BYTES)
		return 0;
	ask_area(&snapshot->area, walk);
	if (bpf_ringbuf_output(&snapshots, snapshot, sizeof(*snapshot) + done, wake_or_not(scratch, walk))) {
		counted->snapshots_full++;
		return 0;
	}
	counted->snapshots++;
	walk->hash = snapshot->id;
	walk->key.flags |= SAMPLE_SNAPSHOT;
	return 1;
}

struct wanted { /* of the stack the sample was on, and of the one the walk leapt to */
	__u64 far_from;
	__u32 near_bytes, far_bytes;
	bool known; /* that the stack the sample was on goes so far */
};

static __always_inline void copy_part(struct copying *copying, __u32 limit)
{
	bpf_loop(PIECES(limit), limit == SNAPSHOT_BYTES ? copy_short : copy_long, copying, 0);
	copying->snapshot->bytes = copying->read;
}

/* Made in the ring itself: it is more than the value of a per-CPU map may be. `limit` is a constant. */
static __always_inline int refer(const struct walk *walk, __u64 id, const struct wanted *wanted, __u32 limit)
{
	struct copying copying = { bpf_ringbuf_reserve(&snapshots, sizeof(struct snapshot) + limit + SNAPSHOT_PIECE, 0) };
	struct snapshot *snapshot = copying.snapshot;

	if (!snapshot)
		return 0;
	describe(snapshot, walk, id);
	snapshot->flags = SNAPSHOT_REFEREE;
	copying.base = snapshot->from;
	copying.end = snapshot->from + wanted->near_bytes;
	copying.skips = wanted->known;
	copy_part(&copying, limit);
	snapshot->near_bytes = snapshot->bytes;
	if (wanted->far_bytes && snapshot->bytes) {
		snapshot->far = wanted->far_from;
		copying.base = snapshot->far - snapshot->bytes;
		copying.end = snapshot->far + wanted->far_bytes;
		copying.skips = false;
		copy_part(&copying, limit);
	}
	bpf_ringbuf_submit(snapshot, BPF_RB_NO_WAKEUP);
	return 1;
}

/* The kernel says once a run where a mapping ends: of a stack that the walk left, it is known by the walk. */
static __always_inline void want(const struct walk *walk, struct wanted *wanted)
{
	__u64 sp = walk->regs.reg[UNWIND_RSP], root = bpf_get_current_task_btf()->mm->start_stack;
	__u64 below = walk->far & (SNAPSHOT_PIECE - 1);
	bool far_known;

	if (!walk->far || walk->near_end <= sp || walk->near_end - sp > SNAPSHOT_REFEREE_BYTES) {
		wanted->near_bytes = bytes_wanted(sp, root, SNAPSHOT_REFEREE_BYTES, &wanted->known);
		return;
	}
	wanted->known = true; /* the walk came by there */
	wanted->near_bytes = (__u32)(walk->near_end - sp);
	wanted->far_from = walk->far - (below < BELOW_BYTES ? below : BELOW_BYTES);
	wanted->far_bytes = bytes_wanted(wanted->far_from, root, SNAPSHOT_REFEREE_BYTES - wanted->near_bytes, &far_known);
}

__attribute__((noinline)) int snapshot_refer(struct walk *walk)
{
	__u32 zero = 0;
	struct snapshot_scratch *scratch = bpf_map_lookup_elem(&snapshot_scratch, &zero);
	struct wanted wanted = {};

	if (!walk || !scratch || is_generated(walk))
		return 0;
	if (walk->value.last_ns - scratch->referee_since_ns > SECOND_NS) {
		scratch->referee_since_ns = walk->value.last_ns;
		scratch->referee_copies = 0;
	}
	if (scratch->referee_copies++ >= SNAPSHOT_REFEREE_RATE)
		return 0;
	if (bpf_ringbuf_query(&snapshots, BPF_RB_AVAIL_DATA) > bpf_ringbuf_query(&snapshots, BPF_RB_RING_SIZE) / 2)
		return 0; /* the rest is for stacks that nobody has walked yet */
	want(walk, &wanted);
	if (wanted.near_bytes + wanted.far_bytes <= SNAPSHOT_BYTES)
		return refer(walk, next_id(scratch), &wanted, SNAPSHOT_BYTES);
	return refer(walk, next_id(scratch), &wanted, SNAPSHOT_REFEREE_BYTES);
}

char snapshot_license[] SEC("license") = "Dual BSD/GPL";

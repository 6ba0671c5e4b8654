/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What one run of the sampler works on, and the border between sample.bpf.c and unwind_native.bpf.c. */
#ifndef WALK_H
#define WALK_H

#include "abi/sample.h"
#include "abi/unwind.h"

/* Bytes of stack read at a time: at most, and where nothing says how far the stack goes. A read costs as much as some
 * 20 lines of cache that it brings. */
#define WALK_WINDOW 4096
#define WALK_BLIND 1024
#define WALK_REACH 65536 /* a last walk's end further up may be another stack's */
#define WALK_PAGED 64 /* a read up to there failed, at a page that nobody had touched: so many walks stop at page ends */

/* Where frames begin in walk.frames: the outermost behind a gap, the gap first; the kernel's. */
#define WALK_OUTER SAMPLE_MAX_DEPTH
#define WALK_KERNEL (WALK_OUTER + SAMPLE_OUTER_FRAMES + SAMPLE_CHUNK_FRAMES)
#define WALK_FRAMES (WALK_KERNEL + SAMPLE_MAX_KERNEL_FRAMES)

#define UNWIND_HIDE(value) asm volatile("" : "+r"(value))
#include "unwind_row.h"

/* Loads what will be needed soon, and waits for nothing. Between two samples other programs have filled the caches: a
 * walk spends most of its time on loads of which each says where the next is. Asked for together, they come together. */
#define WALK_TOUCH(what)             \
	do {                         \
		__u64 it = (what);   \
		UNWIND_HIDE(it);     \
	} while (0)

/* The rules met last: a word is the place in the directory's text, moved by the epoch, above a rule's 16 bits. The
 * same return addresses come again and again, and one load is less than a search. Twice as many saved a fifth of the
 * searches of rustc and gained 2 %. */
#define WALK_KNOWN_RULES 1024
#define WALK_TOUCHED 16 /* frames whose rules are touched before a walk */
#define WALK_TURN 4     /* frames walked, and rules touched for later ones, in one call of the loop's body */

#define WALK_RECENT 256 /* a power of two */
#define WALK_NEAR 3
#define WALK_LEAP 65536 /* bytes that rsp moves in a step, or down: to another stack, or over a very large frame */
#define WALK_BEHIND 1024 /* bytes that a copy keeps behind where a leap came from */

struct walk_table { /* the process's mapping table, and all that parts it from any other */
	__u64 start_ns;
	__u32 tgid, exec_id, version; /* 0: none was found yet */
	__u32 chunk, first, count;
	__u32 epoch, flags; /* of knobs.process_epochs when it was looked up; as unwind_process.flags */
};

struct walk {
	struct unwind_regs regs;
	__u64 hash;
	__u64 inner_hash; /* of the innermost SAMPLE_INNER_FRAMES */
	__u64 deadline_ns;
	__u64 word;       /* what walk_fetch read */
	__u64 window_at;  /* user address of window[0] */
	/* A bit behind where the first leap came from, and the rsp it led to, 0: there was none. A program may grow its
	 * stack elsewhere, as rustc does, and a goroutine calls on another. */
	__u64 near_end, far;
	__u64 root;       /* rsp where the last walk ended. A stack not far below it goes on up to there */
	__u64 ask;        /* where the kernel is to be asked what it has, for the table has nothing; 0: nowhere */
	__u32 window_limit; /* words may begin at offsets below it */
	__u32 depth;      /* frames kept, a gap among them where there are more than SAMPLE_MAX_DEPTH */
	__u32 walked;     /* frames met */
	__u32 searched;   /* of these whose rule had to be looked for in the rows */
	__u32 reason;     /* why the walk ended */
	__u32 rule;       /* what walk_search found */
	__u32 doubt;      /* a frame-pointer step led here: why there was no rule */
	/* The mappings found last, nothing mapped if end is 0. Most stacks stay within a few, and a process that keeps
	 * its processor within the same few, so they outlive a run: as long as the table does. */
	struct unwind_mapping at, near[WALK_NEAR];
	struct walk_table table;
	struct sample_key key;
	struct sample_value value;
	struct { __u32 turn, block, at; } log; /* where the next record goes; nowhere yet in another turn */
	struct { __u32 slot, block, at; } last; /* of `recent`, and the record itself: where was counted last */
	/* Up to here and a bit further lies what every run touches; of the arrays only as much as the stack is deep. */
	__u64 known_base; /* added to the places in known_rules */
	__u32 path_frames; /* of `path`, which the last walk wrote */
	__u32 paged;       /* walks left that stop at page ends, this one too */
	/* By the frame's place: where in known_rules its rule is. The next walk mostly takes the same way. */
	__u16 path[SAMPLE_MAX_DEPTH];
	__u8 window[WALK_WINDOW + 8]; /* a masked offset may begin in the last word */
	__u64 frames[WALK_FRAMES + SAMPLE_CHUNK_FRAMES]; /* the user's, the kernel's, room behind the last chunk */
	__u64 recent[WALK_RECENT]; /* by a hash of the key: turn, block and offset (32, 16, 16 bits) of its last record */
	__u64 known_rules[WALK_KNOWN_RULES];
};

_Static_assert(sizeof(struct walk) <= 32768, "PCPU_MIN_UNIT_SIZE is the most that a CPU's value may have");

/* Walks the user stack of walk->regs into walk->frames: depth, hash and reason are then set. Needs the process's
 * table in `table`; `at` and `near` must come from it. */
int unwind_native(struct walk *walk);

/* 64 bits, order matters, never 0. */
static inline __attribute__((always_inline)) __u64 walk_hash(__u64 hash, __u64 frame)
{
	hash = (hash ^ frame) * 0x9e3779b97f4a7c15ULL;
	return hash ^ hash >> 29;
}

#endif

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What the agent publishes so that the kernel side can unwind without frame pointers.
 *
 *   processes: tgid -> unwind_process -> mappings[first .. first+count), sorted by start
 *   mapping:   pc - bias = ELF virtual address; directory[dir + (vaddr >> 16)] -> page block, made when first wanted
 *   block:     u16s: 257 bucket starts (one per 256 bytes of text), the palette of the page's rules, the rows. A start
 *              is where the bucket's first row, or the one behind it, lies in the block; the last is the block's end
 *   row:       u8 pc in its bucket, u8 index in the palette; in force from its pc up to the next row's
 *
 * The row in force for a pc is the last one of its bucket with row.pc <= pc, or else the row before the bucket's
 * first; the first row of a block always has pc 0.
 */
#ifndef ABI_UNWIND_H
#define ABI_UNWIND_H

#include "abi/escape.h"
#include "abi/types.h"

#define UNWIND_PAGE_BITS 16
#define UNWIND_BUCKET_BITS 8
#define UNWIND_BUCKETS 256
#define UNWIND_HEAD 257       /* u16s before a block's palette */
#define UNWIND_MAX_PALETTE 256
#define UNWIND_MAX_PAGE_ROWS 16384
#define UNWIND_MAX_BLOCK_BYTES (2 * (UNWIND_HEAD + UNWIND_MAX_PALETTE + UNWIND_MAX_PAGE_ROWS))
#define UNWIND_CHUNK_BYTES (1U << 20)   /* a value of the row chunk maps; blocks never cross it, aligned to 2 */
#define UNWIND_MAX_CHUNKS 64
#define UNWIND_MAX_DIRECTORY (1U << 18) /* pages of text over all files */
#define UNWIND_MAX_ESCAPES 8192         /* fewer than 2^14 */
#define UNWIND_MAX_PROCESSES 32768
#define UNWIND_MAX_PROCESS_MAPPINGS 4096
#define UNWIND_MAPPINGS (1U << 17)      /* entries over all processes, 32 B each, in chunks of 1 MiB grown on demand */
#define UNWIND_MAPPING_CHUNK (1U << 15) /* mappings a chunk; a table never crosses it */

/* rule: bits 15-14 kind, 13-11 rbp slot, 10-0 CFA offset / 8 (escape: bits 13-0 index of the escape) */
#define UNWIND_KIND_END 0 /* offset 0: no FDE here; offset 1: return address undefined, the outermost frame */
#define UNWIND_KIND_RSP 1
#define UNWIND_KIND_RBP 2
#define UNWIND_KIND_ESCAPE 3
#define UNWIND_RULE(kind, slot, offset8) ((__u16)((kind) << 14 | (slot) << 11 | (offset8)))
#define UNWIND_RULE_NONE UNWIND_RULE(UNWIND_KIND_END, 0, 0)
#define UNWIND_RULE_OUTERMOST UNWIND_RULE(UNWIND_KIND_END, 0, 1)
/* rbp slot: 0 unchanged, k in 1..7: saved at CFA - 8 * (k + 1). The return address is at CFA - 8. */

struct unwind_row {
	__u8 pc;
	__u8 rule;
};
ABI_SIZE(struct unwind_row, 2);

#define UNWIND_PAGE_NOT_BUILT 0xffff
struct unwind_page { /* a directory entry; the agent writes all of it at once */
	__u16 chunk;     /* 1-based index of the row chunk, 0: no rows for this page, UNWIND_PAGE_NOT_BUILT */
	__u8 generation; /* another one when the block has been given up */
	__u8 mark;       /* set by the sampler: it used the block, or wants it */
	__u32 offset;    /* of the block in the chunk, bytes, a multiple of 2 */
};
ABI_SIZE(struct unwind_page, 8);

struct unwind_wish { /* over the `wanted` ring: an entry was marked that is not built */
	__u64 time_ns; /* CLOCK_MONOTONIC */
	__u32 index;   /* in the directory */
	__u32 pad;
};
ABI_SIZE(struct unwind_wish, 16);

#define UNWIND_MAPPING_NO_TABLE 1 /* a file that is being opened: rows will be told of */
#define UNWIND_MAPPING_ANON 2     /* no file behind it (JIT), or none that can be read: frame pointers only */

struct unwind_mapping {
	__u64 start, end; /* user virtual addresses, half open */
	__u64 bias;       /* pc - bias is the ELF virtual address (modulo 2^64) */
	__u32 dir;        /* directory[(__u32)(dir + (vaddr >> 16))] */
	__u32 flags;
};
ABI_SIZE(struct unwind_mapping, 32);

/* It maps other files where files were: the table may be of what has gone, and equal stacks need not be the same. */
#define UNWIND_PROCESS_RECYCLES 1

struct unwind_process {
	__u64 known_ns; /* CLOCK_MONOTONIC at which this process was known alive: a leader born later is another */
	__u32 chunk;    /* index of the mapping chunk */
	__u32 first;
	__u16 count;
	__u16 flags;
	__u32 version; /* never 0; grows with each table of this process */
};
ABI_SIZE(struct unwind_process, 24);

#endif

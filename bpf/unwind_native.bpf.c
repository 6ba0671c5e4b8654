/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Kernel side of "unwind": takes user registers and a process's mapping table, gives the frames of the user
 * stack. Looks rows up in the published chunks and steps with unwind_step.h. Owns nothing but the walk it is
 * handed.
 *
 * All state lies in the per-CPU walk, not on the BPF stack: the verifier then sees every turn of the loop in
 * the same state and checks the body once. Functions that are not static are verified once, by themselves.
 */
#include "maps.bpf.h"
#include "unwind_gap.h"

#define INDEX_BITS 12 /* halvings that find one of UNWIND_MAX_PROCESS_MAPPINGS */
_Static_assert(1 << INDEX_BITS >= UNWIND_MAX_PROCESS_MAPPINGS, "the search for a mapping is too short");
_Static_assert(!(KNOB_MAX_STEPS % WALK_TURN || 64 % WALK_TURN || SAMPLE_INNER_FRAMES % 64),
	       "a turn ends where a walk looks at the clock, and keeps its hash");
_Static_assert(!(WALK_TURN % 4 || WALK_TOUCHED % 4 || __builtin_offsetof(struct walk, path) % 8),
	       "rules are touched four at a time");

/* Fills the window with up to `bytes` and sets walk->word, which lies 56 bytes behind `from`. */
static __always_inline int fill_window(struct walk *walk, __u64 from, __u64 bytes, __u64 most)
{
	if (bytes > most)
		bytes = most;
	UNWIND_HIDE(bytes); /* else clang hands on a copy that it made before, of which kernels up to 6.12 know no bound */
	if (bytes < 64 || bytes > WALK_WINDOW || bpf_probe_read_user(walk->window, bytes, (const void *)from))
		return 1;
	walk->window_at = from;
	walk->window_limit = bytes - 7;
	walk->word = *(__u64 *)(walk->window + 56);
	return 0;
}

/*
 * Reads the word at `address` into walk->word and refills the window with what lies around it, from 56 bytes below,
 * where a saved rbp is. A read is all or nothing: it goes up to where the last walk ended, or else to the end of the
 * page at most, for a window that crossed the end of the stack would fail on every outer frame.
 */
__attribute__((noinline)) int walk_fetch(struct walk *walk, __u64 address)
{
	__u64 from = address - 56, bytes = (address | 4095) + 1 - from, most = WALK_BLIND, known;

	if (!walk)
		return 1;
	if (address - walk->window_at < walk->window_limit) {
		address -= walk->window_at;
		UNWIND_HIDE(address);
		address &= WALK_WINDOW - 1;
		walk->word = *(__u64 *)(walk->window + address);
		return 0;
	}
	walk->window_limit = 0;
	known = walk->root - from;
	if (known >= 64 && known <= WALK_REACH) {
		most = WALK_WINDOW;
		if (!walk->paged) {
			if (!fill_window(walk, from, known, most))
				return 0;
			walk->paged = WALK_PAGED;
		}
		if (known < bytes)
			bytes = known;
	}
	if (!fill_window(walk, from, bytes, most))
		return 0;
	/* Below rsp the page may never have been touched, and a misaligned word may cross into the next. */
	return bpf_probe_read_user(&walk->word, sizeof(walk->word), (const void *)address) != 0;
}

static __always_inline int walk_read(struct walk *walk, __u64 address, __u64 *to)
{
	__u64 offset = address - walk->window_at;

	if (offset < walk->window_limit) {
		UNWIND_HIDE(offset);
		offset &= WALK_WINDOW - 1;
		offset = *(__u64 *)(walk->window + offset);
		/* Else clang keeps the address for both ways here, and the caller's stack reaches 64 bytes: from 6.13
		 * on it then lies elsewhere (BPF_PRIV_STACK_MIN_SIZE), in nobody's cache. */
		UNWIND_HIDE(offset);
		*to = offset;
		return 0;
	}
	if (walk_fetch(walk, address))
		return 1;
	*to = walk->word;
	return 0;
}

static __always_inline int walk_read_far(struct walk *walk, __u64 address, __u64 *to)
{
	if (walk_fetch(walk, address))
		return 1;
	*to = walk->word;
	return 0;
}

#define UNWIND_READ walk_read
#define UNWIND_READ_FAR walk_read_far
#include "unwind_step.h"

static __always_inline void swap_mappings(struct unwind_mapping *a, struct unwind_mapping *b)
{
	__u64 *left = (__u64 *)a, *right = (__u64 *)b;

#pragma unroll
	for (unsigned long i = 0; i < sizeof(*a) / sizeof(*left); i++) {
		__u64 word = left[i];

		left[i] = right[i];
		right[i] = word;
	}
}

/* The last mapping of the process that starts at or below pc, kept in the walk if pc lies in it. */
__attribute__((noinline)) int walk_find_mapping(struct walk *walk, __u64 pc)
{
	const struct unwind_mapping *table, *found;
	__u32 base, count, chunk, zero = 0;
	void *inner;

	if (!walk || !walk->table.count)
		return 1;
#pragma unroll
	for (int i = 0; i < WALK_NEAR; i++) {
		if (pc >= walk->near[i].start && pc < walk->near[i].end) {
			swap_mappings(&walk->at, &walk->near[i]);
			return 0;
		}
	}
	chunk = walk->table.chunk;
	inner = bpf_map_lookup_elem(&mappings, &chunk);
	if (!inner)
		return 1;
	table = bpf_map_lookup_elem(inner, &zero);
	if (!table)
		return 1;
	base = walk->table.first;
	count = walk->table.count;
	for (int i = 0; i < INDEX_BITS && count > 1; i++) {
		__u32 half = count / 2, at = base + half;

		UNWIND_HIDE(at);
		at &= UNWIND_MAPPING_CHUNK - 1;
		if (table[at].start <= pc)
			base += half;
		UNWIND_HIDE(base);
		count -= half;
		UNWIND_HIDE(count);
	}
	UNWIND_HIDE(base);
	base &= UNWIND_MAPPING_CHUNK - 1;
	found = &table[base];
	if (pc < found->start || pc >= found->end)
		return 1;
#pragma unroll
	for (int i = WALK_NEAR - 1; i > 0; i--)
		walk->near[i] = walk->near[i - 1];
	walk->near[0] = walk->at;
	walk->at = *found;
	return 0;
}

/* The entry's block is not built: says so once, until the agent takes the mark away. */
__attribute__((noinline)) int walk_want_page(__u32 index)
{
	struct unwind_page *page = bpf_map_lookup_elem(&directory, &index);
	struct unwind_wish wish = { .index = index };

	if (!page || page->mark)
		return 0;
	page->mark = 1;
	wish.time_ns = bpf_ktime_get_ns();
	if (bpf_ringbuf_output(&wanted, &wish, sizeof(wish), BPF_RB_FORCE_WAKEUP))
		page->mark = 0;
	return 0;
}

/* Where in known_rules a frame's rule is kept, and what the word there is but for the rule. */
static __always_inline __u32 rule_slot(__u64 place)
{
	__u64 slot = place ^ place >> 13;

	UNWIND_HIDE(slot);
	return slot & (WALK_KNOWN_RULES - 1);
}

static __always_inline __u64 rule_tag(const struct walk *walk, __u64 place)
{
	return (place + walk->known_base) << 16;
}

/* Touches the rules of some frames, a multiple of four. */
static __always_inline void touch_rules(struct walk *walk, __u32 first, __u32 frames)
{
#pragma unroll
	for (__u32 i = 0; i < frames; i += 4) {
		__u32 at = first + i;
		__u64 slots;

		UNWIND_HIDE(at);
		slots = *(__u64 *)(walk->path + (at & (SAMPLE_MAX_DEPTH - 4)));
#pragma unroll
		for (int j = 0; j < 4; j++)
			WALK_TOUCH(walk->known_rules[slots >> 16 * j & (WALK_KNOWN_RULES - 1)]);
	}
}

/* 0 and walk->rule, or the reason why there is none. The block may be given up meanwhile: its entry is read again. */
__attribute__((noinline)) int walk_search(struct walk *walk, __u64 place)
{
	__u32 zero = 0, chunk, index = (__u32)(place >> UNWIND_PAGE_BITS);
	struct unwind_page *page = bpf_map_lookup_elem(&directory, &index);
	__u64 entry;
	const void *block;
	void *inner;

	if (!walk || !page)
		return REASON_NO_TABLE;
	entry = *(const volatile __u64 *)page;
	chunk = entry & 0xffff;
	if (!chunk)
		return REASON_NO_RULE;
	if (chunk == UNWIND_PAGE_NOT_BUILT) {
		walk_want_page(index);
		return REASON_NO_TABLE;
	}
	if (!(entry >> 24 & 0xff))
		page->mark = 1;
	chunk--;
	inner = bpf_map_lookup_elem(&rows, &chunk);
	if (!inner)
		return REASON_NO_TABLE;
	block = bpf_map_lookup_elem(inner, &zero);
	if (!block)
		return REASON_NO_TABLE;
	walk->rule = unwind_find_rule(block, (__u32)(entry >> 32), place & ((1U << UNWIND_PAGE_BITS) - 1));
	if ((*(const volatile __u32 *)page ^ (__u32)entry) & 0xffffff) {
		page->mark = 0; /* ours may have come after the block went, and must not pass for a wish */
		return REASON_NO_TABLE;
	}
	if (walk->rule == UNWIND_RULE_NONE)
		return REASON_NO_RULE;
	walk->known_rules[rule_slot(place)] = rule_tag(walk, place) | walk->rule;
	walk->searched++;
	return REASON_NONE;
}

/* 0 and the rule, or the reason why there is none. `place` is the pc's in the directory's text, page by page. */
static __always_inline enum reason find_rule(struct walk *walk, __u64 place, __u32 frame, __u16 *ret_rule)
{
	__u32 slot = rule_slot(place);
	__u64 known = walk->known_rules[slot];
	enum reason reason;

	walk->path[frame] = slot;
	if (known - rule_tag(walk, place) <= 0xffff) {
		*ret_rule = (__u16)known;
		return REASON_NONE;
	}
	reason = walk_search(walk, place);
	*ret_rule = walk->rule;
	return reason;
}

__attribute__((noinline)) int walk_linked(struct walk *walk)
{
	return walk ? unwind_step_linked(&walk->regs, walk) : REASON_NO_RULE;
}

__attribute__((noinline)) int walk_escape(struct walk *walk, __u32 index)
{
	const struct unwind_escape *escape = bpf_map_lookup_elem(&escapes, &index);

	return walk && escape ? unwind_step_escape(&walk->regs, escape, walk) : REASON_UNSUPPORTED_RULE;
}

/* From one frame to its caller. 0 to go on, 1 when walk->reason says how the walk ended. */
static __always_inline int advance(struct walk *walk, __u64 pc, __u32 frame)
{
	__u16 rule = UNWIND_RULE_NONE;
	enum reason reason = REASON_NO_TABLE;

	if (!(walk->at.flags & (UNWIND_MAPPING_NO_TABLE | UNWIND_MAPPING_ANON)))
		reason = find_rule(walk, pc - walk->at.bias + ((__u64)walk->at.dir << UNWIND_PAGE_BITS), frame,
				   &rule);
	walk->doubt = reason;
	if (reason) {
		walk->reason = reason;
		/* Rows that are about to be there must not be guessed at: a frame pointer may skip frames. */
		if (reason == REASON_NO_TABLE && !(walk->at.flags & UNWIND_MAPPING_ANON))
			return 1;
		if (walk_linked(walk))
			return 1;
		walk->reason = REASON_NONE;
		return !walk->regs.pc;
	}
	if (rule == UNWIND_RULE_OUTERMOST) {
		walk->reason = REASON_NONE;
		return 1;
	}
	if (rule >> 14 == UNWIND_KIND_ESCAPE)
		reason = walk_escape(walk, rule & 0x3fff);
	else
		reason = unwind_step_rule(&walk->regs, rule, walk);
	walk->reason = reason ? reason : REASON_NO_MAPPING; /* the latter only if the return address is 0 */
	return reason || !walk->regs.pc;
}

/* Where the stack goes on if it is not near, for who copies it. */
static __always_inline void note_leap(struct walk *walk, __u64 sp)
{
	if (walk->regs.reg[UNWIND_RSP] - sp <= WALK_LEAP || walk->far)
		return;
	walk->near_end = sp + WALK_BEHIND;
	walk->far = walk->regs.reg[UNWIND_RSP];
}

struct walk_loop {
	struct walk *walk;
};

static __always_inline int walk_frame(struct walk *walk, __u32 index)
{
	__u64 frame = walk->regs.pc, pc = frame - !walk->regs.exact, sp = walk->regs.reg[UNWIND_RSP];
	__u32 place = unwind_gap_place(index);

	if (pc < walk->at.start || pc >= walk->at.end) {
		if (walk_find_mapping(walk, pc)) {
			walk->ask = pc;
			walk->reason = walk->doubt ? walk->doubt : REASON_NO_MAPPING;
			if (walk->doubt || frame >> 63)
				return 1; /* what a frame pointer led to is no frame */
			walk->at.start = walk->at.end = 0;
		}
	}
	if (walk->regs.exact)
		frame |= SAMPLE_FRAME_EXACT;
	walk->depth = index + 1;
	walk->hash = walk_hash(walk->hash, frame);
	UNWIND_HIDE(place);
	place &= SAMPLE_MAX_DEPTH - 1;
	walk->frames[place] = frame;
	if (!walk->at.end)
		return 1;
	if (advance(walk, pc, place))
		return 1;
	note_leap(walk, sp);
	return 0;
}

/* Some frames: where a kernel guards returns against speculation, one costs as much as a quarter of a frame. */
static long walk_turn(__u32 turn, struct walk_loop *loop)
{
	struct walk *walk = loop->walk;
	__u32 index = turn * WALK_TURN;

	if (index + WALK_TOUCHED < walk->path_frames)
		touch_rules(walk, index + WALK_TOUCHED, WALK_TURN);
	for (int i = 0; i < WALK_TURN; i++) {
		if (walk_frame(walk, index))
			return 1;
		index++;
		UNWIND_HIDE(index);
	}
	walk->reason = REASON_TIME; /* unless another turn says better */
	if (index % 64)
		return 0;
	if (index == SAMPLE_INNER_FRAMES)
		walk->inner_hash = walk->hash;
	return bpf_ktime_get_ns() > walk->deadline_ns;
}

static long keep_outer(__u32 index, struct walk_loop *loop)
{
	struct walk *walk = loop->walk;
	__u32 from = unwind_gap_outer(walk->walked, index), to = index & (SAMPLE_OUTER_FRAMES - 1);
	__u64 frame;

	UNWIND_HIDE(from);
	from &= SAMPLE_MAX_DEPTH - 1;
	frame = walk->frames[from];
	walk->hash = walk_hash(walk->hash, frame);
	UNWIND_HIDE(to);
	to &= SAMPLE_OUTER_FRAMES - 1;
	walk->frames[WALK_OUTER + 1 + to] = frame;
	return 0;
}

/* A stack that was not walked to its end keeps no outer part: which frames that were would be chance, and each
 * sample a stack of its own. */
__attribute__((noinline)) int walk_leave_gap(struct walk *walk)
{
	struct walk_loop loop = { .walk = walk };

	if (!walk)
		return 1;
	walk->depth = SAMPLE_INNER_FRAMES;
	walk->hash = walk->inner_hash;
	if (walk->reason == REASON_TIME)
		return 0;
	walk->depth = SAMPLE_MAX_DEPTH + 1;
	walk->hash = walk_hash(walk->hash, SAMPLE_FRAME_GAP);
	walk->frames[WALK_OUTER] = SAMPLE_FRAME_GAP;
	bpf_loop(SAMPLE_OUTER_FRAMES, keep_outer, &loop, 0);
	return 0;
}

__attribute__((noinline)) int unwind_native(struct walk *walk)
{
	struct walk_loop loop = { .walk = walk };

	if (!walk)
		return 1;
	walk->depth = 0;
	walk->hash = 0;
	walk->window_limit = 0;
	walk->far = walk->ask = 0;
	walk->doubt = REASON_NONE;
	walk->reason = REASON_NONE;
	walk->known_base = knobs.rules_epoch * 0x9e3779b97f4a7c15ULL;
	touch_rules(walk, 0, WALK_TOUCHED);
	bpf_loop(KNOB_MAX_STEPS / WALK_TURN, walk_turn, &loop, 0);
	walk->walked = walk->depth;
	walk->path_frames = walk->depth < SAMPLE_MAX_DEPTH ? walk->depth : SAMPLE_MAX_DEPTH;
	walk->root = walk->regs.reg[UNWIND_RSP];
	if (walk->paged)
		walk->paged--;
	if (walk->depth > SAMPLE_MAX_DEPTH)
		walk_leave_gap(walk);
	if (walk->depth && !walk->hash)
		walk->hash = 1;
	return 0;
}

char unwind_native_license[] SEC("license") = "Dual BSD/GPL";

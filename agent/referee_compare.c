/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Part of "referee": takes the frames of the kernel side and those of libunwind, gives a verdict over what both
 * reached. Where one says "this is the root" and the other has a caller, they part as much as over a pc; what
 * libunwind is not certain of may be equal, but not tell that the walker is wrong.
 */
#include "referee_compare.h"

#include "abi/sample.h"

/* A pc that lies nowhere is no frame: libunwind was led astray there, as by Go's functions that change stacks. */
static uint32_t reached(const struct referee_opinion *judged)
{
	return judged->depth && judged->reason == REASON_NO_MAPPING ? judged->depth - 1 : judged->depth;
}

/* One caller more than there is, and that one's rule leads nowhere: Go's thread begins in a function that was called,
 * but says that it is the root. */
static bool is_lost(const struct referee_opinion *judged, uint32_t depth, uint32_t at)
{
	return judged->reason == REASON_NO_MAPPING && depth == at + 1;
}

/* They part at this frame. */
static void part(const struct referee_opinion *judged, uint32_t at, struct referee_verdict *verdict)
{
	verdict->root = false;
	if (at < judged->certain)
		verdict->outcome = REFEREE_DISAGREE;
	else if (verdict->compared < 2)
		verdict->outcome = REFEREE_SHORT;
}

static bool ends_at_root(const struct referee_opinion *opinion, uint32_t depth)
{
	return opinion->reason == REASON_NONE && opinion->depth == depth;
}

static bool has_gap(const struct referee_opinion *walked)
{
	return walked->depth > SAMPLE_INNER_FRAMES && walked->frames[SAMPLE_INNER_FRAMES] == SAMPLE_FRAME_GAP;
}

static bool is_equal(uint64_t walked, uint64_t judged)
{
	return !((walked ^ judged) & ~SAMPLE_FRAME_EXACT);
}

/* Behind the gap, counted from the root. `verdict` is that of the inner frames, which are equal. */
static void compare_outer(const struct referee_opinion *walked, const struct referee_opinion *judged, uint32_t depth,
			  struct referee_verdict *verdict)
{
	uint32_t outer = walked->depth - SAMPLE_INNER_FRAMES - 1, at = 0;
	const uint64_t *ours = walked->frames + SAMPLE_INNER_FRAMES + 1, *theirs;

	if (walked->reason || !ends_at_root(judged, depth))
		return; /* nothing to count from */
	if (depth < SAMPLE_INNER_FRAMES + outer) {
		part(judged, depth, verdict);
		return;
	}
	theirs = judged->frames + depth - outer;
	while (at < outer && is_equal(ours[at], theirs[at]))
		at++;
	if (at)
		verdict->compared = SAMPLE_INNER_FRAMES + 1 + at;
	verdict->root = at == outer;
	if (!verdict->root) /* either lost its way before its root */
		part(judged, depth, verdict);
}

struct referee_verdict referee_compare(const struct referee_opinion *walked, const struct referee_opinion *judged)
{
	bool gap = has_gap(walked), walked_root, judged_root;
	uint32_t depth = reached(judged), inner = gap ? SAMPLE_INNER_FRAMES : walked->depth;
	uint32_t both = inner < depth ? inner : depth, at = 0;
	struct referee_verdict verdict = { 0 };

	while (at < both && is_equal(walked->frames[at], judged->frames[at]))
		at++;
	verdict.compared = at;
	walked_root = ends_at_root(walked, at);
	judged_root = ends_at_root(judged, at);
	verdict.root = walked_root && judged_root;
	if (at < both || (walked_root && depth > at && !is_lost(judged, depth, at)) || (judged_root && walked->depth > at))
		part(judged, at, &verdict);
	else if (at < 2 && !verdict.root)
		verdict.outcome = REFEREE_SHORT;
	else if (gap && at == inner)
		compare_outer(walked, judged, depth, &verdict);
	return verdict;
}

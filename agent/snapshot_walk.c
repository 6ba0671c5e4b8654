/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Part of "snapshot": takes a copy of registers and stack and the process's mappings, gives its frames. Follows
 * bpf/unwind_native.bpf.c turn by turn, so that a stack reads the same whoever walked it.
 */
#include "snapshot_walk.h"

#include "abi/knobs.h"
#include "unwind_gap.h"

#include <stdbool.h>
#include <string.h>

struct copied { /* what unwind_step.h reads from */
	const uint8_t *stack;
	const struct snapshot *copy; /* of one stack */
	uint64_t root;  /* where the first thread's stack began, 0: elsewhere */
	bool past_end, past_root; /* a word beyond the copy was wanted; beyond the root */
};

static int copied_read(struct copied *copied, uint64_t address, __u64 *to)
{
	const struct snapshot *copy = copied->copy;
	uint64_t offset = address - copy->from;

	if (address < copy->from)
		return 1;
	if (copy->bytes < sizeof(*to) || offset > copy->bytes - sizeof(*to)) {
		copied->past_end = true;
		copied->past_root = copied->root && address >= copied->root;
		return 1;
	}
	if (snapshot_in_hole(copy, address, address + 7))
		return 1;
	memcpy(to, copied->stack + offset, sizeof(*to));
	return 0;
}

#define UNWIND_READ(context, address, to) copied_read(context, address, to)
#include "unwind_step.h"

struct host_walk {
	struct unwind_regs regs;
	struct copied copied;
	const struct process *process;
	const struct snapshot_rules *rules;
	const struct process_mapping *mapping; /* of the last pc */
	enum reason reason, doubt; /* doubt: a frame-pointer step led here, why there was no rule */
};

static enum reason find_rule(const struct host_walk *walk, uint64_t pc, uint16_t *ret_rule)
{
	const struct process_image *image = walk->mapping->image;
	uint64_t bias;
	enum reason reason;

	if (image->anonymous || !image->has_table || process_mapping_doubted(walk->mapping) ||
	    !process_mapping_bias(walk->mapping, &bias))
		return REASON_NO_TABLE;
	reason = walk->rules->find_rule(walk->rules->context, image->dir, pc - bias, ret_rule);
	return reason || *ret_rule != UNWIND_RULE_NONE ? reason : REASON_NO_RULE;
}

static enum reason step_escape(struct host_walk *walk, uint32_t index)
{
	struct unwind_escape escape;

	if (walk->rules->find_escape(walk->rules->context, index, &escape))
		return REASON_UNSUPPORTED_RULE;
	return unwind_step_escape(&walk->regs, &escape, &walk->copied);
}

/* A page that is not built, or a file that is being opened. */
static bool awaits_rows(const struct process_image *image)
{
	return !image->anonymous && (image->has_table || process_image_pending(image));
}

/* From one frame to its caller. False: walk->reason says how the walk ended. */
static bool advance(struct host_walk *walk, uint64_t pc)
{
	uint16_t rule = UNWIND_RULE_NONE;
	enum reason reason = find_rule(walk, pc, &rule);

	walk->doubt = reason;
	walk->copied.past_end = walk->copied.past_root = false;
	if (reason) {
		walk->reason = reason;
		if (reason == REASON_NO_TABLE && awaits_rows(walk->mapping->image))
			return false; /* a frame pointer may skip frames */
		if (unwind_step_linked(&walk->regs, &walk->copied))
			return false;
		walk->reason = REASON_NONE;
		return walk->regs.pc;
	}
	if (rule == UNWIND_RULE_OUTERMOST) {
		walk->reason = REASON_NONE;
		return false;
	}
	if (rule >> 14 == UNWIND_KIND_ESCAPE)
		reason = step_escape(walk, rule & 0x3fff);
	else
		reason = unwind_step_rule(&walk->regs, rule, &walk->copied);
	if (reason == REASON_READ_FAULT && walk->copied.past_root) {
		walk->reason = REASON_NONE; /* nobody called the first function */
		return false;
	}
	if (reason == REASON_READ_FAULT && walk->copied.past_end)
		reason = REASON_COPY_END;
	walk->reason = reason ? reason : REASON_NO_MAPPING; /* the latter only if the return address is 0 */
	return !reason && walk->regs.pc;
}

/* As the kernel side's walk_leave_gap. */
static uint32_t leave_gap(uint32_t depth, enum reason reason, uint64_t *frames)
{
	uint64_t outer[SAMPLE_OUTER_FRAMES];

	if (depth <= SAMPLE_MAX_DEPTH)
		return depth;
	if (reason == REASON_TIME)
		return SAMPLE_INNER_FRAMES;
	for (uint32_t i = 0; i < SAMPLE_OUTER_FRAMES; i++)
		outer[i] = frames[unwind_gap_outer(depth, i)];
	frames[SAMPLE_INNER_FRAMES] = SAMPLE_FRAME_GAP;
	memcpy(frames + SAMPLE_INNER_FRAMES + 1, outer, sizeof(outer));
	return SAMPLE_MAX_DEPTH + 1;
}

uint32_t snapshot_walk(const struct snapshot *copy, const uint8_t *stack, const struct process *process,
		       const struct snapshot_rules *rules, uint64_t *ret_frames, enum reason *ret_reason)
{
	struct host_walk walk = { .regs = { .pc = copy->pc, .exact = 1 }, .process = process, .rules = rules,
				  .copied = { .stack = stack, .copy = copy } };
	uint32_t depth = 0;

	if (copy->start_stack - copy->from <= SNAPSHOT_BYTES)
		walk.copied.root = copy->start_stack;
	memcpy(walk.regs.reg, copy->reg, sizeof(walk.regs.reg));
	for (;;) {
		uint64_t frame = walk.regs.pc, pc = frame - !walk.regs.exact;

		if (depth == KNOB_MAX_STEPS) { /* a copy of a stack holds fewer */
			walk.reason = REASON_TIME;
			break;
		}
		walk.mapping = process_mapping_at(process, pc, copy->time_ns);
		if (!walk.mapping) {
			walk.reason = walk.doubt ? walk.doubt : REASON_NO_MAPPING;
			if (walk.doubt || frame >> 63)
				break; /* what a frame pointer led to is no frame */
		}
		ret_frames[unwind_gap_place(depth++)] = walk.regs.exact ? frame | SAMPLE_FRAME_EXACT : frame;
		if (!walk.mapping || !advance(&walk, pc))
			break;
	}
	if (walk.regs.reg[UNWIND_RSP] == copy->start_stack)
		walk.reason = REASON_NONE; /* the root, though its entry may have no rule that says so */
	*ret_reason = walk.reason;
	return leave_gap(depth, walk.reason, ret_frames);
}

void snapshot_want(const struct snapshot *copy, const uint8_t *stack, const struct process *process,
		   const struct snapshot_rules *rules)
{
	uint32_t wants = 0;

	for (uint32_t at = 0; at + sizeof(uint64_t) <= copy->bytes && wants < SNAPSHOT_WANTS; at += sizeof(uint64_t)) {
		const struct process_mapping *mapping;
		uint64_t word, bias;

		memcpy(&word, stack + at, sizeof(word));
		mapping = process_mapping_at(process, word - 1, copy->time_ns);
		if (!mapping || mapping->image->anonymous || !mapping->image->has_table ||
		    !process_mapping_bias(mapping, &bias))
			continue;
		rules->want(rules->context, mapping->image->dir, word - 1 - bias);
		wants++;
	}
}

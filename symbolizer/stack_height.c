/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths are followed from function starts: jumps at once, what comes behind a call last, because a call may not
 * come back and the code behind it then belongs to another path. The first to reach an instruction decides.
 */
#include "symbolizer/stack_height.h"

#include "base/clean.h"
#include "symbolizer/stack_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define STATE_BITS 10
#define MAX_STATES (1U << STATE_BITS) /* distinct ones in a window; hand-written code has the most, some hundred */
#define STATE_SLOTS (2 * MAX_STATES)
/* Windows so long are mostly vector code, whose instructions have five bytes and more, and few are led to. What goes on
 * for longer than this gets no rule. */
#define MAX_PENDING (STACK_HEIGHT_WINDOW / 8)
#define MAX_REACHED (STACK_HEIGHT_WINDOW / 4)
#define ALIGNMENT 16 /* of functions, where the compiler aligns them at all */
#define RESTORER_BYTES 9

enum { STATE_UNKNOWN, STATE_ENTRY, STATE_ROOT, STATES_FIXED }; /* indexes of the first states */

static const struct stack_state fixed_states[STATES_FIXED] = {
	[STATE_UNKNOWN] = { .lost = 1 },
	[STATE_ENTRY] = { .depth = 8 },
	[STATE_ROOT] = { .depth = 8, .root = 1 },
};

struct flow {
	const struct stack_height *input;
	struct stack_state states[MAX_STATES];
	uint32_t state_count;
	uint16_t slots[STATE_SLOTS]; /* 1 + state, by hash */
	uint32_t room;              /* of `pending`; what finds none is met again by follow_rest */
	uint32_t sure, later, done; /* entries of `pending`: a stack from below, a queue from above */
	uint32_t *pending;          /* offset << STATE_BITS | state */
	bool trial, conflict;       /* what is reached may be taken back; it cannot be right */
	uint32_t tried;             /* entries of `reached` */
	uint32_t *reached;          /* offsets, in a trial */
	uint16_t at[STACK_HEIGHT_WINDOW]; /* 1 + state of the instruction that begins there, 0: not reached */
	uint8_t starts[STACK_HEIGHT_WINDOW / 8], likely[STACK_HEIGHT_WINDOW / 8];
};

static bool has_bit(const uint8_t *bits, uint32_t offset)
{
	return bits[offset / 8] >> offset % 8 & 1;
}

static void set_bit(uint8_t *bits, uint32_t offset)
{
	bits[offset / 8] |= (uint8_t)(1 << offset % 8);
}

static uint32_t keep_state(struct flow *flow, const struct stack_state *state)
{
	uint64_t hash = 0;
	uint32_t words[sizeof(*state) / 4], slot;

	memcpy(words, state, sizeof(words));
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		hash = (hash ^ words[i]) * 0x9e3779b97f4a7c15ULL;
	for (slot = (uint32_t)(hash >> 40) % STATE_SLOTS; flow->slots[slot]; slot = (slot + 1) % STATE_SLOTS)
		if (!memcmp(&flow->states[flow->slots[slot] - 1], state, sizeof(*state)))
			return flow->slots[slot] - 1U;
	if (flow->state_count == MAX_STATES)
		return STATE_UNKNOWN;
	flow->states[flow->state_count] = *state;
	flow->slots[slot] = (uint16_t)(flow->state_count + 1);
	return flow->state_count++;
}

static bool is_inside(const struct flow *flow, int64_t offset)
{
	return offset >= 0 && offset < flow->input->size;
}

/* False: a trial has grown too long to be taken back, which it is then. */
static bool reach(struct flow *flow, uint32_t offset, uint32_t state)
{
	if (flow->trial && flow->tried == MAX_REACHED) {
		flow->conflict = true;
		return false;
	}
	flow->at[offset] = (uint16_t)(state + 1);
	if (flow->trial)
		flow->reached[flow->tried++] = offset;
	return true;
}

/* Two paths that meet must agree. */
static void check_meeting(struct flow *flow, uint32_t offset, uint32_t index)
{
	const struct stack_state *there = &flow->states[flow->at[offset] - 1], *here = &flow->states[index];

	flow->conflict |= there->depth && here->depth && (there->depth != here->depth || there->slot != here->slot);
}

static void go_to(struct flow *flow, int64_t offset, uint32_t state)
{
	if (!is_inside(flow, offset))
		return;
	if (flow->at[offset]) {
		check_meeting(flow, (uint32_t)offset, state);
		return;
	}
	if (flow->sure + flow->later >= flow->room)
		return;
	if (reach(flow, (uint32_t)offset, state))
		flow->pending[flow->sure++] = (uint32_t)offset << STATE_BITS | state;
}

/* Where a function may begin right behind a call, the call is taken for the end of the one before. */
static void go_later(struct flow *flow, int64_t offset, uint32_t state)
{
	if (is_inside(flow, offset) && !flow->at[offset] && !has_bit(flow->likely, (uint32_t)offset) &&
	    flow->sure + flow->later < flow->room)
		flow->pending[flow->room - 1 - flow->later++] = (uint32_t)offset << STATE_BITS | state;
}

static void add_start(struct flow *flow, int64_t offset, uint32_t state)
{
	if (!is_inside(flow, offset))
		return;
	set_bit(flow->starts, (uint32_t)offset);
	go_to(flow, offset, state);
}

/* Where control goes after an instruction; true: also to the one behind it. */
static bool branch(struct flow *flow, uint32_t offset, const struct x86 *instruction, uint32_t state)
{
	int64_t target = offset + instruction->value;

	switch (instruction->kind) {
	case X86_BRANCH:
		go_to(flow, target, state);
		return true;
	case X86_JUMP:
		if (instruction->value)
			go_to(flow, target, state);
		return false;
	case X86_CALL:
		if (instruction->value == instruction->length)
			return true;
		if (instruction->value && !flow->input->named)
			add_start(flow, target, STATE_ENTRY);
		go_later(flow, offset + instruction->length, state);
		return false;
	case X86_STOP: /* musl's a_crash is a hlt behind which the compiler goes on; what is there may be used */
		if (flow->input->named)
			go_later(flow, offset + instruction->length, state);
		return false;
	case X86_RETURN:
		return false;
	default:
		return true;
	}
}

static bool is_aligned(const struct stack_height *input, uint32_t offset)
{
	return !((input->vaddr + offset) % ALIGNMENT);
}

static bool begins_function(const struct stack_height *input, uint32_t offset)
{
	return is_aligned(input, offset) && x86_begins_function(input->code + offset, input->size - offset);
}

/*
 * Follows one path up to where another was, or to its end. Where symbols do not tell functions apart, padding right
 * behind a call up to a multiple of 16 is an end too: the call may be the last of its function.
 */
static void follow(struct flow *flow, uint32_t offset, uint32_t index, bool behind_call)
{
	const struct stack_height *input = flow->input;

	for (;;) {
		struct stack_state before = flow->states[index], state = before;
		struct x86 instruction;

		if (x86_decode(input->code + offset, input->size - offset, &instruction)) {
			flow->conflict = true;
			return;
		}
		if (instruction.through_rbp && stack_state_is_foreign(&state)) {
			state = before = flow->states[STATE_UNKNOWN];
			flow->at[offset] = STATE_UNKNOWN + 1;
		}
		stack_state_apply(&state, &instruction);
		flow->conflict |= stack_state_is_wrong(&before, &instruction, &state);
		index = keep_state(flow, &state);
		if (!branch(flow, offset, &instruction, index))
			return;
		offset += instruction.length;
		if (offset >= input->size)
			return;
		if (flow->at[offset]) {
			check_meeting(flow, offset, index);
			return;
		}
		behind_call &= instruction.kind == X86_NOP && !input->named;
		if ((behind_call && is_aligned(input, offset)) || !reach(flow, offset, index))
			return;
	}
}

static void follow_sure(struct flow *flow, bool behind_call)
{
	while (flow->sure) {
		uint32_t entry = flow->pending[--flow->sure];

		follow(flow, entry >> STATE_BITS, entry & (MAX_STATES - 1), behind_call);
		behind_call = false;
	}
}

/*
 * Follows what may be wrong: a guess, or what lies behind a call that perhaps does not return. True: it was as good
 * as any; else all of it is taken back. Symbols tell functions apart, then there is nothing to doubt.
 */
static bool try(struct flow *flow, uint32_t offset, uint32_t state, bool behind_call)
{
	uint32_t later = flow->later;

	flow->trial = !flow->input->named;
	flow->conflict = false;
	flow->tried = 0;
	go_to(flow, offset, state);
	follow_sure(flow, behind_call);
	if (flow->trial && flow->conflict) {
		for (uint32_t i = 0; i < flow->tried; i++)
			flow->at[flow->reached[i]] = 0;
		flow->later = later;
	}
	flow->trial = false;
	return flow->at[offset];
}

static void follow_all(struct flow *flow)
{
	follow_sure(flow, false);
	while (flow->done < flow->later) {
		uint32_t entry = flow->pending[flow->room - 1 - flow->done++];

		if (!flow->at[entry >> STATE_BITS])
			try(flow, entry >> STATE_BITS, entry & (MAX_STATES - 1), true);
	}
	flow->later = flow->done = 0;
}

/*
 * What nothing but a call leads to is a function. One that a path from elsewhere reached is a part of that path's,
 * and the call none, but bytes of another instruction; so they are tried in order, from the lowest on.
 */
static void follow_likely(struct flow *flow)
{
	const struct stack_height *input = flow->input;

	for (size_t i = 0; i < input->likely_count; i++) {
		uint32_t offset = (uint32_t)(input->likely[i] - input->vaddr);

		if (flow->at[offset] || !try(flow, offset, STATE_ENTRY, false))
			continue;
		set_bit(flow->starts, offset);
		follow_all(flow);
	}
}

/*
 * Begins at code that no path reached. Within a function that jumps through a table it is one of the table's
 * targets; behind padding it goes on from there, or is a function of its own.
 */
static void guess(struct flow *flow, uint32_t offset, uint32_t table_state, uint32_t padding_state)
{
	const struct stack_height *input = flow->input;
	bool function = !input->named && is_aligned(input, offset);

	if (function && begins_function(input, offset) && try(flow, offset, STATE_ENTRY, false))
		return;
	if (padding_state != STATE_UNKNOWN && try(flow, offset, padding_state, false))
		return;
	if (table_state != STATE_UNKNOWN && try(flow, offset, table_state, false))
		return;
	if (!function || !try(flow, offset, STATE_ENTRY, false))
		go_to(flow, offset, STATE_UNKNOWN);
}

static uint32_t padding(const struct flow *flow, uint32_t offset, const struct x86 *instruction, bool decoded)
{
	if (!flow->input->code[offset])
		return 1;
	return decoded && instruction->kind == X86_NOP ? instruction->length : 0;
}

/* Goes over the code once more and begins a path wherever none was. */
static void follow_rest(struct flow *flow)
{
	const struct stack_height *input = flow->input;
	uint32_t table_state = STATE_UNKNOWN, padding_state = STATE_UNKNOWN, skipped;

	for (uint32_t offset = 0; offset < input->size;) {
		struct x86 instruction = { .length = 1 };
		bool decoded = !x86_decode(input->code + offset, input->size - offset, &instruction);

		if (has_bit(flow->starts, offset))
			table_state = STATE_UNKNOWN;
		if (!flow->at[offset]) {
			skipped = padding(flow, offset, &instruction, decoded);
			if (skipped) {
				offset += skipped;
				continue;
			}
			guess(flow, offset, table_state, padding_state);
			follow_all(flow);
		}
		padding_state = decoded && instruction.kind == X86_NOP && flow->at[offset] ? flow->at[offset] - 1U :
											    STATE_UNKNOWN;
		/* One with nothing on the stack may as well be a call's replacement. */
		if (decoded && instruction.kind == X86_JUMP && !instruction.value && flow->at[offset] &&
		    (table_state == STATE_UNKNOWN || flow->at[offset] - 1U != STATE_ENTRY))
			table_state = flow->at[offset] - 1U;
		offset += instruction.length;
	}
}

/* ---- rows ------------------------------------------------------------------------------------------------ */

/* mov $15, %rax; syscall: where the kernel lets a signal handler return to. It is looked up a byte before, and in the
 * system call the pc is behind it. */
static bool begins_restorer(const struct stack_height *input, uint32_t offset)
{
	return offset + 1 + RESTORER_BYTES <= input->size &&
	       !memcmp(input->code + offset + 1, "\x48\xc7\xc0\x0f\x00\x00\x00\x0f\x05", RESTORER_BYTES);
}

static void give_rows(const struct flow *flow, cfi_row_fn *row, void *context)
{
	static const struct cfi_rule signal = { .cfa = UNWIND_CFA_SIGNAL };
	const struct stack_height *input = flow->input;
	uint32_t last = UINT32_MAX, wanted = STATE_UNKNOWN;

	for (uint32_t offset = 0; offset < input->size; offset++) {
		struct cfi_rule rule;

		if (flow->at[offset])
			wanted = flow->at[offset] - 1U;
		if (begins_restorer(input, offset)) {
			row(context, input->vaddr + offset, &signal);
			offset += RESTORER_BYTES;
			offset += offset + 1 < input->size && !has_bit(flow->starts, offset + 1); /* in the system call */
			last = UINT32_MAX;
		} else if (wanted != last) {
			rule = stack_state_rule(&flow->states[wanted]);
			row(context, input->vaddr + offset, &rule);
			last = wanted;
		}
	}
}

int stack_height_run(const struct stack_height *input, cfi_row_fn *row, void *context)
{
	const uint32_t room = input->size < MAX_PENDING ? input->size : MAX_PENDING;
	const uint32_t reached_room = input->size < MAX_REACHED ? input->size : MAX_REACHED;
	auto_free struct flow *flow = calloc(1, sizeof(*flow));
	auto_free uint32_t *pending = calloc(room, sizeof(*pending));
	auto_free uint32_t *reached = calloc(reached_room, sizeof(*reached));

	if (!flow || !pending || !reached)
		return -ENOMEM;
	flow->input = input;
	flow->room = room;
	flow->pending = pending;
	flow->reached = reached;
	for (size_t i = 0; i < STATES_FIXED; i++)
		keep_state(flow, &fixed_states[i]);
	for (size_t i = 0; i < input->start_count; i++)
		add_start(flow, (int64_t)(input->starts[i] - input->vaddr),
			  input->starts[i] == input->root ? STATE_ROOT : STATE_ENTRY);
	for (size_t i = 0; i < input->likely_count; i++)
		set_bit(flow->likely, (uint32_t)(input->likely[i] - input->vaddr));
	follow_all(flow);
	follow_likely(flow);
	follow_rest(flow);
	give_rows(flow, row, context);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The interpreter of call frame programs (DWARF 5, section 6.4.2). Of the registers only rbp and the return
 * address are kept, and in a section that is followed the callee-saved ones; the others are read past, since the
 * kernel side restores no more. Takes a rule, gives rows.
 */
#include "symbolizer/cfi_private.h"

#include "abi/unwind.h"

#include <errno.h>

struct machine {
	const struct cfi_run *run;
	struct cursor at;
	struct cfi_rule rule;
	struct cfi_rule kept[CFI_STATE_DEPTH];
	unsigned int depth;
	uint64_t location, row_start; /* the row being built holds from row_start on */
	bool failed;
};

static void fail(struct machine *machine)
{
	machine->failed = true;
	machine->at.at = machine->at.end;
}

/* Beyond 32 bits no frame is real; the rule is then unknown instead of wrapped. */
static bool fits(int64_t value)
{
	return value >= INT32_MIN && value <= INT32_MAX;
}

static void set_cfa_offset(struct machine *machine, int64_t offset)
{
	struct cfi_rule *rule = &machine->rule;

	if (!fits(offset)) {
		fail(machine);
		return;
	}
	rule->reg_offset = (int32_t)offset;
	if (rule->cfa == UNWIND_CFA_REG)
		rule->cfa_offset = rule->reg_offset;
}

static void set_cfa_register(struct machine *machine, uint64_t number)
{
	struct cfi_rule *rule = &machine->rule;

	rule->cfa = number < DWARF_RA ? UNWIND_CFA_REG : UNWIND_CFA_NONE;
	rule->cfa_reg = number < DWARF_RA ? (uint8_t)number : 0;
	rule->cfa_offset = rule->reg_offset;
	rule->cfa_add = 0;
	rule->index = rule->flags = 0;
}

/* The place of a followed register in rule.saved; NULL: another one, or nobody asked. */
static uint8_t *find_saved(struct machine *machine, uint64_t number)
{
	if (!machine->run->follow)
		return NULL;
	if (number == DWARF_RBX)
		return &machine->rule.saved[0];
	return number >= DWARF_R12 && number < DWARF_RA ? &machine->rule.saved[number - DWARF_R12 + 1] : NULL;
}

static uint8_t saved_slot(int64_t offset)
{
	bool usable = !(offset & 7) && offset < 0 && offset > -8 * CFI_SAVED_UNKNOWN;

	return (uint8_t)(usable ? -offset / 8 : CFI_SAVED_UNKNOWN);
}

/* Saved at CFA + offset. */
static void set_saved(struct machine *machine, uint64_t number, int64_t offset)
{
	struct cfi_rule *rule = &machine->rule;
	uint8_t *saved;

	if (number == DWARF_RBP) {
		rule->bp = fits(offset) ? CFI_BP_CFA : CFI_BP_UNKNOWN;
		rule->bp_offset = fits(offset) ? (int32_t)offset : 0;
		rule->bp_reg = 0;
		rule->bp_add = 0;
	} else if (number == DWARF_RA) {
		rule->ra = fits(offset) ? CFI_RA_CFA : CFI_RA_UNKNOWN;
		rule->ra_offset = fits(offset) ? (int32_t)offset : 0;
	} else if ((saved = find_saved(machine, number))) {
		*saved = saved_slot(offset);
	}
}

static void set_other(struct machine *machine, uint64_t number, enum cfi_bp bp, enum cfi_ra ra)
{
	struct cfi_rule *rule = &machine->rule;
	uint8_t *saved;

	if (number == DWARF_RBP) {
		rule->bp = bp;
		rule->bp_reg = 0;
		rule->bp_offset = rule->bp_add = 0;
	} else if (number == DWARF_RA) {
		rule->ra = ra;
		rule->ra_offset = 0;
	} else if ((saved = find_saved(machine, number))) {
		*saved = bp == CFI_BP_SAME ? 0 : CFI_SAVED_UNKNOWN;
	}
}

/* In another register, as glibc's longjmp and vfork have them for a few instructions. */
static void set_register(struct machine *machine, uint64_t number, uint64_t from)
{
	struct cfi_rule *rule = &machine->rule;

	if (from >= DWARF_RA) {
		set_other(machine, number, CFI_BP_UNKNOWN, CFI_RA_UNKNOWN);
		return;
	}
	set_other(machine, number, CFI_BP_REG, CFI_RA_REG);
	if (number == DWARF_RBP)
		rule->bp_reg = (uint8_t)from;
	else if (number == DWARF_RA)
		rule->ra_offset = (int32_t)from;
	else if (number == DWARF_RSP)
		rule->sp = (uint8_t)(from + 1);
}

/* rbp's value, not its place, is CFA + offset. */
static void set_value(struct machine *machine, uint64_t number, int64_t offset)
{
	set_other(machine, number, fits(offset) ? CFI_BP_VALUE : CFI_BP_UNKNOWN, CFI_RA_UNKNOWN);
	if (number == DWARF_RBP && machine->rule.bp == CFI_BP_VALUE)
		machine->rule.bp_offset = (int32_t)offset;
}

static void restore(struct machine *machine, uint64_t number)
{
	const struct cfi_rule *initial = &machine->run->cie->initial;
	struct cfi_rule *rule = &machine->rule;
	uint8_t *saved;

	if (!machine->run->row) { /* a CIE has nothing to go back to */
		fail(machine);
	} else if (number == DWARF_RBP) {
		rule->bp = initial->bp;
		rule->bp_reg = initial->bp_reg;
		rule->bp_offset = initial->bp_offset;
		rule->bp_add = initial->bp_add;
	} else if (number == DWARF_RA) {
		rule->ra = initial->ra;
		rule->ra_offset = initial->ra_offset;
	} else if (number == DWARF_RSP) {
		rule->sp = initial->sp;
	} else if ((saved = find_saved(machine, number))) {
		*saved = 0;
	}
}

/* The row so far is done up to `location`. Past the limit nothing more is wanted. */
static void advance_to(struct machine *machine, uint64_t location)
{
	const struct cfi_run *run = machine->run;

	if (!run->row || location < machine->location) {
		fail(machine);
		return;
	}
	if (location > machine->row_start)
		run->row(run->context, machine->row_start, &machine->rule);
	machine->location = location;
	machine->row_start = location;
	if (location >= run->limit)
		machine->at.at = machine->at.end;
}

static void advance(struct machine *machine, uint64_t delta)
{
	uint64_t step;

	if (__builtin_mul_overflow(delta, machine->run->cie->code_align, &step) ||
	    machine->location + step < machine->location)
		fail(machine);
	else
		advance_to(machine, machine->location + step);
}

static int64_t factored(struct machine *machine, int64_t value)
{
	int64_t offset;

	if (!__builtin_mul_overflow(value, machine->run->cie->data_align, &offset))
		return offset;
	fail(machine);
	return 0;
}

static int64_t factored_uleb(struct machine *machine)
{
	uint64_t value = cursor_uleb(&machine->at);

	return factored(machine, value <= INT64_MAX ? (int64_t)value : INT64_MAX);
}

static void set_location(struct machine *machine)
{
	const struct cfi_run *run = machine->run;
	uint64_t vaddr = run->program_vaddr + (uint64_t)(machine->at.at - run->program.at);
	uint64_t location = cfi_pointer(&machine->at, run->cie->pointer_encoding, vaddr);

	if (!machine->at.broken)
		advance_to(machine, location);
}

static void keep_state(struct machine *machine)
{
	if (machine->depth == CFI_STATE_DEPTH)
		fail(machine);
	else
		machine->kept[machine->depth++] = machine->rule;
}

static void restore_state(struct machine *machine)
{
	if (!machine->depth)
		fail(machine);
	else
		machine->rule = machine->kept[--machine->depth];
}

static void run_expression(struct machine *machine, bool value)
{
	uint64_t number = cursor_uleb(&machine->at);
	uint64_t size = cursor_uleb(&machine->at);
	struct cursor block = cursor_block(&machine->at, size);

	if (number == DWARF_RBP)
		cfi_bp_expression(&machine->rule, block, value);
	else if (number == DWARF_RA && !value)
		cfi_ra_expression(&machine->rule, block);
	else
		set_other(machine, number, CFI_BP_UNKNOWN, CFI_RA_UNKNOWN);
}

static void run_cfa_expression(struct machine *machine)
{
	uint64_t size = cursor_uleb(&machine->at);

	cfi_cfa_expression(&machine->rule, cursor_block(&machine->at, size), machine->run->cie->signal);
}

/* The codes that concern the CFA; false: another one. */
static bool run_cfa(struct machine *machine, uint8_t op)
{
	struct cursor *at = &machine->at;

	switch (op) {
	case 0x0c: /* DW_CFA_def_cfa */
		set_cfa_register(machine, cursor_uleb(at));
		set_cfa_offset(machine, (int64_t)cursor_uleb(at));
		return true;
	case 0x0d: /* DW_CFA_def_cfa_register */
		set_cfa_register(machine, cursor_uleb(at));
		return true;
	case 0x0e: /* DW_CFA_def_cfa_offset */
		set_cfa_offset(machine, (int64_t)cursor_uleb(at));
		return true;
	case 0x0f: /* DW_CFA_def_cfa_expression */
		run_cfa_expression(machine);
		return true;
	case 0x12: /* DW_CFA_def_cfa_sf */
		set_cfa_register(machine, cursor_uleb(at));
		set_cfa_offset(machine, factored(machine, cursor_sleb(at)));
		return true;
	case 0x13: /* DW_CFA_def_cfa_offset_sf */
		set_cfa_offset(machine, factored(machine, cursor_sleb(at)));
		return true;
	default:
		return false;
	}
}

/* The codes that say where a register is; false: another one. */
static bool run_register(struct machine *machine, uint8_t op)
{
	struct cursor *at = &machine->at;
	uint64_t number;

	switch (op) {
	case 0x05: /* DW_CFA_offset_extended */
		number = cursor_uleb(at);
		set_saved(machine, number, factored_uleb(machine));
		return true;
	case 0x11: /* DW_CFA_offset_extended_sf */
		number = cursor_uleb(at);
		set_saved(machine, number, factored(machine, cursor_sleb(at)));
		return true;
	case 0x2f: /* DW_CFA_GNU_negative_offset_extended */
		number = cursor_uleb(at);
		set_saved(machine, number, -factored_uleb(machine));
		return true;
	case 0x06: /* DW_CFA_restore_extended */
		restore(machine, cursor_uleb(at));
		return true;
	case 0x07: /* DW_CFA_undefined */
		set_other(machine, cursor_uleb(at), CFI_BP_UNKNOWN, CFI_RA_OUTERMOST);
		return true;
	case 0x08: /* DW_CFA_same_value */
		set_other(machine, cursor_uleb(at), CFI_BP_SAME, CFI_RA_UNKNOWN);
		return true;
	case 0x09: /* DW_CFA_register */
		number = cursor_uleb(at);
		set_register(machine, number, cursor_uleb(at));
		return true;
	case 0x14: /* DW_CFA_val_offset */
		number = cursor_uleb(at);
		set_value(machine, number, factored_uleb(machine));
		return true;
	case 0x15: /* DW_CFA_val_offset_sf */
		number = cursor_uleb(at);
		set_value(machine, number, factored(machine, cursor_sleb(at)));
		return true;
	case 0x10: /* DW_CFA_expression */
	case 0x16: /* DW_CFA_val_expression */
		run_expression(machine, op == 0x16);
		return true;
	default:
		return false;
	}
}

static void run_rare(struct machine *machine, uint8_t op)
{
	switch (op) {
	case 0x00: /* DW_CFA_nop */
		return;
	case 0x01: /* DW_CFA_set_loc */
		set_location(machine);
		return;
	case 0x0a: /* DW_CFA_remember_state */
		keep_state(machine);
		return;
	case 0x0b: /* DW_CFA_restore_state */
		restore_state(machine);
		return;
	case 0x2e: /* DW_CFA_GNU_args_size: for exceptions only */
		cursor_uleb(&machine->at);
		return;
	default:
		if (!run_cfa(machine, op) && !run_register(machine, op))
			fail(machine);
	}
}

static void run_one(struct machine *machine)
{
	uint8_t op = cursor_u8(&machine->at);

	switch (op & 0xc0) {
	case 0x40: /* DW_CFA_advance_loc */
		advance(machine, op & 0x3f);
		return;
	case 0x80: /* DW_CFA_offset */
		set_saved(machine, op & 0x3f, factored_uleb(machine));
		return;
	case 0xc0: /* DW_CFA_restore */
		restore(machine, op & 0x3f);
		return;
	}
	switch (op) {
	case 0x02: /* DW_CFA_advance_loc1 */
		advance(machine, cursor_u8(&machine->at));
		return;
	case 0x03: /* DW_CFA_advance_loc2 */
		advance(machine, cursor_fixed(&machine->at, 2));
		return;
	case 0x04: /* DW_CFA_advance_loc4 */
		advance(machine, cursor_fixed(&machine->at, 4));
		return;
	default:
		run_rare(machine, op);
	}
}

int cfi_program(const struct cfi_run *run, struct cfi_rule *rule)
{
	struct machine machine = {
		.run = run, .at = run->program, .rule = *rule, .location = run->start, .row_start = run->start,
	};

	while (machine.at.at < machine.at.end)
		run_one(&machine);
	machine.failed |= machine.at.broken;
	if (machine.failed)
		machine.rule = (struct cfi_rule){ .cfa = UNWIND_CFA_NONE };
	if (run->row && machine.row_start < run->limit)
		run->row(run->context, machine.row_start, &machine.rule);
	*rule = machine.rule;
	return machine.failed ? -EINVAL : 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How Go's code leads to its callers: takes the table of stack depths that the runtime's own tracebacks use, gives
 * rows. Frame pointers alone would lose the caller of every leaf function, which Go gives no frame.
 *
 * The rules are those of src/runtime/traceback.go: some functions are marked as the outermost, some as writing
 * the stack pointer. The latter change from a goroutine's stack to the thread's or back and keep rbp meanwhile,
 * except for those that begin a stack of their own; where rbp is not theirs yet, or no more, they have not changed it.
 */
#include "gopclntab_private.h"

#include <string.h>

#define FLAG_TOP_FRAME 1
#define FLAG_WRITES_SP 2
#define MOV_BYTES 3 /* "mov %rsp,%rbp", behind the push */
#define MAX_ROWS (16U << 20)
#define MAX_DEPTH (INT32_MAX - 16) /* the runtime has functions with a GiB of frame */

static bool is_any(const char *name, const char *const *names)
{
	for (; *names; names++)
		if (!strcmp(name, *names))
			return true;
	return false;
}

/* The step that holds for all of a function; GOPCLNTAB_DEPTH: it changes along the code. */
static enum gopclntab_step whole_step(const struct gopclntab *table, const struct gopclntab_function *function)
{
	/* They run on the thread's stack for whoever is scheduled next: rbp is 0, or another's. */
	static const char *const firsts[] = { "runtime.mcall", "runtime.morestack", "runtime.gogo", NULL };
	static const char *const returns[] = { "runtime.sigreturn__sigaction", "runtime.sigreturn", NULL };
	const char *name = gopclntab_string(table, table->names + function->name);

	if (name && is_any(name, returns))
		return GOPCLNTAB_SIGNAL;
	/* A signal handler's stack goes on in what it interrupted. */
	if (name && function->flags & FLAG_TOP_FRAME && !strcmp(name, "runtime.sigtramp"))
		return GOPCLNTAB_DEPTH;
	if (function->flags & FLAG_TOP_FRAME || (name && is_any(name, firsts)))
		return GOPCLNTAB_OUTERMOST;
	return function->flags & FLAG_WRITES_SP ? GOPCLNTAB_SWITCH : GOPCLNTAB_DEPTH;
}

/* Of a function that changes stacks: does it have a frame of its own, for rbp to point at? */
static bool has_frame(const struct gopclntab *table, const struct gopclntab_function *function, uint32_t *left)
{
	struct gopclntab_cursor cursor = gopclntab_values(table, function->depth_values, function->start);

	for (; *left && gopclntab_next(table, &cursor); --*left)
		if (cursor.value > 0)
			return true;
	return false;
}

static void add_depth(const struct gopclntab *table, uint64_t at, int64_t depth, gopclntab_row_fn *row, void *context)
{
	row(context, table->text + at, depth < 0 ? GOPCLNTAB_NONE : GOPCLNTAB_DEPTH, depth < 0 ? 0 : (uint32_t)depth);
}

/* A stretch of a function that changes stacks: with a frame, rbp points there as soon as it was set. */
static void add_switch(const struct gopclntab *table, uint64_t from, uint64_t to, int64_t before, int64_t depth,
		       gopclntab_row_fn *row, void *context)
{
	uint64_t own = from + (before ? 0 : MOV_BYTES);

	if (depth <= 0 || own > from)
		add_depth(table, from, depth, row, context);
	if (depth > 0 && own < to)
		row(context, table->text + own, GOPCLNTAB_SWITCH, 0);
}

/* False: enough. `switches`: it changes stacks. */
static bool add_depths(const struct gopclntab *table, const struct gopclntab_function *function, uint64_t end,
		       bool switches, gopclntab_row_fn *row, void *context, uint32_t *left)
{
	struct gopclntab_cursor cursor = gopclntab_values(table, function->depth_values, function->start);
	uint64_t from = function->start;
	int64_t before = 0;

	while (from < end && *left && gopclntab_next(table, &cursor)) {
		int64_t depth = cursor.value >= 0 && cursor.value < MAX_DEPTH ? cursor.value : -1;

		--*left;
		if (cursor.pc <= from)
			continue;
		if (switches)
			add_switch(table, from, cursor.pc, before, depth, row, context);
		else
			add_depth(table, from, depth, row, context);
		before = depth;
		from = cursor.pc;
	}
	if (from < end)
		row(context, table->text + from, GOPCLNTAB_NONE, 0);
	return *left;
}

/* The last function that starts at or before an offset from the table's text; 0 where all start behind it. */
static uint32_t find_function(const struct gopclntab *table, uint64_t offset)
{
	uint32_t low = 0, count = table->functions;

	while (count > 1) {
		uint32_t half = count / 2;

		if (gopclntab_entry(table, low + half) <= offset)
			low += half;
		count -= half;
	}
	return low;
}

void gopclntab_rows(const struct gopclntab *table, uint64_t start, uint64_t end, gopclntab_row_fn *row, void *context)
{
	struct gopclntab_function function;
	uint32_t left = MAX_ROWS, at = find_function(table, start > table->text ? start - table->text : 0);
	uint64_t done = 0;

	/* One that starts right at the end may have a row before it. */
	for (; at < table->functions && left && table->text + gopclntab_entry(table, at) <= end; at++) {
		uint64_t from = gopclntab_entry(table, at), next = gopclntab_entry(table, at + 1);
		enum gopclntab_step step;

		if (from < done || next <= from || !gopclntab_function(table, at, &function))
			continue;
		done = next;
		step = whole_step(table, &function);
		left--;
		if (step == GOPCLNTAB_DEPTH || (step == GOPCLNTAB_SWITCH && has_frame(table, &function, &left)))
			add_depths(table, &function, next, step == GOPCLNTAB_SWITCH, row, context, &left);
		else /* the kernel "returns" to its first byte, and a return is looked up a byte before */
			row(context, table->text + from - (step == GOPCLNTAB_SIGNAL), step, 0);
	}
	if (done && (at == table->functions || !left))
		row(context, table->text + done, GOPCLNTAB_NONE, 0);
}

void gopclntab_range(const struct gopclntab *table, uint64_t *ret_start, uint64_t *ret_end)
{
	*ret_start = table->text + gopclntab_entry(table, 0);
	*ret_end = table->text + gopclntab_entry(table, table->functions);
}

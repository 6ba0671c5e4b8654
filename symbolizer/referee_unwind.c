/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Part of "referee": takes registers, a stack and the space around it, gives the frames that libunwind finds through
 * accessors of our own. It reads what we hand it and nothing else: no process, no file, no memory of this one.
 *
 * Where no FDE covers a return address the caller is guessed by rbp, as is right for code that was made at run time;
 * libunwind would do so too, but goes on with a wrong rsp. From there on frames are not certain: they may confirm, but
 * accuse nobody.
 */
#include "symbolizer/referee_unwind.h"

#include "abi/sample.h"
#include "symbolizer/referee_fde.h"

#include <libunwind.h>
#include <string.h>
#include <time.h>

#define MAX_WORDS (1U << 20) /* read in one unwind; a frame takes a few hundred, an endless expression all */
#define MAX_NS 200000000LL
#define CLOCK_WORDS 4096 /* the clock is read once in so many */

/* Reads the entries of a sorted table and the FDE it leads to; not in libunwind.h. */
#define search_table UNW_OBJ(dwarf_search_unwind_table)
int search_table(unw_addr_space_t space, unw_word_t ip, unw_dyn_info_t *table, unw_proc_info_t *info, int need,
		 void *context);

struct unwind {
	unw_addr_space_t as;
	struct space *space;
	const struct snapshot *copy;
	const uint8_t *stack;
	uint64_t pc, reg[SNAPSHOT_REGISTERS]; /* where libunwind began, or began again */
	struct space_object object; /* of the last pc; image NULL: none */
	uint32_t words;
	int64_t end_ns;
	bool late, past_end;
	enum reason unknown; /* why there is no FDE for the last pc */
	struct referee_fde fde; /* what is made up for libunwind to read; last, for its size */
};

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static bool is_late(struct unwind *unwind)
{
	if (++unwind->words > MAX_WORDS || (unwind->words % CLOCK_WORDS == 0 && now_ns() > unwind->end_ns))
		unwind->late = true;
	return unwind->late;
}

static bool read_part(const uint8_t *bytes, uint32_t size, uint64_t from, uint64_t address, uint64_t *ret_word)
{
	uint64_t offset = address - from;

	if (address < from || size < sizeof(*ret_word) || offset > size - sizeof(*ret_word))
		return false;
	memcpy(ret_word, bytes + offset, sizeof(*ret_word));
	return true;
}

static bool read_stack(struct unwind *unwind, uint64_t address, uint64_t *ret_word)
{
	const struct snapshot *copy = unwind->copy;

	if (address - copy->from < copy->near_bytes && snapshot_in_hole(copy, address, address + 7))
		return false;
	return read_part(unwind->stack, copy->near_bytes, copy->from, address, ret_word) ||
	       read_part(unwind->stack + copy->near_bytes, copy->bytes - copy->near_bytes, copy->far, address, ret_word);
}

static int access_mem(unw_addr_space_t as, unw_word_t address, unw_word_t *word, int write, void *context)
{
	struct unwind *unwind = context;
	struct space_object other;

	(void)as;
	if (write || is_late(unwind))
		return -UNW_EINVAL;
	if (read_stack(unwind, address, word) || referee_fde_word(&unwind->fde, address, word))
		return 0;
	if (unwind->object.image && space_word(&unwind->object, address, word))
		return 0;
	if (!space_find(unwind->space, address, &other) && space_word(&other, address, word))
		return 0;
	unwind->past_end = address >= unwind->copy->from || (unwind->copy->far && address >= unwind->copy->far);
	return -UNW_EINVAL;
}

static int access_reg(unw_addr_space_t as, unw_regnum_t number, unw_word_t *value, int write, void *context)
{
	struct unwind *unwind = context;

	(void)as;
	if (write || number < 0 || number > UNW_X86_64_RIP)
		return -UNW_EBADREG;
	*value = number == UNW_X86_64_RIP ? unwind->pc : unwind->reg[number];
	return 0;
}

/* 0, or libunwind's word for "nothing known", with the reason left in `unwind`. */
static int find_proc_info(unw_addr_space_t as, unw_word_t ip, unw_proc_info_t *info, int need, void *context)
{
	struct unwind *unwind = context;
	unw_dyn_info_t table = { .format = UNW_INFO_FORMAT_REMOTE_TABLE };
	struct referee_table found;
	int result;

	unwind->unknown = (enum reason)space_find(unwind->space, ip, &unwind->object);
	if (unwind->unknown) {
		unwind->object.image = NULL;
		return -UNW_ENOINFO;
	}
	table.start_ip = unwind->object.start;
	table.end_ip = unwind->object.end;
	for (unsigned source = 0; source < REFEREE_FDE_SOURCES; source++) {
		if (!referee_fde_table(&unwind->fde, &unwind->object, source, ip, &found))
			continue;
		table.u.rti.segbase = found.base;
		table.u.rti.table_data = found.entries;
		table.u.rti.table_len = found.count;
		result = search_table(as, ip, &table, info, need, context);
		if (result != -UNW_ENOINFO)
			return result;
	}
	unwind->unknown = REASON_NO_RULE;
	return -UNW_ENOINFO;
}

static void put_info(unw_addr_space_t as, unw_proc_info_t *info, void *context)
{
	(void)as;
	(void)info;
	(void)context;
}

static int no_list(unw_addr_space_t as, unw_word_t *address, void *context)
{
	(void)as;
	(void)address;
	(void)context;
	return -UNW_ENOINFO;
}

static int no_fpreg(unw_addr_space_t as, unw_regnum_t number, unw_fpreg_t *value, int write, void *context)
{
	(void)as;
	(void)number;
	(void)value;
	(void)write;
	(void)context;
	return -UNW_EBADREG;
}

static int no_resume(unw_addr_space_t as, unw_cursor_t *cursor, void *context)
{
	(void)as;
	(void)cursor;
	(void)context;
	return -UNW_EINVAL;
}

static int no_name(unw_addr_space_t as, unw_word_t address, char *name, size_t size, unw_word_t *offset, void *context)
{
	(void)as;
	(void)address;
	(void)name;
	(void)size;
	(void)offset;
	(void)context;
	return -UNW_EINVAL;
}

static uint64_t register_of(unw_cursor_t *cursor, int number)
{
	unw_word_t value = 0;

	return unw_get_reg(cursor, number, &value) ? 0 : value;
}

/* Begins again at the caller that rbp leads to: up the stack, and to code. It begins in the call, for libunwind takes the
 * first pc as it is. */
static bool guess(struct unwind *unwind, unw_cursor_t *at, unw_cursor_t *ret_cursor)
{
	static const int kept[] = { UNW_X86_64_RBX, UNW_X86_64_R12, UNW_X86_64_R13, UNW_X86_64_R14, UNW_X86_64_R15 };
	uint64_t frame = register_of(at, UNW_X86_64_RBP), reg[SNAPSHOT_REGISTERS] = { 0 }, pc;
	struct space_object object;

	if (frame < register_of(at, UNW_REG_SP) || !read_stack(unwind, frame, &reg[UNW_X86_64_RBP]) ||
	    !read_stack(unwind, frame + sizeof(pc), &pc) || !pc ||
	    space_find(unwind->space, pc - 1, &object) == REASON_NO_MAPPING)
		return false;
	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
		reg[kept[i]] = register_of(at, kept[i]);
	reg[UNW_X86_64_RSP] = frame + 2 * sizeof(pc);
	memcpy(unwind->reg, reg, sizeof(reg));
	unwind->pc = pc - 1;
	return !unw_init_remote(ret_cursor, unwind->as, unwind);
}

/* No call returns to the first byte of a function with nothing before it: who made the stack put it there
 * (glibc's makecontext). */
static bool is_made(struct unwind *unwind, uint64_t pc)
{
	unw_proc_info_t info = { 0 };

	return !find_proc_info(unwind->as, pc, &info, 0, unwind) && info.start_ip == pc;
}

enum step { STEP_CALLER, STEP_GUESS, STEP_ROOT, STEP_MADE, STEP_END }; /* END: *ret_reason says why */

static enum step step(struct unwind *unwind, unw_cursor_t *cursor, uint64_t return_pc, bool signal, enum reason *ret_reason)
{
	uint64_t sp = register_of(cursor, UNW_REG_SP);
	unw_cursor_t old = *cursor;
	int result;

	unwind->unknown = REASON_NONE;
	unwind->past_end = false;
	result = unw_step(cursor);
	*ret_reason = REASON_TIME;
	if (unwind->late)
		return STEP_END;
	if (!unwind->unknown || signal) {
		if (result >= 0)
			return result ? STEP_CALLER : STEP_ROOT;
		if (result == -UNW_EBADFRAME)
			*ret_reason = REASON_NO_PROGRESS;
		else if (unwind->past_end)
			*ret_reason = REASON_COPY_END;
		else
			*ret_reason = result == -UNW_EINVAL ? REASON_READ_FAULT : REASON_UNSUPPORTED_RULE;
	} else {
		*ret_reason = unwind->unknown;
		if (return_pc && is_made(unwind, return_pc))
			return STEP_MADE;
		if (return_pc && *ret_reason != REASON_NO_MAPPING && guess(unwind, &old, cursor))
			return STEP_GUESS;
	}
	return sp == unwind->copy->start_stack ? STEP_ROOT : STEP_END;
}

static void walk(struct unwind *unwind, unw_cursor_t *cursor, uint64_t *frames, struct referee_path *path)
{
	bool exact = true, certain = true;
	enum step how = STEP_CALLER;

	while (how == STEP_CALLER || how == STEP_GUESS) {
		uint64_t pc = register_of(cursor, UNW_REG_IP) + (how == STEP_GUESS);
		bool signal = unw_is_signal_frame(cursor) > 0;

		path->reason = REASON_NONE;
		if (!pc) /* where a thread or a goroutine begins, or a function of Go's that changes stacks */
			return;
		path->reason = pc >> 63 ? REASON_NO_MAPPING : REASON_DEPTH;
		if (pc >> 63 || path->depth == REFEREE_MAX_FRAMES)
			return;
		frames[path->depth++] = exact ? pc | SAMPLE_FRAME_EXACT : pc;
		path->certain += certain;
		how = step(unwind, cursor, exact ? 0 : pc, signal, &path->reason);
		path->certain += how == STEP_ROOT && certain;
		if (how == STEP_ROOT || how == STEP_MADE)
			path->reason = REASON_NONE;
		certain &= how == STEP_CALLER;
		exact = signal;
	}
}

void referee_unwind(struct space *space, const struct snapshot *copy, const uint8_t *stack, uint64_t *ret_frames,
		    struct referee_path *ret_path)
{
	static unw_accessors_t accessors = { .find_proc_info = find_proc_info, .put_unwind_info = put_info,
					     .get_dyn_info_list_addr = no_list, .access_mem = access_mem,
					     .access_reg = access_reg, .access_fpreg = no_fpreg,
					     .resume = no_resume, .get_proc_name = no_name };
	static struct unwind unwind; /* too long for a stack that others unwind; one at a time in this process */
	unw_addr_space_t as = unw_create_addr_space(&accessors, 0);
	unw_cursor_t cursor;

	*ret_path = (struct referee_path){ .reason = REASON_UNSUPPORTED_RULE };
	if (!as)
		return;
	memset(&unwind, 0, offsetof(struct unwind, fde.window));
	unwind.as = as;
	unwind.space = space;
	unwind.pc = copy->pc;
	memcpy(unwind.reg, copy->reg, sizeof(unwind.reg));
	unwind.copy = copy;
	unwind.stack = stack;
	unwind.end_ns = now_ns() + MAX_NS;
	unw_set_caching_policy(as, UNW_CACHE_NONE); /* each pc must ask find_proc_info, or nobody knows of its guesses */
	if (!unw_init_remote(&cursor, as, &unwind))
		walk(&unwind, &cursor, ret_frames, ret_path);
	unw_destroy_addr_space(as);
}

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Every way in which a sample or one of its stacks can fall short. One list, used three times: the counters of
 * the kernel side, the `reason` labels on /metrics and in profiles, and the sentences of the documentation.
 *
 * REASON(identifier, label, sentence). Append only: the number is stored in maps.
 */
#ifndef ABI_REASON_H
#define ABI_REASON_H

#define REASON_LIST(REASON)                                                                                   \
	REASON(NONE, "none", "nothing is missing")                                                            \
	REASON(PROCESS_UNKNOWN, "process_unknown", "the process has no published mapping table yet")          \
	REASON(NO_MAPPING, "no_mapping", "the address lies in no known executable mapping")                   \
	REASON(NO_TABLE, "no_table", "the unwind rows of the file are not published yet")                     \
	REASON(NO_RULE, "no_unwind_rule", "no rule covers the address and no frame pointer leads on")         \
	REASON(UNSUPPORTED_RULE, "unsupported_rule", "the rule needs a register or expression not kept")      \
	REASON(READ_FAULT, "read_fault", "the stack memory was not resident")                                 \
	REASON(NO_PROGRESS, "no_progress", "the stack pointer stopped growing")                               \
	REASON(DEPTH, "depth", "the stack is deeper than the limit")                                          \
	REASON(TIME, "time", "the limit of steps or time for one sample was reached")                         \
	REASON(COMPAT, "compat_32bit", "32-bit processes are not unwound")                                    \
	REASON(NO_REGISTERS, "no_registers", "the user registers could not be read")                          \
	REASON(STACK_MAP_FULL, "stack_map_full", "the blocks of samples had no room for a new stack")         \
	REASON(COUNTS_MAP_FULL, "counts_map_full", "the blocks of samples had no room for a new key")         \
	REASON(NO_SCRATCH, "no_scratch", "the per-CPU scratch was missing")                                   \
	REASON(KERNEL_STACK, "kernel_stack", "the kernel could not walk its own stack")                       \
	REASON(WINDOW_FULL, "window_full", "the open window had no room for a new stack")                     \
	REASON(STALE_MAPPING, "stale_mapping", "the mapping changed before the sample was resolved")          \
	REASON(STACK_MISSING, "stack_missing", "the sample's record did not hold all its frames")      \
	REASON(COPY_END, "copy_end", "the copied part of the stack ended before its root")

enum reason {
#define REASON(id, label, sentence) REASON_##id,
	REASON_LIST(REASON)
#undef REASON
	REASON_COUNT
};

#endif

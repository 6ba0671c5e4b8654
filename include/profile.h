/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A closed, named profile: what exporters take. Immutable; everything hangs on one arena and dies whole.
 * Made by agent/query from windows and names, or from a recording. Strings are valid UTF-8 already.
 */
#ifndef PROFILE_H
#define PROFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct profile_type { /* "samples" "count" */
	const char *name, *unit;
};

struct profile_mapping { /* one per binary */
	const char *file, *build_id; /* build_id: hex or "" */
	bool kernel;
};

struct profile_function {
	const char *name, *system_name, *file; /* demangled, raw, path; "" where unknown */
	uint32_t start_line;
};

struct profile_line {
	uint32_t function; /* index */
	uint32_t line;     /* 0: unknown */
};

enum profile_frame { PROFILE_FRAME_USER, PROFILE_FRAME_KERNEL, PROFILE_FRAME_JIT, PROFILE_FRAME_NOTE };

struct profile_location {
	uint32_t mapping;         /* index, UINT32_MAX: none (a note such as [truncated: no unwind rule]) */
	uint32_t first_line, lines; /* innermost first, all but the last are inlined; at least 1 */
	uint64_t address;         /* ELF virtual address, inside the call for return addresses */
	enum profile_frame kind;
};

struct profile_labels {
	const char *container, *pod, *namespace_, *comm, *thread, *cgroup; /* "" where absent */
	uint32_t pid, tid; /* tid 0: not kept */
};

struct profile_sample {
	uint32_t labels;
	uint32_t first_location, depth; /* in stack_locations[], leaf first */
	uint64_t count;                 /* values are count and count * period */
};

struct profile {
	struct profile_type types[2]; /* count first, the measured one last */
	struct profile_type period_type;
	uint64_t period;      /* in the unit of types[1] */
	uint64_t time_ns;     /* CLOCK_REALTIME of the start */
	uint64_t duration_ns; /* covered */
	const char *comment;  /* what was asked, one line */

	size_t mapping_count, function_count, line_count, location_count, label_count, sample_count,
		stack_location_count;
	struct profile_mapping *mappings;
	struct profile_function *functions;
	struct profile_line *lines;
	struct profile_location *locations;
	struct profile_labels *labels;
	struct profile_sample *samples;
	uint32_t *stack_locations;

	struct arena *arena;
};

void profile_free(struct profile *profile); /* accepts NULL */

#endif

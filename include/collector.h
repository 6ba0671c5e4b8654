/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a file in agent/collectors/ must fill in. agent/collectors/NAME.c defines
 * `const struct collector NAME_collector`; the table is generated from the folder. A collector reads the view
 * it is handed and writes families; it owns nothing and keeps nothing.
 */
#ifndef COLLECTOR_H
#define COLLECTOR_H

#include "abi/knobs.h"
#include "symbolizer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct metric_set;

struct view_accounting { /* one consistent reading: taken == stored + sum(lost) + pending */
	uint64_t taken, stored, pending;
	uint64_t lost[REASON_COUNT];
	uint64_t user[REASON_COUNT], kernel[REASON_COUNT]; /* stacks by outcome */
	uint64_t frames, searched; /* see abi/knobs.h */
	uint64_t run_ns, run_max_ns, runs[DURATION_BUCKETS]; /* time in the handler, see abi/duration.h */
	uint64_t copies, copies_limited, copies_full; /* stacks copied, or not: past the rate, no room in the ring */
};

struct view_container {
	const char *namespace_, *pod, *container, *id, *image, *runtime, *cgroup;
	uint64_t user_ns, system_ns;
	double start_seconds; /* wall clock, 0: unknown */
	bool gone;
};

struct view_program { /* a BPF program of ours */
	const char *name;
	uint64_t run_ns, run_count;
	uint64_t verified; /* instructions that the kernel's verifier walked at load */
};
struct view_map {
	const char *name;
	uint64_t bytes;
};
struct view_gauge { /* a named number of the agent itself */
	const char *name, *label, *help; /* label: value of the label that the family names, or NULL */
	uint64_t value;
};

struct host_view { /* arrays are borrowed for the call */
	struct view_accounting accounting;
	size_t container_count, program_count, map_count;
	const struct view_container *containers; /* _host among them */
	const struct view_program *programs;
	const struct view_map *maps;
	double coverage_ratio;   /* taken * period / busy CPU time over the last minute, NaN: not yet known */
	double overhead_ratio;   /* the agent's CPU time, kernel side included, over CPU time of the machine */
	uint64_t frequency;      /* samples a second and CPU */
	uint64_t symbols[SYMBOL_SOURCE_COUNT]; /* frames named, by source or reason */
	uint64_t copies_finished, copies_useless, copies_missing, copies_refused; /* agent/snapshot.h */
	uint64_t copies_slow, copies_slow_useless;
	uint64_t comparisons_agree, comparisons_disagree, comparisons_short, comparisons_lost, comparisons_root; /* agent/referee.h */
	uint64_t sideband_lost, processes, images, images_failed, rows, row_bytes, rows_refused,
		images_evicted, row_pages, row_pages_wanted, row_pages_evicted, row_pages_built,
		row_page_wait_ns, row_page_longest_ns;
	uint64_t process_repairs, processes_refused, mappings_refused, images_refused, ksymbols_refused, jits_refused;
	uint64_t tables_shared, tables_cut, cgroup_events_lost;
	uint64_t mapping_bytes, mappings_moved, stale_stacks;
	uint64_t frame_hits, frame_misses, frame_evictions; /* agent/frame_cache.h */
	uint64_t windows, window_bytes, windows_dropped, frames_interned, frames_waiting, frames_refused, frames_recycled;
	uint64_t symbolizer_children, symbolizer_deaths, symbolizer_quarantined, symbolizer_timeouts, opens_stuck;
	uint64_t http_connections, http_refused;
	size_t degraded_count;
	const char *const *degraded; /* causes for wick_degraded */
};

struct collector {
	const char *name, *help;
	int (*collect)(const struct host_view *view, struct metric_set *set);
};

extern const struct collector *const collectors[]; /* generated, ends with NULL */

#endif

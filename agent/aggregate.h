/* SPDX-License-Identifier: Apache-2.0 */
/* Stages "resolve" and "aggregate": drained samples become one slice of the window, with frames as ids. */
#ifndef AGGREGATE_H
#define AGGREGATE_H

#include "cgroup.h"
#include "drain.h"
#include "frame_cache.h"
#include "names.h"
#include "process.h"
#include "window.h"

struct aggregate;

struct aggregate_opts {
	struct process_table *processes;
	struct cgroup_table *cgroups;
	struct names *names;
	uint64_t period_ns;
	bool keep_threads; /* wick record --threads */
};

struct aggregate *aggregate_new(const struct aggregate_opts *opts);
void aggregate_free(struct aggregate *aggregate); /* accepts NULL */
enum reason aggregate_take(void *aggregate, const struct drain_sample *sample); /* a drain_fn */
void aggregate_get_stats(struct aggregate *aggregate, struct frame_cache_stats *ret_stats); /* any thread */
uint64_t aggregate_stale(const struct aggregate *aggregate); /* samples whose stack ends in [stale mapping] */
/* Gives the slice away and opens the next. NULL: no memory. */
struct window *aggregate_close(struct aggregate *aggregate, uint64_t from_ns, uint64_t to_ns);

#endif

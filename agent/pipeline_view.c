/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent's picture of the host and of itself: takes the stages' counters, gives the host_view that collectors
 * read. Owns the last minute of totals, from which coverage and overhead are means.
 */
#include "pipeline_private.h"

#include "base/clock.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* User-space CPU time of the agent and of the symbolizers it has waited for. */
static uint64_t own_cpu_ns(const struct pipeline *pipeline)
{
	struct resolve_stats symbolizers;
	uint64_t sum;

	resolve_get_stats(pipeline->resolve, &symbolizers);
	sum = symbolizers.cpu_ns;

	for (int who = RUSAGE_CHILDREN; who <= RUSAGE_SELF; who++) {
		struct rusage usage;

		if (getrusage(who, &usage))
			continue;
		sum += (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * NS_PER_S +
		       (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000;
	}
	return sum;
}

void pipeline_view_second(struct pipeline *pipeline)
{
	struct view_accounting accounting;
	struct view_second second;

	drain_accounting(pipeline->drain, &accounting);
	second.taken = accounting.taken;
	second.busy_ns = sampler_busy_ns(pipeline->sampler);
	second.own_cpu_ns = own_cpu_ns(pipeline) + accounting.run_ns;
	second.wall_ns = clock_monotonic_ns();
	pthread_mutex_lock(&pipeline->view_lock);
	process_table_get_stats(pipeline->processes, &pipeline->process_stats);
	pipeline->stale_stacks = aggregate_stale(pipeline->aggregate);
	pipeline->seconds[pipeline->second_count++ % VIEW_SECONDS] = second;
	pthread_mutex_unlock(&pipeline->view_lock);
}

static void fill_means(struct pipeline *pipeline, struct host_view *view)
{
	struct view_second first, last;
	uint64_t count;

	view->coverage_ratio = view->overhead_ratio = NAN;
	pthread_mutex_lock(&pipeline->view_lock);
	count = pipeline->second_count;
	first = pipeline->seconds[count > VIEW_SECONDS ? count % VIEW_SECONDS : 0];
	last = pipeline->seconds[(count - 1) % VIEW_SECONDS];
	pthread_mutex_unlock(&pipeline->view_lock);
	if (count < 2)
		return;
	if (last.busy_ns > first.busy_ns)
		view->coverage_ratio = (double)(last.taken - first.taken) * ((double)NS_PER_S / pipeline->frequency) /
				       (double)(last.busy_ns - first.busy_ns);
	view->overhead_ratio = (double)(last.own_cpu_ns - first.own_cpu_ns) /
			       ((double)(last.wall_ns - first.wall_ns) * (double)sysconf(_SC_NPROCESSORS_ONLN));
}

static void fill_containers(struct pipeline *pipeline, struct host_view *view)
{
	size_t count = cgroup_container_count(pipeline->cgroups);

	(void)loader_account_tasks(pipeline->loader); /* the values are then as of the last complete visit */
	if (count > pipeline->view_capacity) {
		struct view_container *more = realloc(pipeline->view_containers, 2 * count * sizeof(*more));

		if (!more)
			return;
		pipeline->view_containers = more;
		pipeline->view_capacity = 2 * count;
	}
	(void)cgroup_account(pipeline->cgroups, loader_map_fd(pipeline->loader, LOADER_ACCOUNT_CPU),
			     pipeline->view_containers, count);
	view->containers = pipeline->view_containers;
	view->container_count = count;
}

/* Stacks that were copied end here, not in the handler. */
static void fill_copies(struct pipeline *pipeline, struct host_view *view)
{
	struct snapshot_stats stats;

	snapshot_get_stats(pipeline->snapshots, &stats);
	for (int reason = 0; reason < REASON_COUNT; reason++)
		view->accounting.user[reason] += stats.outcomes[reason];
	view->copies_finished = stats.finished;
	view->copies_missing = stats.missing;
	view->copies_useless = stats.useless;
	view->copies_refused = stats.refused;
	view->copies_slow = stats.slow;
	view->copies_slow_useless = stats.slow_useless;
}

/* The loader's maps, and the chunks that publish made. */
static void fill_maps(struct pipeline *pipeline, struct host_view *view, uint64_t chunk_bytes)
{
	const struct view_map *maps;
	size_t count = loader_maps(pipeline->loader, &maps);

	if (count >= VIEW_MAX_MAPS)
		count = VIEW_MAX_MAPS - 1;
	memcpy(pipeline->view_maps, maps, count * sizeof(*maps));
	pipeline->view_maps[count++] = (struct view_map){ .name = "chunks", .bytes = chunk_bytes };
	view->maps = pipeline->view_maps;
	view->map_count = count;
}

static void fill_referee(struct pipeline *pipeline, struct host_view *view)
{
	struct referee_stats stats;
	struct tally_totals totals;

	referee_get_stats(pipeline->referee, &stats);
	tally_get(referee_tally(pipeline->referee), &totals);
	view->comparisons_agree = totals.outcomes[REFEREE_AGREE];
	view->comparisons_disagree = totals.outcomes[REFEREE_DISAGREE];
	view->comparisons_short = totals.outcomes[REFEREE_SHORT];
	view->comparisons_root = totals.root;
	view->comparisons_lost = stats.refused + stats.failed + stats.unmatched;
}

/* What the process table and its publishing keep and refuse. */
static void fill_processes(struct pipeline *pipeline, const struct publish_stats *publish, struct host_view *view)
{
	struct process_stats stats;

	pthread_mutex_lock(&pipeline->view_lock);
	stats = pipeline->process_stats;
	view->stale_stacks = pipeline->stale_stacks;
	pthread_mutex_unlock(&pipeline->view_lock);
	view->sideband_lost = atomic_load(&pipeline->sideband_lost);
	view->processes = stats.processes;
	view->images = stats.images;
	view->mapping_bytes = stats.mapping_bytes;
	view->mappings_moved = stats.moved;
	view->process_repairs = stats.repairs;
	view->processes_refused = stats.refused_processes + publish->refused_processes;
	view->mappings_refused = stats.refused_mappings + publish->cut_mappings;
	view->images_refused = stats.refused_images;
	view->ksymbols_refused = stats.refused_ksymbols;
	view->jits_refused = stats.refused_jits;
	view->tables_shared = publish->shared_tables;
	if (publish->refused_processes || view->mappings_refused)
		pipeline->degraded[view->degraded_count++] = "mapping_memory";
	if (stats.refused_processes || stats.refused_images)
		pipeline->degraded[view->degraded_count++] = "process_table";
}

static void fill_frames(struct pipeline *pipeline, struct host_view *view)
{
	struct frame_cache_stats cache;

	aggregate_get_stats(pipeline->aggregate, &cache);
	view->frame_hits = cache.hits;
	view->frame_misses = cache.misses;
	view->frame_evictions = cache.evictions;
	names_get_stats(pipeline->names, view->symbols, &view->frames_interned, &view->frames_refused);
	view->frames_recycled = names_recycled(pipeline->names);
	view->frames_waiting = names_waiting(pipeline->names);
	if (view->frames_refused)
		pipeline->degraded[view->degraded_count++] = "frame_table";
}

static void fill_stages(struct pipeline *pipeline, struct host_view *view)
{
	struct resolve_stats resolve;
	struct publish_stats publish;

	resolve_get_stats(pipeline->resolve, &resolve);
	publish_get_stats(pipeline->publish, &publish);
	view->images_failed = resolve.failed;
	view->symbolizer_children = resolve.children;
	view->symbolizer_deaths = resolve.deaths;
	view->symbolizer_quarantined = resolve.quarantined;
	view->symbolizer_timeouts = resolve.timeouts;
	view->opens_stuck = resolve.stuck;
	view->rows = publish.rows;
	view->row_bytes = publish.row_bytes;
	view->images_evicted = publish.evicted_images;
	view->row_pages = publish.pages;
	view->row_pages_wanted = publish.wanted_pages;
	view->row_pages_evicted = publish.evicted_pages;
	view->row_page_wait_ns = publish.wait_ns;
	view->row_page_longest_ns = publish.longest_wait_ns;
	view->row_pages_built = publish.built_pages;
	view->rows_refused = publish.refused_rows;
	view->cgroup_events_lost = loader_events_lost(pipeline->loader);
	store_get_stats(pipeline->store, &view->windows, &view->window_bytes, &view->windows_dropped);
	if (view->rows_refused)
		pipeline->degraded[view->degraded_count++] = "row_memory";
	fill_processes(pipeline, &publish, view);
	if (cgroup_refused(pipeline->cgroups))
		pipeline->degraded[view->degraded_count++] = "cgroup_table";
	fill_maps(pipeline, view, publish.map_bytes);
	fill_frames(pipeline, view);
	view->degraded = pipeline->degraded;
}

void pipeline_view(struct pipeline *pipeline, struct host_view *ret_view)
{
	struct host_view view = { .frequency = pipeline->frequency };

	drain_accounting(pipeline->drain, &view.accounting);
	fill_copies(pipeline, &view);
	fill_referee(pipeline, &view);
	fill_containers(pipeline, &view);
	fill_means(pipeline, &view);
	fill_stages(pipeline, &view);
	view.program_count = loader_programs(pipeline->loader, &view.programs);
	*ret_view = view;
}

void pipeline_view_done(struct pipeline *pipeline)
{
	free(pipeline->view_containers);
}

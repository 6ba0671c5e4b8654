/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The program, read from here: kernel maps -> drain -> resolve and aggregate -> store, beside them
 * side-band events -> process table -> publish -> kernel maps. Whoever reads pipeline_second() has read the pipeline.
 */
#include "pipeline_private.h"

#include "base/clean.h"
#include "base/clock.h"
#include "base/log.h"
#include "privilege.h"

#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define AWAIT_IMAGES_MS 300  /* what copies of stacks may wait for the files of a program never met before */
#define AWAIT_TICK_MS 25     /* and how long a ring that copies fill up meanwhile is left alone */
#define AWAIT_CHECKS_MS 300  /* what all samples of a file may wait for somebody to see that it is what it was */
#define TRIM_SECONDS 30      /* what a burst of processes left free in the heap goes back to the kernel this often */

static void take_event(void *context, const struct sideband_event *event)
{
	struct pipeline *pipeline = context;

	if (event->kind == SIDEBAND_LOST)
		atomic_fetch_add(&pipeline->sideband_lost, event->lost);
	process_table_event(pipeline->processes, event);
}

static int take_cgroup(void *context, void *data, size_t size)
{
	struct pipeline *pipeline = context;

	if (size >= sizeof(struct event_cgroup))
		cgroup_table_event(pipeline->cgroups, data);
	return 0;
}

static void table_changed(void *context, struct process *process)
{
	struct pipeline *pipeline = context;

	if (process->until_ns != UINT64_MAX)
		publish_forget(pipeline->publish, process);
	else
		(void)publish_process(pipeline->publish, process); /* counted by publish; the reason shows in samples */
}

/* Everything that happened up to `until_ns` into the tables, and the tables into the kernel's maps. */
void pipeline_tables(struct pipeline *pipeline, uint64_t until_ns)
{
	ring_buffer__consume(pipeline->events);
	sideband_read(pipeline->sideband, until_ns, take_event, pipeline);
	snapshot_tell_areas(pipeline->snapshots, until_ns);
	pipeline_take_news(pipeline);
	process_table_tick(pipeline->processes, until_ns);
	publish_tick(pipeline->publish, until_ns);
	(void)pipeline_demand(pipeline, until_ns);
}

/* How long what is known now will not do: a file is looked at, or what copies lack can be had. */
static unsigned await_ms(struct pipeline *pipeline, uint64_t to_ns)
{
	bool lacks = pipeline_demand(pipeline, to_ns);

	if (process_table_checks(pipeline->processes))
		return AWAIT_CHECKS_MS;
	return (lacks && publish_pending(pipeline->publish)) || pipeline_copies_await(pipeline, to_ns) ?
		       AWAIT_IMAGES_MS : 0;
}

/* Samples are resolved with what is known now; of files that are being read or looked at, a little later. What the
 * side-band tells meanwhile does no harm, for processes and mappings are found by time. */
static void await_images(struct pipeline *pipeline, uint64_t to_ns)
{
	uint64_t begin = clock_monotonic_ns(), now = begin, end;

	while ((end = begin + await_ms(pipeline, to_ns) * NS_PER_MS) > now) {
		int wait_ms = (int)((end - now + NS_PER_MS - 1) / NS_PER_MS);
		struct pollfd fds[] = { { .fd = pipeline->news_fd, .events = POLLIN },
					{ .fd = sideband_epoll_fd(pipeline->sideband), .events = POLLIN } };

		if (poll(fds, array_size(fds), wait_ms < AWAIT_TICK_MS ? wait_ms : AWAIT_TICK_MS) > 0)
			pipeline_woken(pipeline, fds[0].revents, fds[1].revents);
		ring_buffer__consume(pipeline->events); /* its room is for a tick */
		pipeline_take_news(pipeline);
		now = clock_monotonic_ns();
		if (fds[1].revents)
			sideband_read(pipeline->sideband, now - SIDEBAND_LAG_NS, take_event, pipeline);
	}
}

/* One slice: flip, bring the tables up to the flip, resolve and count, store, ask for names. */
static int work_slice(struct pipeline *pipeline)
{
	uint64_t from_ns, to_ns;
	struct window *slice;
	int error = drain_switch(pipeline->drain, &from_ns, &to_ns);

	if (error)
		return error;
	pipeline_tables(pipeline, to_ns);
	process_table_check(pipeline->processes, to_ns);
	await_images(pipeline, to_ns);
	error = drain_collect(pipeline->drain, pipeline_take_sample, pipeline);
	snapshot_drop(pipeline->snapshots, to_ns - SIDEBAND_LAG_NS); /* a handler may have read the clock early */
	referee_settle(pipeline->referee, pipeline->processes, to_ns - SIDEBAND_LAG_NS);
	publish_read_done(pipeline->publish);
	process_table_keep(pipeline->processes, to_ns);
	if (error < 0)
		return error;
	slice = aggregate_close(pipeline->aggregate, from_ns, to_ns);
	if (!slice)
		return -ENOMEM;
	store_add(pipeline->store, slice);
	pipeline_recycle(pipeline, to_ns);
	if (names_waiting(pipeline->names))
		resolve_names(pipeline->resolve);
	return 0;
}

int pipeline_second(struct pipeline *pipeline)
{
	struct cpus cpus;
	int changed = 0;

	if (!cpus_read_online(&cpus)) {
		changed = sampler_tick(pipeline->sampler, &cpus);
		(void)sideband_tick(pipeline->sideband, &cpus);
	}
	if (changed > 0)
		log_info("processors came or went: sampling events opened again count=%d", changed);
	cgroup_table_tick(pipeline->cgroups);
	pipeline_work_memory(pipeline, clock_monotonic_ns());
	pipeline_view_second(pipeline);
	if (pipeline->second_count % TRIM_SECONDS == 0)
		malloc_trim(0);
	return work_slice(pipeline);
}

int pipeline_finish(struct pipeline *pipeline)
{
	int error;

	sampler_close(pipeline->sampler);
	pipeline->sampler = NULL;
	error = work_slice(pipeline);
	return error ? error : work_slice(pipeline); /* the other set: whatever was taken during the first */
}

struct store *pipeline_store(struct pipeline *pipeline)
{
	return pipeline->store;
}

struct names *pipeline_names(struct pipeline *pipeline)
{
	return pipeline->names;
}

struct referee_tally *pipeline_tally(struct pipeline *pipeline)
{
	return referee_tally(pipeline->referee);
}

struct cgroup_table *pipeline_cgroups(struct pipeline *pipeline)
{
	return pipeline->cgroups;
}

/* ---- opening, in the order of need: the side-band stream starts before the first pass over /proc ---------- */

static int open_nouns(struct pipeline *pipeline, const struct pipeline_opts *opts)
{
	struct process_callbacks processes = { .image_new = pipeline_image_new, .table_changed = table_changed,
					       .image_check = pipeline_image_check,
					       .context = pipeline };
	struct store_opts store = { .retention_ns = opts->retention_ns, .limit_bytes = opts->limit_bytes };
	char mount[256];
	enum cgroup_source source;
	int error = cgroup_choose(&source, mount, sizeof(mount));

	if (error)
		return error;
	pipeline->cgroup_source = source;
	pipeline->names = names_new();
	pipeline->store = store_new(&store);
	pipeline->processes = process_table_new(&processes);
	pipeline->cgroups = cgroup_table_new(source, mount, NULL);
	pipeline->news_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!pipeline->names || !pipeline->store || !pipeline->processes || !pipeline->cgroups ||
	    pipeline->news_fd < 0)
		return -ENOMEM;
	return 0;
}

static int open_kernel(struct pipeline *pipeline, const struct config *config, char *error, size_t error_size)
{
	struct loader_opts loader = { .frequency = config->frequency, .cpus = (unsigned)sysconf(_SC_NPROCESSORS_CONF),
				      .sample_blocks = config->sample_blocks,
				      .referee_interval = config->referee_interval,
				      .cgroup_source = pipeline->cgroup_source,
				      .allow_freezing_kernel = config->allow_freezing_kernel };
	int result = loader_open(&loader, &pipeline->loader, error, error_size);

	if (!result)
		result = drain_new(pipeline->loader, &pipeline->drain);
	if (!result)
		result = publish_new(pipeline->loader,
				     config->row_chunks ? config->row_chunks * (uint64_t)UNWIND_CHUNK_BYTES
							: config->memory_limit_bytes / 2,
				     &pipeline->publish);
	if (!result)
		result = sideband_open(&pipeline->sideband, error, error_size);
	if (!result) {
		pipeline->events = ring_buffer__new(loader_map_fd(pipeline->loader, LOADER_EVENTS), take_cgroup,
						    pipeline, NULL);
		result = pipeline->events ? pipeline_copies_open(pipeline) : -errno;
	}
	return result;
}

static int open_user(struct pipeline *pipeline, const struct pipeline_opts *opts, char *text, size_t size)
{
	struct resolve_callbacks callbacks = { .image_done = pipeline_image_done,
					       .image_checked = pipeline_image_checked,
					       .image_forgotten = pipeline_image_forgotten,
					       .pages_done = pipeline_pages_done,
					       .context = pipeline };
	struct aggregate_opts aggregate = { .processes = pipeline->processes, .cgroups = pipeline->cgroups,
					    .names = pipeline->names,
					    .period_ns = NS_PER_S / opts->config->frequency,
					    .keep_threads = opts->keep_threads };
	int error;

	pipeline->aggregate = aggregate_new(&aggregate);
	if (!pipeline->aggregate)
		return -ENOMEM;
	error = resolve_new(opts->symbolizer_socket, pipeline->names, &callbacks, &pipeline->resolve);
	return error ? error : pipeline_referee_open(pipeline, opts->config, text, size);
}

/* Opened while the privileges are there (Debian's perf_event_paranoid of 3 asks for CAP_SYS_ADMIN), enabled when
 * the tables are filled. */
static int open_sampler(struct pipeline *pipeline, char *error, size_t error_size)
{
	struct sampler_opts opts = { .frequency = pipeline->frequency,
				     .program_fd = loader_sample_fd(pipeline->loader) };

	return sampler_open(&opts, &pipeline->sampler, error, error_size);
}

static int start_sampling(struct pipeline *pipeline, const struct pipeline_opts *opts, char *error, size_t error_size)
{
	int result = cgroup_table_scan(pipeline->cgroups);

	if (result) {
		snprintf(error, error_size, "cannot read the cgroup file system: %s", strerror(-result));
		return result;
	}
	result = process_table_scan(pipeline->processes);
	if (result) {
		snprintf(error, error_size, "cannot read /proc: %s", strerror(-result));
		return result;
	}
	if (opts->follow_pid)
		process_table_follow(pipeline->processes, opts->follow_pid);
	pipeline_tables(pipeline, clock_monotonic_ns());
	process_table_keep(pipeline->processes, clock_monotonic_ns());
	pipeline->next_slice_ns = clock_monotonic_ns() + NS_PER_S;
	return sampler_start(pipeline->sampler);
}

int pipeline_open(const struct pipeline_opts *opts, struct pipeline **ret_pipeline, char *error, size_t error_size)
{
	struct pipeline *pipeline = calloc(1, sizeof(*pipeline));
	int result;

	if (!pipeline)
		return -ENOMEM;
	pipeline->news_fd = pipeline->keep_fd = -1;
	STAILQ_INIT(&pipeline->news);
	pipeline->frequency = opts->config->frequency;
	pthread_mutex_init(&pipeline->news_lock, NULL);
	pthread_mutex_init(&pipeline->view_lock, NULL);
	error[0] = '\0';
	result = open_nouns(pipeline, opts);
	if (!result)
		result = open_kernel(pipeline, opts->config, error, error_size);
	if (!result)
		result = open_sampler(pipeline, error, error_size);
	if (!result) /* capabilities belong to a thread: before the first one is started */
		result = privilege_drop(error, error_size);
	if (!result)
		result = open_user(pipeline, opts, error, error_size);
	if (!result)
		result = start_sampling(pipeline, opts, error, error_size);
	if (result) {
		if (!error[0])
			snprintf(error, error_size, "cannot start: %s", strerror(-result));
		pipeline_close(pipeline);
		return result;
	}
	*ret_pipeline = pipeline;
	return 0;
}

void pipeline_close(struct pipeline *pipeline)
{
	struct image_news *news;

	if (!pipeline)
		return;
	sampler_close(pipeline->sampler);
	referee_free(pipeline->referee);
	resolve_free(pipeline->resolve);
	aggregate_free(pipeline->aggregate);
	ring_buffer__free(pipeline->events);
	snapshot_free(pipeline->snapshots);
	sideband_close(pipeline->sideband);
	process_table_free(pipeline->processes);
	publish_free(pipeline->publish);
	drain_free(pipeline->drain);
	loader_close(pipeline->loader);
	store_free(pipeline->store);
	cgroup_table_free(pipeline->cgroups);
	names_free(pipeline->names);
	while ((news = STAILQ_FIRST(&pipeline->news))) {
		STAILQ_REMOVE_HEAD(&pipeline->news, link);
		free(news);
	}
	pipeline_view_done(pipeline);
	if (pipeline->news_fd >= 0)
		close(pipeline->news_fd);
	if (pipeline->keep_fd >= 0)
		close(pipeline->keep_fd);
	pthread_mutex_destroy(&pipeline->news_lock);
	pthread_mutex_destroy(&pipeline->view_lock);
	free(pipeline);
}

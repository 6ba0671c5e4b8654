/* SPDX-License-Identifier: Apache-2.0 */
/* What pipeline.c (wiring), pipeline_tick.c (when), pipeline_images.c (images and resolve), pipeline_recycle.c (tables
 * that fill up) and pipeline_view.c (the agent's picture of itself) share. */
#ifndef PIPELINE_PRIVATE_H
#define PIPELINE_PRIVATE_H

#include "aggregate.h"
#include "drain.h"
#include "loader.h"
#include "pipeline.h"
#include "process.h"
#include "publish.h"
#include "referee.h"
#include "resolve.h"
#include "sampler.h"
#include "sideband.h"
#include "snapshot.h"

#include <bpf/libbpf.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#define SIDEBAND_LAG_NS 2000000 /* writers on other CPUs may still be filling in an older record */

#define VIEW_SECONDS 60 /* coverage and overhead are means over the last minute */
#define VIEW_MAX_DEGRADED 8
#define VIEW_MAX_MAPS 40

struct image_news { /* from the resolve thread to the pipeline thread */
	STAILQ_ENTRY(image_news) link;
	uint32_t image, dir;
	bool known, has_table, no_room;
	bool forgotten;      /* only that: resolve has let go of the image */
	bool checked;        /* only that: the file was looked at */
	uint64_t changed_ns; /* CLOCK_MONOTONIC */
	struct symbolizer_image description;
};
STAILQ_HEAD(image_news_list, image_news);

struct view_second { /* totals at the end of a second */
	uint64_t taken, busy_ns, own_cpu_ns, wall_ns;
};

struct pipeline {
	enum cgroup_source cgroup_source;
	unsigned frequency;
	struct names *names;
	struct store *store;
	struct process_table *processes;
	struct cgroup_table *cgroups;
	struct loader *loader;
	struct drain *drain;
	struct publish *publish;
	struct sideband *sideband;
	struct ring_buffer *events; /* and the copies of stacks, and the pages wanted */
	struct snapshot_store *snapshots;
	struct aggregate *aggregate;
	struct resolve *resolve;
	struct referee *referee;
	struct sampler *sampler;
	uint64_t next_slice_ns, recycle_after_ns; /* the latter: frames */
	_Atomic uint64_t sideband_lost;

	int keep_fd; /* the directory of kept stacks, -1: none */
	int news_fd; /* eventfd */
	pthread_mutex_t news_lock;
	struct image_news_list news;

	pthread_mutex_t view_lock; /* guards seconds, process_stats and stale_stacks */
	struct view_second seconds[VIEW_SECONDS];
	uint64_t second_count;
	struct process_stats process_stats;
	uint64_t stale_stacks;
	struct view_container *view_containers; /* of the thread that asks for views */
	size_t view_capacity;
	struct view_map view_maps[VIEW_MAX_MAPS];
	const char *degraded[VIEW_MAX_DEGRADED];
};

/* pipeline_tick.c: when to work */
int pipeline_sleep_ms(const struct pipeline *pipeline, uint64_t now_ns, uint64_t until_ns); /* until_ns 0: for ever */
void pipeline_woken(struct pipeline *pipeline, bool news, bool sideband);

/* pipeline.c: the work */
void pipeline_tables(struct pipeline *pipeline, uint64_t until_ns);
int pipeline_second(struct pipeline *pipeline); /* 0 or -errno */

/* pipeline_images.c: callbacks of the table of processes, */
void pipeline_image_new(void *pipeline, struct process_image *image, uint32_t pid, uint64_t start, uint64_t end);
int pipeline_image_check(void *pipeline, struct process_image *image, uint32_t pid, uint64_t start, uint64_t end,
			 uint64_t now_ns);
/* callbacks of resolve, on its thread, */
void pipeline_image_done(void *pipeline, uint32_t image, const struct symbolizer_image *description, int table_fd,
			 const struct symbolizer_table *table);
void pipeline_pages_done(void *pipeline, uint32_t image, const uint32_t *pages, size_t count, int table_fd,
			 const struct symbolizer_table *table);
void pipeline_image_checked(void *pipeline, uint32_t image, uint64_t changed_ns);
void pipeline_image_forgotten(void *pipeline, uint32_t image);
void pipeline_take_news(struct pipeline *pipeline); /* what they said, on the pipeline thread */
size_t pipeline_demand(struct pipeline *pipeline, uint64_t until_ns);
void pipeline_work_memory(struct pipeline *pipeline, uint64_t now_ns);
struct snapshot_rules pipeline_rules(struct pipeline *pipeline);

/* pipeline_copies.c: copies of stacks, on the pipeline thread */
int pipeline_copies_open(struct pipeline *pipeline); /* needs the kernel's maps and the ring buffer */
/* Needs resolve. With a sentence in `error` if it is the directory's fault. */
int pipeline_referee_open(struct pipeline *pipeline, const struct config *config, char *error, size_t error_size);
bool pipeline_copies_await(struct pipeline *pipeline, uint64_t to_ns); /* is one of up to then worth waiting for? */
enum reason pipeline_take_sample(void *pipeline, const struct drain_sample *drained); /* a drain_fn */

/* pipeline_recycle.c: on the pipeline thread, between two slices. */
void pipeline_recycle(struct pipeline *pipeline, uint64_t now_ns);
void pipeline_view_second(struct pipeline *pipeline); /* on the pipeline thread, once a second */
void pipeline_view_done(struct pipeline *pipeline);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Part of the pipeline: files on the way between the table of processes, resolve, publish and snapshot. Requests go to
 * resolve's thread; what it answers, there, is queued for the pipeline's.
 */
#include "pipeline_private.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define IMAGE_IDLE_NS (2 * NS_PER_S)

static struct resolve_image_request request_for(struct pipeline *pipeline, const struct process_image *image,
						uint32_t pid, uint64_t at_ns)
{
	const struct process *process = process_find(pipeline->processes, pid, at_ns);

	return (struct resolve_image_request){
		.image = image->id, .pid = pid, .parent = process ? process->parent : 0,
		.file = image->file, .path = image->path, .ended = &image->ended,
	};
}

/* An image that no process had mapped before: it is opened and read elsewhere, pipeline_image_done() hears of it. */
void pipeline_image_new(void *context, struct process_image *image, uint32_t pid, uint64_t start, uint64_t end)
{
	struct pipeline *pipeline = context;
	struct resolve_image_request request = request_for(pipeline, image, pid, UINT64_MAX);

	request.vdso = image->vdso;
	request.jit = image->jit;
	request.start = image->jit ? image->dump_start : start;
	request.end = image->jit ? image->dump_end : end;
	names_set_image(pipeline->names, image->id, image->path, "");
	if (image->anonymous && !image->jit) {
		image->state = PROCESS_IMAGE_FAILED;
		return;
	}
	image->state = resolve_image(pipeline->resolve, &request) ? PROCESS_IMAGE_FAILED : PROCESS_IMAGE_ASKED;
}

int pipeline_image_check(void *context, struct process_image *image, uint32_t pid, uint64_t start, uint64_t end,
			 uint64_t now_ns)
{
	struct pipeline *pipeline = context;
	struct resolve_image_request request = request_for(pipeline, image, pid, now_ns);

	request.check = true;
	request.start = start;
	request.end = end;
	return resolve_image(pipeline->resolve, &request);
}

static void wake(struct pipeline *pipeline)
{
	uint64_t one = 1;

	if (write(pipeline->news_fd, &one, sizeof(one)) < 0)
		log_debug("cannot wake the pipeline error=%s", strerror(errno));
}

/* In order: what is said of an image must not come behind its end, when its number may be another's. */
static void add_news(struct pipeline *pipeline, struct image_news *news)
{
	pthread_mutex_lock(&pipeline->news_lock);
	STAILQ_INSERT_TAIL(&pipeline->news, news, link);
	pthread_mutex_unlock(&pipeline->news_lock);
	wake(pipeline);
}

/* On the resolve thread. Rows go into the kernel's maps here; what processes need to know of it is queued. */
void pipeline_image_done(void *context, uint32_t image, const struct symbolizer_image *description, int table_fd,
			 const struct symbolizer_table *table)
{
	struct pipeline *pipeline = context;
	struct image_news *news = calloc(1, sizeof(*news));

	if (!news)
		return;
	news->image = image;
	if (description) {
		news->description = *description;
		news->known = true;
		if (table_fd >= 0 && table) {
			int error = publish_image(pipeline->publish, image, table_fd, table, &news->dir);

			news->has_table = !error;
			news->no_room = error == -ENOSPC;
		}
	}
	add_news(pipeline, news);
}

/* On the resolve thread, too. */
void pipeline_pages_done(void *context, uint32_t image, const uint32_t *pages, size_t count, int table_fd,
			 const struct symbolizer_table *table)
{
	struct pipeline *pipeline = context;

	publish_pages(pipeline->publish, image, pages, count, table_fd, table);
	wake(pipeline);
}

void pipeline_image_checked(void *context, uint32_t image, uint64_t changed_ns)
{
	uint64_t wall_ns = clock_wall_ns(), now_ns = clock_monotonic_ns();
	struct image_news *news = calloc(1, sizeof(*news));

	if (!news)
		return;
	news->image = image;
	news->checked = true;
	if (changed_ns && changed_ns < wall_ns && wall_ns - changed_ns < now_ns)
		news->changed_ns = now_ns - (wall_ns - changed_ns);
	else if (changed_ns) /* a time that cannot be is none that could part anything */
		news->changed_ns = 1;
	add_news(context, news);
}

void pipeline_image_forgotten(void *context, uint32_t image)
{
	struct image_news *news = calloc(1, sizeof(*news));

	if (!news)
		return; /* its number stays unused */
	news->image = image;
	news->forgotten = true;
	add_news(context, news);
}

static int ask_pages(void *context, uint32_t image, const uint32_t *pages, size_t count)
{
	return resolve_pages(((struct pipeline *)context)->resolve, image, pages, count);
}

static void apply_news(struct pipeline *pipeline, const struct image_news *news)
{
	const struct symbolizer_image *description = &news->description;
	struct process_image *image = process_image_get(pipeline->processes, news->image);
	char build_id[2 * sizeof(description->build_id) + 1] = "";

	if (!image)
		return;
	if (news->forgotten) {
		names_set_image(pipeline->names, news->image, "", "");
		process_image_free(pipeline->processes, image);
		return;
	}
	if (news->checked) {
		process_image_checked(pipeline->processes, image, news->changed_ns, clock_monotonic_ns());
		return;
	}
	if (image->leaving) {
		if (news->has_table)
			publish_drop_image(pipeline->publish, news->dir);
		return;
	}
	/* Without room it failed for now: it is asked for again when rows of others have been given up. */
	image->state = news->known && !news->no_room ? PROCESS_IMAGE_READY : PROCESS_IMAGE_FAILED;
	image->has_table = news->has_table;
	image->dir = news->dir;
	image->segment_count = 0;
	for (uint32_t i = 0; i < description->segment_count && i < PROCESS_IMAGE_SEGMENTS; i++) {
		image->segments[i].offset = description->segments[i].offset;
		image->segments[i].vaddr = description->segments[i].vaddr;
		image->segments[i].filesz = description->segments[i].filesz;
		image->segments[i].flags = description->segments[i].flags;
		image->segment_count++;
	}
	for (size_t i = 0; i < description->build_id_bytes && i < sizeof(description->build_id); i++)
		snprintf(build_id + 2 * i, 3, "%02x", description->build_id[i]);
	names_set_image(pipeline->names, news->image, image->path, build_id);
	process_image_ready(pipeline->processes, image);
}

void pipeline_take_news(struct pipeline *pipeline)
{
	struct image_news_list taken = STAILQ_HEAD_INITIALIZER(taken);
	struct image_news *news;

	pthread_mutex_lock(&pipeline->news_lock);
	STAILQ_CONCAT(&taken, &pipeline->news);
	pthread_mutex_unlock(&pipeline->news_lock);
	while ((news = STAILQ_FIRST(&taken))) {
		STAILQ_REMOVE_HEAD(&taken, link);
		apply_news(pipeline, news);
		free(news);
	}
}

/* What copies of stacks and the sampler lack is asked for. How many copies do. */
size_t pipeline_demand(struct pipeline *pipeline, uint64_t until_ns)
{
	size_t count = snapshot_demand(pipeline->snapshots, until_ns);

	publish_take_wanted(pipeline->publish, ask_pages, pipeline);
	return count;
}

/* Rows of programs that have ended stay for the next time, until three quarters of the room are taken, or of the
 * directory. */
void pipeline_work_memory(struct pipeline *pipeline, uint64_t now_ns)
{
	struct publish_stats stats;
	struct process_image *image;

	publish_get_stats(pipeline->publish, &stats);
	if (stats.row_bytes < stats.row_limit_bytes / 4 * 3 && stats.entries < UNWIND_MAX_DIRECTORY / 4 * 3)
		return;
	while ((stats.row_bytes > stats.row_limit_bytes / 2 || stats.entries > UNWIND_MAX_DIRECTORY / 2) &&
	       (image = process_image_idle(pipeline->processes, now_ns, IMAGE_IDLE_NS))) {
		publish_drop_image(pipeline->publish, image->dir);
		image->has_table = false;
		image->state = PROCESS_IMAGE_NEW; /* the next process that maps it brings it back */
		publish_get_stats(pipeline->publish, &stats);
	}
}

static enum reason find_rule(void *publish, uint32_t dir, uint64_t vaddr, uint16_t *ret_rule)
{
	return publish_find_rule(publish, dir, vaddr, ret_rule);
}

static void want(void *publish, uint32_t dir, uint64_t vaddr)
{
	publish_want(publish, dir, vaddr);
}

static int find_escape(void *publish, uint32_t index, struct unwind_escape *ret_escape)
{
	return publish_find_escape(publish, index, ret_escape);
}

struct snapshot_rules pipeline_rules(struct pipeline *pipeline)
{
	return (struct snapshot_rules){ .find_rule = find_rule, .find_escape = find_escape, .want = want,
					.context = pipeline->publish };
}

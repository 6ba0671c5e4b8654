/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Part of the pipeline: files that were read and their rows on the way between resolve, publish, snapshot and the
 * process table. Takes resolve's answers on its thread, gives them to the pipeline's.
 */
#include "pipeline_private.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define IMAGE_IDLE_NS (2 * NS_PER_S)

/* On the resolve thread. Rows go into the kernel's maps here; what processes need to know of it is queued. */
void pipeline_image_done(void *context, uint32_t image, const struct symbolizer_image *description, int table_fd,
		       const struct symbolizer_table *table)
{
	struct pipeline *pipeline = context;
	struct image_news *news = calloc(1, sizeof(*news));
	uint64_t one = 1;

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
	pthread_mutex_lock(&pipeline->news_lock);
	news->next = pipeline->news;
	pipeline->news = news;
	pthread_mutex_unlock(&pipeline->news_lock);
	if (write(pipeline->news_fd, &one, sizeof(one)) < 0)
		log_debug("cannot wake the pipeline error=%s", strerror(errno));
}

/* On the resolve thread, too. */
void pipeline_pages_done(void *context, uint32_t image, const uint32_t *pages, size_t count, int table_fd,
		       const struct symbolizer_table *table)
{
	struct pipeline *pipeline = context;
	uint64_t one = 1;

	publish_pages(pipeline->publish, image, pages, count, table_fd, table);
	if (write(pipeline->news_fd, &one, sizeof(one)) < 0)
		log_debug("cannot wake the pipeline error=%s", strerror(errno));
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
	struct image_news *news, *next;

	pthread_mutex_lock(&pipeline->news_lock);
	news = pipeline->news;
	pipeline->news = NULL;
	pthread_mutex_unlock(&pipeline->news_lock);
	for (; news; news = next) {
		next = news->next;
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

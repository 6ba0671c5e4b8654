/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of resolve share: an agent's end with names, and callbacks that can be waited for. */
#ifndef RESOLVE_FIXTURE_H
#define RESOLVE_FIXTURE_H

#include "base/clean.h"
#include "base/clock.h"
#include "names.h"
#include "resolve.h"
#include "resolve_open.h"
#include "resolve_spawn.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MAX_IMAGES 64
#define WAIT_S 20

struct fixture {
	struct names *names;
	struct resolve *resolve;
	int parent_pid;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct done {
		unsigned calls;
		bool known, has_table;
		struct symbolizer_image description;
		struct symbolizer_table table;
		struct unwind_file head;
		unsigned pages_calls; /* of pages_done */
		size_t pages_good, pages_bad;
	} done[MAX_IMAGES];
};

static void on_image_done(void *context, uint32_t image, const struct symbolizer_image *description, int table_fd,
			  const struct symbolizer_table *table)
{
	struct fixture *fixture = context;
	struct done *done = &fixture->done[image];

	pthread_mutex_lock(&fixture->lock);
	done->calls++;
	done->known = description;
	done->has_table = table;
	if (description)
		done->description = *description;
	if (table) {
		done->table = *table;
		if (pread(table_fd, &done->head, sizeof(done->head), 0) != sizeof(done->head))
			done->has_table = false;
	}
	pthread_cond_broadcast(&fixture->changed);
	pthread_mutex_unlock(&fixture->lock);
}

static void on_pages_done(void *context, uint32_t image, const uint32_t *pages, size_t count, int table_fd,
			  const struct symbolizer_table *table)
{
	struct fixture *fixture = context;
	struct done *done = &fixture->done[image];

	(void)pages;
	pthread_mutex_lock(&fixture->lock);
	done->pages_calls++;
	if (table && pread(table_fd, &done->head, sizeof(done->head), 0) == sizeof(done->head))
		done->pages_good += count;
	else
		done->pages_bad += count;
	pthread_cond_broadcast(&fixture->changed);
	pthread_mutex_unlock(&fixture->lock);
}

/* Waits until `count` pages of the image were answered. */
static inline bool wait_pages(struct fixture *fixture, uint32_t image, size_t count)
{
	struct timespec until;
	bool done;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += WAIT_S;
	pthread_mutex_lock(&fixture->lock);
	while (fixture->done[image].pages_good + fixture->done[image].pages_bad < count &&
	       !pthread_cond_timedwait(&fixture->changed, &fixture->lock, &until))
		;
	done = fixture->done[image].pages_good + fixture->done[image].pages_bad == count;
	pthread_mutex_unlock(&fixture->lock);
	return done;
}

/* Waits until the callback came `calls` times for the image. */
static inline bool wait_image(struct fixture *fixture, uint32_t image, unsigned calls)
{
	struct timespec until;
	bool came;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += WAIT_S;
	pthread_mutex_lock(&fixture->lock);
	while (fixture->done[image].calls < calls &&
	       !pthread_cond_timedwait(&fixture->changed, &fixture->lock, &until))
		;
	came = fixture->done[image].calls >= calls;
	pthread_mutex_unlock(&fixture->lock);
	return came;
}

static inline struct fixture *fixture_new(int parent_socket)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	struct resolve_callbacks callbacks = { .image_done = on_image_done, .pages_done = on_pages_done,
					       .context = fixture };

	pthread_mutex_init(&fixture->lock, NULL);
	pthread_cond_init(&fixture->changed, NULL);
	fixture->names = names_new();
	spawn_without_exec(true);
	if (parent_socket < 0)
		parent_socket = resolve_spawn_parent(256 << 20, &fixture->parent_pid);
	if (parent_socket < 0 || resolve_new(parent_socket, fixture->names, &callbacks, &fixture->resolve))
		return NULL;
	return fixture;
}

static inline void fixture_free(struct fixture *fixture)
{
	resolve_free(fixture->resolve);
	names_free(fixture->names);
	free(fixture);
}

static inline const char *frame_name(struct fixture *fixture, uint32_t id)
{
	struct names_frame frame;

	names_get_frame(fixture->names, id, &frame);
	return frame.line_count ? names_get_string(fixture->names, frame.lines[frame.line_count - 1].name) : "";
}

static inline enum symbol_source frame_source(struct fixture *fixture, uint32_t id)
{
	struct names_frame frame;

	names_get_frame(fixture->names, id, &frame);
	return frame.state == NAMES_DONE ? frame.source : SYMBOL_SOURCE_COUNT;
}

static inline bool wait_names(struct fixture *fixture)
{
	resolve_names(fixture->resolve);
	return names_wait(fixture->names, WAIT_S * 1000);
}

#endif

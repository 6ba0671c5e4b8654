/* SPDX-License-Identifier: Apache-2.0 */
/* For tests of resolve: what it calls back, counted so that it can be waited for. */
#ifndef RESOLVE_CALLBACKS_H
#define RESOLVE_CALLBACKS_H

#include "names.h"
#include "resolve.h"

#include <pthread.h>
#include <stdbool.h>
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
		unsigned calls, checked, forgotten;
		uint64_t changed_ns;
		bool known, has_table;
		struct symbolizer_image description;
		struct symbolizer_table table;
		struct unwind_file head;
		unsigned pages_answered;
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

static void count_up(struct fixture *fixture, unsigned *count)
{
	pthread_mutex_lock(&fixture->lock);
	++*count;
	pthread_cond_broadcast(&fixture->changed);
	pthread_mutex_unlock(&fixture->lock);
}

static void on_image_checked(void *context, uint32_t image, uint64_t changed_ns)
{
	struct fixture *fixture = context;

	fixture->done[image].changed_ns = changed_ns;
	count_up(fixture, &fixture->done[image].checked);
}

static void on_image_forgotten(void *context, uint32_t image)
{
	struct fixture *fixture = context;

	count_up(fixture, &fixture->done[image].forgotten);
}

static void on_pages_done(void *context, uint32_t image, const uint32_t *pages, size_t count, int table_fd,
			  const struct symbolizer_table *table)
{
	struct fixture *fixture = context;
	struct done *done = &fixture->done[image];

	(void)pages;
	pthread_mutex_lock(&fixture->lock);
	done->pages_answered += (unsigned)count;
	if (table && pread(table_fd, &done->head, sizeof(done->head), 0) == sizeof(done->head))
		done->pages_good += count;
	else
		done->pages_bad += count;
	pthread_cond_broadcast(&fixture->changed);
	pthread_mutex_unlock(&fixture->lock);
}

/* Waits until a count of callbacks, one of fixture->done's, is that high. */
static inline bool wait_count(struct fixture *fixture, const unsigned *count, unsigned calls)
{
	struct timespec until;
	bool came;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += WAIT_S;
	pthread_mutex_lock(&fixture->lock);
	while (*count < calls && !pthread_cond_timedwait(&fixture->changed, &fixture->lock, &until))
		;
	came = *count >= calls;
	pthread_mutex_unlock(&fixture->lock);
	return came;
}

static inline bool wait_image(struct fixture *fixture, uint32_t image, unsigned calls)
{
	return wait_count(fixture, &fixture->done[image].calls, calls);
}

#endif

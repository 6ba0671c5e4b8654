/* SPDX-License-Identifier: Apache-2.0 */
/* Part of agent/serve: a job's answer, on a worker: wait a little for names, take the slices, query, encode. */
#include "serve_private.h"

#include "base/clock.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>

#define NAMES_WAIT_MS 2000
#define NAMES_STEP_MS 250 /* how long a hung-up client or the agent's end may go unseen */

/* false: nobody is there any more who wants the answer. */
static bool wait_for_names(struct serve *serve, struct serve_job *job)
{
	bool named = false, stopping, cancelled;

	for (unsigned waited = 0;; waited += NAMES_STEP_MS) {
		pthread_mutex_lock(&serve->lock);
		stopping = serve->stopping;
		cancelled = job->cancelled;
		pthread_mutex_unlock(&serve->lock);
		if (cancelled || named || stopping || waited >= NAMES_WAIT_MS)
			return !cancelled;
		named = names_wait(serve->sources.names, NAMES_STEP_MS);
	}
}

/*
 * A slice belongs to the range its start lies in, so that ranges that follow each other share none and miss none.
 * A range that lies inside one slice gets that slice.
 */
static size_t own_first(struct window *const *slices, size_t count, const struct serve_query *query)
{
	size_t first = 0;

	while (first < count && slices[first]->from_ns < query->from_ns && slices[first]->to_ns < query->to_ns)
		first++;
	return first;
}

static void show_range(struct serve *serve, const struct serve_query *query, struct window *const *slices,
		       size_t count, char *text, size_t size)
{
	const struct serve_sources *sources = &serve->sources;
	uint64_t from_ns = sources->monotonic_to_wall(sources->context, query->from_ns), to_ns = from_ns;
	char from[40], to[40];

	if (count) {
		const struct window *last = slices[count - 1];

		from_ns = slices[0]->from_wall_ns;
		to_ns = last->from_wall_ns + (last->to_ns - last->from_ns);
	}
	serve_show_time(from_ns, from, sizeof(from));
	serve_show_time(to_ns, to, sizeof(to));
	snprintf(text, size, "%s/%s", from, to);
}

static void encode(struct serve_job *job, const struct profile *profile)
{
	const struct exporter *exporter = job->query.exporter;
	struct exporter_request request = {
		.by = job->query.params[PARAM_BY], .value = job->query.params[PARAM_VALUE], .title = job->query.asked,
	};
	int status = exporter->encode(profile, &request, &job->answer.body);

	job->answer.mime = exporter->mime;
	job->answer.status = 200;
	if (status == -EINVAL)
		job->answer.status = 400; /* the sentence is in the body */
	else if (status == -EFBIG)
		serve_error(&job->answer, 400, "The answer would be too large; ask for less time or by a selector.");
	else if (status)
		serve_error(&job->answer, 503, "There is not enough memory for this answer.");
}

static void answer_slices(struct serve *serve, struct serve_job *job, struct window *const *slices, size_t count)
{
	struct profile *profile = NULL;
	char error[256] = "The query is not valid.";
	int status = query_profile(slices, count, &job->query.selector, serve->sources.names,
				   serve->sources.cgroups, &profile, error, sizeof(error));

	if (status == -EINVAL) {
		serve_error(&job->answer, 400, "%s.", error);
	} else if (status) {
		serve_error(&job->answer, 503, "There is not enough memory for this query; ask for less time.");
	} else {
		if (!count)
			profile->time_ns = serve->sources.monotonic_to_wall(serve->sources.context,
									    job->query.from_ns);
		encode(job, profile);
		show_range(serve, &job->query, slices, count, job->answer.range, sizeof(job->answer.range));
	}
	if (job->answer.status == 503)
		job->answer.retry_after_s = 5;
	profile_free(profile);
}

void serve_query_run(struct serve *serve, struct serve_job *job)
{
	const struct serve_query *query = &job->query;
	uint64_t oldest_ns, newest_ns;
	struct window **slices;
	size_t first;
	int count;

	if (store_span(serve->sources.store, &oldest_ns, &newest_ns) && query->to_ns <= oldest_ns) {
		serve_error(&job->answer, 410, "This range is no longer kept.");
		return;
	}
	if (!wait_for_names(serve, job))
		return;
	names_hold(serve->sources.names); /* windows that leave the store meanwhile keep their names */
	count = store_range(serve->sources.store, query->from_ns, query->to_ns, &slices);
	if (count < 0) {
		names_release(serve->sources.names);
		serve_error(&job->answer, 503, "There is not enough memory for this query; ask for less time.");
		return;
	}
	first = own_first(slices, (size_t)count, query);
	answer_slices(serve, job, slices + first, (size_t)count - first);
	store_release(slices, (size_t)count);
	names_release(serve->sources.names);
	malloc_trim(0); /* a big answer must not stay in the agent's resident size */
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Part of agent/serve: the life of a job, the two workers, and the watch, one thread that is the timer of all
 * waiters and deadlines and notices clients that hang up (libmicrohttpd does not look at a suspended socket).
 */
#include "serve_private.h"

#include "base/clock.h"
#include "privilege.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define GIVE_UP_NS (3 * NS_PER_S) /* a slice that is this late does not come any more */

void serve_wake(struct serve *serve)
{
	uint64_t one = 1;

	while (write(serve->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

void serve_job_free(struct serve_job *job)
{
	serve_query_done(&job->query);
	buf_done(&job->answer.body);
	free(job);
}

static struct serve_connection *find_connection(struct serve *serve, const struct MHD_Connection *connection)
{
	struct serve_connection *at = serve->connections;

	while (at && at->connection != connection)
		at = at->next;
	return at;
}

static void enqueue(struct serve *serve, struct serve_job *job)
{
	job->state = JOB_QUEUED;
	job->next = NULL;
	*serve->queue_end = job;
	serve->queue_end = &job->next;
	serve->queued++;
	pthread_cond_signal(&serve->work);
}

bool serve_job_submit(struct serve *serve, struct serve_job *job, struct serve_answer *answer)
{
	bool waits = job->query.waits, full;
	struct serve_connection *own;

	pthread_mutex_lock(&serve->lock);
	full = serve->stopping || !find_connection(serve, job->connection) || /* there was no memory to note it */
	       (waits ? serve->waiting >= SERVE_MAX_WAITERS : serve->queued >= SERVE_MAX_QUEUE);
	if (full) {
		serve->refused++;
	} else if (waits) {
		serve->waiting++;
	}
	pthread_mutex_unlock(&serve->lock);
	if (full) {
		serve_error(answer, 503, "Too many queries are running; try again in a few seconds.");
		answer->retry_after_s = waits ? 10 : 1;
		return false;
	}
	MHD_suspend_connection(job->connection);
	pthread_mutex_lock(&serve->lock);
	own = find_connection(serve, job->connection);
	own->job = job;
	own->deadline_ns = (waits ? job->query.to_ns : clock_monotonic_ns()) + SERVE_ANSWER_S * NS_PER_S;
	if (waits)
		job->state = JOB_WAITING;
	else
		enqueue(serve, job);
	pthread_mutex_unlock(&serve->lock);
	serve_wake(serve);
	return true;
}

/* With the lock held. true: the caller resumes the connection, without it. */
static bool finish_job(struct serve *serve, struct serve_connection *own)
{
	struct serve_job *job = own->job, **at = &serve->queue;

	if (job->state == JOB_RUNNING)
		return false; /* the worker sees `cancelled` and ends it */
	if (job->state == JOB_WAITING)
		serve->waiting--;
	if (job->state == JOB_QUEUED) {
		while (*at != job)
			at = &(*at)->next;
		*at = job->next;
		if (!*at)
			serve->queue_end = at;
		serve->queued--;
	}
	job->state = JOB_DONE;
	own->job = NULL;
	return true;
}

static void *worker_main(void *context)
{
	struct serve *serve = context;
	struct serve_job *job;

	privilege_calm();
	pthread_mutex_lock(&serve->lock);
	for (;;) {
		while (!serve->queue && !serve->quit)
			pthread_cond_wait(&serve->work, &serve->lock);
		job = serve->queue;
		if (!job)
			break;
		serve->queue = job->next;
		if (!serve->queue)
			serve->queue_end = &serve->queue;
		serve->queued--;
		job->state = JOB_RUNNING;
		pthread_mutex_unlock(&serve->lock);
		serve_query_run(serve, job);
		pthread_mutex_lock(&serve->lock);
		job->state = JOB_DONE;
		find_connection(serve, job->connection)->job = NULL;
		pthread_mutex_unlock(&serve->lock);
		MHD_resume_connection(job->connection);
		pthread_mutex_lock(&serve->lock);
	}
	pthread_mutex_unlock(&serve->lock);
	return NULL;
}

struct round { /* what the watch looks at between two sleeps */
	struct pollfd polls[SERVE_MAX_CONNECTIONS + 1];
	struct serve_job *jobs[SERVE_MAX_CONNECTIONS + 1];
	size_t count;
	uint64_t next_ns;
};

static void earlier(uint64_t *next_ns, uint64_t at_ns)
{
	if (at_ns < *next_ns)
		*next_ns = at_ns;
}

/* With the lock held: starts what is due, ends what took too long, and says when to look again. */
static void look(struct serve *serve, struct round *round)
{
	uint64_t now_ns = clock_monotonic_ns();

	round->polls[0] = (struct pollfd){ .fd = serve->wake_fd, .events = POLLIN };
	round->count = 1;
	round->next_ns = UINT64_MAX;
	for (struct serve_connection *at = serve->connections; at; at = at->next) {
		struct serve_job *job = at->job;

		if (job && job->state == JOB_WAITING) {
			uint64_t end_ns = job->query.to_ns;

			if (serve->newest_ns >= end_ns || now_ns >= end_ns + GIVE_UP_NS || serve->stopping) {
				serve->waiting--;
				enqueue(serve, job);
			} else {
				earlier(&round->next_ns, end_ns + GIVE_UP_NS);
			}
		}
		if (at->deadline_ns <= now_ns) {
			shutdown(at->fd, SHUT_RDWR); /* libmicrohttpd, or the poll below, then sees its end */
			at->deadline_ns = UINT64_MAX;
		}
		earlier(&round->next_ns, at->deadline_ns);
		if (job && !job->cancelled && round->count <= SERVE_MAX_CONNECTIONS) {
			round->jobs[round->count] = job;
			round->polls[round->count++] = (struct pollfd){ .fd = at->fd, .events = POLLRDHUP };
		}
	}
}

/* A descriptor may have been closed and used again meanwhile: only a look with the lock held counts. */
static void hang_up(struct serve *serve, struct serve_job *suspect)
{
	struct serve_connection *at;
	struct pollfd again;
	bool resume = false;
	struct MHD_Connection *connection = NULL;

	pthread_mutex_lock(&serve->lock);
	for (at = serve->connections; at && at->job != suspect; at = at->next)
		;
	if (at) {
		again = (struct pollfd){ .fd = at->fd, .events = POLLRDHUP };
		if (poll(&again, 1, 0) == 1) {
			suspect->cancelled = true;
			connection = at->connection;
			resume = finish_job(serve, at);
		}
	}
	pthread_mutex_unlock(&serve->lock);
	if (resume)
		MHD_resume_connection(connection);
}

static int sleep_ms(uint64_t next_ns)
{
	uint64_t now_ns = clock_monotonic_ns();

	if (next_ns == UINT64_MAX)
		return -1;
	return next_ns <= now_ns ? 0 : (int)((next_ns - now_ns) / NS_PER_MS) + 1;
}

static void *watch_main(void *context)
{
	struct serve *serve = context;
	struct round round;
	uint64_t drained;
	bool quit;

	for (;;) {
		pthread_mutex_lock(&serve->lock);
		look(serve, &round);
		quit = serve->quit;
		pthread_mutex_unlock(&serve->lock);
		if (quit)
			return NULL;
		if (poll(round.polls, round.count, sleep_ms(round.next_ns)) <= 0)
			continue;
		if (round.polls[0].revents && read(serve->wake_fd, &drained, sizeof(drained)) < 0 && errno != EAGAIN)
			return NULL;
		for (size_t i = 1; i < round.count; i++)
			if (round.polls[i].revents)
				hang_up(serve, round.jobs[i]);
	}
}

int serve_work_start(struct serve *serve)
{
	serve->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (serve->wake_fd < 0)
		return -errno;
	for (; serve->worker_count < SERVE_WORKERS; serve->worker_count++)
		if (pthread_create(&serve->workers[serve->worker_count], NULL, worker_main, serve))
			return -EAGAIN;
	if (pthread_create(&serve->watch, NULL, watch_main, serve))
		return -EAGAIN;
	serve->watching = true;
	return 0;
}

static bool any_busy(const struct serve *serve)
{
	const struct serve_connection *at = serve->connections;

	while (at && !at->busy)
		at = at->next;
	return at != NULL;
}

/* Waiters are answered with what is there; libmicrohttpd must not be stopped while a connection is suspended. */
void serve_work_stop(struct serve *serve)
{
	uint64_t until_ns = clock_wall_ns() + NS_PER_S / 2;
	struct timespec until = { .tv_sec = (time_t)(until_ns / NS_PER_S), .tv_nsec = (long)(until_ns % NS_PER_S) };
	int status = 0;

	pthread_mutex_lock(&serve->lock);
	serve->stopping = true;
	if (serve->wake_fd >= 0)
		serve_wake(serve);
	while (serve->daemon && any_busy(serve) && status != ETIMEDOUT)
		status = pthread_cond_timedwait(&serve->idle, &serve->lock, &until);
	serve->quit = true;
	pthread_cond_broadcast(&serve->work);
	pthread_mutex_unlock(&serve->lock);
	if (serve->wake_fd >= 0)
		serve_wake(serve);
	for (unsigned i = 0; i < serve->worker_count; i++) /* they empty the queue first */
		pthread_join(serve->workers[i], NULL);
	if (serve->watching)
		pthread_join(serve->watch, NULL);
}

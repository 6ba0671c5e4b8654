/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stage "symbolize", the agent's end. Takes images that were mapped and frames that have no names, gives
 * descriptions, row tables and lines. One thread turns a loop: frames and requests in, a request to each free
 * child (resolve_work.c), wait for answers. Files are opened in resolve_open.c, kept in resolve_subject.c.
 */
#include "resolve_check.h"
#include "resolve_child.h"
#include "resolve_spawn.h"
#include "resolve_subject.h"
#include "resolve_work.h"

#include "base/clean.h"
#include "base/clock.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>

#define MAX_QUEUE 65536  /* requests that wait to be opened */
#define TURN_REQUESTS 32 /* opened in one turn, then children get their due */
#define BUSY_MS 200      /* something waits for a time rather than for an answer */

struct queued_pages {
	struct queued_pages *next;
	uint32_t image;
	size_t count;
	uint32_t pages[];
};

static void wake(struct resolve *resolve)
{
	uint64_t one = 1;

	/* It fails only when the counter is full, and then the thread is awake. */
	if (write(resolve->wake_fd, &one, sizeof(one)) < 0)
		return;
}

/* Frames first, requests second: whoever made a frame had asked for its image before. */
static void take_frames(struct resolve *resolve)
{
	uint32_t ids[SYMBOLIZER_MAX_ADDRESSES], id;
	uint64_t addresses[SYMBOLIZER_MAX_ADDRESSES];
	size_t count;

	while ((count = names_take_unasked(resolve->names, SYMBOLIZER_MAX_ADDRESSES, &id, ids, addresses))) {
		struct image *image = subject_image(resolve, id);

		if (image) {
			subject_add_frames(resolve, image, ids, count);
			continue;
		}
		for (size_t at = 0; at < count; at++)
			names_set_lines(resolve->names, ids[at], SYMBOL_LIMIT, NULL, 0);
	}
}

struct queued_request *resolve_pop(struct resolve *resolve, bool only_check)
{
	struct queued_request *queued;

	pthread_mutex_lock(&resolve->lock);
	queued = STAILQ_FIRST(&resolve->queue);
	if (queued && only_check && !queued->request.check)
		queued = NULL;
	if (queued) {
		STAILQ_REMOVE_HEAD(&resolve->queue, link);
		resolve->queue_length--;
	}
	pthread_mutex_unlock(&resolve->lock);
	return queued;
}

/* True: there are more. */
static bool take_requests(struct resolve *resolve)
{
	for (int at = 0; at < TURN_REQUESTS && !atomic_load(&resolve->stop); at++) {
		auto_free struct queued_request *queued = resolve_pop(resolve, false);

		if (!queued)
			return false;
		if (queued->request.forget)
			subject_forget(resolve, queued->request.image);
		else if (queued->request.check)
			check_take_request(resolve, &queued->request);
		else
			subject_take_request(resolve, &queued->request);
	}
	return true;
}

static void take_pages(struct resolve *resolve)
{
	struct queued_pages *queued;

	pthread_mutex_lock(&resolve->lock);
	queued = resolve->queued_pages;
	resolve->queued_pages = NULL;
	pthread_mutex_unlock(&resolve->lock);
	while (queued) {
		auto_free struct queued_pages *first = queued;

		queued = first->next;
		subject_add_pages(resolve, first->image, first->pages, first->count);
	}
}

static void wait_and_answer(struct resolve *resolve, int timeout_ms)
{
	struct pollfd fds[2 + RESOLVE_MAX_CHILDREN] = {
		{ .fd = resolve->wake_fd, .events = POLLIN },
		{ .fd = resolve->parent_socket, .events = POLLIN },
	};
	uint64_t now_ns, count;

	for (size_t at = 0; at < RESOLVE_MAX_CHILDREN; at++)
		fds[2 + at] = (struct pollfd){ .fd = resolve->children[at].socket, .events = POLLIN };
	if (poll(fds, array_size(fds), timeout_ms) < 0)
		return;
	now_ns = clock_monotonic_ns();
	if (fds[0].revents && read(resolve->wake_fd, &count, sizeof(count)) < 0)
		return;
	for (size_t at = 0; at < RESOLVE_MAX_CHILDREN; at++)
		if (fds[2 + at].revents && resolve->children[at].socket == fds[2 + at].fd)
			work_answer(resolve, &resolve->children[at], now_ns);
	if (fds[1].revents) /* it never says anything: this is its end */
		work_parent_died(resolve, now_ns);
	work_deadlines(resolve, now_ns);
}

static void *run(void *argument)
{
	struct resolve *resolve = argument;

	prctl(PR_SET_NAME, "wick-resolve");
	while (!atomic_load(&resolve->stop)) {
		bool more;

		take_frames(resolve);
		more = take_requests(resolve);
		take_pages(resolve);
		if (!more)
			subject_settle_homeless(resolve);
		work_step(resolve, clock_monotonic_ns());
		wait_and_answer(resolve, more ? 0 : resolve->active || resolve->parent_socket < 0 ? BUSY_MS : -1);
	}
	return NULL;
}

/* Signals are the main thread's. */
static int start_thread(struct resolve *resolve)
{
	sigset_t all, old;
	int error;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	error = pthread_create(&resolve->thread, NULL, run, resolve);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -error;
}

static int make_kernel(struct resolve *resolve)
{
	struct image *image = subject_image(resolve, NAMES_IMAGE_KERNEL);

	if (!image)
		return -ENOMEM;
	resolve->kernel.kind = SYMBOLIZER_KALLSYMS;
	resolve->kernel.fd = resolve->kernel.debug_fd = -1;
	resolve->kernel.images = image;
	image->subject = &resolve->kernel;
	return 0;
}

static void free_parts(struct resolve *resolve)
{
	struct queued_request *queued;
	struct queued_pages *pages;

	while ((queued = resolve_pop(resolve, false)))
		free(queued);
	while ((pages = resolve->queued_pages)) {
		resolve->queued_pages = pages->next;
		free(pages);
	}
	for (size_t at = 0; at < RESOLVE_MAX_CHILDREN; at++)
		work_close_child(resolve, &resolve->children[at]);
	if (resolve->parent_socket >= 0)
		close(resolve->parent_socket);
	if (resolve->wake_fd >= 0)
		close(resolve->wake_fd);
	subject_free_all(resolve);
	pthread_mutex_destroy(&resolve->lock);
	free(resolve);
}

int resolve_new(int parent_socket, struct names *names, const struct resolve_callbacks *callbacks,
		struct resolve **ret_resolve)
{
	struct resolve *resolve = calloc(1, sizeof(*resolve));
	int error;

	if (!resolve)
		return -ENOMEM;
	pthread_mutex_init(&resolve->lock, NULL);
	resolve->names = names;
	resolve->callbacks = *callbacks;
	resolve->parent_socket = parent_socket;
	STAILQ_INIT(&resolve->queue);
	for (size_t at = 0; at < RESOLVE_MAX_CHILDREN; at++)
		resolve->children[at].socket = resolve->children[at].table_fd = -1;
	hmap_init(&resolve->subjects, sizeof(struct open_identity),
		  sizeof(struct open_identity) + sizeof(struct subject *), RESOLVE_MAX_SUBJECTS);
	resolve->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	error = resolve->wake_fd < 0 ? -errno : make_kernel(resolve);
	if (!error)
		error = start_thread(resolve);
	if (error) {
		resolve->parent_socket = -1; /* the caller's still */
		free_parts(resolve);
		return error;
	}
	*ret_resolve = resolve;
	return 0;
}

void resolve_free(struct resolve *resolve)
{
	if (!resolve)
		return;
	atomic_store(&resolve->stop, true);
	wake(resolve);
	pthread_join(resolve->thread, NULL);
	free_parts(resolve);
}

int resolve_image(struct resolve *resolve, const struct resolve_image_request *request)
{
	size_t path_bytes = request->path ? strlen(request->path) + 1 : 0;
	struct queued_request *queued;
	bool full;

	queued = malloc(sizeof(*queued) + path_bytes);
	if (!queued)
		return -ENOMEM;
	queued->request = *request;
	if (request->path)
		queued->request.path = memcpy(queued->path, request->path, path_bytes);
	pthread_mutex_lock(&resolve->lock);
	full = resolve->queue_length >= MAX_QUEUE;
	if (!full && request->check) /* a slice waits for it, and its image was opened long ago */
		STAILQ_INSERT_HEAD(&resolve->queue, queued, link);
	else if (!full)
		STAILQ_INSERT_TAIL(&resolve->queue, queued, link);
	resolve->queue_length += !full;
	pthread_mutex_unlock(&resolve->lock);
	if (full) {
		atomic_fetch_add(&resolve->failed, 1);
		free(queued);
		return -ENOSPC;
	}
	wake(resolve);
	return 0;
}

int resolve_pages(struct resolve *resolve, uint32_t image, const uint32_t *pages, size_t count)
{
	struct queued_pages *queued = malloc(sizeof(*queued) + count * sizeof(*pages));

	if (!queued)
		return -ENOMEM;
	queued->image = image;
	queued->count = count;
	memcpy(queued->pages, pages, count * sizeof(*pages));
	pthread_mutex_lock(&resolve->lock);
	queued->next = resolve->queued_pages;
	resolve->queued_pages = queued;
	pthread_mutex_unlock(&resolve->lock);
	wake(resolve);
	return 0;
}

void resolve_names(struct resolve *resolve)
{
	wake(resolve);
}

void resolve_kernel_changed(struct resolve *resolve)
{
	atomic_store(&resolve->kernel_changed, true);
}

int resolve_open_child(struct resolve *resolve, int fd, uint32_t kind)
{
	int result;

	pthread_mutex_lock(&resolve->lock);
	result = resolve->parent_socket < 0 ? -ENOTCONN : child_open(resolve->parent_socket, fd, kind, false);
	pthread_mutex_unlock(&resolve->lock);
	return result;
}

void resolve_get_stats(struct resolve *resolve, struct resolve_stats *ret_stats)
{
	*ret_stats = (struct resolve_stats){
		.cpu_ns = spawn_cpu_ns(), .images = atomic_load(&resolve->images_opened), .failed = atomic_load(&resolve->failed),
		.children = atomic_load(&resolve->children_alive), .deaths = atomic_load(&resolve->deaths),
		.quarantined = atomic_load(&resolve->quarantined), .timeouts = atomic_load(&resolve->timeouts),
		.stuck = open_stuck(),
	};
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is asked of whom: takes subjects with something to do and free children, gives each child one request at
 * a time, in the order describe, table, pages to one of them, debug file, names to another. A child that dies over a
 * request costs its file a retry, the second death a quarantine; nobody else notices.
 */
#include "resolve_check.h"
#include "resolve_child.h"
#include "resolve_frames.h"
#include "resolve_jit.h"
#include "resolve_spawn.h"
#include "resolve_subject.h"
#include "resolve_work.h"

#include "base/clean.h"
#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#define PARENT_AGAIN_MS 1000 /* between two tries to start a parent */

static void close_table(struct child *child)
{
	if (child->table_fd >= 0)
		close(steal_fd(&child->table_fd));
}

void work_close_child(struct resolve *resolve, struct child *child)
{
	if (child->socket < 0)
		return;
	if (child->op == SYMBOLIZER_NAMES)
		frames_give_back(resolve, child);
	close(steal_fd(&child->socket));
	atomic_fetch_sub(&resolve->children_alive, 1);
	close_table(child);
	child->subject->children[child->lane] = NULL;
	child->subject = NULL;
	child->op = 0;
}

/* Those of the subject that were last asked for the image; NULL: all. */
void work_close_children(struct resolve *resolve, struct subject *subject, const struct image *image)
{
	for (size_t lane = 0; lane < LANE_COUNT; lane++)
		if (subject->children[lane] && (!image || subject->children[lane]->image == image))
			work_close_child(resolve, subject->children[lane]);
}

/* The request in flight failed with its child. `blame`: it may be the file that did it. */
static void child_died(struct resolve *resolve, struct child *child, bool blame, uint64_t now_ns)
{
	struct subject *subject = child->subject;

	if (!child->op || !blame) {
		if (child->op)
			subject_activate(resolve, subject);
		work_close_child(resolve, child);
		return;
	}
	atomic_fetch_add(&resolve->deaths, 1);
	if (child->op == SYMBOLIZER_DEBUG) { /* the image can do without it */
		open_close(subject->debug_fd);
		subject->debug_fd = -1;
	}
	if (now_ns - subject->died_ns > RESOLVE_QUARANTINE_S * NS_PER_S)
		subject->deaths = 0;
	subject->deaths++;
	subject->died_ns = now_ns;
	if (subject->deaths >= RESOLVE_MAX_DEATHS) {
		atomic_fetch_add(&resolve->quarantined, 1);
		subject->not_before_ns = now_ns + RESOLVE_QUARANTINE_S * NS_PER_S;
		subject->is_closed = subject->kind != SYMBOLIZER_KALLSYMS;
		if (child->op == SYMBOLIZER_NAMES)
			frames_give_up(resolve, child, SYMBOL_DIED);
		subject_fail(resolve, subject, SYMBOL_DIED);
	}
	work_close_child(resolve, child);
	subject_activate(resolve, subject);
}

/* A free place; if need be that of the child that has been idle longest. NULL: all are at work. */
static struct child *find_place(struct resolve *resolve, enum lane lane)
{
	struct child *idle = NULL;

	for (size_t at = lane == LANE_ROWS ? 0 : RESOLVE_ROWS_CHILDREN; at < RESOLVE_MAX_CHILDREN; at++) {
		struct child *child = &resolve->children[at];

		if (child->socket < 0)
			return child;
		if (!child->op && (!idle || child->used_ns < idle->used_ns))
			idle = child;
	}
	if (idle)
		work_close_child(resolve, idle);
	return idle;
}

static int start_child(struct resolve *resolve, struct subject *subject, enum lane lane, uint64_t now_ns)
{
	struct child *child = find_place(resolve, lane);
	int error;

	if (!child || resolve->parent_socket < 0)
		return -EAGAIN;
	error = subject_open_fd(resolve, subject);
	if (error)
		return error == -EAGAIN ? -EIO : error;
	child->socket = child_open(resolve->parent_socket, subject->fd, subject->kind, lane == LANE_ROWS);
	if (subject->kind == SYMBOLIZER_KALLSYMS) { /* a reading of its own for each child */
		close(steal_fd(&subject->fd));
		atomic_store(&resolve->kernel_changed, false);
	}
	if (child->socket < 0) {
		child->socket = -1;
		return -EAGAIN; /* the parent is busy or gone: the next turn tries again */
	}
	atomic_fetch_add(&resolve->children_alive, 1);
	child->subject = subject;
	child->lane = lane;
	child->op = 0;
	child->started_ns = child->used_ns = now_ns;
	child->debug_sent = false;
	child->table_fd = -1;
	subject->children[lane] = child;
	return 0;
}

static void ask(struct resolve *resolve, struct child *child, enum symbolizer_op op, int fd,
		const uint64_t *addresses, uint64_t now_ns)
{
	struct symbolizer_request request = { .op = op, .id = ++resolve->last_request_id,
					      .count = addresses ? child->count : 0,
					      .kind = jit_is_frozen(child->subject) ? SYMBOLIZER_FROZEN : 0 };

	child->op = op;
	child->request_id = request.id;
	child->used_ns = now_ns;
	child->deadline_ns = now_ns + RESOLVE_REQUEST_S * NS_PER_S;
	/* It ended just now, of idleness or by somebody's hand: not the file's fault, it was not even asked. */
	if (child_send(child->socket, &request, fd, addresses))
		child_died(resolve, child, false, now_ns);
}

static int compare_pages(const void *left, const void *right)
{
	const uint32_t *a = left, *b = right;

	return *a < *b ? -1 : *a > *b;
}

/* The image's file: its small table, or which pages there are; else the rows of some of its pages. */
static void ask_table(struct resolve *resolve, struct child *child, struct image *image, uint64_t now_ns)
{
	uint64_t pages[SYMBOLIZER_MAX_ADDRESSES];

	child->image = image;
	child->count = 0;
	if (!image->wants_table) {
		qsort(image->pages, image->page_count, sizeof(*image->pages), compare_pages);
		while (child->count < image->page_count && child->count < SYMBOLIZER_MAX_ADDRESSES) {
			pages[child->count] = image->pages[child->count];
			child->count++;
		}
	}
	child->table_fd = memfd_create("wick-rows", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (child->table_fd >= 0) {
		ask(resolve, child, SYMBOLIZER_TABLE, child->table_fd, child->count ? pages : NULL, now_ns);
		return;
	}
	if (child->count) {
		subject_answer_pages(resolve, image, child->count, -1, NULL);
		return;
	}
	image->wants_table = false;
	resolve->callbacks.image_done(resolve->callbacks.context, image->request.image,
				      child->subject->description, -1, NULL);
}

/* True: a debug file was sent along and its answer is awaited. */
static bool ask_debug(struct resolve *resolve, struct child *child, uint64_t now_ns)
{
	struct subject *subject = child->subject;

	if (child->debug_sent || subject->description->has_dwarf)
		return false;
	if (subject->debug_fd < 0 && !subject->debug_done && subject_open_debug(resolve, subject))
		subject->debug_done = true;
	if (subject->debug_fd < 0)
		return false;
	ask(resolve, child, SYMBOLIZER_DEBUG, subject->debug_fd, NULL, now_ns);
	return true;
}

static void ask_names(struct resolve *resolve, struct child *child, struct image *image, uint64_t now_ns)
{
	uint64_t addresses[SYMBOLIZER_MAX_ADDRESSES];

	child->image = image;
	if (frames_compose(resolve, child, addresses))
		ask(resolve, child, SYMBOLIZER_NAMES, -1, addresses, now_ns);
}

static struct image *wants_rows(const struct subject *subject)
{
	struct image *image = subject->images;

	while (image && !image->wants_table && !image->page_count)
		image = image->next;
	return image;
}

static struct image *wants_names(const struct subject *subject)
{
	struct image *image = subject->images;

	while (image && !image->id_count)
		image = image->next;
	return image;
}

/* Without a description nothing else can be asked. */
static bool has_work(const struct subject *subject, enum lane lane)
{
	bool described = subject->kind != SYMBOLIZER_ELF || subject->description;

	if (lane == LANE_ROWS)
		return !described || wants_rows(subject);
	return described && wants_names(subject);
}

/* The next request for a child that is free. */
static void ask_next(struct resolve *resolve, struct subject *subject, struct child *child, uint64_t now_ns)
{
	bool is_elf = subject->kind == SYMBOLIZER_ELF;

	if (child->lane == LANE_NAMES) {
		if (!is_elf || !ask_debug(resolve, child, now_ns))
			ask_names(resolve, child, wants_names(subject), now_ns);
	} else if (is_elf && !subject->description) {
		ask(resolve, child, SYMBOLIZER_DESCRIBE, -1, NULL, now_ns);
	} else {
		ask_table(resolve, child, wants_rows(subject), now_ns);
	}
}

/* 0, also if its child has yet to answer, or negative errno: no child can be had. */
static int step_lane(struct resolve *resolve, struct subject *subject, enum lane lane, uint64_t now_ns)
{
	struct child *child = subject->children[lane];
	int error = 0;

	if (!has_work(subject, lane) || (child && child->op))
		return 0;
	if (child && subject == &resolve->kernel && atomic_load(&resolve->kernel_changed) &&
	    now_ns - child->started_ns >= RESOLVE_KALLSYMS_S * NS_PER_S) {
		work_close_child(resolve, child);
		child = NULL;
	}
	if (!child)
		error = start_child(resolve, subject, lane, now_ns);
	if (!error)
		ask_next(resolve, subject, subject->children[lane], now_ns);
	return error == -EAGAIN ? 0 : error;
}

/* True: it stays on the list of those with something to do. */
static bool step_subject(struct resolve *resolve, struct subject *subject, uint64_t now_ns)
{
	int error;

	if (!subject_has_work(subject))
		return false;
	if (now_ns < subject->not_before_ns) {
		if (subject->is_closed) /* quarantined */
			subject_fail(resolve, subject, SYMBOL_DIED);
		return true;
	}
	subject->is_closed = false;
	error = step_lane(resolve, subject, LANE_ROWS, now_ns);
	if (!error)
		error = step_lane(resolve, subject, LANE_NAMES, now_ns);
	if (error && subject->kind == SYMBOLIZER_PERF_MAP)
		jit_refuse(resolve, subject, now_ns);
	else if (error)
		subject_fail(resolve, subject, subject_reason(error));
	return true;
}

/* The old one is the caller's to close. */
static int set_parent(struct resolve *resolve, int socket)
{
	int old;

	pthread_mutex_lock(&resolve->lock);
	old = resolve->parent_socket;
	resolve->parent_socket = socket < 0 ? -1 : socket;
	pthread_mutex_unlock(&resolve->lock);
	return old;
}

static void start_parent(struct resolve *resolve, uint64_t now_ns)
{
	if (resolve->parent_socket >= 0 || now_ns - resolve->parent_tried_ns < PARENT_AGAIN_MS * NS_PER_MS)
		return;
	resolve->parent_tried_ns = now_ns;
	set_parent(resolve, spawn_again());
}

void work_step(struct resolve *resolve, uint64_t now_ns)
{
	struct subject *list = resolve->active;

	start_parent(resolve, now_ns);
	resolve->active = NULL;
	while (list) {
		struct subject *subject = list;

		check_take_waiting(resolve); /* a slice waits for the answer */
		list = subject->next_active;
		subject->is_active = false;
		if (step_subject(resolve, subject, now_ns))
			subject_activate(resolve, subject);
	}
}

static void set_description(struct resolve *resolve, struct subject *subject, const struct symbolizer_image *from)
{
	if (from->reply.error) { /* what is no ELF file of this machine now will not be one later */
		subject->failed = from->reply.error == -ENOMEM ? SYMBOL_LIMIT : SYMBOL_REFUSED;
		subject_fail(resolve, subject, subject->failed);
		return;
	}
	subject->description = malloc(sizeof(*from));
	if (!subject->description)
		subject_fail(resolve, subject, SYMBOL_LIMIT);
	else
		memcpy(subject->description, from, sizeof(*from));
}

/* Sealed, so that what is checked now stays so; a child that still maps it for writing is refused. */
static void take_table(struct resolve *resolve, struct child *child, struct symbolizer_table *table)
{
	struct image *image = child->image;
	bool good = !table->reply.error &&
		    !fcntl(child->table_fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);

	if (child->count) {
		if (child->count > image->page_count) /* its file has failed meanwhile */
			child->count = (uint32_t)image->page_count;
		subject_answer_pages(resolve, image, child->count, good ? child->table_fd : -1, good ? table : NULL);
	} else if (image->wants_table) {
		resolve->callbacks.image_done(resolve->callbacks.context, image->request.image,
					      child->subject->description, good ? child->table_fd : -1,
					      good ? table : NULL);
		image->wants_table = false;
	}
	close_table(child);
}

static int take_debug(struct child *child, size_t bytes, const void *packet)
{
	struct subject *subject = child->subject;
	struct symbolizer_reply reply;
	int error = child_check_reply(packet, bytes, child->request_id, SYMBOLIZER_DEBUG, &reply);

	if (error)
		return error;
	if (!reply.error) {
		child->debug_sent = true;
		subject->debug_done = true;
		return 0;
	}
	/* Another build's, or nothing in it: the next candidate, unless this one had served before. */
	open_close(subject->debug_fd);
	subject->debug_fd = -1;
	return 0;
}

static int take_answer(struct resolve *resolve, struct child *child, size_t bytes, bool *ret_more)
{
	struct symbolizer_image image;
	struct symbolizer_table table;
	int error;

	switch (child->op) {
	case SYMBOLIZER_DESCRIBE:
		error = child_check_image(resolve->packet, bytes, child->request_id, &image);
		if (!error)
			set_description(resolve, child->subject, &image);
		return error;
	case SYMBOLIZER_TABLE:
		error = child_check_table(resolve->packet, bytes, child->request_id, &table);
		if (!error)
			take_table(resolve, child, &table);
		return error;
	case SYMBOLIZER_DEBUG:
		return take_debug(child, bytes, resolve->packet);
	case SYMBOLIZER_NAMES:
		return frames_take(resolve, child, bytes, ret_more);
	default:
		return -EPROTO; /* nobody asked */
	}
}

/* Whether the parent has gone too: then its children were killed with it and their files did nothing. */
static bool parent_is_dead(struct resolve *resolve)
{
	return resolve->parent_socket < 0 || child_receive(resolve->parent_socket, resolve->packet) != -EAGAIN;
}

void work_answer(struct resolve *resolve, struct child *child, uint64_t now_ns)
{
	struct subject *subject = child->subject;
	int got = child_receive(child->socket, resolve->packet);
	bool more = false;

	if (got == -EAGAIN)
		return;
	if (got <= 0) {
		child_died(resolve, child, got == -EPROTO || !parent_is_dead(resolve), now_ns);
		return;
	}
	if (take_answer(resolve, child, (size_t)got, &more)) {
		child_died(resolve, child, true, now_ns);
		return;
	}
	child->used_ns = now_ns;
	if (!more)
		child->op = 0;
	subject_activate(resolve, subject);
}

void work_deadlines(struct resolve *resolve, uint64_t now_ns)
{
	for (size_t at = 0; at < RESOLVE_MAX_CHILDREN; at++) {
		struct child *child = &resolve->children[at];

		if (child->socket < 0 || !child->op || now_ns < child->deadline_ns)
			continue;
		atomic_fetch_add(&resolve->timeouts, 1);
		child_died(resolve, child, true, now_ns);
	}
}

/* Somebody killed the parent, and with it, or a moment before it, every child. */
void work_parent_died(struct resolve *resolve, uint64_t now_ns)
{
	for (size_t at = 0; at < RESOLVE_MAX_CHILDREN; at++) {
		struct child *child = &resolve->children[at];

		if (child->socket < 0)
			continue;
		child_died(resolve, child, false, now_ns);
	}
	close(set_parent(resolve, -1));
	subject_forgive(resolve, now_ns);
}

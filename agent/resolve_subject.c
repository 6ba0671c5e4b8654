/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which file an image is, and its descriptor: takes requests by the agent's image ids, gives subjects, one per
 * (device, inode, size, times), so that two ids of one file share a child. Owns both tables and at most
 * RESOLVE_MAX_FDS descriptors; a file whose descriptor was given up is opened again as it was the first time.
 */
#include "resolve_check.h"
#include "resolve_jit.h"
#include "resolve_subject.h"
#include "resolve_work.h"

#include "base/clean.h"
#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define BLAME_S 3 /* deaths so shortly before the parent's were somebody's doing */

struct subject_entry {
	struct open_identity identity;
	struct subject *subject;
};

enum symbol_source subject_reason(int error)
{
	switch (error) {
	case -ENOENT:
	case -ESRCH:
	case -ENOTDIR:
		return SYMBOL_NO_FILE;
	case -ESTALE:
		return SYMBOL_CHANGED;
	case -ETIMEDOUT:
	case -EBUSY:
		return SYMBOL_TIMEOUT;
	case -ENOMEM:
	case -EFBIG:
	case -EMFILE:
	case -ENFILE:
		return SYMBOL_LIMIT;
	default:
		return SYMBOL_REFUSED;
	}
}

struct image *subject_image(struct resolve *resolve, uint32_t id)
{
	size_t capacity = resolve->image_capacity ? resolve->image_capacity : 64;
	struct image **images;

	if (id >= RESOLVE_MAX_IMAGES)
		return NULL;
	while (capacity <= id)
		capacity *= 2;
	if (capacity != resolve->image_capacity) {
		images = realloc(resolve->images, capacity * sizeof(struct image *));
		if (!images)
			return NULL;
		memset(images + resolve->image_capacity, 0,
		       (capacity - resolve->image_capacity) * sizeof(struct image *));
		resolve->images = images;
		resolve->image_capacity = capacity;
	}
	if (!resolve->images[id]) {
		resolve->images[id] = calloc(1, sizeof(struct image));
		if (resolve->images[id]) {
			resolve->images[id]->request.image = id;
			resolve->images[id]->reason = SYMBOL_ANONYMOUS; /* nobody asked to open it */
		}
	}
	return resolve->images[id];
}

static void close_fds(struct subject *subject)
{
	if (subject->debug_fd >= 0) { /* it was the right one: the next child finds it again */
		subject->debug_candidate--;
		subject->debug_done = false;
	}
	open_close(subject->fd);
	open_close(subject->debug_fd);
	subject->fd = subject->debug_fd = -1;
}

/* A place among those that keep descriptors, if need be at the cost of the one not used longest. */
void subject_hold(struct resolve *resolve, struct subject *subject)
{
	size_t place = 0;

	subject->fd_used_ns = clock_monotonic_ns();
	for (size_t at = 0; at < array_size(resolve->holders); at++)
		if (resolve->holders[at] == subject)
			return;
	for (size_t at = 0; at < array_size(resolve->holders) && resolve->holders[place]; at++)
		if (!resolve->holders[at] ||
		    resolve->holders[at]->fd_used_ns < resolve->holders[place]->fd_used_ns)
			place = at;
	if (resolve->holders[place])
		close_fds(resolve->holders[place]);
	resolve->holders[place] = subject;
}

struct subject *subject_make(struct resolve *resolve, const struct open_identity *identity)
{
	struct subject_entry *entry;
	bool is_new;

	entry = hmap_insert(&resolve->subjects, identity, &is_new);
	if (!entry)
		return NULL;
	if (!is_new)
		return entry->subject;
	entry->subject = calloc(1, sizeof(*entry->subject));
	if (!entry->subject) {
		hmap_remove(&resolve->subjects, identity);
		return NULL;
	}
	entry->subject->identity = *identity;
	entry->subject->kind = SYMBOLIZER_ELF;
	entry->subject->fd = entry->subject->debug_fd = -1;
	return entry->subject;
}

static void fail_image(struct resolve *resolve, struct image *image, enum symbol_source reason)
{
	image->reason = reason;
	atomic_fetch_add(&resolve->failed, 1);
	if (image->wants_table)
		resolve->callbacks.image_done(resolve->callbacks.context, image->request.image, NULL, -1, NULL);
	image->wants_table = false;
	subject_fail_frames(resolve, image, reason);
}

static int attach(struct resolve *resolve, struct image *image)
{
	struct open_identity identity;
	struct subject *subject;
	int fd = open_image(&image->request, &identity);

	if (fd == -ETIMEDOUT)
		atomic_fetch_add(&resolve->timeouts, 1);
	if (fd < 0)
		return fd;
	subject = subject_make(resolve, &identity);
	if (!subject) {
		open_close(fd);
		return -ENOMEM;
	}
	image->subject = subject;
	image->next = subject->images;
	subject->images = image;
	if (subject->fd >= 0) {
		open_close(fd);
	} else {
		subject_hold(resolve, subject);
		subject->fd = fd;
	}
	return 0;
}

void subject_take_request(struct resolve *resolve, const struct resolve_image_request *request)
{
	struct image *image = subject_image(resolve, request->image);
	char *path = request->path ? strdup(request->path) : NULL;
	bool unwanted = !request->jit && request->ended && atomic_load(request->ended);
	int error;

	if (!image || unwanted || (request->path && !path)) {
		free(path);
		atomic_fetch_add(&resolve->failed, 1);
		resolve->callbacks.image_done(resolve->callbacks.context, request->image, NULL, -1, NULL);
		return;
	}
	free(image->path);
	image->path = path;
	image->request = *request;
	image->request.path = path;
	image->wants_table = !request->jit;
	if (request->jit && image->subject) { /* it has begun to write a jitdump */
		image->subject->not_before_ns = 0;
		image->subject->is_closed = false;
		(void)jit_open_fd(resolve, image->subject);
	}
	error = image->subject ? 0 : request->jit ? jit_attach(resolve, image) : attach(resolve, image);
	if (error) {
		fail_image(resolve, image, subject_reason(error));
	} else if (image->subject->failed) {
		fail_image(resolve, image, image->subject->failed);
	} else {
		atomic_fetch_add(&resolve->images_opened, !request->jit);
		subject_activate(resolve, image->subject);
	}
}

/* Any of its images may still lead to the file: one process of several has ended, another lives. */
int subject_open_fd(struct resolve *resolve, struct subject *subject)
{
	int error = -ENOENT;

	if (subject->kind == SYMBOLIZER_KALLSYMS) {
		subject->fd = open("/proc/kallsyms", O_RDONLY | O_CLOEXEC);
		return subject->fd < 0 ? -errno : 0;
	}
	if (subject->kind == SYMBOLIZER_PERF_MAP)
		return jit_open_fd(resolve, subject);
	if (subject->fd >= 0 && !check_held(subject)) {
		check_retire(resolve, subject);
		return -ESTALE;
	}
	if (subject->fd >= 0) {
		subject_hold(resolve, subject);
		return 0;
	}
	for (const struct image *image = subject->images; image; image = image->next) {
		struct open_identity identity;
		int fd = open_image(&image->request, &identity);

		if (fd < 0) {
			error = fd;
			continue;
		}
		if (!memcmp(&identity, &subject->identity, sizeof(identity))) {
			subject_hold(resolve, subject);
			subject->fd = fd;
			return 0;
		}
		open_close(fd);
		error = -ESTALE;
	}
	return error;
}

int subject_open_debug(struct resolve *resolve, struct subject *subject)
{
	const struct symbolizer_image *description = subject->description;
	const struct image *image = subject->images;
	struct open_debug wanted;
	int fd;

	open_close(subject->debug_fd);
	subject->debug_fd = -1;
	wanted = (struct open_debug){ .pid = image->request.pid, .path = image->path,
				      .build_id = description->build_id,
				      .build_id_bytes = description->build_id_bytes,
				      .debuglink = description->debuglink };
	fd = open_debug(&wanted, &subject->debug_candidate);
	if (fd == -ETIMEDOUT)
		atomic_fetch_add(&resolve->timeouts, 1);
	if (fd < 0)
		return fd;
	subject_hold(resolve, subject);
	subject->debug_fd = fd;
	return 0;
}

void subject_add_frames(struct resolve *resolve, struct image *image, const uint32_t *ids, size_t count)
{
	size_t capacity = image->id_capacity ? image->id_capacity : 64;
	uint32_t *grown;

	while (capacity < image->id_count + count)
		capacity *= 2;
	grown = capacity == image->id_capacity ? image->ids : realloc(image->ids, capacity * sizeof(*grown));
	if (!grown) {
		for (size_t at = 0; at < count; at++)
			names_set_lines(resolve->names, ids[at] & FRAME_ID, SYMBOL_LIMIT, NULL, 0);
		return;
	}
	image->ids = grown;
	image->id_capacity = capacity;
	memcpy(grown + image->id_count, ids, count * sizeof(*ids));
	image->id_count += count;
	if (image->subject && image->subject->failed) {
		subject_fail_frames(resolve, image, image->subject->failed);
	} else if (image->subject) {
		subject_activate(resolve, image->subject);
	} else if (!image->is_homeless) {
		image->is_homeless = true;
		image->next_homeless = resolve->homeless;
		resolve->homeless = image;
	}
}

void subject_answer_pages(struct resolve *resolve, struct image *image, size_t count, int fd,
			  const struct symbolizer_table *table)
{
	if (!count)
		return;
	resolve->callbacks.pages_done(resolve->callbacks.context, image->request.image, image->pages, count, fd, table);
	image->page_count -= count;
	memmove(image->pages, image->pages + count, image->page_count * sizeof(*image->pages));
}

void subject_add_pages(struct resolve *resolve, uint32_t id, const uint32_t *pages, size_t count)
{
	struct image *image = subject_image(resolve, id);
	size_t capacity = image && image->page_capacity ? image->page_capacity : 16;
	uint32_t *grown;

	while (image && capacity < image->page_count + count)
		capacity *= 2;
	grown = !image ? NULL : capacity == image->page_capacity ? image->pages :
			realloc(image->pages, capacity * sizeof(*grown));
	if (!grown || !image->subject || image->subject->failed) {
		if (grown) {
			image->pages = grown;
			image->page_capacity = capacity;
		}
		resolve->callbacks.pages_done(resolve->callbacks.context, id, pages, count, -1, NULL);
		return;
	}
	image->pages = grown;
	image->page_capacity = capacity;
	memcpy(grown + image->page_count, pages, count * sizeof(*pages));
	image->page_count += count;
	subject_activate(resolve, image->subject);
}

void subject_settle_homeless(struct resolve *resolve)
{
	for (struct image *image; (image = resolve->homeless);) {
		resolve->homeless = image->next_homeless;
		image->is_homeless = false;
		if (!image->subject)
			subject_fail_frames(resolve, image, image->reason);
	}
}

void subject_fail_frames(struct resolve *resolve, struct image *image, enum symbol_source reason)
{
	for (size_t at = 0; at < image->id_count; at++)
		names_set_lines(resolve->names, image->ids[at] & FRAME_ID, reason, NULL, 0);
	image->id_count = 0;
}

void subject_activate(struct resolve *resolve, struct subject *subject)
{
	if (subject->is_active)
		return;
	subject->is_active = true;
	subject->next_active = resolve->active;
	resolve->active = subject;
}

/* What is asked of it now fails; a child's verdict on the file itself is for good, the caller sets `failed` then. */
void subject_fail(struct resolve *resolve, struct subject *subject, enum symbol_source reason)
{
	for (struct image *image = subject->images; image; image = image->next) {
		if (image->wants_table && subject->description)
			resolve->callbacks.image_done(resolve->callbacks.context, image->request.image,
						      subject->description, -1, NULL);
		else if (image->wants_table)
			fail_image(resolve, image, reason);
		image->wants_table = false;
		subject_answer_pages(resolve, image, image->page_count, -1, NULL);
		subject_fail_frames(resolve, image, reason);
	}
}

void subject_forgive(struct resolve *resolve, uint64_t now_ns)
{
	struct subject_entry *entry;

	for (size_t at = 0; (entry = hmap_next(&resolve->subjects, &at));) {
		if (!entry->subject->died_ns || now_ns - entry->subject->died_ns > BLAME_S * NS_PER_S)
			continue;
		entry->subject->deaths = 0;
		entry->subject->not_before_ns = 0;
		entry->subject->is_closed = false;
	}
}

bool subject_has_work(const struct subject *subject)
{
	for (const struct image *image = subject->images; image; image = image->next)
		if (image->wants_table || image->page_count || image->id_count)
			return true;
	return false;
}

static void free_subject(struct subject *subject)
{
	close_fds(subject);
	free(subject->description);
}

static void free_image(struct resolve *resolve, uint32_t id)
{
	free(resolve->images[id]->path);
	free(resolve->images[id]->ids);
	free(resolve->images[id]->pages);
	free(resolve->images[id]);
	resolve->images[id] = NULL;
}

static void drop_subject(struct resolve *resolve, struct subject *subject)
{
	work_close_children(resolve, subject, NULL);
	for (size_t at = 0; at < array_size(resolve->holders); at++)
		if (resolve->holders[at] == subject)
			resolve->holders[at] = NULL;
	for (struct subject **link = &resolve->active; *link; link = &(*link)->next_active) {
		if (*link != subject)
			continue;
		*link = subject->next_active;
		break;
	}
	hmap_remove(&resolve->subjects, &subject->identity);
	free_subject(subject);
	free(subject);
}

static void leave_subject(struct resolve *resolve, struct image *image)
{
	struct subject *subject = image->subject;
	struct image **link = &subject->images;

	while (*link && *link != image)
		link = &(*link)->next;
	if (*link)
		*link = image->next;
	work_close_children(resolve, subject, image); /* what they may be asked of it comes back, to nobody */
	subject_activate(resolve, subject);
	if (!subject->images)
		drop_subject(resolve, subject);
}

void subject_forget(struct resolve *resolve, uint32_t id)
{
	struct image *image = id < resolve->image_capacity ? resolve->images[id] : NULL;

	if (image) {
		subject_settle_homeless(resolve);
		subject_fail_frames(resolve, image, SYMBOL_NO_FILE);
		subject_answer_pages(resolve, image, image->page_count, -1, NULL);
		if (image->subject)
			leave_subject(resolve, image);
		free_image(resolve, id);
	}
	resolve->callbacks.image_forgotten(resolve->callbacks.context, id);
}

void subject_free_all(struct resolve *resolve)
{
	struct subject_entry *entry;

	for (size_t at = 0; (entry = hmap_next(&resolve->subjects, &at));) {
		free_subject(entry->subject);
		free(entry->subject);
	}
	hmap_done(&resolve->subjects);
	free_subject(&resolve->kernel);
	for (size_t at = 0; at < resolve->image_capacity; at++) {
		if (resolve->images[at])
			free_image(resolve, (uint32_t)at);
	}
	free(resolve->images);
}

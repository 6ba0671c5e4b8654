/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether a file is still what it was when it was opened: takes an image that is mapped again, says when it changed.
 * What was read of it before stays right for those who mapped it before; from then on nothing more is read.
 */
#include "resolve_check.h"
#include "resolve_subject.h"
#include "resolve_work.h"

#include <stdlib.h>

/*
 * Not the device: map_files and a path may show different ones on overlayfs. Not ctime: it also changes when the file
 * gets another name or none, as when a package is replaced under a program that runs.
 */
static bool differs(const struct open_identity *a, const struct open_identity *b)
{
	return a->ino != b->ino || a->size != b->size || a->mtime_ns != b->mtime_ns;
}

/* When the bytes changed. Whoever sets mtime himself leaves a ctime of that moment. */
static uint64_t change_time(const struct open_identity *was, const struct open_identity *now)
{
	uint64_t at_ns = now->mtime_ns > was->mtime_ns && now->mtime_ns < now->ctime_ns ? now->mtime_ns : now->ctime_ns;

	return at_ns ? at_ns : 1;
}

/* An inode that is kept open is no other one's number: no need to look at what is mapped now. */
static int look(const struct subject *subject, const struct resolve_image_request *request,
		struct open_identity *ret_identity)
{
	return subject->fd >= 0 ? open_look_fd(subject->fd, ret_identity) : open_look(request, ret_identity);
}

void check_take_request(struct resolve *resolve, const struct resolve_image_request *request)
{
	struct image *image = subject_image(resolve, request->image);
	struct subject *subject = image ? image->subject : NULL;
	struct open_identity identity;
	uint64_t changed_ns = 0;

	if (subject && subject->kind == SYMBOLIZER_ELF && !look(subject, request, &identity) &&
	    differs(&identity, &subject->identity)) {
		changed_ns = change_time(&subject->identity, &identity);
		check_retire(resolve, subject);
	}
	resolve->callbacks.image_checked(resolve->callbacks.context, request->image, changed_ns);
}

void check_take_waiting(struct resolve *resolve)
{
	struct queued_request *queued;

	while ((queued = resolve_pop(resolve, true))) {
		check_take_request(resolve, &queued->request);
		free(queued);
	}
}

void check_retire(struct resolve *resolve, struct subject *subject)
{
	subject->failed = SYMBOL_CHANGED;
	work_close_children(resolve, subject, NULL); /* what they were asked comes back, to fail as the rest */
	subject_fail(resolve, subject, SYMBOL_CHANGED);
}

bool check_held(const struct subject *subject)
{
	struct open_identity identity;

	if (subject->identity.dev == UINT64_MAX) /* the vDSO: a memfd of our own */
		return true;
	return !open_look_fd(subject->fd, &identity) && !differs(&identity, &subject->identity);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Within resolve: which file an image is, its descriptors, and the frames that wait for it. */
#ifndef RESOLVE_SUBJECT_H
#define RESOLVE_SUBJECT_H

#include "resolve_private.h"

enum symbol_source subject_reason(int error);
struct image *subject_image(struct resolve *resolve, uint32_t id); /* made if absent; NULL: limit */
void subject_take_request(struct resolve *resolve, const struct resolve_image_request *request);
/* The image, and its file if that was the last of its images. */
void subject_forget(struct resolve *resolve, uint32_t id);
struct subject *subject_make(struct resolve *resolve, const struct open_identity *identity); /* or finds it */
void subject_hold(struct resolve *resolve, struct subject *subject); /* it has a descriptor to keep */
int subject_open_fd(struct resolve *resolve, struct subject *subject); /* subject->fd is open then */
int subject_open_debug(struct resolve *resolve, struct subject *subject); /* subject->debug_fd, or -ENOENT */
void subject_add_frames(struct resolve *resolve, struct image *image, const uint32_t *ids, size_t count);
/* Rows of pages are wanted; those that cannot be had are answered at once. */
void subject_add_pages(struct resolve *resolve, uint32_t id, const uint32_t *pages, size_t count);
void subject_answer_pages(struct resolve *resolve, struct image *image, size_t count, int fd,
			  const struct symbolizer_table *table); /* the first `count` of them */
void subject_settle_homeless(struct resolve *resolve); /* the queue is empty: nothing will come for them */
void subject_fail_frames(struct resolve *resolve, struct image *image, enum symbol_source reason);
void subject_activate(struct resolve *resolve, struct subject *subject);
void subject_fail(struct resolve *resolve, struct subject *subject, enum symbol_source reason);
void subject_forgive(struct resolve *resolve, uint64_t now_ns); /* deaths of just now were not the files' fault */
bool subject_has_work(const struct subject *subject);
void subject_free_all(struct resolve *resolve);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Children of the symbolizers' parent and what is asked of them. */
#ifndef RESOLVE_WORK_H
#define RESOLVE_WORK_H

#include "resolve_private.h"

void work_step(struct resolve *resolve, uint64_t now_ns); /* gives every free child its next request */
void work_answer(struct resolve *resolve, struct child *child, uint64_t now_ns); /* its socket is readable */
void work_deadlines(struct resolve *resolve, uint64_t now_ns);
void work_parent_died(struct resolve *resolve, uint64_t now_ns);
void work_close_child(struct resolve *resolve, struct child *child);
/* Those of the subject, of an image's those that were last asked for it; NULL: all. */
void work_close_children(struct resolve *resolve, struct subject *subject, const struct image *image);

#endif

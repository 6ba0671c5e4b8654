/* SPDX-License-Identifier: Apache-2.0 */
/* Within resolve: files that are written anew under the same inode. */
#ifndef RESOLVE_CHECK_H
#define RESOLVE_CHECK_H

#include "resolve_private.h"

void check_take_request(struct resolve *resolve, const struct resolve_image_request *request);
/* The first of the queue, NULL: none. Checks stand in front of all others. */
struct queued_request *resolve_pop(struct resolve *resolve, bool only_check); /* resolve.c */
void check_take_waiting(struct resolve *resolve); /* between two things that may take long */
void check_retire(struct resolve *resolve, struct subject *subject); /* its bytes are no longer those of its image */
bool check_held(const struct subject *subject); /* the descriptor still shows the file as it was opened */

#endif

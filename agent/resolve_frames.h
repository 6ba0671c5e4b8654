/* SPDX-License-Identifier: Apache-2.0 */
/* Within resolve: addresses out, lines in. */
#ifndef RESOLVE_FRAMES_H
#define RESOLVE_FRAMES_H

#include "resolve_private.h"

size_t frames_compose(struct resolve *resolve, struct child *child, uint64_t *ret_addresses);
void frames_give_back(struct resolve *resolve, struct child *child); /* the unanswered ones, to be asked again */
void frames_give_up(struct resolve *resolve, struct child *child, enum symbol_source reason);
int frames_take(struct resolve *resolve, struct child *child, size_t bytes, bool *ret_more);

#endif

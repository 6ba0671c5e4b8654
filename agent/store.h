/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Noun "store": the slices of the last minutes, by time, by reference. In memory for now. Any thread.
 */
#ifndef STORE_H
#define STORE_H

#include "window.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct store;

struct store_opts {
	uint64_t retention_ns;
	uint64_t limit_bytes;
};

struct store *store_new(const struct store_opts *opts);
void store_free(struct store *store); /* accepts NULL */
void store_add(struct store *store, struct window *slice); /* takes the reference over */
/* References to the slices that overlap [from, to) (monotonic), oldest first. Free the array with
 * store_release. Counts slices; -ENOMEM. */
int store_range(struct store *store, uint64_t from_ns, uint64_t to_ns, struct window ***ret_slices);
void store_release(struct window **slices, size_t count);
/* Oldest and newest moment kept; false: nothing yet. */
bool store_span(struct store *store, uint64_t *ret_from_ns, uint64_t *ret_to_ns);
/* Calls back on the adding thread after each slice; the callback may use the store, but for this function. At most
 * four listeners. added == NULL takes those of `context` off: none of them runs any more when it returns. */
void store_on_add(struct store *store, void (*added)(void *context, uint64_t to_ns), void *context);
/* dropped: slices let go before their time, because the bytes ran out */
void store_get_stats(struct store *store, uint64_t *ret_slices, uint64_t *ret_bytes, uint64_t *ret_dropped);

#endif

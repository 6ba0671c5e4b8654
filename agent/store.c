/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Noun "store": takes closed slices from the pipeline, gives references to queries. Owns an array of slices in
 * order of time; the oldest leave by age, or before their time when the bytes run out (that is counted).
 */
#include "store.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define STORE_MAX_SLICES 16384 /* 4.5 hours of seconds: a bound for the array, past the usual retention */
#define STORE_MAX_LISTENERS 4

struct listener {
	void (*added)(void *context, uint64_t to_ns);
	void *context;
};

struct store {
	struct store_opts opts;
	pthread_mutex_t lock; /* the slices */
	struct window **slices;
	size_t count, capacity;
	uint64_t bytes, dropped;
	pthread_mutex_t listeners_lock; /* held while they run, so that one that was taken off is not running */
	struct listener listeners[STORE_MAX_LISTENERS];
};

struct window *window_ref(struct window *window)
{
	atomic_fetch_add_explicit(&window->references, 1, memory_order_relaxed);
	return window;
}

/* aggregate_close makes a window as one block. */
void window_unref(struct window *window)
{
	if (window && atomic_fetch_sub_explicit(&window->references, 1, memory_order_acq_rel) == 1)
		free(window);
}

struct store *store_new(const struct store_opts *opts)
{
	struct store *store = calloc(1, sizeof(*store));

	if (!store)
		return NULL;
	store->opts = *opts;
	pthread_mutex_init(&store->lock, NULL);
	pthread_mutex_init(&store->listeners_lock, NULL);
	return store;
}

void store_free(struct store *store)
{
	if (!store)
		return;
	store_release(store->slices, store->count);
	pthread_mutex_destroy(&store->lock);
	pthread_mutex_destroy(&store->listeners_lock);
	free(store);
}

static bool too_old(const struct store *store, const struct window *slice, uint64_t newest_ns)
{
	return slice->to_ns < newest_ns && newest_ns - slice->to_ns >= store->opts.retention_ns;
}

/* With the lock held; the slices to let go are moved to `gone`, freed by the caller without the lock. */
static size_t evict(struct store *store, struct window **gone, size_t room)
{
	uint64_t newest_ns = store->count ? store->slices[store->count - 1]->to_ns : 0;
	size_t leave = 0;

	while (leave < store->count && leave < room) {
		struct window *oldest = store->slices[leave];
		bool old = too_old(store, oldest, newest_ns);

		if (!old && store->bytes <= store->opts.limit_bytes && store->count - leave <= STORE_MAX_SLICES)
			break;
		store->dropped += !old;
		store->bytes -= oldest->bytes;
		gone[leave++] = oldest;
	}
	store->count -= leave;
	memmove(store->slices, store->slices + leave, store->count * sizeof(*store->slices));
	return leave;
}

static bool make_room(struct store *store)
{
	size_t capacity = store->capacity ? 2 * store->capacity : 64;
	struct window **slices;

	if (store->count < store->capacity)
		return true;
	slices = realloc(store->slices, capacity * sizeof(*slices));
	if (!slices)
		return false;
	store->slices = slices;
	store->capacity = capacity;
	return true;
}

static void tell(struct store *store, uint64_t to_ns)
{
	pthread_mutex_lock(&store->listeners_lock);
	for (size_t i = 0; i < STORE_MAX_LISTENERS; i++)
		if (store->listeners[i].added)
			store->listeners[i].added(store->listeners[i].context, to_ns);
	pthread_mutex_unlock(&store->listeners_lock);
}

void store_add(struct store *store, struct window *slice)
{
	struct window *gone[64];
	uint64_t to_ns = slice->to_ns;
	size_t at, leaving;
	bool kept;

	pthread_mutex_lock(&store->lock);
	kept = make_room(store);
	if (kept) {
		for (at = store->count; at && store->slices[at - 1]->from_ns > slice->from_ns; at--)
			store->slices[at] = store->slices[at - 1];
		store->slices[at] = slice;
		store->count++;
		store->bytes += slice->bytes;
	} else {
		store->dropped++;
	}
	leaving = evict(store, gone, sizeof(gone) / sizeof(gone[0]));
	pthread_mutex_unlock(&store->lock);
	if (!kept)
		window_unref(slice);
	for (size_t i = 0; i < leaving; i++)
		window_unref(gone[i]);
	tell(store, to_ns);
}

int store_range(struct store *store, uint64_t from_ns, uint64_t to_ns, struct window ***ret_slices)
{
	struct window **slices;
	size_t first = 0, count = 0;

	pthread_mutex_lock(&store->lock);
	while (first < store->count && store->slices[first]->to_ns <= from_ns)
		first++;
	while (first + count < store->count && store->slices[first + count]->from_ns < to_ns)
		count++;
	slices = malloc((count + 1) * sizeof(*slices));
	for (size_t i = 0; slices && i < count; i++)
		slices[i] = window_ref(store->slices[first + i]);
	pthread_mutex_unlock(&store->lock);
	if (!slices)
		return -ENOMEM;
	*ret_slices = slices;
	return (int)count;
}

void store_release(struct window **slices, size_t count)
{
	for (size_t i = 0; i < count; i++)
		window_unref(slices[i]);
	free(slices);
}

bool store_span(struct store *store, uint64_t *ret_from_ns, uint64_t *ret_to_ns)
{
	bool any;

	pthread_mutex_lock(&store->lock);
	any = store->count > 0;
	if (any) {
		*ret_from_ns = store->slices[0]->from_ns;
		*ret_to_ns = store->slices[store->count - 1]->to_ns;
	}
	pthread_mutex_unlock(&store->lock);
	return any;
}

void store_on_add(struct store *store, void (*added)(void *context, uint64_t to_ns), void *context)
{
	pthread_mutex_lock(&store->listeners_lock);
	for (size_t i = 0; i < STORE_MAX_LISTENERS; i++) {
		struct listener *at = &store->listeners[i];

		if (added && !at->added) {
			*at = (struct listener){ added, context };
			break;
		}
		if (!added && at->context == context)
			*at = (struct listener){ 0 };
	}
	pthread_mutex_unlock(&store->listeners_lock);
}

void store_get_stats(struct store *store, uint64_t *ret_slices, uint64_t *ret_bytes, uint64_t *ret_dropped)
{
	pthread_mutex_lock(&store->lock);
	*ret_slices = store->count;
	*ret_bytes = store->bytes;
	*ret_dropped = store->dropped;
	pthread_mutex_unlock(&store->lock);
}

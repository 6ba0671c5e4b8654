/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Part of "referee": takes verdicts and places, gives the lists of /status and the counters. Places are kept by
 * "space saving": a new one takes over the count of the rarest, so that what is frequent is never missing.
 */
#include "referee_tally.h"

#include "base/hmap.h"
#include "base/intern.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define PATH_BYTES (4U << 20)

struct binary_slot {
	const char *path; /* interned: one pointer, one binary */
	struct tally_binary binary;
};

struct place_key {
	const char *path;
	uint64_t address, reason;
};

struct place_slot {
	struct place_key key;
	uint64_t count, over;
};

struct referee_tally {
	pthread_mutex_t lock; /* guards the rest */
	struct tally_totals totals;
	struct intern *paths; /* nothing ever leaves it, for readers hold on to what they were given */
	struct hmap binaries[TALLY_BYS]; /* struct binary_slot */
	struct hmap places[TALLY_LISTS]; /* struct place_slot */
};

struct referee_tally *tally_new(void)
{
	struct referee_tally *tally = calloc(1, sizeof(*tally));

	if (!tally)
		return NULL;
	tally->paths = intern_new(PATH_BYTES);
	if (!tally->paths) {
		free(tally);
		return NULL;
	}
	pthread_mutex_init(&tally->lock, NULL);
	for (int by = 0; by < TALLY_BYS; by++)
		hmap_init(&tally->binaries[by], sizeof(const char *), sizeof(struct binary_slot), TALLY_BINARIES);
	for (int list = 0; list < TALLY_LISTS; list++)
		hmap_init(&tally->places[list], sizeof(struct place_key), sizeof(struct place_slot), TALLY_PLACES);
	return tally;
}

void tally_free(struct referee_tally *tally)
{
	if (!tally)
		return;
	intern_free(tally->paths);
	for (int by = 0; by < TALLY_BYS; by++)
		hmap_done(&tally->binaries[by]);
	for (int list = 0; list < TALLY_LISTS; list++)
		hmap_done(&tally->places[list]);
	pthread_mutex_destroy(&tally->lock);
	free(tally);
}

/* Under the lock. */
static const char *own_path(struct referee_tally *tally, const char *path)
{
	uint32_t id = intern_add(tally->paths, path, strlen(path));

	return id == UINT32_MAX ? "[others]" : intern_get(tally->paths, id);
}

void tally_verdict(struct referee_tally *tally, const struct referee_verdict *verdict)
{
	pthread_mutex_lock(&tally->lock);
	tally->totals.outcomes[verdict->outcome]++;
	tally->totals.root += verdict->root;
	pthread_mutex_unlock(&tally->lock);
}

void tally_binary(struct referee_tally *tally, enum tally_by by, const char *path,
		  const struct referee_verdict *verdict)
{
	bool agrees = verdict->outcome == REFEREE_AGREE;
	struct binary_slot *slot;

	pthread_mutex_lock(&tally->lock);
	path = own_path(tally, path);
	slot = hmap_insert(&tally->binaries[by], &path, NULL);
	if (slot) {
		slot->binary.path = path;
		slot->binary.agree += agrees;
		slot->binary.disagree += !agrees;
		slot->binary.root += agrees && verdict->root;
	} else {
		tally->totals.other_binaries++;
	}
	pthread_mutex_unlock(&tally->lock);
}

static uint64_t drop_rarest(struct hmap *places)
{
	const struct place_slot *slot, *rarest = NULL;
	struct place_key key;
	uint64_t count;

	for (size_t at = 0; (slot = hmap_next(places, &at));)
		if (!rarest || slot->count < rarest->count)
			rarest = slot;
	if (!rarest)
		return 0;
	key = rarest->key;
	count = rarest->count;
	hmap_remove(places, &key);
	return count;
}

void tally_place(struct referee_tally *tally, enum tally_list list, const struct tally_place *place)
{
	struct place_key key = { NULL, place->address, place->reason };
	struct hmap *places = &tally->places[list];
	struct place_slot *slot;
	uint64_t over = 0;

	pthread_mutex_lock(&tally->lock);
	key.path = own_path(tally, place->path);
	slot = hmap_find(places, &key);
	if (!slot) {
		if (places->count >= TALLY_PLACES)
			over = drop_rarest(places);
		slot = hmap_insert(places, &key, NULL);
		if (slot)
			slot->count = slot->over = over;
	}
	if (slot)
		slot->count += place->count;
	pthread_mutex_unlock(&tally->lock);
}

void tally_get(struct referee_tally *tally, struct tally_totals *ret_totals)
{
	pthread_mutex_lock(&tally->lock);
	*ret_totals = tally->totals;
	pthread_mutex_unlock(&tally->lock);
}

static int compare_places(const void *left, const void *right)
{
	const struct tally_place *a = left, *b = right;

	return a->count < b->count ? 1 : a->count > b->count ? -1 : strcmp(a->path, b->path);
}

static int compare_binaries(const void *left, const void *right)
{
	const struct tally_binary *a = left, *b = right;

	if (a->disagree != b->disagree)
		return a->disagree < b->disagree ? 1 : -1;
	return a->agree < b->agree ? 1 : a->agree > b->agree ? -1 : strcmp(a->path, b->path);
}

/* Sorts what was collected and gives the first of it. */
static size_t give(void *items, size_t count, size_t size, int (*compare)(const void *, const void *), void *ret_items,
		   size_t limit)
{
	if (count)
		qsort(items, count, size, compare);
	count = count < limit ? count : limit;
	memcpy(ret_items, items, count * size);
	free(items);
	return count;
}

size_t tally_places(struct referee_tally *tally, enum tally_list list, struct tally_place *ret_places, size_t limit)
{
	struct tally_place *all = calloc(TALLY_PLACES, sizeof(*all));
	const struct place_slot *slot;
	size_t count = 0;

	if (!all)
		return 0;
	pthread_mutex_lock(&tally->lock);
	for (size_t at = 0; (slot = hmap_next(&tally->places[list], &at)) && count < TALLY_PLACES;)
		all[count++] = (struct tally_place){ slot->key.path, slot->key.address,
						     (enum reason)slot->key.reason, slot->count, slot->over };
	pthread_mutex_unlock(&tally->lock);
	return give(all, count, sizeof(*all), compare_places, ret_places, limit);
}

size_t tally_binaries(struct referee_tally *tally, enum tally_by by, struct tally_binary *ret_binaries, size_t limit)
{
	struct tally_binary *all = calloc(TALLY_BINARIES, sizeof(*all));
	const struct binary_slot *slot;
	size_t count = 0;

	if (!all)
		return 0;
	pthread_mutex_lock(&tally->lock);
	for (size_t at = 0; (slot = hmap_next(&tally->binaries[by], &at)) && count < TALLY_BINARIES;)
		all[count++] = slot->binary;
	pthread_mutex_unlock(&tally->lock);
	return give(all, count, sizeof(*all), compare_binaries, ret_binaries, limit);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Noun "cgroup", the containers: an index a container keeps for life and beyond, its path and its name. A
 * container that is made again at the same path while its tombstone stands goes on with its index and sums.
 */
#include "cgroup_private.h"

#include "base/clean.h"
#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PROBES 8 /* places with the same hash */

static double wall_seconds(void)
{
	return (double)clock_wall_ns() / 1e9;
}

static struct cgroup_strings *strings_new(const char *const fields[7])
{
	size_t bytes = 0;
	struct cgroup_strings *strings;
	char *at;

	for (size_t i = 0; i < 7; i++)
		bytes += strlen(fields[i]) + 1;
	strings = calloc(1, sizeof(*strings) + bytes);
	if (!strings)
		return NULL;
	at = strings->bytes;
	const char **to[7] = { &strings->container, &strings->pod,     &strings->namespace_, &strings->id,
			       &strings->image,     &strings->runtime, &strings->cgroup };
	for (size_t i = 0; i < 7; i++) {
		*to[i] = at;
		at = stpcpy(at, fields[i]) + 1;
	}
	return strings;
}

static void free_strings(struct cgroup_slot *slot)
{
	while (slot->strings) {
		struct cgroup_strings *older = slot->strings->older;

		free(slot->strings);
		slot->strings = older;
	}
}

static bool same_strings(const struct cgroup_strings *a, const struct cgroup_strings *b)
{
	return !strcmp(a->container, b->container) && !strcmp(a->pod, b->pod) &&
	       !strcmp(a->namespace_, b->namespace_) && !strcmp(a->id, b->id) && !strcmp(a->image, b->image) &&
	       !strcmp(a->runtime, b->runtime) && !strcmp(a->cgroup, b->cgroup);
}

int cgroup_slot_rename(struct cgroup_slot *slot, const char *path, const char *id,
		       const struct cgroup_vouched *vouched)
{
	/* without a file that vouches, the path is the name, and the id in it a mere claim */
	const char *const by_path[7] = { path, "", "", "", "", "", path };
	const char *const by_file[7] = { vouched ? vouched->container : "", vouched ? vouched->pod : "",
					 vouched ? vouched->namespace_ : "", id,
					 vouched ? vouched->image : "",     vouched ? vouched->runtime : "", path };
	struct cgroup_strings *strings = strings_new(vouched ? by_file : by_path);

	if (!strings)
		return -ENOMEM;
	slot->vouched = vouched;
	if (slot->strings && same_strings(slot->strings, strings)) {
		free(strings);
		return 0;
	}
	strings->older = slot->strings;
	slot->strings = strings;
	return 0;
}

uint32_t cgroup_slot_find(struct cgroup_table *table, const char *path, size_t length)
{
	uint64_t hash = hmap_hash(path, length);

	for (unsigned probe = 0; probe < PROBES; probe++, hash++) {
		struct cgroup_place *place = hmap_find(&table->places, &hash);
		const char *other = place ? table->slots[place->container].strings->cgroup : NULL;

		if (other && !strncmp(other, path, length) && !other[length])
			return place->container;
	}
	return CGROUP_HOST;
}

static bool add_place(struct cgroup_table *table, const char *path, size_t length, uint32_t container)
{
	uint64_t hash = hmap_hash(path, length);

	for (unsigned probe = 0; probe < PROBES; probe++, hash++) {
		bool made;
		struct cgroup_place *place = hmap_insert(&table->places, &hash, &made);

		if (!place)
			return false;
		if (!made)
			continue;
		place->container = container;
		return true;
	}
	return false;
}

static void remove_place(struct cgroup_table *table, uint32_t container)
{
	const char *path = table->slots[container].strings->cgroup;
	uint64_t hash = hmap_hash(path, strlen(path));

	for (unsigned probe = 0; probe < PROBES; probe++, hash++) {
		struct cgroup_place *place = hmap_find(&table->places, &hash);

		if (place && place->container == container) {
			hmap_remove(&table->places, &hash);
			return;
		}
	}
}

/* An index nobody uses: never used, or of a container so long gone that no window knows it. */
static uint32_t take_slot(struct cgroup_table *table, uint64_t now_ns)
{
	struct cgroup_slot *slots;
	size_t capacity;

	for (uint32_t i = 1; i < table->slot_count; i++) {
		struct cgroup_slot *slot = &table->slots[i];

		if (!slot->strings || (slot->retired && now_ns - slot->gone_ns > CGROUP_REUSE_S * NS_PER_S))
			return i;
	}
	if (table->slot_count >= CGROUP_LIMIT)
		return CGROUP_HOST;
	if (table->slot_count == table->slot_capacity) {
		capacity = table->slot_capacity ? table->slot_capacity * 2 : 64;
		slots = realloc(table->slots, capacity * sizeof(*slots));
		if (!slots)
			return CGROUP_HOST;
		table->slots = slots;
		table->slot_capacity = capacity;
	}
	table->slots[table->slot_count] = (struct cgroup_slot){ 0 };
	return (uint32_t)table->slot_count++;
}

uint32_t cgroup_slot_new(struct cgroup_table *table, const char *path, size_t length)
{
	uint64_t now_ns = clock_monotonic_ns();
	uint32_t index = take_slot(table, now_ns);
	struct cgroup_slot *slot = &table->slots[index];
	auto_free char *copy = strndup(path, length);

	if (index == CGROUP_HOST || !copy)
		return CGROUP_HOST;
	free_strings(slot);
	*slot = (struct cgroup_slot){ .first_seen = wall_seconds(), .next_try_ns = now_ns };
	slot->last_seen = slot->first_seen;
	if (cgroup_slot_rename(slot, copy, "", NULL) || !add_place(table, path, length, index)) {
		free_strings(slot);
		return CGROUP_HOST;
	}
	return index;
}

static bool same_name(const struct cgroup_slot *a, const struct cgroup_slot *b)
{
	return !strcmp(a->strings->container, b->strings->container) && !strcmp(a->strings->pod, b->strings->pod) &&
	       !strcmp(a->strings->namespace_, b->strings->namespace_);
}

/*
 * The end of a tombstone. One that lives on under the same name (made anew, so another id) inherits the sums:
 * both were shown as one series, which must not fall.
 */
void cgroup_slot_retire(struct cgroup_table *table, uint32_t container)
{
	struct cgroup_slot *slot = &table->slots[container];

	for (uint32_t i = 1; i < table->slot_count; i++) {
		struct cgroup_slot *other = &table->slots[i];

		if (i == container || !other->strings || other->retired || !same_name(slot, other))
			continue;
		other->user_ns += slot->user_ns;
		other->system_ns += slot->system_ns;
		break;
	}
	slot->user_ns = slot->system_ns = 0;
	slot->retired = true;
	remove_place(table, container);
}

/* ---- names ----------------------------------------------------------------------------------------------- */

/* Another container that already has this id's name: the first one that sits in the right place keeps it. */
static bool is_taken(const struct cgroup_table *table, uint32_t container, const char *id, const char *runtime)
{
	for (uint32_t i = 1; i < table->slot_count; i++) {
		const struct cgroup_slot *slot = &table->slots[i];

		if (i != container && slot->strings && slot->vouched && !slot->gone && *id &&
		    !strcmp(slot->strings->id, id) && !strcmp(slot->strings->runtime, runtime))
			return true;
	}
	return false;
}

/* A unit needs no file: systemd alone makes cgroups in a slice that belongs to root, and the path names it. */
static int name_unit(const struct cgroup_parsed *parsed, struct cgroup_vouched *ret_vouched)
{
	snprintf(ret_vouched->container, sizeof(ret_vouched->container), "%s", parsed->unit);
	snprintf(ret_vouched->runtime, sizeof(ret_vouched->runtime), "systemd");
	return 0;
}

static void try_again(struct cgroup_slot *slot, uint64_t now_ns)
{
	slot->next_try_ns = UINT64_MAX;
	if (slot->tries < CGROUP_TRIES)
		slot->next_try_ns = now_ns + (NS_PER_S << (slot->tries < 6 ? slot->tries : 6));
	slot->tries++;
}

void cgroup_settle(struct cgroup_table *table, uint32_t container)
{
	struct cgroup_vouched vouched = { 0 };
	struct cgroup_parsed parsed;
	struct cgroup_slot *slot;
	auto_free char *path = NULL;
	size_t length;
	uid_t owner;
	int error;

	pthread_mutex_lock(&table->lock);
	slot = &table->slots[container];
	path = strdup(slot->strings->cgroup);
	owner = slot->owner;
	try_again(slot, clock_monotonic_ns());
	if (!path || !slot->trusted || !cgroup_parse_prefix(path, &parsed, &length)) {
		slot->next_try_ns = UINT64_MAX;
		if (path && slot->vouched) /* was trusted once, at the same place */
			cgroup_slot_rename(slot, path, "", NULL);
		pthread_mutex_unlock(&table->lock);
		return;
	}
	pthread_mutex_unlock(&table->lock); /* a home may lie on a slow disk: nobody waits for it */
	error = *parsed.unit ? name_unit(&parsed, &vouched) :
			       cgroup_files_vouch(table->root, path, &parsed, owner, &vouched);
	pthread_mutex_lock(&table->lock);
	slot = &table->slots[container];
	if (!error && !strcmp(slot->strings->cgroup, path) && !is_taken(table, container, parsed.id, vouched.runtime) &&
	    !cgroup_slot_rename(slot, path, parsed.id, &vouched))
		slot->next_try_ns = UINT64_MAX;
	pthread_mutex_unlock(&table->lock);
}

void cgroup_settle_due(struct cgroup_table *table)
{
	uint64_t now_ns = clock_monotonic_ns();

	for (uint32_t i = 1;; i++) {
		bool due;

		pthread_mutex_lock(&table->lock);
		while (i < table->slot_count && (!table->slots[i].strings || table->slots[i].gone ||
						 table->slots[i].next_try_ns > now_ns))
			i++;
		due = i < table->slot_count;
		pthread_mutex_unlock(&table->lock);
		if (!due)
			return;
		cgroup_settle(table, i);
	}
}

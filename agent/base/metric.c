/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metric sets (include/metric.h): what one scrape collects, all in one arena. Label values are repaired as they
 * come in, so that two that turn equal are seen to be one series.
 */
#include "metric.h"

#include "base/arena.h"
#include "base/hmap.h"
#include "base/label.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define SET_LIMIT_BYTES (64U << 20)

struct own_set {
	struct metric_set set; /* first: what users see */
	struct hmap series;    /* of the family opened last: hash of the labels -> index of the sample */
};

struct series {
	uint64_t hash;
	size_t index;
};

struct metric_set *metric_set_new(void)
{
	struct arena *arena = arena_new(SET_LIMIT_BYTES);
	struct own_set *own = arena ? arena_alloc(arena, sizeof(*own)) : NULL;

	if (!own) {
		arena_free(arena);
		return NULL;
	}
	own->set.arena = arena;
	hmap_init(&own->series, sizeof(uint64_t), sizeof(struct series), 0);
	return &own->set;
}

void metric_set_free(struct metric_set *set)
{
	struct own_set *own = (struct own_set *)set;

	if (!set)
		return;
	hmap_done(&own->series);
	arena_free(set->arena);
}

/* Room for one more: the array doubles at powers of two, so its count tells its capacity. */
static void *grow(struct arena *arena, void *array, size_t count, size_t size)
{
	void *larger;

	if (count && (count & (count - 1)))
		return array;
	larger = arena_array(arena, count ? count * 2 : 1, size);
	if (larger && count)
		memcpy(larger, array, count * size);
	return larger;
}

int metric_family_open(struct metric_set *set, enum metric_type type, const char *name, const char *help)
{
	struct metric_family *families =
		grow(set->arena, set->families, set->family_count, sizeof(*families));
	struct metric_family *family;

	if (!families)
		return -ENOMEM;
	set->families = families;
	family = &families[set->family_count];
	*family = (struct metric_family){
		.name = arena_string(set->arena, name, strlen(name)),
		.help = arena_string(set->arena, help, strlen(help)),
		.type = type,
	};
	if (!family->name || !family->help)
		return -ENOMEM;
	set->family_count++;
	hmap_clear(&((struct own_set *)set)->series);
	return 0;
}

static bool same_labels(const struct metric_sample *a, const struct metric_sample *b)
{
	if (a->label_count != b->label_count)
		return false;
	for (size_t i = 0; i < a->label_count; i++)
		if (strcmp(a->labels[i].name, b->labels[i].name) || strcmp(a->labels[i].value, b->labels[i].value))
			return false;
	return true;
}

/* Two values of one series: counters add up, of the others the first stands. */
static void merge(enum metric_type type, struct metric_sample *into, const struct metric_sample *from)
{
	if (type != METRIC_COUNTER)
		return;
	if (into->is_integer && from->is_integer) {
		into->integer += from->integer;
		return;
	}
	into->value = (into->is_integer ? (double)into->integer : into->value) +
		      (from->is_integer ? (double)from->integer : from->value);
	into->is_integer = 0;
}

static int read_labels(struct arena *arena, struct metric_sample *sample, va_list pairs, uint64_t *ret_hash)
{
	const char *name;

	*ret_hash = 0;
	while ((name = va_arg(pairs, const char *))) {
		const char *value = va_arg(pairs, const char *);
		char repaired[LABEL_BYTES + 1];
		struct metric_label *label;
		size_t length;

		if (!value || sample->label_count == METRIC_MAX_LABELS)
			return -EINVAL;
		label = &sample->labels[sample->label_count++];
		length = label_repair(value, repaired);
		label->name = arena_string(arena, name, strlen(name));
		label->value = arena_string(arena, repaired, length);
		if (!label->name || !label->value)
			return -ENOMEM;
		*ret_hash = *ret_hash * 31 + hmap_hash(repaired, length);
	}
	return 0;
}

static int add(struct metric_set *set, struct metric_sample sample, va_list pairs)
{
	struct own_set *own = (struct own_set *)set;
	struct metric_family *family;
	struct metric_sample *samples;
	struct series *series;
	uint64_t hash;
	int error;

	if (!set->family_count)
		return -EINVAL;
	family = &set->families[set->family_count - 1];
	error = read_labels(set->arena, &sample, pairs, &hash);
	if (error)
		return error;
	for (;; hash++) { /* the next one where two label sets share a hash */
		bool made;

		series = hmap_insert(&own->series, &hash, &made);
		if (!series)
			return -ENOMEM;
		if (made)
			break;
		if (!same_labels(&family->samples[series->index], &sample))
			continue;
		merge(family->type, &family->samples[series->index], &sample);
		return 0;
	}
	series->index = family->sample_count;
	samples = grow(set->arena, family->samples, family->sample_count, sizeof(*samples));
	if (!samples) {
		hmap_remove(&own->series, &hash);
		return -ENOMEM;
	}
	family->samples = samples;
	samples[family->sample_count++] = sample;
	return 0;
}

int metric_add(struct metric_set *set, double value, ...)
{
	va_list pairs;
	int error;

	va_start(pairs, value);
	error = add(set, (struct metric_sample){ .value = value }, pairs);
	va_end(pairs);
	return error;
}

int metric_add_count(struct metric_set *set, uint64_t value, ...)
{
	va_list pairs;
	int error;

	va_start(pairs, value);
	error = add(set, (struct metric_sample){ .integer = value, .is_integer = 1 }, pairs);
	va_end(pairs);
	return error;
}

int metric_add_histogram(struct metric_set *set, const struct metric_histogram *histogram, ...)
{
	struct metric_histogram *copy = arena_alloc(set->arena, sizeof(*copy));
	va_list pairs;
	int error;

	if (!copy)
		return -ENOMEM;
	*copy = *histogram;
	va_start(pairs, histogram);
	error = add(set, (struct metric_sample){ .histogram = copy }, pairs);
	va_end(pairs);
	return error;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metric families as collectors write them and exporters read them. A set is made for one scrape and dies
 * whole. Strings are copied; label values may be any bytes: they are kept as valid UTF-8 of at most 128 bytes
 * (exporters escape them), and samples of a family whose labels are then equal are one: counters add up, of
 * gauges and histograms the first stands.
 */
#ifndef METRIC_H
#define METRIC_H

#include <stddef.h>
#include <stdint.h>

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct metric_label {
	const char *name, *value;
};

#define METRIC_MAX_BUCKETS 8 /* and with them one without a bound, which `count` is */
struct metric_histogram {
	size_t bucket_count;
	double bounds[METRIC_MAX_BUCKETS - 1]; /* growing */
	uint64_t counts[METRIC_MAX_BUCKETS - 1]; /* of all up to the bound */
	uint64_t count;
	double sum;
};

#define METRIC_MAX_LABELS 8
struct metric_sample {
	struct metric_label labels[METRIC_MAX_LABELS];
	size_t label_count;
	double value;
	uint64_t integer; /* used instead of value where is_integer: counts beyond 2^53 stay exact */
	int is_integer;
	const struct metric_histogram *histogram; /* the value, in a family of these */
};

struct metric_family {
	const char *name, *help;
	enum metric_type type;
	size_t sample_count;
	struct metric_sample *samples;
};

struct metric_set {
	size_t family_count;
	struct metric_family *families;
	struct arena *arena;
};

struct metric_set *metric_set_new(void);
void metric_set_free(struct metric_set *set); /* accepts NULL */
/* Opens a family; later samples go to it. The name is complete (counters with _total). */
int metric_family_open(struct metric_set *set, enum metric_type type, const char *name, const char *help);
/* label pairs: name, value, …, NULL. A sample of the family opened last. */
int metric_add(struct metric_set *set, double value, ...) __attribute__((sentinel));
int metric_add_count(struct metric_set *set, uint64_t value, ...) __attribute__((sentinel));
int metric_add_histogram(struct metric_set *set, const struct metric_histogram *histogram, ...)
	__attribute__((sentinel));

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Stage "metrics": walks the table of collectors over one view of the host, gives one set of families. */
#include "metrics.h"

#include <stdatomic.h>

static atomic_uint_fast64_t failures; /* since start, over all scrapes */

struct metric_set *metrics_collect(const struct host_view *view)
{
	struct metric_set *set = metric_set_new();

	if (!set)
		return NULL;
	for (const struct collector *const *at = collectors; *at; at++) {
		size_t before = set->family_count;

		if (!(*at)->collect(view, set))
			continue;
		set->family_count = before; /* half a family would read as a fall */
		atomic_fetch_add(&failures, 1);
	}
	if (metric_family_open(set, METRIC_COUNTER, "wick_collector_failures_total",
			       "Collectors that could not fill in their families.") ||
	    metric_add_count(set, atomic_load(&failures), NULL)) {
		metric_set_free(set);
		return NULL;
	}
	return set;
}

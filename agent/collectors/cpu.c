/* SPDX-License-Identifier: Apache-2.0 */
/* Collector "cpu": CPU time per container, as the scheduler accounted it. Containers of one name are one series. */
#include "collector.h"
#include "metric.h"

static int add_mode(struct metric_set *set, const struct view_container *view, const char *mode, uint64_t ns)
{
	return metric_add(set, (double)ns / 1e9, "namespace", view->namespace_ ?: "", "pod", view->pod ?: "",
			  "container", view->container, "mode", mode, NULL);
}

static int collect(const struct host_view *view, struct metric_set *set)
{
	int error = metric_family_open(set, METRIC_COUNTER, "wick_container_cpu_seconds_total",
				       "CPU time the container's tasks ran, living and dead.");

	for (size_t i = 0; i < view->container_count && !error; i++) {
		const struct view_container *container = &view->containers[i];

		if (!container->container)
			continue; /* an index whose container is forgotten */
		error = add_mode(set, container, "user", container->user_ns);
		error = error ?: add_mode(set, container, "system", container->system_ns);
	}
	return error;
}

const struct collector cpu_collector = { "cpu", "CPU time per container", collect };

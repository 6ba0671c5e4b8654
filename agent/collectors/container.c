/* SPDX-License-Identifier: Apache-2.0 */
/* Collector "container": what each container is, beside the three labels its other series carry. */
#include "collector.h"
#include "metric.h"

static int add_info(struct metric_set *set, const struct view_container *view)
{
	return metric_add_count(set, 1, "namespace", view->namespace_ ?: "", "pod", view->pod ?: "", "container",
				view->container, "runtime", view->runtime ?: "", "image", view->image ?: "", "id",
				view->id ?: "", "cgroup", view->cgroup ?: "", NULL);
}

static int collect(const struct host_view *view, struct metric_set *set)
{
	int error = metric_family_open(set, METRIC_GAUGE, "wick_container_info",
				       "What a container is; a container that is gone keeps its series for 5 minutes.");

	for (size_t i = 0; i < view->container_count; i++)
		if (view->containers[i].container)
			error = error ?: add_info(set, &view->containers[i]);
	error = error ?: metric_family_open(set, METRIC_GAUGE, "wick_container_start_time_seconds",
					    "When the container was made, as a Unix time, where the agent saw it.");
	for (size_t i = 0; i < view->container_count && !error; i++) {
		const struct view_container *container = &view->containers[i];

		if (container->container && container->start_seconds > 0 && !container->gone)
			error = metric_add(set, container->start_seconds, "namespace", container->namespace_ ?: "",
					   "pod", container->pod ?: "", "container", container->container, NULL);
	}
	return error;
}

const struct collector container_collector = { "container", "what each container is", collect };

/* SPDX-License-Identifier: Apache-2.0 */
/* Walks the collectors over one view of the host. */
#ifndef METRICS_H
#define METRICS_H

#include "collector.h"
#include "metric.h"

/* A failing collector is left out whole and counted in wick_collector_failures_total. NULL: no memory. */
struct metric_set *metrics_collect(const struct host_view *view);

#endif

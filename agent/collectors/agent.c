/* SPDX-License-Identifier: Apache-2.0 */
/* Collector "agent": what the agent keeps and serves, and what it had to refuse. */
#include "collector.h"
#include "metric.h"

#include <stddef.h>

static const struct number {
	const char *name, *help;
	enum metric_type type;
	size_t offset; /* of the u64 in struct host_view */
} numbers[] = {
#define NUMBER(type, name, field, help) { name, help, type, offsetof(struct host_view, field) }
	NUMBER(METRIC_GAUGE, "wick_processes", processes, "Processes known."),
	NUMBER(METRIC_GAUGE, "wick_images", images, "Executable files met."),
	NUMBER(METRIC_COUNTER, "wick_images_failed_total", images_failed, "Executable files that could not be read."),
	NUMBER(METRIC_COUNTER, "wick_sideband_lost_total", sideband_lost,
	       "Records of processes and mappings the kernel dropped; what they told is read again from /proc."),
	NUMBER(METRIC_GAUGE, "wick_store_windows", windows, "Windows kept."),
	NUMBER(METRIC_GAUGE, "wick_store_bytes", window_bytes, "Memory of the windows kept."),
	NUMBER(METRIC_COUNTER, "wick_store_windows_dropped_total", windows_dropped,
	       "Windows dropped before their time for want of room."),
	NUMBER(METRIC_GAUGE, "wick_frames", frames_interned, "Distinct frames kept."),
	NUMBER(METRIC_COUNTER, "wick_frames_refused_total", frames_refused, "Frames for which there was no room."),
	NUMBER(METRIC_GAUGE, "wick_http_connections", http_connections, "Open HTTP connections."),
	NUMBER(METRIC_COUNTER, "wick_http_requests_refused_total", http_refused,
	       "Requests turned away: a foreign Host, or too many at once."),
#undef NUMBER
};

static int collect(const struct host_view *view, struct metric_set *set)
{
	int error = 0;

	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers) && !error; i++) {
		const uint64_t *value = (const uint64_t *)((const char *)view + numbers[i].offset);

		error = metric_family_open(set, numbers[i].type, numbers[i].name, numbers[i].help);
		error = error ?: metric_add_count(set, *value, NULL);
	}
	return error;
}

const struct collector agent_collector = { "agent", "what the agent keeps, serves and refuses", collect };

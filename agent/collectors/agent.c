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
	NUMBER(METRIC_COUNTER, "wick_processes_refused_total", processes_refused,
	       "Processes for which there was no room, here or in the kernel's map."),
	NUMBER(METRIC_COUNTER, "wick_process_repairs_total", process_repairs,
	       "Passes over /proc because of what the kernel had dropped."),
	NUMBER(METRIC_COUNTER, "wick_mappings_refused_total", mappings_refused,
	       "Mappings past what is kept or published of one process."),
	NUMBER(METRIC_COUNTER, "wick_mapping_tables_shared_total", tables_shared,
	       "Mapping tables that were there already, as a fork's is."),
	NUMBER(METRIC_COUNTER, "wick_kernel_symbols_refused_total", ksymbols_refused,
	       "Symbols of BPF programs for which there was no room."),
	NUMBER(METRIC_COUNTER, "wick_generated_code_refused_total", jits_refused,
	       "Processes whose generated code could not be kept apart from that of others."),
	NUMBER(METRIC_COUNTER, "wick_cgroup_events_lost_total", cgroup_events_lost,
	       "Events of control groups that found no room; the next pass over them makes up for it."),
	NUMBER(METRIC_GAUGE, "wick_images", images, "Executable files kept."),
	NUMBER(METRIC_COUNTER, "wick_images_failed_total", images_failed, "Executable files that could not be read."),
	NUMBER(METRIC_COUNTER, "wick_images_refused_total", images_refused,
	       "Executable files for which there was no room."),
	NUMBER(METRIC_GAUGE, "wick_opens_stuck", opens_stuck, "Opens of files that do not end; a thread waits in each."),
	NUMBER(METRIC_COUNTER, "wick_sideband_lost_total", sideband_lost,
	       "Records of processes and mappings the kernel dropped; what they told is read again from /proc."),
	NUMBER(METRIC_GAUGE, "wick_mapping_bytes", mapping_bytes, "Memory of the processes' mapping tables."),
	NUMBER(METRIC_COUNTER, "wick_mappings_moved_total", mappings_moved,
	       "Mappings found where no event had told of them."),
	NUMBER(METRIC_COUNTER, "wick_stale_stacks_total", stale_stacks,
	       "Samples whose stack ends in [stale mapping]."),
	NUMBER(METRIC_GAUGE, "wick_store_windows", windows, "Windows kept."),
	NUMBER(METRIC_GAUGE, "wick_store_bytes", window_bytes, "Memory of the windows kept."),
	NUMBER(METRIC_COUNTER, "wick_store_windows_dropped_total", windows_dropped,
	       "Windows dropped before their time for want of room."),
	NUMBER(METRIC_GAUGE, "wick_frames", frames_interned, "Distinct frames kept."),
	NUMBER(METRIC_GAUGE, "wick_frames_waiting", frames_waiting, "Frames whose names are still to come."),
	NUMBER(METRIC_COUNTER, "wick_frame_cache_hits_total", frame_hits, "Frames found by their address alone."),
	NUMBER(METRIC_COUNTER, "wick_frame_cache_misses_total", frame_misses, "Frames looked up in the mappings."),
	NUMBER(METRIC_COUNTER, "wick_frame_cache_evictions_total", frame_evictions,
	       "Frames that gave up their place to others."),
	NUMBER(METRIC_COUNTER, "wick_frames_refused_total", frames_refused, "Frames for which there was no room."),
	NUMBER(METRIC_COUNTER, "wick_frames_recycled_total", frames_recycled,
	       "Frames that no kept window had any more, given back."),
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

/* SPDX-License-Identifier: Apache-2.0 */
/* One CPU's ring and the reading of its records; shared by the parts of sideband and by their test. */
#ifndef SIDEBAND_PRIVATE_H
#define SIDEBAND_PRIVATE_H

#include "sideband.h"

#include <linux/perf_event.h>

#define SIDEBAND_RING_BYTES (256UL << 10)
#define SIDEBAND_RECORD_BYTES 65536 /* perf_event_header.size is 16 bits wide */

/* What sample_id_all appends to every record for PERF_SAMPLE_TID | TIME | CPU, in this order. */
struct sideband_trailer {
	uint32_t pid, tid;
	uint64_t time_ns;
	uint32_t cpu, pad;
};

/*
 * Reads one record of `size` bytes; `record` has a spare byte behind it, which is overwritten. False: a kind
 * that is not wanted, or a record shorter than its kind needs. event->name points into the record.
 */
bool sideband_parse(char *record, size_t size, int cpu, struct sideband_event *ret_event);
/* The time of a record, 0 when it is too short to carry one. */
uint64_t sideband_record_time(const char *record, size_t size);

#endif

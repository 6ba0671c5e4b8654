/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The records of a side-band ring, as perf_event.h (the kernel's user-space header) lays them out, turned into
 * sideband_event. Nothing is owned; every length is checked although the kernel wrote it.
 */
#include "sideband_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct record_mmap2 {
	struct perf_event_header header;
	uint32_t pid, tid;
	uint64_t address, length, offset;
	uint32_t major, minor;
	uint64_t inode, generation;
	uint32_t protection, flags;
	char name[];
};
struct record_comm {
	struct perf_event_header header;
	uint32_t pid, tid;
	char name[];
};
struct record_task {
	struct perf_event_header header;
	uint32_t pid, parent_pid, tid, parent_tid;
	uint64_t time_ns;
};
struct record_ksymbol {
	struct perf_event_header header;
	uint64_t address;
	uint32_t length;
	uint16_t type, flags;
	char name[];
};
struct record_lost {
	struct perf_event_header header;
	uint64_t id, lost;
};

static bool parse_mmap(const struct record_mmap2 *record, struct sideband_event *event)
{
	if (record->header.misc & PERF_RECORD_MISC_MMAP_BUILD_ID)
		return false; /* never asked for: the same bytes would hold a build-id instead of the inode */
	if (record->address + record->length < record->address)
		return false;
	event->kind = SIDEBAND_MMAP;
	event->pid = record->pid;
	event->tid = record->tid;
	event->start = record->address;
	event->end = record->address + record->length;
	event->offset = record->offset;
	event->file = (struct sideband_file){ record->major, record->minor, record->inode, record->generation };
	event->protection = record->protection;
	event->name = record->name;
	return (record->protection & PROT_EXEC) != 0;
}

static bool parse_task(const struct record_task *record, struct sideband_event *event)
{
	event->kind = record->header.type == PERF_RECORD_FORK ? SIDEBAND_FORK : SIDEBAND_EXIT;
	event->pid = record->pid;
	event->tid = record->tid;
	event->parent_pid = record->parent_pid;
	event->name = "";
	return true;
}

static bool parse_comm(const struct record_comm *record, struct sideband_event *event)
{
	event->kind = record->header.misc & PERF_RECORD_MISC_COMM_EXEC ? SIDEBAND_EXEC : SIDEBAND_COMM;
	event->pid = record->pid;
	event->tid = record->tid;
	event->name = record->name;
	return true;
}

static bool parse_ksymbol(const struct record_ksymbol *record, struct sideband_event *event)
{
	event->kind = SIDEBAND_KSYMBOL;
	event->start = record->address;
	event->end = record->address + record->length;
	event->unregister = record->flags & PERF_RECORD_KSYMBOL_FLAGS_UNREGISTER;
	event->name = record->name;
	return event->end > event->start;
}

static size_t smallest(uint32_t type)
{
	switch (type) {
	case PERF_RECORD_MMAP2:
		return sizeof(struct record_mmap2);
	case PERF_RECORD_COMM:
		return sizeof(struct record_comm);
	case PERF_RECORD_FORK:
	case PERF_RECORD_EXIT:
		return sizeof(struct record_task);
	case PERF_RECORD_KSYMBOL:
		return sizeof(struct record_ksymbol);
	case PERF_RECORD_LOST:
		return sizeof(struct record_lost);
	default:
		return SIZE_MAX;
	}
}

/*
 * Where the trailer lies: at the end, except in a KSYMBOL record, where it follows the name. The kernel adds the
 * trailer's size to such a record's once for each listener and forgets to take it off again
 * (perf_event_ksymbol_output, kernel/events/core.c), so that all listeners but the first get a record that is
 * too long and ends in what the ring held before. 0: too short to have one.
 */
static size_t trailer_offset(const char *record, size_t size)
{
	const struct perf_event_header *header = (const void *)record;
	size_t name = sizeof(struct record_ksymbol), at;

	if (size < sizeof(*header) + sizeof(struct sideband_trailer))
		return 0;
	at = size - sizeof(struct sideband_trailer);
	if (header->type == PERF_RECORD_KSYMBOL && name < at) {
		size_t behind = name + ((strnlen(record + name, at - name) + 8) & ~(size_t)7); /* NUL included */

		at = behind < at ? behind : at;
	}
	return at;
}

uint64_t sideband_record_time(const char *record, size_t size)
{
	struct sideband_trailer trailer;
	size_t at = trailer_offset(record, size);

	if (!at)
		return 0;
	memcpy(&trailer, record + at, sizeof(trailer));
	return trailer.time_ns;
}

bool sideband_parse(char *record, size_t size, int cpu, struct sideband_event *ret_event)
{
	struct sideband_event event = { .cpu = cpu, .time_ns = sideband_record_time(record, size), .name = "" };
	const struct perf_event_header *header = (const void *)record;
	size_t least = smallest(header->type);
	bool wanted = true;

	if (least == SIZE_MAX || size < least + sizeof(struct sideband_trailer))
		return false;
	/* Names end before the trailer; its first byte is spent on a NUL, its time was read above. */
	if (header->type != PERF_RECORD_FORK && header->type != PERF_RECORD_EXIT)
		record[trailer_offset(record, size)] = '\0';
	switch (header->type) {
	case PERF_RECORD_MMAP2:
		wanted = parse_mmap((const void *)record, &event);
		break;
	case PERF_RECORD_COMM:
		wanted = parse_comm((const void *)record, &event);
		break;
	case PERF_RECORD_KSYMBOL:
		wanted = parse_ksymbol((const void *)record, &event);
		break;
	case PERF_RECORD_LOST:
		event.kind = SIDEBAND_LOST;
		event.lost = ((const struct record_lost *)(const void *)record)->lost;
		break;
	default:
		wanted = parse_task((const void *)record, &event);
	}
	if (wanted)
		*ret_event = event;
	return wanted;
}

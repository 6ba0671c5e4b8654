/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stage "drain" for processes: one DUMMY software event per online CPU whose ring receives MMAP2, COMM, FORK,
 * EXIT and KSYMBOL records of every process. Gives them merged by time. Owns events, rings and an epoll
 * descriptor. A ring needs no privilege for its memory: 260 KiB a CPU is below perf_event_mlock_kb.
 */
#include "sideband.h"

#include "base/clock.h"
#include "sideband_private.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define HEADER_BYTES sizeof(struct perf_event_header)

struct ring {
	int fd, cpu;
	struct perf_event_mmap_page *page; /* control page, the data follows */
	const char *data;
	uint64_t head, tail; /* of the current read */
	uint64_t next_ns;    /* time of the record at tail, UINT64_MAX: none */
	uint64_t opened_ns;  /* opened while others already ran: what came before is lost; 0: told or none */
	bool gone;           /* its CPU is offline: close when empty */
};

struct sideband {
	int epoll;
	size_t page_bytes;
	struct perf_event_attr attr;
	struct ring *rings;
	size_t count;
	uint64_t now_ns; /* of the current read */
	char record[SIDEBAND_RECORD_BYTES + 8] __attribute__((aligned(8)));
};

static void fill_attr(struct perf_event_attr *attr)
{
	*attr = (struct perf_event_attr){
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(*attr),
		.config = PERF_COUNT_SW_DUMMY,
		.sample_type = PERF_SAMPLE_TID | PERF_SAMPLE_TIME | PERF_SAMPLE_CPU,
		.sample_id_all = 1,
		.mmap = 1, /* executable mappings alone: mmap_data stays off */
		.mmap2 = 1,
		.comm = 1,
		.comm_exec = 1,
		.task = 1,
		.ksymbol = 1,
		.watermark = 1,
		.wakeup_watermark = SIDEBAND_RING_BYTES / 4,
		.use_clockid = 1,
		.clockid = CLOCK_MONOTONIC,
	};
}

static void ring_close(struct sideband *sideband, struct ring *ring)
{
	if (ring->page)
		munmap(ring->page, sideband->page_bytes + SIDEBAND_RING_BYTES);
	if (ring->fd >= 0)
		close(ring->fd); /* leaves the epoll set with its last reference */
}

static int event_open(struct perf_event_attr *attr, int cpu)
{
	int fd = (int)syscall(SYS_perf_event_open, attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);

	/* Symbols of BPF programs are a feature; a kernel or policy that refuses them costs only that. */
	if (fd < 0 && attr->ksymbol && (errno == EINVAL || errno == EPERM || errno == EACCES)) {
		attr->ksymbol = 0;
		fd = (int)syscall(SYS_perf_event_open, attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);
	}
	return fd < 0 ? -errno : fd;
}

static int ring_open(struct sideband *sideband, int cpu)
{
	struct ring ring = { .cpu = cpu, .next_ns = UINT64_MAX };
	struct epoll_event watch = { .events = EPOLLIN | EPOLLET, .data.u32 = (uint32_t)cpu };
	struct ring *rings;
	int err;

	ring.fd = event_open(&sideband->attr, cpu);
	if (ring.fd < 0)
		return ring.fd;
	ring.page = mmap(NULL, sideband->page_bytes + SIDEBAND_RING_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
			 ring.fd, 0);
	if (ring.page == MAP_FAILED) {
		ring.page = NULL;
		goto fail;
	}
	ring.data = (const char *)ring.page + sideband->page_bytes;
	if (epoll_ctl(sideband->epoll, EPOLL_CTL_ADD, ring.fd, &watch))
		goto fail;
	rings = realloc(sideband->rings, (sideband->count + 1) * sizeof(*rings));
	if (!rings) {
		errno = ENOMEM;
		goto fail;
	}
	sideband->rings = rings;
	sideband->rings[sideband->count++] = ring;
	return 0;
fail:
	err = -errno;
	ring_close(sideband, &ring);
	return err;
}

static struct ring *ring_find(struct sideband *sideband, size_t cpu)
{
	for (size_t at = 0; at < sideband->count; at++)
		if (sideband->rings[at].cpu == (int)cpu && !sideband->rings[at].gone)
			return &sideband->rings[at];
	return NULL;
}

int sideband_open(struct sideband **ret_sideband, char *error, size_t error_size)
{
	struct sideband *sideband = calloc(1, sizeof(*sideband));
	struct cpus cpus;
	int err = -ENOMEM;

	if (!sideband)
		goto fail;
	sideband->epoll = -1;
	sideband->page_bytes = (size_t)sysconf(_SC_PAGESIZE);
	fill_attr(&sideband->attr);
	sideband->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (sideband->epoll < 0) {
		err = -errno;
		goto fail;
	}
	err = cpus_read_online(&cpus);
	for (size_t cpu = 0; err >= 0 && cpu < cpus.end; cpu++) {
		err = cpus.online[cpu] ? ring_open(sideband, (int)cpu) : 0;
		if (err == -ENODEV) /* went offline meanwhile */
			err = 0;
	}
	if (err >= 0 && sideband->count) {
		*ret_sideband = sideband;
		return 0;
	}
	err = err < 0 ? err : -ENODEV;
fail:
	snprintf(error, error_size, "cannot watch processes by perf events: %s%s", strerror(-err),
		 err == -EACCES || err == -EPERM ? " (root or CAP_PERFMON is needed)" : "");
	sideband_close(sideband);
	return err;
}

void sideband_close(struct sideband *sideband)
{
	if (!sideband)
		return;
	for (size_t at = 0; at < sideband->count; at++)
		ring_close(sideband, &sideband->rings[at]);
	if (sideband->epoll >= 0)
		close(sideband->epoll);
	free(sideband->rings);
	free(sideband);
}

int sideband_epoll_fd(const struct sideband *sideband)
{
	return sideband->epoll;
}

static void ring_copy(const struct ring *ring, uint64_t from, size_t length, char *to)
{
	size_t at = from & (SIDEBAND_RING_BYTES - 1), first = SIDEBAND_RING_BYTES - at;

	if (first > length)
		first = length;
	memcpy(to, ring->data + at, first);
	memcpy(to + first, ring->data, length - first);
}

/* The time of a record of which ring_copy has to fetch only what tells it. */
static uint64_t ring_time(struct sideband *sideband, const struct ring *ring, const struct perf_event_header *header)
{
	struct sideband_trailer trailer;

	if (header->type == PERF_RECORD_KSYMBOL) { /* rare, and its trailer is found by its name */
		ring_copy(ring, ring->tail, header->size, sideband->record);
		return sideband_record_time(sideband->record, header->size);
	}
	if (header->size < HEADER_BYTES + sizeof(trailer))
		return 0;
	ring_copy(ring, ring->tail + header->size - sizeof(trailer), sizeof(trailer), (char *)&trailer);
	return trailer.time_ns;
}

/* The size of the record at tail; 0: none. A size that cannot be ends the reading of what is there; a time that has
 * not come yet is none, for to wait for it would stop the ring. */
static size_t ring_peek(struct sideband *sideband, struct ring *ring)
{
	struct perf_event_header header;

	ring->next_ns = UINT64_MAX;
	if (ring->head - ring->tail < HEADER_BYTES)
		return 0;
	ring_copy(ring, ring->tail, HEADER_BYTES, (char *)&header);
	if (header.size < HEADER_BYTES || header.size > ring->head - ring->tail) {
		ring->tail = ring->head;
		atomic_store_explicit((_Atomic uint64_t *)&ring->page->data_tail, ring->tail, memory_order_release);
		return 0;
	}
	ring->next_ns = ring_time(sideband, ring, &header);
	if (ring->next_ns > sideband->now_ns)
		ring->next_ns = 0;
	return header.size;
}

static int ring_take(struct sideband *sideband, struct ring *ring, sideband_fn take, void *context)
{
	size_t size = ring_peek(sideband, ring);
	struct sideband_event event;
	int taken = 0;

	if (size) {
		ring_copy(ring, ring->tail, size, sideband->record);
		ring->tail += size;
		atomic_store_explicit((_Atomic uint64_t *)&ring->page->data_tail, ring->tail, memory_order_release);
		if (sideband_parse(sideband->record, size, ring->cpu, &event)) {
			take(context, &event);
			taken = 1;
		}
	}
	ring_peek(sideband, ring);
	return taken;
}

/* A CPU that came up ran unwatched until its ring was there: that is a loss of unknown size. */
static int tell_opened(struct sideband *sideband, sideband_fn take, void *context)
{
	int count = 0;

	for (size_t at = 0; at < sideband->count; at++) {
		struct ring *ring = &sideband->rings[at];
		struct sideband_event event = { .kind = SIDEBAND_LOST, .time_ns = ring->opened_ns, .name = "",
						.cpu = ring->cpu };

		if (!ring->opened_ns)
			continue;
		ring->opened_ns = 0;
		take(context, &event);
		count++;
	}
	return count;
}

static void close_emptied(struct sideband *sideband)
{
	size_t kept = 0;

	for (size_t at = 0; at < sideband->count; at++) {
		struct ring *ring = &sideband->rings[at];

		if (ring->gone && ring->next_ns == UINT64_MAX)
			ring_close(sideband, ring);
		else
			sideband->rings[kept++] = *ring;
	}
	sideband->count = kept;
}

/* Edge-triggered: without this a dead event (its CPU went) would keep the descriptor readable. */
void sideband_woken(struct sideband *sideband)
{
	struct epoll_event woken[64];

	epoll_wait(sideband->epoll, woken, 64, 0);
}

int sideband_read(struct sideband *sideband, uint64_t until_ns, sideband_fn take, void *context)
{
	int count = tell_opened(sideband, take, context);

	for (size_t at = 0; at < sideband->count; at++) {
		struct ring *ring = &sideband->rings[at];

		ring->head = atomic_load_explicit((_Atomic uint64_t *)&ring->page->data_head, memory_order_acquire);
		ring->tail = ring->page->data_tail;
	}
	sideband->now_ns = clock_monotonic_ns(); /* later than every record up to the heads */
	for (size_t at = 0; at < sideband->count; at++)
		ring_peek(sideband, &sideband->rings[at]);
	for (;;) {
		struct ring *oldest = NULL;

		for (size_t at = 0; at < sideband->count; at++)
			if (!oldest || sideband->rings[at].next_ns < oldest->next_ns)
				oldest = &sideband->rings[at];
		if (!oldest || oldest->next_ns >= until_ns || oldest->next_ns == UINT64_MAX)
			break;
		count += ring_take(sideband, oldest, take, context);
	}
	close_emptied(sideband);
	return count;
}

int sideband_tick(struct sideband *sideband, const struct cpus *cpus)
{
	int changed = 0, err;

	for (size_t at = 0; at < sideband->count; at++) {
		struct ring *ring = &sideband->rings[at];

		if (!ring->gone && !cpus->online[ring->cpu]) {
			ring->gone = true;
			changed++;
		}
	}
	for (size_t cpu = 0; cpu < cpus->end; cpu++) {
		if (!cpus->online[cpu] || ring_find(sideband, cpu))
			continue;
		err = ring_open(sideband, (int)cpu);
		if (err == -ENODEV)
			continue;
		if (err)
			return err;
		sideband->rings[sideband->count - 1].opened_ns = clock_monotonic_ns();
		changed++;
	}
	return changed;
}

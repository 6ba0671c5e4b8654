/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When the pipeline works: a slice every second, the tables whenever something asks for it and a few times in between.
 * What cannot wait says so: a copy of a stack (of a process that has no table yet), news of a file, a control group that
 * came or went, a ring that fills up. The rest is events of processes that no sample has met.
 */
#include "pipeline_private.h"

#include "abi/snapshot.h"
#include "base/clean.h"
#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define QUIET_MS 250
#define BUSY_MS 25 /* while processes are left to be read from /proc */

/* The descriptors that say so once are made ready to say it again. */
void pipeline_woken(struct pipeline *pipeline, bool news, bool sideband)
{
	uint64_t count;

	if (news && read(pipeline->news_fd, &count, sizeof(count)) < 0)
		log_debug("cannot read what woke the pipeline error=%s", strerror(errno));
	if (sideband)
		sideband_woken(pipeline->sideband);
}

int pipeline_sleep_ms(const struct pipeline *pipeline, uint64_t now_ns, uint64_t until_ns)
{
	uint64_t end = now_ns + (process_table_unread(pipeline->processes) ? BUSY_MS : QUIET_MS) * NS_PER_MS;

	end = end > pipeline->next_slice_ns ? pipeline->next_slice_ns : end;
	end = until_ns && end > until_ns ? until_ns : end;
	return end > now_ns ? (int)((end - now_ns + NS_PER_MS - 1) / NS_PER_MS) : 0;
}

int pipeline_work(struct pipeline *pipeline, int stop_fd, uint64_t until_ns)
{
	struct pollfd fds[] = { { .fd = stop_fd, .events = POLLIN },
				{ .fd = sideband_epoll_fd(pipeline->sideband), .events = POLLIN },
				{ .fd = pipeline->news_fd, .events = POLLIN },
				{ .fd = ring_buffer__epoll_fd(pipeline->events), .events = POLLIN } };

	for (;;) {
		uint64_t now = clock_monotonic_ns();
		int error, woken;

		if (until_ns && now >= until_ns)
			return 0;
		if (now >= pipeline->next_slice_ns) {
			pipeline->next_slice_ns += NS_PER_S;
			if (pipeline->next_slice_ns < now) /* stopped or suspended meanwhile: no catching up */
				pipeline->next_slice_ns = now + NS_PER_S;
			error = pipeline_second(pipeline);
			if (error)
				return error;
		}
		now = clock_monotonic_ns();
		loader_wake_after(pipeline->loader, now + SNAPSHOT_WAKE_NS);
		woken = poll(fds, array_size(fds), pipeline_sleep_ms(pipeline, now, until_ns));
		if (woken < 0 && errno != EINTR)
			return -errno;
		if (woken > 0 && fds[0].revents)
			return 1;
		pipeline_woken(pipeline, woken > 0 && fds[2].revents, woken > 0 && fds[1].revents);
		now = clock_monotonic_ns();
		if (now < pipeline->next_slice_ns) /* else the slice does it */
			pipeline_tables(pipeline, now - SIDEBAND_LAG_NS);
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Part of "referee", on its thread: takes a job, opens its files, has it unwound (or written down) by a child that lives
 * for this one stack, and checks the answer, which comes from where hostile files were read. Owns the descriptors it keeps for
 * the next job.
 */
#include "referee_keep.h"
#include "referee_private.h"

#include "base/clean.h"
#include "base/clock.h"
#include "resolve_child.h"
#include "resolve_open.h"
#include "stack_case.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define ANSWER_MS 800 /* a little less than what stopping may take */

static struct cached_fd *oldest_fd(struct referee *referee)
{
	struct cached_fd *oldest = &referee->fds[0];

	for (size_t i = 1; i < REFEREE_CACHED_FDS; i++)
		if (referee->fds[i].used < oldest->used)
			oldest = &referee->fds[i];
	return oldest;
}

/* Borrowed; -1: it cannot be opened. What is held open keeps its inode's number. */
static int file_fd(struct referee *referee, const struct resolve_image_request *request, uint64_t sequence)
{
	struct open_identity identity;
	struct cached_fd *place;
	int fd;

	for (size_t i = 0; i < REFEREE_CACHED_FDS; i++) {
		const struct sideband_file *file = &referee->fds[i].file;

		if (!file->inode || file->inode != request->file.inode || file->generation != request->file.generation ||
		    file->major != request->file.major || file->minor != request->file.minor)
			continue;
		referee->fds[i].used = sequence;
		return referee->fds[i].fd;
	}
	fd = open_image(request, &identity);
	if (fd < 0)
		return -1;
	place = oldest_fd(referee);
	if (place->open)
		open_close(place->fd);
	*place = (struct cached_fd){ true, request->file, fd, sequence };
	return fd;
}

void work_close_fds(struct referee *referee)
{
	for (size_t i = 0; i < REFEREE_CACHED_FDS; i++)
		if (referee->fds[i].open)
			open_close(referee->fds[i].fd);
}

static int make_space(const struct referee_job *job)
{
	auto_fd int fd = memfd_create("wick-mappings", MFD_CLOEXEC);
	size_t bytes = job->mapping_count * sizeof(job->mappings[0]);

	if (fd < 0)
		return -errno;
	if (pwrite(fd, job->mappings, bytes, 0) != (ssize_t)bytes)
		return -EIO;
	return steal_fd(&fd);
}

static int send_images(struct referee *referee, const struct referee_job *job, int socket)
{
	struct referee_request request = { .op = REFEREE_IMAGES };
	uint32_t indexes[REFEREE_PACKET_FDS];
	int fds[REFEREE_PACKET_FDS], error = 0;

	for (size_t at = 0; at < job->file_count && !error && !atomic_load(&referee->stop);) {
		struct iovec parts[] = { { &request, sizeof(request) }, { indexes, 0 } };
		uint32_t count = 0;

		for (; at < job->file_count && count < REFEREE_PACKET_FDS; at++) {
			int fd = file_fd(referee, &job->files[at], job->sequence);

			if (fd < 0)
				continue; /* the unwind ends there, and says so */
			indexes[count] = (uint32_t)at;
			fds[count++] = fd;
		}
		request.count = count;
		parts[1].iov_len = count * sizeof(indexes[0]);
		if (count)
			error = child_send_parts(socket, parts, 2, fds, count);
	}
	return error;
}

static int send_stack(const struct referee_job *job, int socket)
{
	struct referee_request request = { .op = REFEREE_UNWIND, .id = (uint32_t)job->sequence };
	struct iovec parts[] = {
		{ &request, sizeof(request) },
		{ (void *)(uintptr_t)&job->copy, sizeof(job->copy) },
		{ job->stack, job->copy.bytes },
	};

	return child_send_parts(socket, parts, 3, NULL, 0);
}

/* The frames lie behind the head in referee->packet. */
static int take_answer(struct referee *referee, struct referee_job *job, int socket,
		       struct referee_answer *ret_answer)
{
	struct pollfd wait = { .fd = socket, .events = POLLIN };
	struct referee_answer answer;
	ssize_t got;

	if (poll(&wait, 1, ANSWER_MS) <= 0)
		return -ETIMEDOUT;
	got = recv(socket, referee->packet, sizeof(referee->packet), MSG_DONTWAIT | MSG_TRUNC);
	if (got < (ssize_t)sizeof(answer) || got > (ssize_t)sizeof(referee->packet))
		return -EPROTO;
	memcpy(&answer, referee->packet, sizeof(answer));
	if (answer.id != (uint32_t)job->sequence || answer.frames > REFEREE_MAX_FRAMES || answer.reason >= REASON_COUNT ||
	    answer.certain > answer.frames + 1 ||
	    (size_t)got != sizeof(answer) + answer.frames * sizeof(uint64_t))
		return -EPROTO;
	job->child_ns = answer.cpu_us * 1000ULL;
	*ret_answer = answer;
	return 0;
}

static int take_unwind(struct referee *referee, struct referee_job *job, int socket)
{
	struct referee_answer answer;
	int error = take_answer(referee, job, socket, &answer);

	if (error)
		return error;
	job->judged = malloc(answer.frames * sizeof(uint64_t) + 1);
	if (!job->judged)
		return -ENOMEM;
	memcpy(job->judged, referee->packet + sizeof(answer), answer.frames * sizeof(uint64_t));
	job->judged_depth = answer.frames;
	job->judged_certain = answer.certain;
	job->judged_reason = (enum reason)answer.reason;
	return 0;
}

/* A child that has the job's mappings and images: its socket, or negative errno. A packet must fit in what may be on
 * its way, of which a part is the kernel's. */
static int start_child(struct referee *referee, const struct referee_job *job)
{
	const int send_bytes = REFEREE_STACK_PACKET; /* the kernel doubles it */
	auto_fd int space = make_space(job);
	auto_fd int socket = -1;
	int error;

	if (space < 0)
		return space;
	socket = resolve_open_child(referee->opts.resolve, space, SYMBOLIZER_REFEREE);
	if (socket < 0)
		return socket;
	if (setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &send_bytes, sizeof(send_bytes)))
		return -errno;
	error = send_images(referee, job, socket);
	return error ? error : steal_fd(&socket);
}

int work_unwind(struct referee *referee, struct referee_job *job)
{
	auto_fd int socket = start_child(referee, job);
	int error = socket < 0 ? socket : send_stack(job, socket);

	return error ? error : take_unwind(referee, job, socket);
}

/* What the child is to write; the names are for people and come from tenants. */
static void describe(const struct referee_job *job, struct referee_keep *keep)
{
	uint32_t count = job->walked_depth < REFEREE_MAX_FRAMES ? job->walked_depth : REFEREE_MAX_FRAMES;

	memset(keep, 0, sizeof(*keep));
	snprintf(keep->title, sizeof(keep->title), "%u frames walked (%s), %u by libunwind (%s), %u equal, then %016llx walked",
		 job->walked_depth, stack_case_reason(job->walked_reason), job->judged_depth,
		 stack_case_reason(job->judged_reason), job->compared,
		 job->compared < job->walked_depth ? (unsigned long long)job->walked[job->compared] : 0);
	memcpy(keep->walked, job->walked, count * sizeof(keep->walked[0]));
	for (size_t i = 0; i < job->file_count; i++) {
		const char *slash = strrchr(job->files[i].path, '/');

		snprintf(keep->names[i], sizeof(keep->names[i]), "%s", slash ? slash + 1 : job->files[i].path);
	}
}

int work_keep(struct referee *referee, struct referee_job *job)
{
	auto_fd int socket = start_child(referee, job);
	auto_fd int text = memfd_create("wick-stack", MFD_CLOEXEC);
	struct referee_request request = { .op = REFEREE_KEEP, .id = (uint32_t)job->sequence };
	static struct referee_keep keep; /* of the one thread */
	struct iovec parts[] = {
		{ &request, sizeof(request) },
		{ &keep, sizeof(keep) },
		{ &job->copy, sizeof(job->copy) },
		{ job->stack, job->copy.bytes },
	};
	struct referee_answer answer;
	int error;

	if (socket < 0 || text < 0)
		return socket < 0 ? socket : -ENOMEM;
	describe(job, &keep);
	request.count = job->walked_depth < REFEREE_MAX_FRAMES ? job->walked_depth : REFEREE_MAX_FRAMES;
	error = child_send_parts(socket, parts, array_size(parts), &text, 1);
	if (!error)
		error = take_answer(referee, job, socket, &answer);
	if (!error && (answer.frames || answer.reason))
		error = -EIO;
	return error ? error : keep_write(referee->keep_fd, text);
}

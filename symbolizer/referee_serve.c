/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A referee, inside its cage: takes one process's mappings, the images behind them and copies of its stacks, gives
 * frames. A child of its own for each process, so that no tenant's file ever meets another's memory; what libunwind
 * makes of a hostile one is bounded, and what gets past that ends by a timer.
 */
#include "symbolizer/referee_serve.h"

#include "symbolizer/referee_keep.h"
#include "symbolizer/referee_space.h"
#include "symbolizer/referee_unwind.h"
#include "symbolizer/sandbox.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define IDLE_MS 3000

struct referee {
	int socket;
	struct space space;
	int fds[REFEREE_PACKET_FDS]; /* that came with the packet */
	size_t fd_count;
	_Alignas(8) uint8_t packet[REFEREE_STACK_PACKET];
	size_t bytes;
	struct {
		struct referee_answer head;
		uint64_t frames[REFEREE_MAX_FRAMES];
	} answer;
};

/* 1: a packet, 0: the end, else negative errno. */
static int receive(struct referee *referee)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(REFEREE_PACKET_FDS * sizeof(int))];
	} ancillary;
	struct iovec part = { referee->packet, sizeof(referee->packet) };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &ancillary,
				  .msg_controllen = sizeof(ancillary) };
	struct cmsghdr *header;
	ssize_t got = recvmsg(referee->socket, &message, MSG_CMSG_CLOEXEC);

	referee->fd_count = 0;
	if (got <= 0)
		return got ? -errno : 0;
	referee->bytes = (size_t)got;
	header = CMSG_FIRSTHDR(&message);
	if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
		referee->fd_count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(referee->fds, CMSG_DATA(header), referee->fd_count * sizeof(int));
	}
	return referee->bytes >= sizeof(struct referee_request) ? 1 : -EPROTO;
}

static int take_images(struct referee *referee, const struct referee_request *request)
{
	const uint8_t *indexes = referee->packet + sizeof(*request);
	size_t count = (referee->bytes - sizeof(*request)) / sizeof(uint32_t);

	for (size_t i = 0; i < referee->fd_count; i++) {
		uint32_t index;

		if (i < count) {
			memcpy(&index, indexes + i * sizeof(index), sizeof(index));
			space_set_image(&referee->space, index, referee->fds[i]);
		}
		close(referee->fds[i]);
	}
	return 0;
}

/* The copy at `from` of the packet, its stack up to the end. NULL: there is none. */
static const uint8_t *unwind_copy(struct referee *referee, size_t from, struct snapshot *ret_copy,
				  struct referee_path *ret_path)
{
	const uint8_t *stack = referee->packet + from + sizeof(*ret_copy);

	if (referee->bytes < from + sizeof(*ret_copy))
		return NULL;
	memcpy(ret_copy, referee->packet + from, sizeof(*ret_copy));
	if (ret_copy->bytes != referee->bytes - from - sizeof(*ret_copy) || ret_copy->near_bytes > ret_copy->bytes)
		return NULL;
	referee_unwind(&referee->space, ret_copy, stack, referee->answer.frames, ret_path);
	return stack;
}

static int answer(struct referee *referee, uint32_t id, const struct referee_path *path)
{
	struct referee_answer *answer = &referee->answer.head;
	struct timespec spent;

	answer->id = id;
	answer->frames = path->depth;
	answer->certain = path->certain;
	answer->reason = path->reason;
	answer->cpu_us = clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &spent) ?
				 0 : (uint32_t)(spent.tv_sec * 1000000 + spent.tv_nsec / 1000);
	if (send(referee->socket, answer, sizeof(*answer) + answer->frames * sizeof(uint64_t), MSG_NOSIGNAL) < 0)
		return -errno;
	return 0;
}

static int unwind(struct referee *referee, const struct referee_request *request)
{
	struct referee_path path;
	struct snapshot copy;

	if (!unwind_copy(referee, sizeof(*request), &copy, &path))
		return -EPROTO;
	return answer(referee, request->id, &path);
}

static int keep(struct referee *referee, const struct referee_request *request)
{
	static struct referee_keep wanted;
	size_t head = sizeof(*request) + sizeof(wanted);
	struct referee_stack stack;
	struct referee_path path, done = { 0 };
	struct snapshot copy;

	stack.bytes = unwind_copy(referee, head, &copy, &path);
	if (!stack.bytes || referee->fd_count != 1 || request->count > REFEREE_MAX_FRAMES)
		return -EPROTO;
	memcpy(&wanted, referee->packet + sizeof(*request), sizeof(wanted));
	stack.copy = &copy;
	stack.frames = referee->answer.frames;
	stack.count = path.depth;
	stack.reason = path.reason;
	if (referee_keep(&referee->space, &stack, &wanted, request->count, referee->fds[0]))
		done.reason = REASON_READ_FAULT;
	close(referee->fds[0]);
	return answer(referee, request->id, &done);
}

static int serve_one(struct referee *referee)
{
	struct referee_request request;

	memcpy(&request, referee->packet, sizeof(request));
	switch (request.op) {
	case REFEREE_IMAGES:
		return take_images(referee, &request);
	case REFEREE_UNWIND:
		return unwind(referee, &request);
	case REFEREE_KEEP:
		return keep(referee, &request);
	default:
		return -EPROTO;
	}
}

void referee_serve(int socket, int space)
{
	static struct referee referee;
	struct pollfd wait = { .fd = socket, .events = POLLIN };

	referee.socket = socket;
	if (space_read(&referee.space, space))
		return;
	while (poll(&wait, 1, IDLE_MS) > 0 && receive(&referee) > 0) {
		sandbox_request_begin_short();
		if (serve_one(&referee))
			break;
		sandbox_request_end();
	}
	space_done(&referee.space);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A symbolizer child, inside its cage: takes requests from the agent, gives descriptions, row tables and names
 * of the one file it was handed. It gives back spare memory when nobody asks for a moment, and ends when nobody
 * does for longer: what it built is cheaper to build again than to keep. A request that costs too much ends it
 * by a timer.
 */
#include "serve_image.h"

#include "lookup.h"
#include "sandbox.h"
#include "serve_names.h"
#include "unwind_table.h"

#include "base/clean.h"

#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define TRIM_MS 1000 /* idle for so long: the allocator's spare pages go back */

struct server {
	int socket;
	int idle_ms;
	struct lookup *lookup;
	int image_fd;      /* -1: not one that has to stay as it was */
	struct stat image; /* when it was handed over */
	struct unwind_table *rows; /* NULL: nobody asked for any */
	struct {
		struct symbolizer_request head;
		uint64_t addresses[SYMBOLIZER_MAX_ADDRESSES];
	} request;
	int fd; /* that came with the request, or -1 */
};

/* 1: a request, 0: the end, else negative errno. */
static int receive(struct server *server)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} ancillary;
	struct iovec part = { &server->request, sizeof(server->request) };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &ancillary,
				  .msg_controllen = sizeof(ancillary) };
	struct cmsghdr *header;
	ssize_t got;

	server->fd = -1;
	do
		got = recvmsg(server->socket, &message, MSG_CMSG_CLOEXEC);
	while (got < 0 && errno == EINTR);
	if (got <= 0)
		return got ? -errno : 0;
	header = CMSG_FIRSTHDR(&message);
	if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS)
		memcpy(&server->fd, CMSG_DATA(header), sizeof(int));
	if ((size_t)got < sizeof(server->request.head))
		return -EPROTO;
	if ((server->request.head.op == SYMBOLIZER_NAMES || server->request.head.op == SYMBOLIZER_TABLE) &&
	    (server->request.head.count > SYMBOLIZER_MAX_ADDRESSES ||
	     (size_t)got != sizeof(server->request.head) + server->request.head.count * sizeof(uint64_t)))
		return -EPROTO;
	return 1;
}

static int answer(struct server *server, struct symbolizer_reply *reply, size_t bytes, int error)
{
	reply->op = server->request.head.op;
	reply->id = server->request.head.id;
	reply->error = error;
	return send(server->socket, reply, bytes, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static int describe(struct server *server)
{
	struct symbolizer_image description = { 0 };
	struct image *image;
	int error = lookup_image(server->lookup, &image);

	if (!error)
		image_describe(image, &description);
	return answer(server, &description.reply, sizeof(description), error);
}

/* Written anew under our hands: what these bytes say would be wrong for those who mapped the others. */
static bool has_changed(const struct server *server)
{
	const struct stat *was = &server->image;
	struct stat now;

	if (server->image_fd < 0 || fstat(server->image_fd, &now))
		return false;
	return now.st_size != was->st_size || now.st_mtim.tv_sec != was->st_mtim.tv_sec ||
	       now.st_mtim.tv_nsec != was->st_mtim.tv_nsec;
}

static int write_table(struct server *server)
{
	auto_fd int fd = steal_fd(&server->fd);
	struct symbolizer_table table = { 0 };
	struct image *image;
	int error = lookup_image(server->lookup, &image);

	if (!error && !server->rows)
		error = unwind_table_new(image, &server->rows);
	if (!error)
		error = unwind_table_write(server->rows, fd, server->request.addresses, server->request.head.count,
					   &table);
	if (!error && has_changed(server)) /* even while it was read */
		error = -ESTALE;
	return answer(server, &table.reply, sizeof(table), error);
}

static int set_debug(struct server *server)
{
	struct symbolizer_reply reply = { 0 };

	return answer(server, &reply, sizeof(reply), lookup_set_debug(server->lookup, steal_fd(&server->fd)));
}

static int refuse_names(struct server *server)
{
	struct symbolizer_names names = { 0 };

	return answer(server, &names.reply, sizeof(names), -ESTALE);
}

static int serve_one(struct server *server)
{
	const struct symbolizer_request *request = &server->request.head;

	switch (request->op) {
	case SYMBOLIZER_DESCRIBE:
		return describe(server);
	case SYMBOLIZER_TABLE:
		return write_table(server);
	case SYMBOLIZER_DEBUG:
		return set_debug(server);
	case SYMBOLIZER_NAMES:
		if (request->kind == SYMBOLIZER_FROZEN)
			lookup_freeze(server->lookup);
		if (has_changed(server))
			return refuse_names(server);
		return serve_names(server->socket, server->lookup, request->id, server->request.addresses,
				   request->count);
	default:
		return -EPROTO;
	}
}

static bool wait_readable(int socket, int timeout_ms)
{
	struct pollfd poll_fd = { .fd = socket, .events = POLLIN };
	int ready;

	do
		ready = poll(&poll_fd, 1, timeout_ms);
	while (ready < 0 && errno == EINTR);
	return ready > 0;
}

/*
 * True: there is something to read. Before it leaves, the child stops hearing and looks once more, so that no
 * request is lost between the last look and the end.
 */
static bool wait_for_request(const struct server *server)
{
	if (wait_readable(server->socket, TRIM_MS))
		return true;
	malloc_trim(0);
	if (wait_readable(server->socket, server->idle_ms - TRIM_MS))
		return true;
	shutdown(server->socket, SHUT_RD);
	return wait_readable(server->socket, 0);
}

void serve_image(int socket, int fd, uint32_t kind)
{
	static struct server server;

	server.socket = socket;
	server.idle_ms = (kind == SYMBOLIZER_KALLSYMS ? SYMBOLIZER_KALLSYMS_IDLE_S : SYMBOLIZER_IDLE_S) * 1000;
	server.image_fd = kind == SYMBOLIZER_ELF && !fstat(fd, &server.image) ? fd : -1;
	server.lookup = lookup_new(fd, kind);
	/* Big blocks go straight back when freed; the threshold must not grow with what was freed before. */
	mallopt(M_MMAP_THRESHOLD, 128 << 10);
	while (server.lookup && wait_for_request(&server)) {
		if (receive(&server) <= 0)
			break;
		sandbox_request_begin();
		if (serve_one(&server))
			break;
		sandbox_request_end();
		if (server.fd >= 0)
			close(steal_fd(&server.fd));
	}
}

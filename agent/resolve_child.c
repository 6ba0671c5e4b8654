/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between resolve and a symbolizer child: requests become packets, packets become checked answers. A child has
 * read a hostile file and may be that file's by now, so every count and offset of it is doubted.
 */
#include "resolve_child.h"

#include "base/clean.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

int child_send_parts(int socket, struct iovec *parts, size_t part_count, const int *fds, size_t fd_count)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(CHILD_MAX_FDS * sizeof(int))];
	} ancillary = { 0 };
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = part_count };
	ssize_t sent;

	if (fd_count > CHILD_MAX_FDS)
		return -EMFILE;
	if (fd_count) {
		message.msg_control = &ancillary;
		message.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		ancillary.header.cmsg_level = SOL_SOCKET;
		ancillary.header.cmsg_type = SCM_RIGHTS;
		ancillary.header.cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		memcpy(CMSG_DATA(&ancillary.header), fds, fd_count * sizeof(int));
	}
	do
		sent = sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : 0;
}

int child_open(int parent_socket, int image_fd, uint32_t kind, bool urgent)
{
	struct symbolizer_request request = { .op = SYMBOLIZER_OPEN, .kind = kind, .count = urgent };
	struct iovec part = { &request, sizeof(request) };
	auto_fd int near = -1;
	auto_fd int far = -1;
	int pair[2], error;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	near = pair[0];
	far = pair[1];
	error = child_send_parts(parent_socket, &part, 1, (int[]){ image_fd, far }, 2);
	return error ? error : steal_fd(&near);
}

int child_send(int socket, const struct symbolizer_request *request, int fd, const uint64_t *addresses)
{
	struct iovec parts[] = {
		{ (void *)(uintptr_t)request, sizeof(*request) },
		{ (void *)(uintptr_t)addresses, request->count * sizeof(*addresses) },
	};

	return child_send_parts(socket, parts, 2, &fd, fd >= 0);
}

int child_receive(int socket, void *packet)
{
	struct iovec part = { packet, SYMBOLIZER_PACKET };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 }; /* no room for descriptors: none arrive */
	ssize_t got;

	do
		got = recvmsg(socket, &message, MSG_DONTWAIT);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return -errno;
	return message.msg_flags & MSG_TRUNC ? -EPROTO : (int)got;
}

int child_check_reply(const void *packet, size_t bytes, uint32_t id, uint32_t op, struct symbolizer_reply *ret_reply)
{
	struct symbolizer_reply reply;

	if (bytes < sizeof(reply))
		return -EPROTO;
	memcpy(&reply, packet, sizeof(reply));
	if (reply.op != op || reply.id != id || reply.error > 0 || reply.error < -4095)
		return -EPROTO;
	*ret_reply = reply;
	return 0;
}

int child_check_image(const void *packet, size_t bytes, uint32_t id, struct symbolizer_image *ret_image)
{
	struct symbolizer_reply reply;
	struct symbolizer_image image;

	if (bytes != sizeof(image) || child_check_reply(packet, bytes, id, SYMBOLIZER_DESCRIBE, &reply))
		return -EPROTO;
	memcpy(&image, packet, sizeof(image));
	if (image.segment_count > SYMBOLIZER_MAX_SEGMENTS || image.build_id_bytes > sizeof(image.build_id) ||
	    !memchr(image.debuglink, '\0', sizeof(image.debuglink)) || strchr(image.debuglink, '/'))
		return -EPROTO;
	*ret_image = image;
	return 0;
}

int child_check_table(const void *packet, size_t bytes, uint32_t id, struct symbolizer_table *ret_table)
{
	struct symbolizer_reply reply;

	if (bytes != sizeof(*ret_table) || child_check_reply(packet, bytes, id, SYMBOLIZER_TABLE, &reply))
		return -EPROTO;
	memcpy(ret_table, packet, sizeof(*ret_table));
	return 0;
}

static bool line_is_inside(const struct symbolizer_line *line, uint32_t string_bytes)
{
	return line->name < string_bytes && line->system_name < string_bytes && line->file < string_bytes;
}

int child_check_names(const void *packet, size_t bytes, uint32_t id, uint32_t count, struct child_names *ret_names)
{
	const struct symbolizer_names *head = packet;
	struct symbolizer_reply reply;
	struct child_names names;

	if (bytes < sizeof(*head) || child_check_reply(packet, bytes, id, SYMBOLIZER_NAMES, &reply))
		return -EPROTO;
	if (head->frames > SYMBOLIZER_MAX_ADDRESSES || head->lines > SYMBOLIZER_MAX_LINES ||
	    head->string_bytes > SYMBOLIZER_PACKET || (reply.more && !head->frames))
		return -EPROTO;
	names.frames = (const void *)(head + 1);
	names.lines = (const void *)(names.frames + head->frames);
	names.strings = (const char *)(names.lines + head->lines);
	names.frame_count = head->frames;
	names.more = reply.more;
	names.error = reply.error;
	if (names.strings + head->string_bytes != (const char *)packet + bytes)
		return -EPROTO;
	if (head->string_bytes && names.strings[head->string_bytes - 1])
		return -EPROTO;
	for (size_t at = 0; at < head->lines; at++)
		if (!line_is_inside(&names.lines[at], head->string_bytes))
			return -EPROTO;
	for (size_t at = 0; at < head->frames; at++) {
		const struct symbolizer_frame *frame = &names.frames[at];

		if (frame->address >= count || frame->source >= SYMBOL_SOURCE_COUNT ||
		    frame->first_line > head->lines || frame->lines > head->lines - frame->first_line)
			return -EPROTO;
	}
	*ret_names = names;
	return 0;
}

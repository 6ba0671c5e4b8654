/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's end of the symbolizers' sockets. What a child sends is checked here before anybody looks at it. */
#ifndef RESOLVE_CHILD_H
#define RESOLVE_CHILD_H

#include "symbolizer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHILD_MAX_FDS 8 /* in one packet */

struct iovec;

struct child_names { /* pointers into the packet, checked */
	const struct symbolizer_frame *frames;
	const struct symbolizer_line *lines;
	const char *strings;
	size_t frame_count;
	bool more;
	int error;
};

/* Asks the parent at `parent_socket` for a child of the image. The child's socket, or negative errno. */
int child_open(int parent_socket, int image_fd, uint32_t kind, bool urgent);
/* `fd` goes along unless it is negative; addresses for NAMES. 0 or negative errno. */
int child_send(int socket, const struct symbolizer_request *request, int fd, const uint64_t *addresses);
/* One packet of what lies in `parts`. 0 or negative errno. */
int child_send_parts(int socket, struct iovec *parts, size_t part_count, const int *fds, size_t fd_count);
/* One packet of at most SYMBOLIZER_PACKET bytes. Its length, 0 at the end, -EAGAIN, other negative errno. */
int child_receive(int socket, void *packet);
/* 0, or -EPROTO: not an answer to the request, or something in it leads outside of it. */
int child_check_image(const void *packet, size_t bytes, uint32_t id, struct symbolizer_image *ret_image);
int child_check_table(const void *packet, size_t bytes, uint32_t id, struct symbolizer_table *ret_table);
int child_check_reply(const void *packet, size_t bytes, uint32_t id, uint32_t op, struct symbolizer_reply *ret_reply);
int child_check_names(const void *packet, size_t bytes, uint32_t id, uint32_t count, struct child_names *ret_names);

#endif

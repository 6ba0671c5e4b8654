/* SPDX-License-Identifier: Apache-2.0 */
/* A client that sends exactly the bytes it is told to, and reads what comes back. */
#ifndef HTTP_CLIENT_H
#define HTTP_CLIENT_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static uint16_t client_port; /* of the loopback address */

static int client_open(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(client_port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct timeval patience = { .tv_sec = 40 };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (fd < 0 || connect(fd, (void *)&to, sizeof(to)))
		abort();
	return fd;
}

static void client_send(int fd, const char *bytes, size_t length)
{
	while (length) {
		ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);

		if (sent <= 0)
			return; /* it was closed on us: the reader sees that */
		bytes += sent;
		length -= (size_t)sent;
	}
}

struct reply {
	int status; /* 0: closed without one */
	size_t length, body_length;
	char *body;
	char bytes[1 << 18];
};

static struct reply reply;

/* Reads until the other side closes. */
static int client_read_to(int fd, struct reply *to)
{
	ssize_t got;

	*to = (struct reply){ 0 };
	while (to->length < sizeof(to->bytes) - 1 &&
	       (got = recv(fd, to->bytes + to->length, sizeof(to->bytes) - 1 - to->length, 0)) > 0)
		to->length += (size_t)got;
	close(fd);
	to->body = strstr(to->bytes, "\r\n\r\n");
	to->body = to->body ? to->body + 4 : to->bytes + to->length;
	to->body_length = to->length - (size_t)(to->body - to->bytes);
	if (sscanf(to->bytes, "HTTP/1.%*d %d", &to->status) != 1)
		to->status = 0;
	return to->status;
}

static int client_read(int fd)
{
	return client_read_to(fd, &reply);
}

static int client_ask(const char *method, const char *path, const char *headers)
{
	char request[4096];
	int fd = client_open();

	snprintf(request, sizeof(request), "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s\r\n", method,
		 path, headers);
	client_send(fd, request, strlen(request));
	return fd;
}

/* GET with its answer in `reply`; the status. */
static int client_get(const char *path)
{
	return client_read(client_ask("GET", path, ""));
}

/* The value of an answer's header; NULL: not there. */
static const char *client_header(const char *name)
{
	static char value[512];
	char start[128];
	const char *at;

	snprintf(start, sizeof(start), "\r\n%s: ", name);
	at = strcasestr(reply.bytes, start);
	if (!at || at > reply.body)
		return NULL;
	snprintf(value, sizeof(value), "%.*s", (int)strcspn(at + strlen(start), "\r"), at + strlen(start));
	return value;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* A served host of fabricated slices, and a client that sends exactly the bytes it is told to. */
#ifndef SERVE_HOST_H
#define SERVE_HOST_H

#include "fixture.h"
#include "metric.h"
#include "serve.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

struct served {
	struct fixture fixture;
	struct store *store;
	struct serve *serve;
	uint16_t port;
	bool ready;
	char error[512];
};

static struct served host;

static struct metric_set *host_metrics(void *context)
{
	struct metric_set *set = metric_set_new();

	(void)context;
	metric_family_open(set, METRIC_COUNTER, "wick_container_cpu_seconds_total", "CPU time.");
	metric_add(set, 1.5, "namespace", "", "pod", "", "container", host.fixture.web_name, "mode", "user", NULL);
	metric_add(set, 0.25, "namespace", "", "pod", "", "container", host.fixture.web_name, "mode", "system", NULL);
	metric_family_open(set, METRIC_GAUGE, "wick_test_filler", "Long enough to be worth compressing.");
	for (int i = 0; i < 40; i++) {
		char number[16];

		snprintf(number, sizeof(number), "%d", i);
		metric_add(set, i, "number", number, NULL);
	}
	return set;
}

static bool host_ready(void *context)
{
	return ((struct served *)context)->ready;
}

static uint64_t host_to_wall(void *context, uint64_t monotonic_ns)
{
	(void)context;
	return clock_wall_ns() - clock_monotonic_ns() + monotonic_ns;
}

static int host_start(const struct serve_opts *opts)
{
	const struct store_opts limits = { .retention_ns = 600 * NS_PER_S, .limit_bytes = 64 << 20 };
	struct serve_sources sources = { .metrics = host_metrics, .ready = host_ready,
					 .monotonic_to_wall = host_to_wall, .context = &host };
	char url[512];
	int status;

	memset(&host, 0, sizeof(host));
	fixture_init(&host.fixture);
	host.ready = true;
	host.store = store_new(&limits);
	sources.store = host.store;
	sources.names = host.fixture.names;
	sources.cgroups = host.fixture.cgroups;
	status = serve_start(opts, &sources, &host.serve, host.error, sizeof(host.error));
	if (status)
		return status;
	serve_url(host.serve, url, sizeof(url));
	if (strrchr(url, ':'))
		host.port = (uint16_t)atoi(strrchr(url, ':') + 1);
	return 0;
}

static void host_stop(void)
{
	serve_stop(host.serve);
	store_free(host.store);
	fixture_done(&host.fixture);
	host.serve = NULL;
}

static void host_add_second(uint64_t from_ns)
{
	store_add(host.store, fixture_second(&host.fixture, from_ns));
}

static int client_open(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(host.port),
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

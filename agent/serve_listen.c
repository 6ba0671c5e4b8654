/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Part of agent/serve: from --web.listen-address to a listening socket. Numeric addresses, localhost, or
 * unix:/path; an address that other machines reach needs --web.insecure.
 */
#include "serve_private.h"

#include "base/clean.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 64

static int fail(char *error, size_t size, int status, const char *sentence)
{
	snprintf(error, size, "%s", sentence);
	return status;
}

/* host:port, [v6]:port, :port (every address) */
static bool split(const char *text, struct serve_address *address)
{
	const char *colon = strrchr(text, ':'), *start = text;
	size_t length, digits;

	if (!colon)
		return false;
	length = (size_t)(colon - text);
	digits = strspn(colon + 1, "0123456789");
	if (!digits || digits > 5 || colon[1 + digits] || strtoul(colon + 1, NULL, 10) > 65535)
		return false;
	if (length >= 2 && text[0] == '[' && text[length - 1] == ']') {
		address->ipv6 = true;
		start++;
		length -= 2;
	} else if (memchr(text, ':', length)) {
		return false;
	}
	if (length >= sizeof(address->host))
		return false;
	memcpy(address->host, start, length);
	address->host[length] = '\0';
	address->port = (unsigned short)strtoul(colon + 1, NULL, 10);
	if (!length)
		snprintf(address->host, sizeof(address->host), "0.0.0.0");
	else if (!strcmp(address->host, "localhost"))
		snprintf(address->host, sizeof(address->host), "127.0.0.1");
	return true;
}

static socklen_t make_sockaddr(struct serve_address *address, struct sockaddr_storage *storage)
{
	struct sockaddr_in *v4 = (void *)storage;
	struct sockaddr_in6 *v6 = (void *)storage;

	memset(storage, 0, sizeof(*storage));
	if (address->ipv6) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(address->port);
		address->loopback = inet_pton(AF_INET6, address->host, &v6->sin6_addr) == 1 &&
				    IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
		return inet_pton(AF_INET6, address->host, &v6->sin6_addr) == 1 ? sizeof(*v6) : 0;
	}
	v4->sin_family = AF_INET;
	v4->sin_port = htons(address->port);
	if (inet_pton(AF_INET, address->host, &v4->sin_addr) != 1)
		return 0;
	address->loopback = ntohl(v4->sin_addr.s_addr) >> 24 == 127;
	return sizeof(*v4);
}

static int bind_tcp(const struct serve_opts *opts, struct serve_address *address, char *error, size_t error_size)
{
	struct sockaddr_storage storage;
	socklen_t size = make_sockaddr(address, &storage);
	auto_fd int fd = -1;
	int one = 1;

	if (!size) {
		snprintf(error, error_size, "cannot listen on \"%s\": not a numeric address", opts->listen_address);
		return -EINVAL;
	}
	if (!address->loopback && !opts->insecure) {
		snprintf(error, error_size,
			 "refusing to listen on %s: other machines could read every profile of this host; "
			 "use a loopback address, or say --web.insecure", opts->listen_address);
		return -EACCES;
	}
	fd = socket(address->ipv6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) ||
	    (address->ipv6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one))) ||
	    bind(fd, (const void *)&storage, size) || listen(fd, BACKLOG) ||
	    getsockname(fd, (void *)&storage, &size)) {
		int status = -errno;

		snprintf(error, error_size, "cannot listen on %s: %s%s", opts->listen_address, strerror(-status),
			 status == -EADDRINUSE ? "; is another wick running? --web.listen-address chooses" : "");
		return status;
	}
	address->port = ntohs(address->ipv6 ? ((struct sockaddr_in6 *)(void *)&storage)->sin6_port :
					      ((struct sockaddr_in *)(void *)&storage)->sin_port);
	return steal_fd(&fd);
}

/* A socket file nobody listens on is what an agent that was killed leaves behind. Anything else stays. */
static bool remove_stale(const struct sockaddr_un *name)
{
	struct stat info;
	auto_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || lstat(name->sun_path, &info) || !S_ISSOCK(info.st_mode))
		return false;
	if (!connect(fd, (const void *)name, sizeof(*name)) || errno != ECONNREFUSED)
		return false;
	return !unlink(name->sun_path);
}

/*
 * The mode must be right before the first connect: bind makes the file by the umask, so it is narrowed first.
 * umask is the process's; serve_start runs before there are other threads that make files.
 */
static int bind_unix(struct serve_address *address, char *error, size_t error_size)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	auto_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mode_t before;
	int status;

	memcpy(name.sun_path, address->path, sizeof(name.sun_path));
	if (fd < 0)
		return fail(error, error_size, -errno, "cannot make a socket");
	before = umask(0117);
	status = bind(fd, (const void *)&name, sizeof(name)) ? -errno : 0;
	if (status == -EADDRINUSE && remove_stale(&name))
		status = bind(fd, (const void *)&name, sizeof(name)) ? -errno : 0;
	umask(before);
	if (!status && listen(fd, BACKLOG))
		status = -errno;
	if (status) {
		snprintf(error, error_size, "cannot listen on unix:%s: %s", address->path, strerror(-status));
		return status;
	}
	address->loopback = true;
	return steal_fd(&fd);
}

int serve_listen(const struct serve_opts *opts, struct serve_address *ret_address, int *ret_fd, char *error,
		 size_t error_size)
{
	struct serve_address address = { 0 };
	const char *text = opts->listen_address;
	int fd;

	if (!strncmp(text, "unix:", 5)) {
		if (text[5] != '/' || strlen(text + 5) >= sizeof(address.path))
			return fail(error, error_size, -EINVAL,
				    "cannot listen: unix: needs an absolute path of at most 107 bytes");
		snprintf(address.path, sizeof(address.path), "%s", text + 5);
		address.is_unix = true;
		fd = bind_unix(&address, error, error_size);
	} else if (split(text, &address)) {
		fd = bind_tcp(opts, &address, error, error_size);
	} else {
		snprintf(error, error_size, "cannot listen on \"%s\": write address:port, [::1]:port or unix:/path",
			 text);
		return -EINVAL;
	}
	if (fd < 0)
		return fd;
	*ret_address = address;
	*ret_fd = fd;
	return 0;
}

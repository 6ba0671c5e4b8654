/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Part of agent/serve: what is refused before anybody looks at the path. libmicrohttpd 0.9.75 passes on requests
 * that two parsers could read in two ways (no or several Hosts, a length and chunks, blanks in header names,
 * bodies), so they end here, and their connection with them. (A NUL in a header value it cuts off itself, unseen
 * from here.) A foreign Host is somebody else's web page: DNS rebinding.
 */
#include "serve_private.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

struct headers {
	const char *host;
	size_t host_count;
	bool malformed, has_body;
};

static bool is_token(const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (text[i] <= ' ' || text[i] == 0x7f || strchr("\"(),/:;<=>?@[\\]{}", text[i]))
			return false;
	return size > 0;
}

static bool is_plain(const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if ((text[i] >= 0 && text[i] < ' ' && text[i] != '\t') || text[i] == 0x7f)
			return false;
	return true;
}

static enum MHD_Result take_header(void *context, enum MHD_ValueKind kind, const char *key, size_t key_size,
				   const char *value, size_t value_size)
{
	struct headers *headers = context;

	(void)kind;
	if (!is_token(key, key_size) || !is_plain(value, value_size) || (value && strlen(value) != value_size)) {
		headers->malformed = true;
	} else if (!strcasecmp(key, "Host")) {
		headers->host = value;
		headers->host_count++;
	} else if (!strcasecmp(key, "Transfer-Encoding")) {
		headers->has_body = true;
	} else if (!strcasecmp(key, "Content-Length")) {
		headers->has_body |= !value_size || strspn(value, "0") != value_size;
	}
	return MHD_YES;
}

static bool is_own_address(int family, const void *wanted)
{
	struct ifaddrs *all;
	bool found = false;

	if (getifaddrs(&all))
		return false;
	for (struct ifaddrs *at = all; at && !found; at = at->ifa_next) {
		if (!at->ifa_addr || at->ifa_addr->sa_family != family)
			continue;
		if (family == AF_INET)
			found = !memcmp(&((struct sockaddr_in *)(void *)at->ifa_addr)->sin_addr, wanted, 4);
		else
			found = !memcmp(&((struct sockaddr_in6 *)(void *)at->ifa_addr)->sin6_addr, wanted, 16);
	}
	freeifaddrs(all);
	return found;
}

/* The name without its port; false: not of that form. */
static bool strip_port(const char *host, char *name, size_t size, bool *ret_bracketed)
{
	size_t length = strcspn(host, ":");
	const char *rest = host + length;

	*ret_bracketed = *host == '[';
	if (*ret_bracketed) {
		length = strcspn(++host, "]");
		if (host[length] != ']')
			return false;
		rest = host + length + 1;
	}
	if (!length || length >= size || (*rest && *rest != ':') ||
	    (*rest && rest[1 + strspn(rest + 1, "0123456789")]))
		return false;
	memcpy(name, host, length);
	name[length] = '\0';
	return true;
}

bool serve_host_allowed(const struct serve *serve, const char *host)
{
	struct in6_addr v6;
	struct in_addr v4;
	char name[256];
	bool bracketed;

	if (!strip_port(host, name, sizeof(name), &bracketed))
		return false;
	for (char *const *allowed = serve->allowed_hosts; *allowed; allowed++)
		if (!strcasecmp(name, *allowed) || !strcasecmp(host, *allowed))
			return true;
	if (bracketed)
		return inet_pton(AF_INET6, name, &v6) == 1 &&
		       (IN6_IS_ADDR_LOOPBACK(&v6) || is_own_address(AF_INET6, &v6));
	if (inet_pton(AF_INET, name, &v4) == 1)
		return ntohl(v4.s_addr) >> 24 == 127 || is_own_address(AF_INET, &v4);
	return !strcasecmp(name, "localhost");
}

static bool refuse(struct serve *serve, struct serve_answer *answer, unsigned status, const char *sentence)
{
	serve_error(answer, status, "%s", sentence);
	answer->close = true;
	pthread_mutex_lock(&serve->lock);
	serve->refused++;
	pthread_mutex_unlock(&serve->lock);
	return false;
}

bool serve_allowed(struct serve *serve, struct MHD_Connection *connection, const char *method, bool bad_uri,
		   struct serve_answer *answer)
{
	struct headers headers = { 0 };

	MHD_get_connection_values_n(connection, MHD_HEADER_KIND, take_header, &headers);
	if (headers.malformed)
		return refuse(serve, answer, 400, "A header of the request is malformed.");
	if (headers.host_count != 1)
		return refuse(serve, answer, 400, "A request must have exactly one Host header.");
	if (!serve_host_allowed(serve, headers.host))
		return refuse(serve, answer, 403,
			      "This Host is not served here; name it with --web.allowed-host if it should be.");
	if (strcmp(method, "GET") && strcmp(method, "HEAD"))
		return refuse(serve, answer, 405, "Only GET and HEAD are served.");
	if (headers.has_body)
		return refuse(serve, answer, 400, "Requests with a body are not served.");
	if (bad_uri)
		return refuse(serve, answer, 400, "The path is malformed.");
	return true;
}

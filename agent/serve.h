/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP. One libmicrohttpd thread that never computes profiles; two query workers that do. Requests have no side
 * effects. Everything it reads it gets through serve_sources.
 */
#ifndef SERVE_H
#define SERVE_H

#include "cgroup.h"
#include "names.h"
#include "store.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct serve;
struct metric_set;
struct host_view;
struct referee_tally;

struct serve_opts {
	const char *listen_address; /* 127.0.0.1:9750, [::1]:9750, unix:/path */
	const char *const *allowed_hosts; /* further names accepted in Host, ends with NULL */
	bool insecure;              /* a non-loopback address without users or TLS */
	const char *external_prefix;
};

struct serve_sources {
	struct store *store;
	struct names *names;
	struct cgroup_table *cgroups;
	struct referee_tally *tally; /* of /status; NULL: empty */
	/* All families for a scrape, on the http thread, within 200 ms; the caller frees the set. */
	struct metric_set *(*metrics)(void *context);
	bool (*ready)(void *context);
	uint64_t (*monotonic_to_wall)(void *context, uint64_t monotonic_ns);
	void *context;
};

int serve_start(const struct serve_opts *opts, const struct serve_sources *sources, struct serve **ret_serve,
		char *error, size_t error_size);
/* Open long queries are answered with what is there; stops within a second. Accepts NULL. */
void serve_stop(struct serve *serve);
void serve_get_stats(struct serve *serve, uint64_t *ret_connections, uint64_t *ret_refused);
/* "http://127.0.0.1:9750/" */
void serve_url(const struct serve *serve, char *url, size_t size);

#endif

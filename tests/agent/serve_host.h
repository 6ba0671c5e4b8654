/* SPDX-License-Identifier: Apache-2.0 */
/* A served host of fabricated slices, for http_client.h to ask. */
#ifndef SERVE_HOST_H
#define SERVE_HOST_H

#include "fixture.h"
#include "http_client.h"
#include "metric.h"
#include "referee_tally.h"
#include "serve.h"

struct served {
	struct fixture fixture;
	struct store *store;
	struct referee_tally *tally;
	struct serve *serve;
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
	sources.tally = host.tally = tally_new();
	sources.names = host.fixture.names;
	sources.cgroups = host.fixture.cgroups;
	status = serve_start(opts, &sources, &host.serve, host.error, sizeof(host.error));
	if (status)
		return status;
	serve_url(host.serve, url, sizeof(url));
	if (strrchr(url, ':'))
		client_port = (uint16_t)atoi(strrchr(url, ':') + 1);
	return 0;
}

static void host_stop(void)
{
	serve_stop(host.serve);
	store_free(host.store);
	tally_free(host.tally);
	fixture_done(&host.fixture);
	host.serve = NULL;
}

static void host_add_second(uint64_t from_ns)
{
	store_add(host.store, fixture_second(&host.fixture, from_ns));
}

#endif

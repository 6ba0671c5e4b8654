/* SPDX-License-Identifier: Apache-2.0 */
/* `wick run`: the pipeline, and HTTP over what it stores. */
#include "run.h"

#include "base/clock.h"
#include "base/log.h"
#include "metrics.h"
#include "pipeline.h"
#include "privilege.h"
#include "serve.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define RETENTION_LIMIT_NS (600 * NS_PER_S) /* in memory; storage on disk is to come */

struct agent {
	struct pipeline *pipeline;
	struct serve *serve;
};

static struct metric_set *scrape(void *context)
{
	struct agent *agent = context;
	struct host_view view;

	pipeline_view(agent->pipeline, &view);
	serve_get_stats(agent->serve, &view.http_connections, &view.http_refused);
	return metrics_collect(&view);
}

/* Served from the moment on which sampling runs: a range without a slice yet is answered as empty. */
static bool is_ready(void *context)
{
	return ((struct agent *)context)->pipeline;
}

static uint64_t to_wall(void *context, uint64_t monotonic_ns)
{
	(void)context;
	return clock_wall_ns() - clock_monotonic_ns() + monotonic_ns;
}

static int start_serving(const struct config *config, struct agent *agent, char *error, size_t error_size)
{
	struct serve_opts opts = { .listen_address = config->listen_address,
				   .allowed_hosts = (const char *const *)config->allowed_hosts,
				   .insecure = config->insecure, .external_prefix = config->external_prefix };
	struct serve_sources sources = { .store = pipeline_store(agent->pipeline),
					 .names = pipeline_names(agent->pipeline),
					 .cgroups = pipeline_cgroups(agent->pipeline),
					 .tally = pipeline_tally(agent->pipeline), .metrics = scrape,
					 .ready = is_ready, .monotonic_to_wall = to_wall, .context = agent };
	int result = serve_start(&opts, &sources, &agent->serve, error, error_size);
	char url[256];

	if (result)
		return result;
	serve_url(agent->serve, url, sizeof(url));
	log_info("serving url=%s frequency=%u", url, config->frequency);
	return 0;
}

/* 1: told to end; 0: a signal that asks for nothing here. */
static int read_signal(int signal_fd)
{
	struct signalfd_siginfo info;

	if (read(signal_fd, &info, sizeof(info)) != sizeof(info))
		return 0;
	if (info.ssi_signo == SIGHUP)
		log_info("nothing to reload: settings are read at start");
	return info.ssi_signo == SIGINT || info.ssi_signo == SIGTERM;
}

/* The last word of the accounts: nothing pending any more. */
static void log_accounts(struct pipeline *pipeline)
{
	struct host_view view;
	uint64_t lost = 0;

	pipeline_view(pipeline, &view);
	for (int reason = 0; reason < REASON_COUNT; reason++)
		lost += view.accounting.lost[reason];
	log_info("sampling stopped taken=%llu stored=%llu lost=%llu pending=%llu",
		 (unsigned long long)view.accounting.taken, (unsigned long long)view.accounting.stored,
		 (unsigned long long)lost, (unsigned long long)view.accounting.pending);
}

int run_agent(const struct config *config, int symbolizer_socket, int signal_fd, char *error, size_t error_size)
{
	struct pipeline_opts opts = { .config = config, .symbolizer_socket = symbolizer_socket,
				      .retention_ns = config->retention_ns < RETENTION_LIMIT_NS ?
							      config->retention_ns : RETENTION_LIMIT_NS,
				      .limit_bytes = config->memory_limit_bytes / 4 };
	struct agent agent = { 0 };
	int result;

	if (config->retention_ns > RETENTION_LIMIT_NS)
		log_warn("storage.retention is shortened: 10m at most are kept in memory");
	privilege_hurry();
	result = pipeline_open(&opts, &agent.pipeline, error, error_size);
	if (!result)
		result = start_serving(config, &agent, error, error_size);
	if (!result) {
		do {
			result = pipeline_work(agent.pipeline, signal_fd, 0);
		} while (result > 0 && !read_signal(signal_fd));
		if (result < 0)
			snprintf(error, error_size, "sampling failed: %s", strerror(-result));
		else
			result = pipeline_finish(agent.pipeline);
	}
	serve_stop(agent.serve); /* its scrapes fill the same view */
	if (!result)
		log_accounts(agent.pipeline);
	pipeline_close(agent.pipeline);
	return result;
}

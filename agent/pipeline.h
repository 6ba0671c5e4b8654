/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Wires the stages: read pipeline.c first. The pipeline thread runs side-band, drain, resolve of addresses,
 * aggregate and publish of mapping tables; it opens no file of a tenant.
 */
#ifndef PIPELINE_H
#define PIPELINE_H

#include "cgroup.h"
#include "collector.h"
#include "config.h"
#include "names.h"
#include "store.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pipeline;
struct referee_tally;

struct pipeline_opts {
	const struct config *config;
	uint64_t retention_ns, limit_bytes; /* of the store */
	int symbolizer_socket;
	uint32_t follow_pid; /* wick record -- COMMAND: its descendants are labelled, 0: none */
	bool keep_threads;
};

/* Loads, attaches, reads /proc and starts sampling. 0 or -errno with a sentence in `error`. */
int pipeline_open(const struct pipeline_opts *opts, struct pipeline **ret_pipeline, char *error, size_t error_size);
void pipeline_close(struct pipeline *pipeline); /* accepts NULL */
/* Works until `stop_fd` is readable (>0) or `until_ns` has come (0). -errno when a stage failed for good. */
int pipeline_work(struct pipeline *pipeline, int stop_fd, uint64_t until_ns);
/* Ends sampling and stores what was still pending. */
int pipeline_finish(struct pipeline *pipeline);

struct store *pipeline_store(struct pipeline *pipeline);
struct names *pipeline_names(struct pipeline *pipeline);
struct cgroup_table *pipeline_cgroups(struct pipeline *pipeline);
struct referee_tally *pipeline_tally(struct pipeline *pipeline);

/* What the agent knows of the host and of itself, for the collectors; any one thread. The arrays live until the
 * next call. */
void pipeline_view(struct pipeline *pipeline, struct host_view *ret_view);

#endif

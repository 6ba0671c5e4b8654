/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One option table: flags, WICK_… environment, the YAML file's keys, --help and the README's table. Precedence:
 * flag, environment, file, default. The result is const and handed down in parts.
 */
#ifndef CONFIG_H
#define CONFIG_H

#include "base/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct config { /* strings are owned by the config */
	const char *listen_address, *external_prefix, *config_file;
	bool insecure;
	char **allowed_hosts; /* ends with NULL */
	unsigned frequency;
	uint64_t retention_ns;          /* --storage.retention; in memory at most 10 minutes for now */
	uint64_t memory_limit_bytes, symbolizer_memory_bytes;
	unsigned sample_blocks; /* --debug.sample-blocks; 0: automatic */
	unsigned row_chunks;            /* --debug.row-chunks; 0: by memory_limit_bytes */
	bool allow_freezing_kernel;     /* --debug.allow-freezing-kernel */
	unsigned referee_interval;      /* --debug.referee-interval; 0: off */
	const char *keep_stacks;        /* --debug.keep-stacks, NULL: nowhere */
	const char *replay_file;        /* wick replay FILE */
	enum log_level log_level;
	enum log_format log_format;
	/* wick record */
	uint64_t duration_ns;
	const char *output, *format;
	bool threads;
	const char *container, *pod, *namespace_, *pid, *comm, *cgroup;
	char **command; /* ends with NULL; NULL: none */
	void *owned;
};

enum config_verb { CONFIG_RUN, CONFIG_RECORD, CONFIG_CHECK, CONFIG_PRINT, CONFIG_VERSION, CONFIG_HELP,
		   CONFIG_REPLAY };

/* 0, or -errno with one sentence in `error` that names the flag, or the file with line and column, and the
 * nearest known name. `environment` as environ. */
int config_load(int argc, char **argv, char **environment, enum config_verb *ret_verb, struct config *ret_config,
		char *error, size_t error_size);
void config_done(struct config *config);
void config_help(FILE *out);
void config_print(const struct config *config, FILE *out); /* YAML with every value */
void config_markdown(FILE *out); /* the README's table */

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs that sample: `wick run` serves until it is told to end, `wick record` writes one profile. */
#ifndef RUN_H
#define RUN_H

#include "config.h"

#include <stddef.h>

/* 0 or -errno with a sentence in `error`. `symbolizer_socket`: from resolve_spawn_parent; `signal_fd`: SIGINT,
 * SIGTERM and SIGCHLD arrive there. */
int run_agent(const struct config *config, int symbolizer_socket, int signal_fd, char *error, size_t error_size);
/* ret_status: the recorded command's exit status, 0 without one. */
int run_record(const struct config *config, int symbolizer_socket, int signal_fd, char *error, size_t error_size,
	       int *ret_status);

#endif

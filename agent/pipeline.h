/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Wires the stages: read this first. The pipeline thread runs sideband, drain, resolve of addresses, aggregate
 * and publish of mapping tables; it opens no file of a tenant.
 */
#ifndef PIPELINE_H
#define PIPELINE_H

#include "config.h"

#include <stddef.h>
#include <stdint.h>

int pipeline_run(const struct config *config, int symbolizer_socket, int signal_fd, char *error, size_t error_size);
int pipeline_record(const struct config *config, int symbolizer_socket, int signal_fd, char *error,
		    size_t error_size);

#endif

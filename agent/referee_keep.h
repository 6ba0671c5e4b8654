/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The directory of --debug.keep-stacks: stack cases, which hold tenants' memory, so the directory must be there,
 * the agent's user's and nobody else's to write, and a file is that user's alone. The last KEEP_FILES are kept.
 */
#ifndef REFEREE_KEEP_H
#define REFEREE_KEEP_H

#include <stddef.h>

#define KEEP_FILES 32

/* A descriptor of the directory, or -errno with a sentence in `error`. */
int keep_open(const char *path, char *error, size_t error_size);
/* The text that `from` (a memfd) holds becomes the newest file; the oldest makes room. 0 or -errno. */
int keep_write(int directory, int from);

#endif

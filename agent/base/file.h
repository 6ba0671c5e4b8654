/* SPDX-License-Identifier: Apache-2.0 */
/* Whole small files, and files below a directory that somebody else controls. */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include "base/buf.h"

#include <stddef.h>

/* Appends the file's bytes; -EFBIG past `limit`. `directory` as in openat. 0 or negative errno. */
int file_read(int directory, const char *path, size_t limit, struct buf *out);
int file_read_fd(int fd, size_t limit, struct buf *out);
/*
 * Opens a regular file for reading with every component resolved inside `root` (openat2, RESOLVE_IN_ROOT);
 * never opens a FIFO, device or directory. A descriptor or negative errno.
 */
int file_open_in_root(int root, const char *path);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opens files of tenants for resolve, each in a thread of its own: an open, a read or even a close can hang on a
 * network or FUSE file system. Past RESOLVE_DEADLINE_MS the thread is left behind; while OPEN_MAX_STUCK are,
 * nothing more is tried (-EBUSY). Regular files that begin with the ELF magic, nothing else.
 */
#ifndef RESOLVE_OPEN_H
#define RESOLVE_OPEN_H

#include "resolve.h"

#include <stdint.h>

#define OPEN_MAX_STUCK 2

struct open_identity { /* of the file as opened; no padding, it is a key */
	uint64_t dev, ino, size, mtime_ns, ctime_ns;
};

struct open_debug { /* what names a separate debug file */
	uint32_t pid;
	const char *path;      /* of the image */
	const uint8_t *build_id;
	size_t build_id_bytes;
	const char *debuglink; /* "" none */
};

/* A descriptor, or negative errno: -ETIMEDOUT, -ESTALE (another file is there now), -ENOEXEC (not ELF)… */
int open_image(const struct resolve_image_request *request, struct open_identity *ret_identity);
/* The same without keeping it open; 0 or negative errno. */
int open_look(const struct resolve_image_request *request, struct open_identity *ret_identity);
int open_look_fd(int fd, struct open_identity *ret_identity); /* of an open file, as far as this host knows; at once */
/* The first candidate from number *candidate on that can be opened; *candidate becomes the next number. */
int open_debug(const struct open_debug *wanted, unsigned *candidate);
void open_close(int fd);
unsigned open_stuck(void); /* threads that are left behind now */

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Within resolve: the file in which a process tells the names of the code it generates. */
#ifndef RESOLVE_JIT_H
#define RESOLVE_JIT_H

#include "resolve_private.h"

#define JIT_AGAIN_S 2 /* what has no name, or no file to say it, is asked once more: code comes first */

/* The jitdump that is mapped, else /tmp/perf-PID.map of the process's own root. A descriptor or negative errno. */
int jit_open(const struct resolve_image_request *request);
int jit_attach(struct resolve *resolve, struct image *image); /* to a subject of its own */
int jit_open_fd(struct resolve *resolve, struct subject *subject); /* subject->fd is open then */
/* There is no such file, as for most programs: frames that were asked for once before are done. */
void jit_refuse(struct resolve *resolve, struct subject *subject, uint64_t now_ns);
bool jit_is_frozen(const struct subject *subject); /* the process is gone: its file may be another's */

#endif

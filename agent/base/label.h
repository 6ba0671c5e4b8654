/* SPDX-License-Identifier: Apache-2.0 */
/* Label values out of bytes that anybody may have chosen: valid UTF-8, no control bytes, bounded. Pure. */
#ifndef BASE_LABEL_H
#define BASE_LABEL_H

#include <stddef.h>

#define LABEL_BYTES 128 /* a repaired value, without its NUL */

/*
 * Invalid and control bytes become U+FFFD. A longer value loses its middle, on character borders: the end of a
 * cgroup path is what tells two containers of a pod apart. Returns the length.
 */
size_t label_repair(const char *value, char repaired[LABEL_BYTES + 1]);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* What the loader reads from text: sizes from fdinfo. */
#ifndef LOADER_PRIVATE_H
#define LOADER_PRIVATE_H

#include <stdint.h>

uint64_t loader_map_bytes(int fd); /* what the kernel charged for the map, 0: not told */

#endif

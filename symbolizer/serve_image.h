/* SPDX-License-Identifier: Apache-2.0 */
/* A symbolizer child's life: answers what comes on `socket` about the file `fd`, until the end or idleness. */
#ifndef SYMBOLIZER_SERVE_IMAGE_H
#define SYMBOLIZER_SERVE_IMAGE_H

#include <stdint.h>

void serve_image(int socket, int fd, uint32_t kind); /* enum symbolizer_kind */

#endif

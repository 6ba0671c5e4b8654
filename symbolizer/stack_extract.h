/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an unwind through some addresses of an image reads of it, for a stack case (include/stack_case.h): program
 * headers, the FDEs and CIEs that cover the addresses below a short .eh_frame_hdr, code where only code tells, the
 * rows of Go's table, all at their places in the file; and section headers that name no more than that.
 */
#ifndef SYMBOLIZER_STACK_EXTRACT_H
#define SYMBOLIZER_STACK_EXTRACT_H

#include "symbolizer/image.h"

struct arena;
struct stack_image;

/*
 * `vaddrs` as they are looked up: a return address less one. Fills in all but the name; the parts borrow from
 * the image and the arena. 0 or -errno.
 */
int stack_extract(struct image *image, const uint64_t *vaddrs, size_t count, struct arena *arena,
		  struct stack_image *ret_image);

#endif

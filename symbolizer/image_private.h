/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the image reader share. */
#ifndef SYMBOLIZER_IMAGE_PRIVATE_H
#define SYMBOLIZER_IMAGE_PRIVATE_H

#include "symbolizer/image.h"

#include <stdbool.h>

struct image_inflated {
	uint8_t *bytes; /* NULL: not inflated yet */
	size_t size;
};

struct image {
	const uint8_t *bytes;
	size_t size;
	bool mapped; /* bytes are ours to unmap */
	struct symbolizer_image description;
	uint64_t eh_frame_hdr, eh_frame_hdr_bytes; /* of PT_GNU_EH_FRAME; 0 bytes: none */
	struct image_section *sections;
	size_t section_count;
	char *section_names;             /* copied, so that the terminator cannot go away under us */
	struct image_inflated *inflated; /* one per section */
	uint64_t inflated_bytes;
	bool debugdata_tried;
	uint8_t *debugdata_bytes;
	struct image *debugdata;
};

/* `size` bytes at a file offset; NULL: not all of them are there. */
const uint8_t *image_range(const struct image *image, uint64_t offset, uint64_t size);
void image_parse_notes(struct image *image, uint64_t offset, uint64_t size, uint64_t align);
void image_parse_debuglink(struct image *image);

enum image_codec { IMAGE_ZLIB, IMAGE_ZSTD };
/* Inflates exactly `size` bytes into a new buffer. -EINVAL: another size or broken data. */
int image_inflate(enum image_codec codec, const uint8_t *bytes, size_t packed, size_t size,
		  uint8_t **ret_bytes);
/* Inflates an xz stream of at most `limit` bytes. */
int image_inflate_xz(const uint8_t *bytes, size_t packed, size_t limit, uint8_t **ret_bytes, size_t *ret_size);

#endif

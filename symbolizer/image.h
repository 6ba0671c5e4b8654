/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One ELF file, read from a descriptor and never by name. 64-bit little-endian x86-64 only (-ENOTSUP else).
 * Everything in it is doubted: offsets, counts and sizes meet a limit before they meet a loop. The mapping
 * may raise SIGBUS when the file is cut short meanwhile; only the sandboxed child that holds it dies then.
 */
#ifndef SYMBOLIZER_IMAGE_H
#define SYMBOLIZER_IMAGE_H

#include "symbolizer.h"

#include <stddef.h>
#include <stdint.h>

#define IMAGE_MAX_SECTIONS 4096
#define IMAGE_MAX_INFLATED (192ULL << 20) /* all sections of one image that were compressed, together */

struct image;

struct image_section {
	const char *name;
	uint32_t type, link, info;
	uint64_t flags, vaddr, offset, size, entry_size;
};

int image_open(int fd, struct image **ret_image);   /* the descriptor stays the caller's */
int image_open_memory(const void *bytes, size_t size, struct image **ret_image); /* borrowed */
void image_close(struct image *image);              /* accepts NULL */
void image_describe(const struct image *image, struct symbolizer_image *ret_description);
size_t image_segments(const struct image *image, const struct symbolizer_segment **ret_segments);
size_t image_sections(const struct image *image, const struct image_section **ret_sections);
const struct image_section *image_find(const struct image *image, const char *name); /* NULL: none */
/* The section's bytes, inflated if compressed (zlib, zstd, .zdebug_), kept by the image. -ENODATA: NOBITS. */
int image_bytes(struct image *image, const struct image_section *section, const uint8_t **ret_bytes,
		size_t *ret_size);
/* Where the kernel or ld.so begins to run it; 0: nowhere. */
uint64_t image_entry(const struct image *image);
/* Bytes at an ELF virtual address inside a PT_LOAD's file part; NULL: not there. */
const uint8_t *image_at(const struct image *image, uint64_t vaddr, size_t size);
/* Where .eh_frame_hdr lies, by PT_GNU_EH_FRAME or else its section. 0 or -ENODATA. */
int image_eh_frame_hdr(const struct image *image, uint64_t *ret_vaddr, uint64_t *ret_size);
/* The image inside .gnu_debugdata (xz), opened once and owned by this one; NULL: none or unreadable. */
struct image *image_debugdata(struct image *image);

#endif

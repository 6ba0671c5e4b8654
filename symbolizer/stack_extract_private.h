/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the extractor share (stack_extract.h). */
#ifndef SYMBOLIZER_STACK_EXTRACT_PRIVATE_H
#define SYMBOLIZER_STACK_EXTRACT_PRIVATE_H

#include "base/arena.h"
#include "stack_case.h"
#include "symbolizer/cfi.h"
#include "symbolizer/image_private.h"
#include "symbolizer/stack_extract.h"

#include <elf.h>

#define EXTRACT_SECTIONS 64
#define EXTRACT_FDES 1024

struct extract {
	struct image *image;
	struct arena *arena;
	struct stack_part *parts;
	uint32_t part_count;
	int error;			       /* the first */
	Elf64_Shdr sections[EXTRACT_SECTIONS]; /* 0 is none; sh_name is an offset in `names` */
	uint32_t section_count;
	char names[512];
	uint32_t name_bytes;
	struct cfi_section *cfi; /* .eh_frame, NULL: none */
	uint64_t cfi_offset;	 /* in the file */
	struct cfi_place *places;
	size_t place_count;
	struct cfi_place kept[EXTRACT_FDES];
	size_t kept_count;
	uint64_t end; /* of the file as it grows behind the original */
};

/* `size` bytes of the image at a file offset; beyond it nothing is kept. */
void extract_keep(struct extract *extract, uint64_t offset, uint64_t size);
void extract_keep_vaddr(struct extract *extract, uint64_t vaddr, uint64_t size);
/* Bytes of our own, in the arena, that replace what is there. */
void extract_replace(struct extract *extract, uint64_t offset, const void *bytes, uint64_t size);
void extract_append(struct extract *extract, const void *bytes, uint64_t size, uint64_t *ret_offset);
/* A header for what is kept; NULL: too many. */
Elf64_Shdr *extract_section(struct extract *extract, const char *name, uint32_t type, uint64_t flags);
/* The executable section that holds an address, or the segment as one without a name; false: none. */
bool extract_find_text(const struct extract *extract, uint64_t vaddr, struct image_section *ret_section);
/* The code around an address that no FDE covers, [low, high) at most: it is all that tells. */
void extract_code(struct extract *extract, uint64_t vaddr, uint64_t low, uint64_t high);
/* True: Go's table has the address, and its rows are kept. Once for all addresses. */
void extract_go(struct extract *extract, const uint64_t *vaddrs, size_t count, uint64_t *ret_start, uint64_t *ret_end);

#endif

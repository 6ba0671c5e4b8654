/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a process had mapped, as far as an unwind needs it: its executable mappings, and of each the file's bytes
 * at their user addresses and the FDE that covers a pc. Owns the images; pointers stay valid as long as it.
 */
#ifndef SYMBOLIZER_REFEREE_SPACE_H
#define SYMBOLIZER_REFEREE_SPACE_H

#include "referee_talk.h"
#include "symbolizer/cfi.h"
#include "symbolizer/image.h"

#include <stdbool.h>
#include <stddef.h>

struct space_image {
	struct image *image; /* NULL: not handed over, or not readable */
	bool indexed[2];     /* .eh_frame, .debug_frame: read for want of a sorted table */
	struct cfi_section *sections[2];
	struct cfi_place *places[2];
	size_t place_counts[2];
};

struct space {
	struct referee_mapping *mappings;
	size_t mapping_count;
	struct space_image images[REFEREE_MAX_IMAGES];
};

struct space_object { /* an image where a process has it */
	struct space_image *image;
	uint64_t start, end; /* of the mapping */
	uint64_t bias;
};

int space_read(struct space *space, int fd); /* the mappings. 0 or -errno */
void space_done(struct space *space);
void space_set_image(struct space *space, uint32_t index, int fd); /* the descriptor stays the caller's */
/* What the pc lies in: 0, or why it is nothing to unwind by (enum reason). */
int space_find(struct space *space, uint64_t pc, struct space_object *ret_object);
/* The word at a user address, zeros where the file's part of a segment ends; false: not the object's. */
bool space_word(const struct space_object *object, uint64_t address, uint64_t *ret_word);
/* Of .eh_frame without a sorted table (0) or .debug_frame (1): the FDE that covers an ELF address. */
bool space_find_fde(struct space_image *image, unsigned which, uint64_t vaddr, struct cfi_place *ret_place,
		    struct cfi_fde *ret_fde);

#endif

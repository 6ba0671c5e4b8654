/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stack case: one stopped thread with all that an unwind of it needs, and the frames that somebody else found.
 * The recorded suite (tests/data/stacks) and the stacks the referee keeps are files of this kind.
 *
 *   wick-stack 1
 *   title TEXT                              oracle TEXT
 *   pc PC                                   registers R0 … R15 (DWARF order)
 *   image SIZE NAME                         then its parts, each at its offset in the original file:
 *   bytes OFFSET                            lines of hex digits behind a tab; *N stands for N zeros
 *   mapping START END OFFSET BIAS IMAGE     executable; IMAGE counts from 0, - is anonymous
 *   memory ADDRESS                          of the stacks, or code; hex lines as above
 *   frame PC                                innermost first, return addresses as they stand on the stack
 *   ends REASON                             a label of abi/reason.h; none: the last frame is the root
 *   shortfall FRAMES REASON                 optional: the unwinder is known to get no further than this
 *
 * Numbers are hexadecimal but N, IMAGE and FRAMES. The reader believes nothing: all is bounded, no file makes it
 * allocate more than STACK_CASE_MAX_BYTES. What is read lives in one arena and dies with stack_case_free; a case
 * put together by hand borrows everything and is only ever written.
 */
#ifndef STACK_CASE_H
#define STACK_CASE_H

#include "abi/reason.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;
struct buf;

#define STACK_CASE_MAX_BYTES (16U << 20)
#define STACK_CASE_MAX_PARTS 4096 /* of memory, or of one image */
#define STACK_CASE_MAX_IMAGES 64
#define STACK_CASE_MAX_MAPPINGS 1024
#define STACK_CASE_MAX_FRAMES 4096
#define STACK_CASE_MAX_IMAGE_BYTES (1ULL << 32)
#define STACK_CASE_REGISTERS 16
#define STACK_CASE_ANONYMOUS UINT32_MAX

struct stack_part {
	uint64_t at; /* address, or offset in the file */
	uint64_t size;
	const uint8_t *bytes;
};

struct stack_image { /* a sparse copy of the file: headers, CFI and text where they were, zeros elsewhere */
	const char *name;
	uint64_t size;
	const struct stack_part *parts;
	uint32_t part_count;
};

struct stack_mapping { /* ascending, no two overlap */
	uint64_t start, end;
	uint64_t offset; /* in the file */
	uint64_t bias;	 /* pc - bias is the ELF virtual address */
	uint32_t image;	 /* index, or STACK_CASE_ANONYMOUS */
};

struct stack_case {
	const char *title;
	const char *oracle; /* who says what the frames are */
	uint64_t pc;
	uint64_t reg[STACK_CASE_REGISTERS];
	const struct stack_image *images;
	const struct stack_mapping *mappings;
	const struct stack_part *memory; /* where two overlap the first counts */
	const uint64_t *frames;
	uint32_t image_count, mapping_count, memory_count, frame_count;
	enum reason ends;
	bool has_shortfall;
	uint32_t short_frames;
	enum reason short_reason;
	struct arena *arena; /* of one that was read */
};

/* -EINVAL: not such a file or past a limit, and *ret_line says where (0: something is missing). -ENOMEM. */
int stack_case_read(const char *text, size_t size, struct stack_case **ret_case, uint32_t *ret_line);
void stack_case_free(struct stack_case *stack_case); /* accepts NULL */
void stack_case_write(const struct stack_case *stack_case, struct buf *out);
const char *stack_case_reason(enum reason reason); /* its label */

/* The word at an address; false: not in the case. */
bool stack_case_word(const struct stack_case *stack_case, uint64_t address, uint64_t *ret_word);
/* The mapping that holds a pc; NULL: none. */
const struct stack_mapping *stack_case_mapping(const struct stack_case *stack_case, uint64_t pc);
/* An image as a file of its full size whose gaps take no memory: a memfd, or -errno. */
int stack_case_image(const struct stack_case *stack_case, uint32_t image);

#endif

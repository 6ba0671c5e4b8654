/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From an address to its lines, by whatever the image offers: DWARF of the image or of its separate debug file,
 * then symbol tables; kallsyms for the kernel; for generated code what its process wrote. Readers are made when first needed and live as long as the process.
 */
#ifndef SYMBOLIZER_LOOKUP_H
#define SYMBOLIZER_LOOKUP_H

#include "symbolizer/image.h"

#include <stddef.h>
#include <stdint.h>

#define LOOKUP_MAX_CALLS 64 /* a function and what was inlined into it; deeper ones are cut at the outer end */

struct lookup;

struct lookup_line { /* strings are valid until the next lookup_find */
	const char *name, *system_name, *file; /* never NULL */
	uint32_t line, start_line;
};

struct lookup *lookup_new(int fd, uint32_t kind); /* the descriptor becomes the lookup's; NULL: no memory */
int lookup_image(struct lookup *lookup, struct image **ret_image); /* opened at first need, borrowed */
/* The separate debug file, which becomes the lookup's. -ESTALE: it belongs to another build. */
int lookup_set_debug(struct lookup *lookup, int fd);
/* The file that is written on (perf map) may be another's by now: it is not read any more. */
void lookup_freeze(struct lookup *lookup);
/* Innermost first, the last is the function itself. 0: no name. */
size_t lookup_find(struct lookup *lookup, uint64_t address, struct lookup_line lines[LOOKUP_MAX_CALLS],
		   enum symbol_source *ret_source);

#endif

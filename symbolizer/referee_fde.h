/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sorted tables that libunwind searches for an FDE: .eh_frame_hdr where it lies, else a table of the one FDE
 * that covers the pc. What is made up is read at addresses that no process has.
 */
#ifndef SYMBOLIZER_REFEREE_FDE_H
#define SYMBOLIZER_REFEREE_FDE_H

#include "symbolizer/referee_space.h"

#define REFEREE_FDE_SOURCES 3 /* .eh_frame_hdr, .eh_frame, .debug_frame */
#define REFEREE_FDE_BYTES 65536

struct referee_fde {
	uint32_t bytes;
	_Alignas(8) uint8_t window[REFEREE_FDE_BYTES];
};

struct referee_table { /* of pairs of 32 bits: start and FDE, both relative to base */
	uint64_t base, entries, count;
};

/* False: the object has nothing of that source for the pc. The table is valid until the next call. */
bool referee_fde_table(struct referee_fde *fde, const struct space_object *object, unsigned source, uint64_t pc,
		       struct referee_table *ret_table);
bool referee_fde_word(const struct referee_fde *fde, uint64_t address, uint64_t *ret_word);

#endif

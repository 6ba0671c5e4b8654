/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Call frame information of one .eh_frame or .debug_frame: entries are read and their programs run over the mapped bytes, for
 * the CFA, rbp and the return address only. The section belongs to the caller; nothing here allocates but
 * cfi_scan. Work is bounded by a budget of bytes, so that entries that overlap each other cannot make it
 * quadratic.
 */
#ifndef SYMBOLIZER_CFI_H
#define SYMBOLIZER_CFI_H

#include "abi/escape.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CFI_STATE_DEPTH 8   /* of DW_CFA_remember_state; compilers use 1 */
#define CFI_CACHED_CIES 64
#define CFI_MAX_FDES (4U << 20)

/* BASE: at bp_reg + bp_offset; VALUE and REG: not in memory, the CFA or bp_reg plus bp_offset; DEREF: at
 * *(bp_reg + bp_offset) + bp_add. */
enum cfi_bp { CFI_BP_SAME, CFI_BP_CFA, CFI_BP_BASE, CFI_BP_UNKNOWN, CFI_BP_REG, CFI_BP_VALUE, CFI_BP_DEREF };
enum cfi_ra { CFI_RA_UNKNOWN, CFI_RA_CFA, CFI_RA_OUTERMOST, CFI_RA_REG };

#define CFI_SAVED_UNKNOWN 255 /* neither unchanged nor at CFA - 8 * k */

struct cfi_rule { /* no padding: rules are compared by their bytes */
	uint8_t cfa;     /* enum unwind_cfa; 0: no rule at all */
	uint8_t cfa_reg; /* DWARF register number below 16 */
	uint8_t bp;      /* enum cfi_bp */
	uint8_t ra;      /* enum cfi_ra */
	int32_t cfa_offset, cfa_add, bp_offset, bp_add, ra_offset; /* as in struct unwind_escape */
	int32_t reg_offset; /* the last given to a register: as in libgcc, it outlives an expression */
	uint8_t index, bp_reg, flags; /* as in struct unwind_escape */
	uint8_t sp;                   /* 1 + the register that holds the caller's rsp, 0: it is the CFA */
	uint8_t saved[UNWIND_SAVED];  /* rbx, r12 to r15, if cfi_section.follow; as in struct unwind_escape */
	uint8_t none[3];
};
_Static_assert(sizeof(struct cfi_rule) == 40, "struct cfi_rule has padding");

struct cfi_cie {
	uint64_t offset;
	bool valid, has_augmentation, signal;
	uint8_t pointer_encoding;
	uint64_t code_align;
	int64_t data_align;
	struct cfi_rule initial;
};

struct cfi_section {
	const uint8_t *bytes;
	size_t size;
	uint64_t vaddr;
	uint64_t budget; /* bytes of programs that may still be read */
	bool follow;     /* rules tell where callee-saved registers other than rbp are, too */
	bool debug;      /* .debug_frame, which marks CIEs otherwise and has no encodings */
	struct cfi_cie cies[CFI_CACHED_CIES];
};

struct cfi_fde {
	const struct cfi_cie *cie; /* valid until the next entry is read */
	uint64_t start, end;       /* ELF virtual addresses, half open */
	const uint8_t *program, *program_end;
};

struct cfi_place { /* an FDE found by cfi_scan */
	uint64_t start, offset;
};

void cfi_init(struct cfi_section *section, const uint8_t *bytes, size_t size, uint64_t vaddr);
int cfi_fde(struct cfi_section *section, uint64_t offset, struct cfi_fde *ret_fde); /* 0, -EINVAL, -ENOTSUP */
/*
 * Every FDE of the section, sorted by start, in a new array; broken ones are counted in *bad. `has_end`: the
 * size is the section's, so that a terminator is only a gap, as linkers leave them in the middle. A count or
 * -errno.
 */
long cfi_scan(struct cfi_section *section, bool has_end, struct cfi_place **ret_places, uint64_t *bad);
/* Runs the program and gives its rows below `limit`; where it is broken the rest is one row UNWIND_CFA_NONE. */
typedef void cfi_row_fn(void *context, uint64_t start, const struct cfi_rule *rule);
void cfi_run(struct cfi_section *section, const struct cfi_fde *fde, uint64_t limit, cfi_row_fn *row,
	     void *context);

#endif

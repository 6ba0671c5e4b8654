/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Call frame information of one .eh_frame: entries are read and their programs run over the mapped bytes, for
 * the CFA, rbp and the return address only. The section belongs to the caller; nothing here allocates but
 * cfi_scan. Work is bounded by a budget of bytes, so that entries that overlap each other cannot make it
 * quadratic.
 */
#ifndef SYMBOLIZER_CFI_H
#define SYMBOLIZER_CFI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CFI_STATE_DEPTH 8   /* of DW_CFA_remember_state; compilers use 1 */
#define CFI_CACHED_CIES 64
#define CFI_MAX_FDES (4U << 20)

enum cfi_bp { CFI_BP_SAME, CFI_BP_CFA, CFI_BP_RBP, CFI_BP_RSP, CFI_BP_UNKNOWN };
enum cfi_ra { CFI_RA_UNKNOWN, CFI_RA_CFA, CFI_RA_OUTERMOST };

struct cfi_rule { /* no padding: rules are compared by their bytes */
	uint8_t cfa;     /* enum unwind_cfa */
	uint8_t cfa_reg; /* DWARF register number below 16 */
	uint8_t bp;      /* enum cfi_bp */
	uint8_t ra;      /* enum cfi_ra */
	int32_t cfa_offset, cfa_add, bp_offset, ra_offset; /* as in struct unwind_escape */
	int32_t reg_offset; /* the last given to a register: as in libgcc, it outlives an expression */
};
_Static_assert(sizeof(struct cfi_rule) == 24, "struct cfi_rule has padding");

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

/* SPDX-License-Identifier: Apache-2.0 */
/* Part of "unwind_repair": does a file's own code need callee-saved registers followed? */
#include "symbolizer/unwind_repair.h"

#include "base/clean.h"
#include "symbolizer/cfi_private.h"
#include "symbolizer/x86.h"

#include <stdlib.h>

/*
 * ld.so's has 13 KiB. Past that, every rule in an escape would cost more than the copy of the few stacks that are
 * concerned: of 20 million rows of a distribution only ld.so's need it, and those of libmvec's slow paths.
 */
#define MAX_SECTION_BYTES 20480

struct search {
	const struct image *image;
	uint64_t start; /* of the row that needs a register, 0: none is open */
	bool found;
};

static bool has_call(const struct image *image, uint64_t start, uint64_t end)
{
	const uint8_t *code = image_at(image, start, end - start);

	for (size_t at = 0; code && at < end - start;) {
		struct x86 instruction;

		if (x86_decode(code + at, end - start - at, &instruction))
			return false;
		if (instruction.kind == X86_CALL)
			return true;
		at += instruction.length;
	}
	return false;
}

static void see_row(void *context, uint64_t start, const struct cfi_rule *rule)
{
	struct search *search = context;

	if (search->start && !search->found)
		search->found = has_call(search->image, search->start, start);
	search->start = rule->cfa == UNWIND_CFA_REG && (rule->cfa_reg == DWARF_RBX || rule->cfa_reg >= DWARF_R12) ?
				start : 0;
}

bool unwind_repair_follows(const struct image *image, const struct cfi_section *section)
{
	static const struct cfi_rule none;
	auto_free struct cfi_section *copy = malloc(sizeof(*copy));
	auto_free struct cfi_place *places = NULL;
	struct search search = { .image = image };
	uint64_t bad = 0;
	long count;

	if (section->size > MAX_SECTION_BYTES || !copy)
		return false;
	cfi_init(copy, section->bytes, section->size, section->vaddr);
	count = cfi_scan(copy, true, &places, &bad);
	for (long i = 0; i < count && !search.found; i++) {
		struct cfi_fde fde;

		if (cfi_fde(copy, places[i].offset, &fde))
			continue;
		cfi_run(copy, &fde, UINT64_MAX, see_row, &search);
		see_row(&search, fde.end, &none);
	}
	return search.found;
}

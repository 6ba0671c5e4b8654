/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stubs of .plt, .plt.sec and .plt.got by name. A stub jumps through a slot, a relocation fills that slot
 * with a symbol: so each stub's jump is decoded, whatever layout the linker chose. Owns its table and names.
 */
#ifndef SYMBOLIZER_SYMTAB_PLT_H
#define SYMBOLIZER_SYMTAB_PLT_H

#include "symtab.h"

struct plt;

/* `symtab` names the targets of slots that have only an address (static programs); borrowed for this call. */
int plt_new(struct image *image, const struct symtab *symtab, struct plt **ret_plt);
void plt_free(struct plt *plt); /* accepts NULL */
bool plt_find(const struct plt *plt, uint64_t vaddr, struct symtab_symbol *ret_symbol);
bool plt_covers(const struct plt *plt, uint64_t vaddr); /* in a stub section, named or not */
size_t plt_dropped(const struct plt *plt);

#endif

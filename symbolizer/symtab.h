/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Address -> ELF symbol. Merges .symtab, or else .dynsym and the .symtab inside .gnu_debugdata, and names the
 * stubs of the procedure linkage tables `name@plt`. Owns 8 bytes a symbol and the stubs' names; other names
 * point into the image, which must live longer.
 *
 * Of several names at one address: global before weak before local, a size before none, then the shorter, then
 * the first in byte order. An address past a sized symbol's end is no hit; a symbol without a size reaches to
 * the next symbol, its section's end or SYMTAB_MAX_UNSIZED bytes.
 */
#ifndef SYMBOLIZER_SYMTAB_H
#define SYMBOLIZER_SYMTAB_H

#include "image.h"

#include <stdbool.h>

#define SYMTAB_MAX_SYMBOLS (4U << 20)
#define SYMTAB_MAX_STUBS (1U << 16)
#define SYMTAB_MAX_UNSIZED 65536

struct symtab;

struct symtab_symbol {
	const char *name; /* as in the file, mangled. A stub's lives as long as the symtab */
	uint64_t start, size; /* size 0: the file has none */
	enum symbol_source source; /* SYMBOL_SYMTAB, _DYNSYM, _DEBUGDATA or _PLT */
};

int symtab_new(struct image *image, struct symtab **ret_symtab); /* without any symbol it is empty */
void symtab_free(struct symtab *symtab);                         /* accepts NULL */
bool symtab_find(const struct symtab *symtab, uint64_t vaddr, struct symtab_symbol *ret_symbol);
size_t symtab_dropped(const struct symtab *symtab); /* left out by a limit */

#endif

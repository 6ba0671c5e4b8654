/* SPDX-License-Identifier: Apache-2.0 */
/* Builds the sorted symbol index and answers from it; names and sizes are read from the file when asked for. */
#include "symtab.h"

#include "symtab_plt.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NAME 65536
#define MAX_COMPARED 256 /* of two names at one address: long ones must not make sorting slow */
#define ENTRY_BYTES 64 /* of a nameless entry point: glibc's and musl's `_start` are shorter */
#define MAX_LOOK_BACK 16 /* symbols that nest: a few hops to the one around */
#define TABLE_SHIFT 30
#define INDEX_MASK ((1U << TABLE_SHIFT) - 1)

enum { TABLE_SYMTAB, TABLE_DYNSYM, TABLE_DEBUGDATA, TABLES };

struct table {
	struct image *image;
	const uint8_t *symbols;
	const char *strings;
	size_t count, strings_size;
	enum symbol_source source;
};

struct entry {
	uint32_t start; /* from the base */
	uint32_t symbol; /* table and index */
};

struct symtab {
	struct table tables[TABLES];
	struct entry *entries;
	size_t count, room, dropped;
	uint64_t base, entry;
	struct plt *plt;
};

struct symbol { /* one decoded */
	const char *name;
	size_t name_room; /* bytes the table has from there; whether one is NUL is has_end's to say */
	uint64_t start, size, limit; /* limit: end of its section */
	unsigned binding;
};

static int open_table(struct image *image, const char *name, enum symbol_source source, struct table *table)
{
	const struct image_section *section = image_find(image, name), *sections;
	size_t section_count = image_sections(image, &sections), size;
	const uint8_t *strings;
	int error;

	if (!section || section->type == SHT_NOBITS || section->link >= section_count)
		return -ENODATA;
	error = image_bytes(image, section, &table->symbols, &size);
	if (!error)
		error = image_bytes(image, &sections[section->link], &strings, &table->strings_size);
	if (error)
		return error;
	table->count = size / sizeof(Elf64_Sym);
	if (table->count > INDEX_MASK)
		table->count = INDEX_MASK;
	table->strings = (const char *)strings;
	table->image = image;
	table->source = source;
	return table->count ? 0 : -ENODATA;
}

/* Decodes a symbol; false if it is no code: data, undefined, a file, a section, an assembler's label. */
static bool read_symbol(const struct table *table, size_t index, struct symbol *ret_symbol)
{
	const struct image_section *sections, *section;
	size_t section_count = image_sections(table->image, &sections);
	struct symbol symbol;
	Elf64_Sym raw;
	unsigned type;

	memcpy(&raw, table->symbols + index * sizeof(raw), sizeof(raw));
	type = ELF64_ST_TYPE(raw.st_info);
	if (type != STT_FUNC && type != STT_GNU_IFUNC && type != STT_NOTYPE)
		return false;
	if (raw.st_shndx == SHN_UNDEF || raw.st_shndx >= section_count || raw.st_name >= table->strings_size)
		return false;
	section = &sections[raw.st_shndx];
	if (!(section->flags & SHF_EXECINSTR) || raw.st_value < section->vaddr ||
	    raw.st_value - section->vaddr >= section->size)
		return false;
	symbol.name = table->strings + raw.st_name;
	symbol.name_room = table->strings_size - raw.st_name;
	if (!*symbol.name || (type == STT_NOTYPE && symbol.name_room > 2 && !memcmp(symbol.name, ".L", 2)))
		return false;
	symbol.start = raw.st_value;
	symbol.limit = section->size > UINT64_MAX - section->vaddr ? UINT64_MAX : section->vaddr + section->size;
	symbol.size = raw.st_size;
	if (symbol.size > symbol.limit - symbol.start)
		symbol.size = symbol.limit - symbol.start;
	symbol.binding = ELF64_ST_BIND(raw.st_info);
	*ret_symbol = symbol;
	return true;
}

static bool has_end(const struct symbol *symbol)
{
	return memchr(symbol->name, 0, symbol->name_room < MAX_NAME ? symbol->name_room : MAX_NAME) != NULL;
}

static bool read_entry(const struct symtab *symtab, const struct entry *entry, struct symbol *ret_symbol)
{
	return read_symbol(&symtab->tables[entry->symbol >> TABLE_SHIFT], entry->symbol & INDEX_MASK, ret_symbol);
}

static int add_entry(struct symtab *symtab, uint64_t start, uint32_t symbol)
{
	size_t room = symtab->room ? symtab->room * 2 : 256;
	struct entry *grown;

	if (start - symtab->base > UINT32_MAX || symtab->count == SYMTAB_MAX_SYMBOLS) {
		symtab->dropped++;
		return 0;
	}
	if (symtab->count == symtab->room) {
		grown = realloc(symtab->entries, room * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		symtab->entries = grown;
		symtab->room = room;
	}
	symtab->entries[symtab->count++] = (struct entry){ (uint32_t)(start - symtab->base), symbol };
	return 0;
}

/* Addresses are kept as distances from the lowest executable section. */
static void find_base(struct symtab *symtab)
{
	symtab->base = UINT64_MAX;
	for (size_t table = 0; table < TABLES; table++) {
		const struct image_section *sections;
		size_t count = 0;

		if (symtab->tables[table].image)
			count = image_sections(symtab->tables[table].image, &sections);
		for (size_t at = 0; at < count; at++)
			if ((sections[at].flags & SHF_EXECINSTR) && sections[at].vaddr < symtab->base)
				symtab->base = sections[at].vaddr;
	}
}

static int fill(struct symtab *symtab)
{
	struct symbol symbol;
	int error = 0;

	find_base(symtab);
	for (uint32_t table = 0; table < TABLES; table++)
		for (uint32_t index = 0; index < symtab->tables[table].count && !error; index++)
			if (read_symbol(&symtab->tables[table], index, &symbol) && has_end(&symbol))
				error = add_entry(symtab, symbol.start, table << TABLE_SHIFT | index);
	return error;
}

static int rank(unsigned binding)
{
	return binding == STB_GLOBAL || binding == STB_GNU_UNIQUE ? 0 : binding == STB_WEAK ? 1 : 2;
}

/* The shorter first, then byte order, both as far as MAX_COMPARED bytes tell. */
static int compare_names(const struct symbol *left, const struct symbol *right)
{
	size_t a = strnlen(left->name, left->name_room < MAX_COMPARED ? left->name_room : MAX_COMPARED);
	size_t b = strnlen(right->name, right->name_room < MAX_COMPARED ? right->name_room : MAX_COMPARED);

	return a != b ? (a < b ? -1 : 1) : memcmp(left->name, right->name, a);
}

static int compare_entries(const void *left, const void *right, void *context)
{
	const struct entry *a = left, *b = right;
	struct symbol x, y;
	int order;

	if (a->start != b->start)
		return a->start < b->start ? -1 : 1;
	if (!read_entry(context, a, &x) || !read_entry(context, b, &y))
		return 0;
	if (rank(x.binding) != rank(y.binding))
		return rank(x.binding) - rank(y.binding);
	if (!x.size != !y.size)
		return x.size ? -1 : 1;
	order = compare_names(&x, &y);
	return order ? order : (a->symbol > b->symbol) - (a->symbol < b->symbol);
}

/* Sorts, keeps the best name of each address, and drops labels that lie inside a sized symbol. */
static void tidy(struct symtab *symtab)
{
	uint64_t covered = 0;
	struct entry *fitted;
	size_t kept = 0;

	if (!symtab->count)
		return;
	qsort_r(symtab->entries, symtab->count, sizeof(*symtab->entries), compare_entries, symtab);
	for (size_t at = 0; at < symtab->count; at++) {
		struct symbol symbol;

		if (kept && symtab->entries[kept - 1].start == symtab->entries[at].start)
			continue;
		if (!read_entry(symtab, &symtab->entries[at], &symbol) || (!symbol.size && symbol.start < covered))
			continue;
		if (symbol.start + symbol.size > covered)
			covered = symbol.start + symbol.size;
		symtab->entries[kept++] = symtab->entries[at];
	}
	symtab->count = kept;
	fitted = realloc(symtab->entries, (kept + 1) * sizeof(*fitted));
	if (fitted)
		symtab->entries = fitted;
}

int symtab_new(struct image *image, struct symtab **ret_symtab)
{
	struct symtab *symtab = calloc(1, sizeof(*symtab));
	struct image *inner;
	int error;

	if (!symtab)
		return -ENOMEM;
	if (open_table(image, ".symtab", SYMBOL_SYMTAB, &symtab->tables[TABLE_SYMTAB]) < 0) {
		symtab->tables[TABLE_SYMTAB] = (struct table){ 0 };
		if (open_table(image, ".dynsym", SYMBOL_DYNSYM, &symtab->tables[TABLE_DYNSYM]) < 0)
			symtab->tables[TABLE_DYNSYM] = (struct table){ 0 };
		inner = image_debugdata(image);
		if (!inner || open_table(inner, ".symtab", SYMBOL_DEBUGDATA, &symtab->tables[TABLE_DEBUGDATA]) < 0)
			symtab->tables[TABLE_DEBUGDATA] = (struct table){ 0 };
	}
	symtab->entry = image_entry(image);
	error = fill(symtab);
	if (!error) {
		tidy(symtab);
		error = plt_new(image, symtab, &symtab->plt);
	}
	if (error) {
		symtab_free(symtab);
		return error;
	}
	*ret_symtab = symtab;
	return 0;
}

void symtab_free(struct symtab *symtab)
{
	if (!symtab)
		return;
	plt_free(symtab->plt);
	free(symtab->entries);
	free(symtab);
}

/* A stripped program still begins where its header says: the root of every stack keeps its usual name. */
static bool find_entry(const struct symtab *symtab, uint64_t vaddr, struct symtab_symbol *ret_symbol)
{
	if (!symtab->entry || vaddr < symtab->entry || vaddr - symtab->entry >= ENTRY_BYTES)
		return false;
	*ret_symbol = (struct symtab_symbol){ "_start", symtab->entry, ENTRY_BYTES, SYMBOL_SYMTAB };
	return true;
}

static bool find_symbol(const struct symtab *symtab, uint64_t vaddr, struct symtab_symbol *ret_symbol)
{
	size_t low = 0, high = symtab->count, first;
	uint32_t target;

	if (vaddr < symtab->base || vaddr - symtab->base > UINT32_MAX)
		return false;
	target = (uint32_t)(vaddr - symtab->base);
	while (low < high) {
		size_t middle = (low + high) / 2;

		if (symtab->entries[middle].start <= target)
			low = middle + 1;
		else
			high = middle;
	}
	first = low;
	while (low && first - low < MAX_LOOK_BACK) {
		struct symbol symbol;
		uint64_t reach;

		if (!read_entry(symtab, &symtab->entries[--low], &symbol) || !has_end(&symbol))
			continue; /* the file may have changed under its mapping */
		reach = symbol.size ? symbol.size : first - low == 1 ? SYMTAB_MAX_UNSIZED : 0;
		if (vaddr - symbol.start >= reach || vaddr >= symbol.limit)
			continue;
		*ret_symbol = (struct symtab_symbol){ symbol.name, symbol.start, symbol.size,
			symtab->tables[symtab->entries[low].symbol >> TABLE_SHIFT].source };
		return true;
	}
	return false;
}

bool symtab_find(const struct symtab *symtab, uint64_t vaddr, struct symtab_symbol *ret_symbol)
{
	if (symtab->plt && plt_covers(symtab->plt, vaddr)) /* `_init` has no size and would claim them */
		return plt_find(symtab->plt, vaddr, ret_symbol);
	return find_symbol(symtab, vaddr, ret_symbol) || find_entry(symtab, vaddr, ret_symbol);
}

size_t symtab_dropped(const struct symtab *symtab)
{
	return symtab->dropped + (symtab->plt ? plt_dropped(symtab->plt) : 0);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Part of "stack_extract": takes addresses that no FDE covers, keeps what then tells how to unwind: the function's
 * code and where it begins, a linker's stub, .debug_frame, Go's table with no more functions than are asked for.
 */
#include "symbolizer/stack_extract_private.h"

#include "symbolizer/gopclntab_private.h"

#include <errno.h>
#include <string.h>

#define AROUND 4096 /* of code where no symbol tells its bounds */
#define MAX_SYMBOLS 256
#define MAX_DEBUG_FRAME 8192
#define GO_HEADER_BYTES 72
#define GO_MAX_FUNCTIONS 512
#define GO_MAX_VALUES 4096 /* bytes of one function's depths */

bool extract_find_text(const struct extract *extract, uint64_t vaddr, struct image_section *ret_section)
{
	const struct symbolizer_segment *segments;
	const struct image_section *sections;
	size_t count = image_sections(extract->image, &sections);

	for (size_t i = 0; i < count; i++) {
		if (sections[i].flags & SHF_EXECINSTR && sections[i].type == SHT_PROGBITS &&
		    vaddr - sections[i].vaddr < sections[i].size) {
			*ret_section = sections[i];
			return true;
		}
	}
	count = count ? 0 : image_segments(extract->image, &segments);
	for (size_t i = 0; i < count; i++) {
		if (segments[i].flags & PF_X && vaddr - segments[i].vaddr < segments[i].filesz) {
			*ret_section = (struct image_section){ .name = ".text", .vaddr = segments[i].vaddr, .size = segments[i].filesz };
			return true;
		}
	}
	return false;
}

/* ---- symbols ----------------------------------------------------------------------------------------------- */

struct symbols {
	const uint8_t *bytes; /* Elf64_Sym, unaligned */
	size_t count;
	bool complete;
};

static struct symbols read_symbols(struct image *image)
{
	static const char *const names[] = { ".symtab", ".dynsym" };
	struct symbols symbols = { 0 };
	size_t size;

	for (int i = 0; i < 2 && !symbols.count; i++) {
		const struct image_section *section = image_find(image, names[i]);

		if (!section || section->type == SHT_NOBITS || image_bytes(image, section, &symbols.bytes, &size))
			continue;
		symbols.count = size / sizeof(Elf64_Sym);
		symbols.complete = !i;
	}
	return symbols;
}

/* Whether it names a function; assembly may not say so. */
static bool read_symbol(const struct symbols *symbols, size_t index, Elf64_Sym *ret_symbol)
{
	unsigned int type;

	memcpy(ret_symbol, symbols->bytes + index * sizeof(*ret_symbol), sizeof(*ret_symbol));
	type = ELF64_ST_TYPE(ret_symbol->st_info);
	if (type == STT_NOTYPE && ELF64_ST_BIND(ret_symbol->st_info) == STB_LOCAL)
		return false;
	return (type == STT_FUNC || type == STT_NOTYPE) && ret_symbol->st_shndx != SHN_UNDEF &&
	       ret_symbol->st_shndx < SHN_LORESERVE && ret_symbol->st_value;
}

/* Narrows [*low, *high) to the function at vaddr, as far as symbols tell. */
static void narrow(const struct symbols *symbols, uint64_t vaddr, uint64_t *low, uint64_t *high)
{
	Elf64_Sym symbol;
	bool found = false;

	for (size_t i = 0; i < symbols->count; i++) {
		if (!read_symbol(symbols, i, &symbol))
			continue;
		if (symbol.st_value <= vaddr && symbol.st_value >= *low) {
			*low = symbol.st_value;
			found = true;
		} else if (symbol.st_value > vaddr && symbol.st_value < *high) {
			*high = symbol.st_value;
		}
	}
	if (!found && vaddr - *low > AROUND)
		*low = vaddr - AROUND;
	if (*high - vaddr > AROUND)
		*high = vaddr + AROUND;
}

/* The symbols of functions in all code that is kept, without their names. */
static void write_symbols(struct extract *extract, const struct symbols *symbols, uint64_t low, uint64_t high)
{
	const char *name = symbols->complete ? ".symtab" : ".dynsym";
	Elf64_Sym kept[MAX_SYMBOLS] = { { 0 } };
	Elf64_Shdr *table = NULL, *strings;
	uint32_t count = 1;

	for (size_t i = 0; i < symbols->count && count < MAX_SYMBOLS; i++) {
		if (read_symbol(symbols, i, &kept[count]) && kept[count].st_value >= low &&
		    kept[count].st_value < high) {
			kept[count].st_name = 0;
			kept[count++].st_shndx = 1;
		}
	}
	for (uint32_t i = 1; i < extract->section_count; i++)
		if (!strcmp(extract->names + extract->sections[i].sh_name, name))
			table = &extract->sections[i];
	if (table) { /* one more function: the table grows, its old place is forgotten */
		for (uint32_t i = 0; i < extract->part_count && count < MAX_SYMBOLS; i++) {
			size_t old = table->sh_size / sizeof(Elf64_Sym) - 1;

			if (extract->parts[i].at != table->sh_offset || old > MAX_SYMBOLS - count)
				continue;
			memcpy(kept + count, extract->parts[i].bytes + sizeof(Elf64_Sym), old * sizeof(Elf64_Sym));
			count += (uint32_t)old;
			extract->parts[i] = extract->parts[--extract->part_count];
			break;
		}
	} else {
		strings = extract_section(extract, ".strtab", SHT_STRTAB, 0);
		table = extract_section(extract, name, symbols->complete ? SHT_SYMTAB : SHT_DYNSYM, 0);
		if (!table)
			return;
		table->sh_link = (Elf64_Word)(strings - extract->sections);
		extract_append(extract, "", 1, &strings->sh_offset);
		strings->sh_size = 1;
		table->sh_entsize = sizeof(Elf64_Sym);
	}
	table->sh_size = count * sizeof(Elf64_Sym);
	extract_append(extract, kept, table->sh_size, &table->sh_offset);
}

/* ---- code -------------------------------------------------------------------------------------------------- */

static void keep_debug_frame(struct extract *extract)
{
	const struct image_section *original = image_find(extract->image, ".debug_frame");
	Elf64_Shdr *section;

	if (!original || original->type != SHT_PROGBITS || original->flags & SHF_COMPRESSED ||
	    original->size > MAX_DEBUG_FRAME)
		return;
	for (uint32_t i = 1; i < extract->section_count; i++)
		if (extract->sections[i].sh_offset == original->offset)
			return;
	section = extract_section(extract, original->name, original->type, 0);
	if (!section)
		return;
	section->sh_offset = original->offset;
	section->sh_size = original->size;
	extract_keep(extract, original->offset, original->size);
}

void extract_code(struct extract *extract, uint64_t vaddr, uint64_t low, uint64_t high)
{
	struct symbols symbols = read_symbols(extract->image);
	bool is_stub, known_low = low;
	struct image_section text;
	const uint8_t *code;
	Elf64_Shdr *section;

	if (!extract_find_text(extract, vaddr, &text))
		return;
	is_stub = !strncmp(text.name, ".plt", 4);
	if (low < text.vaddr || is_stub) {
		low = text.vaddr;
		known_low = false;
	}
	if (high - low > text.size - (low - text.vaddr))
		high = text.vaddr + text.size;
	if (!is_stub)
		narrow(&symbols, vaddr, &low, &high);
	for (uint32_t i = 1; i < extract->section_count; i++)
		if (extract->sections[i].sh_addr == low - known_low && extract->sections[i].sh_flags & SHF_EXECINSTR)
			return;
	/* A byte of what lies before says that this is not where the section begins. */
	low -= known_low && low > text.vaddr;
	code = image_at(extract->image, low, high - low);
	section = code ? extract_section(extract, text.name, SHT_PROGBITS, SHF_ALLOC | SHF_EXECINSTR) : NULL;
	if (!section)
		return;
	section->sh_addr = low;
	section->sh_size = high - low;
	section->sh_offset = (uint64_t)(code - extract->image->bytes);
	extract_keep(extract, section->sh_offset, section->sh_size);
	if (!is_stub)
		write_symbols(extract, &symbols, low, high);
	keep_debug_frame(extract);
}

/* ---- Go ---------------------------------------------------------------------------------------------------- */

static void keep_go_function(struct extract *extract, const struct gopclntab *table, uint32_t index, uint32_t record)
{
	uint64_t at = (uint64_t)(table->bytes - extract->image->bytes);
	struct gopclntab_function function;
	const char *name;

	if (!gopclntab_function(table, index, &function))
		return;
	extract_keep(extract, at + table->table + record, 96); /* 44, and 4 for each of its tables */
	name = gopclntab_string(table, table->names + function.name);
	if (name)
		extract_keep(extract, at + table->names + function.name, strlen(name) + 1);
	for (uint64_t size = 2; size < GO_MAX_VALUES; size++) {
		const uint8_t *end = image_range(extract->image, at + table->values + function.depth_values, size);

		if (end && (end[size - 1] || end[size - 2] & 0x80))
			continue;
		extract_keep(extract, at + table->values + function.depth_values, size);
		break;
	}
}

/* Entries of the functions wanted and of those behind them, which say where they end. */
static uint32_t write_go_entries(struct extract *extract, const struct gopclntab *table, const uint64_t *vaddrs,
				 size_t count)
{
	uint32_t entries[2 * GO_MAX_FUNCTIONS + 2], kept = 0;
	uint64_t at = (uint64_t)(table->bytes - extract->image->bytes) + table->table;
	bool before = false, asked;

	for (uint32_t i = 0; i < table->functions && kept < GO_MAX_FUNCTIONS; i++, before = asked) {
		uint64_t start = table->text + gopclntab_entry(table, i);
		uint64_t end = table->text + gopclntab_entry(table, i + 1);

		asked = false;
		for (size_t k = 0; k < count && !asked; k++) /* a return to the first byte is looked up before it */
			asked = vaddrs[k] + 1 >= start && vaddrs[k] < end;
		if (!asked && !before)
			continue;
		memcpy(entries + 2 * kept, table->bytes + table->table + 8 * (uint64_t)i, 8);
		keep_go_function(extract, table, i, entries[2 * kept + 1]);
		entries[2 * ++kept] = (uint32_t)gopclntab_entry(table, i + 1);
	}
	if (kept)
		extract_replace(extract, at, entries, 8 * (uint64_t)kept + 4);
	return kept;
}

void extract_go(struct extract *extract, const uint64_t *vaddrs, size_t count, uint64_t *ret_start, uint64_t *ret_end)
{
	struct gopclntab table = { 0 };
	uint8_t header[GO_HEADER_BYTES];
	Elf64_Shdr *section;
	uint64_t kept;

	if (gopclntab_locate(extract->image, &table))
		return;
	kept = write_go_entries(extract, &table, vaddrs, count);
	section = kept ? extract_section(extract, ".gopclntab", SHT_PROGBITS, SHF_ALLOC) : NULL;
	if (!section)
		return;
	section->sh_addr = table.vaddr;
	section->sh_offset = (uint64_t)(table.bytes - extract->image->bytes);
	section->sh_size = table.size;
	memcpy(header, table.bytes, sizeof(header));
	memcpy(header + 8, &kept, sizeof(kept));
	memcpy(header + 24, &table.text, sizeof(table.text));
	extract_replace(extract, section->sh_offset, header, sizeof(header));
	gopclntab_range(&table, ret_start, ret_end);
}

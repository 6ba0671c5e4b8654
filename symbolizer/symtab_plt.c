/* SPDX-License-Identifier: Apache-2.0 */
/* Names the stubs through which calls leave a module; no file has symbols for them. */
#include "symtab_plt.h"

#include "base/intern.h"

#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NAME_BYTES (4U << 20)
#define MAX_STUB_NAME 4096
#define SECTIONS 3

struct slot { /* a pointer that a relocation fills */
	uint64_t vaddr;
	const char *name;
};

struct stub {
	uint64_t vaddr;
	uint32_t size, name; /* name: interned */
};

struct plt {
	struct stub *stubs; /* sorted by vaddr */
	struct intern *names;
	size_t count, dropped;
	struct { uint64_t low, high; } sections[SECTIONS];
};

struct slots {
	struct slot *slots;  /* sorted by vaddr */
	const char **pushed; /* by number in .rela.plt, which is what a lazy stub pushes; NULL: nameless */
	size_t count, pushed_count, dropped;
};

static const char *dynamic_name(struct image *image, const struct image_section *relocations, uint64_t index)
{
	const struct image_section *sections;
	size_t section_count = image_sections(image, &sections), size, strings_size;
	const uint8_t *symbols, *strings;
	Elf64_Sym symbol;

	if (relocations->link >= section_count || sections[relocations->link].link >= section_count)
		return NULL;
	if (image_bytes(image, &sections[relocations->link], &symbols, &size) < 0 ||
	    image_bytes(image, &sections[sections[relocations->link].link], &strings, &strings_size) < 0 ||
	    index >= size / sizeof(symbol))
		return NULL;
	memcpy(&symbol, symbols + index * sizeof(symbol), sizeof(symbol));
	if (symbol.st_name >= strings_size || !strings[symbol.st_name] ||
	    !memchr(strings + symbol.st_name, 0, strings_size - symbol.st_name))
		return NULL;
	return (const char *)strings + symbol.st_name;
}

static const char *slot_name(struct image *image, const struct image_section *section, const Elf64_Rela *relocation,
			     const struct symtab *symtab)
{
	struct symtab_symbol target;

	switch (ELF64_R_TYPE(relocation->r_info)) {
	case R_X86_64_JUMP_SLOT: case R_X86_64_GLOB_DAT:
		return dynamic_name(image, section, ELF64_R_SYM(relocation->r_info));
	case R_X86_64_IRELATIVE: /* the address of a function that chooses: it has the chosen one's name */
		if (symtab && symtab_find(symtab, (uint64_t)relocation->r_addend, &target))
			return target.name;
		return NULL;
	default:
		return NULL;
	}
}

/* Adds the named slots of one relocation section; `lazy`: also by their number. */
static int read_slots(struct image *image, const char *name, bool lazy, const struct symtab *symtab, struct slots *slots)
{
	const struct image_section *section = image_find(image, name);
	const uint8_t *bytes;
	size_t size, count;

	if (!section || section->type != SHT_RELA || image_bytes(image, section, &bytes, &size) < 0)
		return 0;
	count = size / sizeof(Elf64_Rela);
	if (lazy) {
		slots->pushed_count = count < SYMTAB_MAX_STUBS ? count : SYMTAB_MAX_STUBS;
		slots->pushed = calloc(slots->pushed_count + 1, sizeof(*slots->pushed));
		if (!slots->pushed)
			return -ENOMEM;
	}
	for (size_t at = 0; at < count; at++) {
		Elf64_Rela relocation;
		const char *target;

		memcpy(&relocation, bytes + at * sizeof(relocation), sizeof(relocation));
		target = slot_name(image, section, &relocation, symtab);
		if (!target)
			continue;
		if (lazy && at < slots->pushed_count)
			slots->pushed[at] = target;
		if (slots->count == SYMTAB_MAX_STUBS)
			slots->dropped++;
		else
			slots->slots[slots->count++] = (struct slot){ relocation.r_offset, target };
	}
	return 0;
}

static int compare_slots(const void *left, const void *right)
{
	uint64_t a = ((const struct slot *)left)->vaddr, b = ((const struct slot *)right)->vaddr;

	return a < b ? -1 : a > b;
}

static int compare_stubs(const void *left, const void *right)
{
	uint64_t a = ((const struct stub *)left)->vaddr, b = ((const struct stub *)right)->vaddr;

	return a < b ? -1 : a > b;
}

static const char *find_slot(const struct slots *slots, uint64_t vaddr)
{
	struct slot key = { .vaddr = vaddr }, *found;

	found = slots->count ? bsearch(&key, slots->slots, slots->count, sizeof(key), compare_slots) : NULL;
	return found ? found->name : NULL;
}

/* The name behind a stub: its `jmp *slot(%rip)`, or in a lazy table beside .plt.sec the number it pushes. */
static const char *stub_name(const uint8_t *code, size_t size, uint64_t vaddr, const struct slots *slots)
{
	for (size_t at = 0; at + 6 <= size; at++) {
		int32_t distance;

		if (code[at] != 0xff || code[at + 1] != 0x25)
			continue;
		memcpy(&distance, code + at + 2, sizeof(distance));
		return find_slot(slots, vaddr + at + 6 + (uint64_t)(int64_t)distance);
	}
	for (size_t at = 0; at + 5 <= size && at <= 4; at += 4) { /* behind endbr64 or not */
		uint32_t number;

		memcpy(&number, code + at + 1, sizeof(number));
		if (code[at] == 0x68)
			return number < slots->pushed_count ? slots->pushed[number] : NULL;
	}
	return NULL;
}

/* Stubs are 16 bytes long, or 8 where nothing but the jump is needed; the section's entry size is not always set. */
static uint32_t stub_size(const uint8_t *code, size_t size)
{
	static const uint8_t jump[2] = { 0xff, 0x25 };

	return size < 16 || (!memcmp(code, jump, 2) && !memcmp(code + 8, jump, 2)) ? 8 : 16;
}

static void add_stubs(struct plt *plt, const uint8_t *code, size_t size, const struct image_section *section,
		      const struct slots *slots)
{
	uint32_t step = stub_size(code, size);

	for (size_t at = 0; at + step <= size; at += step) {
		const char *target = stub_name(code + at, step, section->vaddr + at, slots);
		char name[MAX_STUB_NAME];
		uint32_t id;

		if (!target)
			continue;
		snprintf(name, sizeof(name), "%.*s@plt", MAX_STUB_NAME - 8, target);
		id = plt->count < SYMTAB_MAX_STUBS ? intern_add(plt->names, name, strlen(name)) : UINT32_MAX;
		if (id == UINT32_MAX)
			plt->dropped++;
		else
			plt->stubs[plt->count++] = (struct stub){ section->vaddr + at, step, id };
	}
}

static int fill(struct plt *plt, struct image *image, const struct slots *slots)
{
	static const char *const names[SECTIONS] = { ".plt", ".plt.sec", ".plt.got" };
	size_t room = 0;

	for (size_t at = 0; at < SECTIONS; at++) {
		const struct image_section *section = image_find(image, names[at]);

		if (section && section->type == SHT_PROGBITS && (section->flags & SHF_EXECINSTR))
			room += section->size / 8 < SYMTAB_MAX_STUBS ? section->size / 8 : SYMTAB_MAX_STUBS;
	}
	plt->stubs = calloc(room + 1, sizeof(*plt->stubs));
	if (!plt->stubs)
		return -ENOMEM;
	for (size_t at = 0; at < SECTIONS; at++) {
		const struct image_section *section = image_find(image, names[at]);
		const uint8_t *code;
		size_t size;

		if (!section || section->type != SHT_PROGBITS || !(section->flags & SHF_EXECINSTR) ||
		    image_bytes(image, section, &code, &size) < 0 || size > section->size)
			continue;
		plt->sections[at].low = section->vaddr;
		plt->sections[at].high = section->vaddr + size;
		add_stubs(plt, code, size, section, slots);
	}
	if (plt->count)
		qsort(plt->stubs, plt->count, sizeof(*plt->stubs), compare_stubs);
	return 0;
}

int plt_new(struct image *image, const struct symtab *symtab, struct plt **ret_plt)
{
	struct plt *plt = calloc(1, sizeof(*plt));
	struct slots slots = { .slots = calloc(SYMTAB_MAX_STUBS, sizeof(struct slot)) };
	int error = -ENOMEM;

	if (!plt || !slots.slots)
		goto done;
	plt->names = intern_new(MAX_NAME_BYTES);
	if (!plt->names)
		goto done;
	error = read_slots(image, ".rela.plt", true, symtab, &slots);
	if (!error)
		error = read_slots(image, ".rela.dyn", false, symtab, &slots);
	if (error)
		goto done;
	qsort(slots.slots, slots.count, sizeof(*slots.slots), compare_slots);
	plt->dropped = slots.dropped;
	error = fill(plt, image, &slots);
done:
	free(slots.slots);
	free(slots.pushed);
	if (error)
		plt_free(plt);
	else
		*ret_plt = plt;
	return error;
}

void plt_free(struct plt *plt)
{
	if (!plt)
		return;
	intern_free(plt->names);
	free(plt->stubs);
	free(plt);
}

bool plt_covers(const struct plt *plt, uint64_t vaddr)
{
	for (size_t at = 0; at < SECTIONS; at++)
		if (vaddr >= plt->sections[at].low && vaddr < plt->sections[at].high)
			return true;
	return false;
}

bool plt_find(const struct plt *plt, uint64_t vaddr, struct symtab_symbol *ret_symbol)
{
	size_t low = 0, high = plt->count;
	const struct stub *stub;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (plt->stubs[middle].vaddr <= vaddr)
			low = middle + 1;
		else
			high = middle;
	}
	if (!low)
		return false;
	stub = &plt->stubs[low - 1];
	if (vaddr - stub->vaddr >= stub->size)
		return false;
	*ret_symbol = (struct symtab_symbol){ intern_get(plt->names, stub->name), stub->vaddr, stub->size, SYMBOL_PLT };
	return true;
}

size_t plt_dropped(const struct plt *plt)
{
	return plt->dropped;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where Go's tables lie: takes an image, gives the header of its pclntab and what moduledata says of it. The
 * header is in .gopclntab, in .data.rel.ro of some position independent builds, or anywhere at all when the
 * section headers are gone. Its own text address is a relocation in those builds, and is no longer set since
 * Go 1.26: moduledata, a variable of the runtime, has it, and also where inlining trees are.
 *
 * Layouts: src/runtime/symtab.go of Go 1.18 to 1.26, whose linker writes them.
 */
#include "gopclntab_private.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

#define MAGIC_118 0xfffffff0U
#define MAGIC_120 0xfffffff1U
#define HEADER_BYTES 72
#define MAX_OFFSET (1ULL << 32)
#define MAX_RELOCATIONS (8U << 20)

/* Words of moduledata. covctrs and ecovctrs came between with Go 1.20. */
enum {
	MODULE_HEADER = 0, MODULE_PCLN = 13, MODULE_FTAB = 16, MODULE_FTAB_LENGTH = 17, MODULE_TEXT = 22,
	MODULE_GOFUNC_118 = 38, MODULE_GOFUNC_120 = 40, MODULE_WORDS
};

struct region { /* a piece of the file that is mapped when it runs */
	const uint8_t *bytes;
	size_t size;
	uint64_t vaddr;
};

static uint64_t word(const uint8_t *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

/* Only what is loaded and stored as it is; the caller goes on to the next while -ENODATA comes back. */
static int get_section(struct image *image, const struct image_section *section, struct region *ret_region)
{
	if (section->type != SHT_PROGBITS || !(section->flags & SHF_ALLOC) || (section->flags & SHF_COMPRESSED) ||
	    image_bytes(image, section, &ret_region->bytes, &ret_region->size))
		return -ENODATA;
	ret_region->vaddr = section->vaddr;
	return 0;
}

static int get_segment(struct image *image, const struct symbolizer_segment *segment, struct region *ret_region)
{
	ret_region->bytes = image_at(image, segment->vaddr, segment->filesz);
	ret_region->size = segment->filesz;
	ret_region->vaddr = segment->vaddr;
	return ret_region->bytes ? 0 : -ENODATA;
}

static size_t region_count(struct image *image)
{
	const struct image_section *sections;
	const struct symbolizer_segment *segments;
	size_t count = image_sections(image, &sections);

	return count ? count : image_segments(image, &segments);
}

static int get_region(struct image *image, size_t at, struct region *ret_region)
{
	const struct image_section *sections;
	const struct symbolizer_segment *segments;

	if (image_sections(image, &sections))
		return get_section(image, &sections[at], ret_region);
	image_segments(image, &segments);
	return get_segment(image, &segments[at], ret_region);
}

static bool is_writable(struct image *image, size_t at)
{
	const struct image_section *sections;
	const struct symbolizer_segment *segments;

	if (image_sections(image, &sections))
		return sections[at].flags & SHF_WRITE;
	image_segments(image, &segments);
	return segments[at].flags & PF_W;
}

/* Other binaries must not be read from end to end only to learn that they are none of Go's. */
static bool may_be_go(const struct image *image)
{
	static const char *const marks[] = { ".gopclntab", ".go.buildinfo", ".note.go.buildid",
					     ".data.rel.ro.gopclntab" };
	const struct image_section *sections;

	if (!image_sections(image, &sections))
		return true;
	for (size_t at = 0; at < sizeof(marks) / sizeof(marks[0]); at++)
		if (image_find(image, marks[at]))
			return true;
	return false;
}

static bool parse_header(const struct region *region, size_t at, struct gopclntab *table)
{
	const uint8_t *bytes = region->bytes + at;
	size_t size = region->size - at;
	uint64_t functions, *offsets[] = { &table->names, &table->units, &table->files, &table->values,
					   &table->table };
	uint32_t magic;

	if (size < HEADER_BYTES)
		return false;
	memcpy(&magic, bytes, sizeof(magic));
	if (magic != MAGIC_118 && magic != MAGIC_120)
		return false;
	if (bytes[4] || bytes[5] || bytes[6] != 1 || bytes[7] != 8) /* padding, x86's quantum, bytes of a pointer */
		return false;
	functions = word(bytes + 8);
	if (!functions || functions > GOPCLNTAB_MAX_FUNCTIONS)
		return false;
	for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
		*offsets[i] = word(bytes + 32 + 8 * i);
		if (*offsets[i] < HEADER_BYTES || *offsets[i] >= size || *offsets[i] >= MAX_OFFSET)
			return false;
	}
	if ((size - table->table) / 8 <= functions) /* pairs of entry and offset, and one more entry */
		return false;
	table->bytes = bytes;
	table->size = size;
	table->vaddr = region->vaddr + at;
	table->is_old = magic == MAGIC_118;
	table->quantum = bytes[6];
	table->functions = (uint32_t)functions;
	table->text = word(bytes + 24);
	return true;
}

static bool scan_region(const struct region *region, struct gopclntab *table)
{
	size_t first = (8 - region->vaddr % 8) % 8;

	for (size_t at = first; at + HEADER_BYTES <= region->size; at += 8)
		if (region->bytes[at + 1] == 0xff && parse_header(region, at, table))
			return true;
	return false;
}

static int find_header(struct image *image, struct gopclntab *table)
{
	const struct image_section *section = image_find(image, ".gopclntab");
	struct region region;

	if (!section)
		section = image_find(image, ".data.rel.ro.gopclntab");
	if (section && !get_section(image, section, &region) && parse_header(&region, 0, table))
		return 0;
	if (!may_be_go(image))
		return -ENODATA;
	for (size_t at = 0; at < region_count(image); at++)
		if (!get_region(image, at, &region) && scan_region(&region, table))
			return 0;
	return -ENODATA;
}

/* Calls for every relative relocation until it gives true. */
typedef bool relocation_fn(void *context, uint64_t place, uint64_t value);

static bool each_relocation(struct image *image, relocation_fn *call, void *context)
{
	const struct image_section *sections;
	size_t count = image_sections(image, &sections), size, left = MAX_RELOCATIONS;
	const uint8_t *bytes;

	for (size_t i = 0; i < count; i++) {
		if (sections[i].type != SHT_RELA || !(sections[i].flags & SHF_ALLOC) ||
		    image_bytes(image, &sections[i], &bytes, &size))
			continue;
		for (size_t at = 0; at + sizeof(Elf64_Rela) <= size && left; at += sizeof(Elf64_Rela), left--) {
			Elf64_Rela entry;

			memcpy(&entry, bytes + at, sizeof(entry));
			if (ELF64_R_TYPE(entry.r_info) == R_X86_64_RELATIVE &&
			    call(context, entry.r_offset, (uint64_t)entry.r_addend))
				return true;
		}
	}
	return false;
}

struct module {
	const struct gopclntab *table;
	uint64_t vaddr;
	uint64_t words[MODULE_WORDS];
};

static bool overlay_word(void *context, uint64_t place, uint64_t value)
{
	struct module *module = context;
	uint64_t offset = place - module->vaddr;

	if (offset < sizeof(module->words) && offset % 8 == 0)
		module->words[offset / 8] = value;
	return false;
}

/* Whether moduledata, or its words before they were relocated, lies there. */
static bool check_module(struct module *module, uint64_t vaddr, bool relocated)
{
	const struct gopclntab *table = module->table;
	size_t words = table->is_old ? MODULE_GOFUNC_118 + 1 : MODULE_WORDS;
	const uint8_t *bytes = image_at(table->image, vaddr, words * 8);

	if (!bytes)
		return false;
	memset(module->words, 0, sizeof(module->words));
	memcpy(module->words, bytes, words * 8);
	module->vaddr = vaddr;
	if (relocated)
		each_relocation(table->image, overlay_word, module);
	return module->words[MODULE_HEADER] == table->vaddr &&
	       module->words[MODULE_PCLN] == table->vaddr + table->table &&
	       module->words[MODULE_FTAB] == table->vaddr + table->table &&
	       module->words[MODULE_FTAB_LENGTH] == (uint64_t)table->functions + 1;
}

static bool scan_module(const struct region *region, struct module *module)
{
	size_t first = (8 - region->vaddr % 8) % 8;

	for (size_t at = first; at + 8 <= region->size; at += 8)
		if (word(region->bytes + at) == module->table->vaddr &&
		    check_module(module, region->vaddr + at, false))
			return true;
	return false;
}

struct places { /* that will hold the header's address once relocated */
	uint64_t wanted, found[4];
	size_t count;
};

static bool collect_place(void *context, uint64_t place, uint64_t value)
{
	struct places *places = context;

	if (value == places->wanted)
		places->found[places->count++] = place;
	return places->count == sizeof(places->found) / sizeof(places->found[0]);
}

static bool find_module(struct image *image, struct module *module)
{
	struct places places = { .wanted = module->table->vaddr };
	struct region region;

	each_relocation(image, collect_place, &places);
	for (size_t at = 0; at < places.count; at++)
		if (check_module(module, places.found[at], true))
			return true;
	/* moduledata is written to, as far as any linker put it: text is long and would be read first. */
	for (int writable = 1; writable >= 0; writable--)
		for (size_t at = 0; at < region_count(image); at++)
			if (is_writable(image, at) == writable && !get_region(image, at, &region) &&
			    scan_module(&region, module))
				return true;
	return false;
}

static bool is_text_place(void *context, uint64_t place, uint64_t value)
{
	struct gopclntab *table = context;

	if (place != table->vaddr + 24)
		return false;
	table->text = value;
	return true;
}

int gopclntab_locate(struct image *image, struct gopclntab *table)
{
	struct module module = { .table = table };
	int error = find_header(image, table);

	if (error)
		return error;
	table->image = image;
	table->function_data = 0;
	if (find_module(image, &module)) {
		table->text = module.words[MODULE_TEXT];
		table->function_data = module.words[table->is_old ? MODULE_GOFUNC_118 : MODULE_GOFUNC_120];
	} else if (!table->text) {
		each_relocation(image, is_text_place, table);
	}
	return table->text ? 0 : -ENODATA;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Takes an image and addresses, gives the parts of the file that an unwind through them reads. Offsets stay what
 * they were, so that nothing needs to be relocated; the file's holes cost nothing.
 */
#include "symbolizer/stack_extract_private.h"

#include "base/clean.h"

#include <errno.h>
#include <string.h>

#define SHORT_FUNCTION 512 /* its code is kept too: the table compiler looks at that of a few special ones */
#define NEAR 16		   /* a return address may be the first byte behind a gap */
#define HDR_BYTES 12	   /* of .eh_frame_hdr before its table */

void extract_replace(struct extract *extract, uint64_t offset, const void *bytes, uint64_t size)
{
	uint8_t *copy = arena_alloc(extract->arena, size);

	if (!copy || extract->part_count == STACK_CASE_MAX_PARTS) {
		extract->error = copy ? -EFBIG : -ENOMEM;
		return;
	}
	memcpy(copy, bytes, size);
	extract->parts[extract->part_count++] = (struct stack_part){ offset, size, copy };
}

void extract_keep(struct extract *extract, uint64_t offset, uint64_t size)
{
	const uint8_t *bytes = image_range(extract->image, offset, size);

	if (!bytes || !size)
		return;
	for (uint32_t i = 0; i < extract->part_count; i++)
		if (extract->parts[i].at == offset && extract->parts[i].size == size)
			return;
	if (extract->part_count == STACK_CASE_MAX_PARTS)
		extract->error = -EFBIG;
	else
		extract->parts[extract->part_count++] = (struct stack_part){ offset, size, bytes };
}

void extract_keep_vaddr(struct extract *extract, uint64_t vaddr, uint64_t size)
{
	const uint8_t *bytes = image_at(extract->image, vaddr, size);

	if (bytes)
		extract_keep(extract, (uint64_t)(bytes - extract->image->bytes), size);
}

void extract_append(struct extract *extract, const void *bytes, uint64_t size, uint64_t *ret_offset)
{
	*ret_offset = (extract->end + 7) & ~7ULL;
	extract_replace(extract, *ret_offset, bytes, size);
	extract->end = *ret_offset + size;
}

Elf64_Shdr *extract_section(struct extract *extract, const char *name, uint32_t type, uint64_t flags)
{
	size_t length = strlen(name) + 1;
	Elf64_Shdr *section;

	if (extract->section_count == EXTRACT_SECTIONS || extract->name_bytes + length > sizeof(extract->names)) {
		extract->error = -EFBIG;
		return NULL;
	}
	section = &extract->sections[extract->section_count++];
	*section = (Elf64_Shdr){ .sh_name = extract->name_bytes, .sh_type = type, .sh_flags = flags, .sh_addralign = 1 };
	memcpy(extract->names + extract->name_bytes, name, length);
	extract->name_bytes += (uint32_t)length;
	return section;
}

/* A section as it was, with or without its bytes. */
static void copy_section(struct extract *extract, const struct image_section *original, bool keep)
{
	Elf64_Shdr *section = extract_section(extract, original->name, original->type, original->flags);

	if (!section)
		return;
	section->sh_addr = original->vaddr;
	section->sh_offset = original->offset;
	section->sh_size = original->size;
	if (keep)
		extract_keep(extract, original->offset, original->size);
}

/* ---- call frame information -------------------------------------------------------------------------------- */

static int open_cfi(struct extract *extract)
{
	const struct image_section *section = image_find(extract->image, ".eh_frame");
	uint64_t bad = 0;
	long count;

	if (!section || section->type == SHT_NOBITS || section->flags & SHF_COMPRESSED ||
	    !image_range(extract->image, section->offset, section->size))
		return 0;
	extract->cfi = calloc(1, sizeof(*extract->cfi));
	if (!extract->cfi)
		return -ENOMEM;
	extract->cfi_offset = section->offset;
	cfi_init(extract->cfi, extract->image->bytes + section->offset, section->size, section->vaddr);
	count = cfi_scan(extract->cfi, true, &extract->places, &bad);
	extract->place_count = count > 0 ? (size_t)count : 0;
	copy_section(extract, section, false);
	return count < 0 ? (int)count : 0;
}

/* How many begin at or below an address. */
static size_t count_places(const struct extract *extract, uint64_t vaddr)
{
	size_t low = 0, high = extract->place_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (extract->places[middle].start <= vaddr)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* The record at an offset of the section; for an FDE its CIE too. */
static void keep_record(struct extract *extract, uint64_t offset)
{
	const uint8_t *bytes = extract->cfi->bytes + offset;
	uint32_t length, back;

	memcpy(&length, bytes, sizeof(length)); /* cfi_scan has read it: it is inside */
	memcpy(&back, bytes + 4, sizeof(back));
	extract_keep(extract, extract->cfi_offset + offset, (uint64_t)length + 4);
	if (back && back <= offset + 4)
		keep_record(extract, offset + 4 - back);
}

static void keep_text(struct extract *extract, uint64_t start, uint64_t end)
{
	Elf64_Shdr *section;

	for (uint32_t i = 1; i < extract->section_count; i++)
		if (extract->sections[i].sh_addr == start && extract->sections[i].sh_flags & SHF_EXECINSTR)
			return;
	section = extract_section(extract, ".text", SHT_PROGBITS, SHF_ALLOC | SHF_EXECINSTR);
	if (!section)
		return;
	section->sh_addr = start;
	section->sh_size = end - start;
	section->sh_offset = (uint64_t)(image_at(extract->image, start, end - start) - extract->image->bytes);
	if (end - start <= SHORT_FUNCTION)
		extract_keep(extract, section->sh_offset, section->sh_size);
}

static void keep_fde(struct extract *extract, size_t index, const struct cfi_fde *fde)
{
	const struct cfi_place *place = &extract->places[index];
	size_t at = extract->kept_count;

	if (!image_at(extract->image, fde->start, fde->end - fde->start))
		return;
	while (at && extract->kept[at - 1].start > place->start)
		at--;
	if (at && extract->kept[at - 1].offset == place->offset)
		return;
	if (extract->kept_count == EXTRACT_FDES) {
		extract->error = -EFBIG;
		return;
	}
	memmove(extract->kept + at + 1, extract->kept + at, (extract->kept_count - at) * sizeof(*place));
	extract->kept[at] = *place;
	extract->kept_count++;
	keep_record(extract, place->offset);
	if (extract->section_count < EXTRACT_SECTIONS / 2) /* the rest is for code that has no FDE */
		keep_text(extract, fde->start, fde->end);
}

static void extract_address(struct extract *extract, uint64_t vaddr)
{
	uint64_t low = 0, high = UINT64_MAX;
	size_t next = count_places(extract, vaddr);
	struct cfi_fde fde;

	if (next && !cfi_fde(extract->cfi, extract->places[next - 1].offset, &fde)) {
		low = fde.end;
		if (vaddr < fde.end) {
			keep_fde(extract, next - 1, &fde);
			return;
		}
		if (vaddr - fde.end < NEAR) /* a gap so short takes the rule of what is before it */
			keep_fde(extract, next - 1, &fde);
	}
	if (next < extract->place_count && !cfi_fde(extract->cfi, extract->places[next].offset, &fde)) {
		high = fde.start;
		if (fde.start - vaddr < NEAR)
			keep_fde(extract, next, &fde);
	}
	extract_code(extract, vaddr, low, high);
}

/* .eh_frame_hdr with a table of what is kept. Without one the compiler scans the section. */
static void write_table(struct extract *extract)
{
	uint8_t bytes[HDR_BYTES + EXTRACT_FDES * 8];
	uint64_t vaddr, size, wanted = HDR_BYTES + extract->kept_count * 8;
	const uint8_t *hdr;
	uint32_t count = (uint32_t)extract->kept_count;

	if (!count || image_eh_frame_hdr(extract->image, &vaddr, &size) || size < wanted)
		return;
	hdr = image_at(extract->image, vaddr, size);
	if (!hdr || hdr[1] != 0x1b || hdr[2] != 0x03 || hdr[3] != 0x3b)
		return;
	memcpy(bytes, hdr, 8);
	memcpy(bytes + 8, &count, sizeof(count));
	for (uint32_t i = 0; i < count; i++) {
		int32_t entry[2] = { (int32_t)(extract->kept[i].start - vaddr),
				     (int32_t)(extract->cfi->vaddr + extract->kept[i].offset - vaddr) };

		memcpy(bytes + HDR_BYTES + 8 * i, entry, sizeof(entry));
	}
	extract_replace(extract, (uint64_t)(hdr - extract->image->bytes), bytes, wanted);
}

/* ---- the file ---------------------------------------------------------------------------------------------- */

/* Empty, but that they are there says something: a program, of Go. */
static void copy_marks(struct extract *extract)
{
	const struct image_section *interpreter = image_find(extract->image, ".interp");

	if (interpreter)
		copy_section(extract, interpreter, false);
}

static bool is_code(const Elf64_Shdr *section)
{
	return section->sh_type == SHT_PROGBITS && section->sh_flags & SHF_EXECINSTR;
}

/* Pieces of code that touch become one: the table compiler takes no two that overlap. */
static void join_code(struct extract *extract)
{
	for (uint32_t i = 1; i < extract->section_count; i++) {
		for (uint32_t k = 1; k < extract->section_count && is_code(&extract->sections[i]); k++) {
			Elf64_Shdr *one = &extract->sections[i], *other = &extract->sections[k];
			uint64_t one_end = one->sh_addr + one->sh_size, other_end = other->sh_addr + other->sh_size;

			if (i == k || !is_code(other) || one->sh_addr > other_end || other->sh_addr > one_end ||
			    strcmp(extract->names + one->sh_name, extract->names + other->sh_name) != 0)
				continue;
			if (other->sh_addr < one->sh_addr) {
				one->sh_addr = other->sh_addr;
				one->sh_offset = other->sh_offset;
			}
			one->sh_size = (one_end > other_end ? one_end : other_end) - one->sh_addr;
			*other = (Elf64_Shdr){ 0 };
			k = 0; /* it may touch what it did not before */
		}
	}
}

static void write_headers(struct extract *extract)
{
	Elf64_Shdr *names = extract_section(extract, ".shstrtab", SHT_STRTAB, 0);
	Elf64_Ehdr header;

	if (!names)
		return;
	join_code(extract);
	memcpy(&header, extract->image->bytes, sizeof(header));
	names->sh_size = extract->name_bytes;
	extract_append(extract, extract->names, extract->name_bytes, &names->sh_offset);
	header.e_shnum = (Elf64_Half)extract->section_count;
	header.e_shstrndx = (Elf64_Half)(extract->section_count - 1);
	header.e_shentsize = sizeof(Elf64_Shdr);
	extract_append(extract, extract->sections, extract->section_count * sizeof(Elf64_Shdr), &header.e_shoff);
	extract_keep(extract, header.e_phoff, (uint64_t)header.e_phnum * sizeof(Elf64_Phdr));
	extract_replace(extract, 0, &header, sizeof(header));
}

static void extract_all(struct extract *extract, const uint64_t *vaddrs, size_t count)
{
	uint64_t go_start = 0, go_end = 0;

	extract->error = open_cfi(extract);
	copy_marks(extract);
	extract_go(extract, vaddrs, count, &go_start, &go_end);
	for (size_t i = 0; i < count && !extract->error; i++)
		if (vaddrs[i] < go_start || vaddrs[i] >= go_end)
			extract_address(extract, vaddrs[i]);
	if (!extract->error)
		write_table(extract);
	if (!extract->error)
		write_headers(extract);
}

int stack_extract(struct image *image, const uint64_t *vaddrs, size_t count, struct arena *arena,
		  struct stack_image *ret_image)
{
	auto_free struct extract *extract = calloc(1, sizeof(*extract));
	int error;

	if (!extract)
		return -ENOMEM;
	extract->image = image;
	extract->arena = arena;
	extract->end = image->size;
	extract->section_count = extract->name_bytes = 1;
	extract->parts = arena_array(arena, STACK_CASE_MAX_PARTS, sizeof(*extract->parts));
	if (!extract->parts)
		return -ENOMEM;
	extract_all(extract, vaddrs, count);
	error = extract->error;
	free(extract->cfi);
	free(extract->places);
	if (error)
		return error;
	ret_image->size = extract->end;
	ret_image->parts = extract->parts;
	ret_image->part_count = extract->part_count;
	return 0;
}

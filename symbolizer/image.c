/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first step of everything a symbolizer does: one ELF file as checked segments, sections and bytes.
 * Takes a descriptor or memory, gives views into it; owns the mapping and whatever it had to inflate.
 */
#include "symbolizer/image_private.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define MAX_FILE_BYTES (64ULL << 30) /* a sparse file may claim terabytes */
#define MAX_PROGRAM_HEADERS 256
#define MAX_NAME_BYTES (1U << 20)       /* of section names */
#define MAX_DEBUGDATA_BYTES (64U << 20) /* inflated */
#define RATIO_FREE_BYTES (16U << 20)    /* up to here any ratio is harmless */
#define MAX_RATIO 256                   /* real debug sections stay below 30 */

const uint8_t *image_range(const struct image *image, uint64_t offset, uint64_t size)
{
	if (offset > image->size || size > image->size - offset)
		return NULL;
	return image->bytes + offset;
}

static int check_header(const struct image *image, Elf64_Ehdr *ret_header)
{
	if (image->size < EI_NIDENT || memcmp(image->bytes, ELFMAG, SELFMAG))
		return -ENOEXEC;
	if (image->bytes[EI_CLASS] != ELFCLASS64 || image->bytes[EI_DATA] != ELFDATA2LSB)
		return -ENOTSUP;
	if (image->size < sizeof(*ret_header))
		return -ENOEXEC;
	memcpy(ret_header, image->bytes, sizeof(*ret_header));
	return ret_header->e_machine == EM_X86_64 ? 0 : -ENOTSUP;
}

static void add_program_header(struct image *image, const Elf64_Phdr *header)
{
	struct symbolizer_image *description = &image->description;

	if (header->p_type == PT_LOAD && description->segment_count < SYMBOLIZER_MAX_SEGMENTS) {
		description->segments[description->segment_count++] = (struct symbolizer_segment){
			.offset = header->p_offset, .vaddr = header->p_vaddr, .filesz = header->p_filesz,
			.memsz = header->p_memsz, .flags = header->p_flags,
		};
	} else if (header->p_type == PT_NOTE) {
		image_parse_notes(image, header->p_offset, header->p_filesz, header->p_align);
	} else if (header->p_type == PT_GNU_EH_FRAME) {
		image->eh_frame_hdr = header->p_vaddr;
		image->eh_frame_hdr_bytes = header->p_filesz;
	}
}

static void parse_program_headers(struct image *image, const Elf64_Ehdr *header)
{
	size_t count = header->e_phnum < MAX_PROGRAM_HEADERS ? header->e_phnum : MAX_PROGRAM_HEADERS;

	if (header->e_phentsize != sizeof(Elf64_Phdr))
		return;
	for (size_t i = 0; i < count; i++) {
		const uint8_t *bytes = image_range(image, header->e_phoff, (i + 1) * sizeof(Elf64_Phdr));
		Elf64_Phdr entry;

		if (!bytes)
			return;
		memcpy(&entry, bytes + i * sizeof(entry), sizeof(entry));
		add_program_header(image, &entry);
	}
}

/* The name table with a terminator of our own behind it; "" for all when it is missing. */
static int copy_names(struct image *image, const uint8_t *headers, uint64_t count, uint64_t index,
		      size_t *ret_size)
{
	const uint8_t *bytes = NULL;
	Elf64_Shdr entry = { 0 };
	size_t size = 0;

	if (index < count) {
		memcpy(&entry, headers + index * sizeof(entry), sizeof(entry));
		bytes = entry.sh_type == SHT_NOBITS ? NULL : image_range(image, entry.sh_offset, entry.sh_size);
		if (bytes)
			size = entry.sh_size < MAX_NAME_BYTES ? (size_t)entry.sh_size : MAX_NAME_BYTES;
	}
	image->section_names = malloc(size + 1);
	if (!image->section_names)
		return -ENOMEM;
	if (size)
		memcpy(image->section_names, bytes, size);
	image->section_names[size] = '\0';
	*ret_size = size;
	return 0;
}

static int read_sections(struct image *image, const uint8_t *headers, uint64_t count, uint64_t names)
{
	size_t name_bytes;
	int error = copy_names(image, headers, count, names, &name_bytes);

	if (error)
		return error;
	image->sections = calloc(count, sizeof(*image->sections));
	image->inflated = calloc(count, sizeof(*image->inflated));
	if (!image->sections || !image->inflated)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		Elf64_Shdr entry;

		memcpy(&entry, headers + i * sizeof(entry), sizeof(entry));
		image->sections[i] = (struct image_section){
			.name = image->section_names +
				(entry.sh_name < name_bytes ? entry.sh_name : name_bytes),
			.type = entry.sh_type,
			.link = entry.sh_link,
			.info = entry.sh_info,
			.flags = entry.sh_flags,
			.vaddr = entry.sh_addr,
			.offset = entry.sh_offset,
			.size = entry.sh_size,
			.entry_size = entry.sh_entsize,
		};
	}
	image->section_count = count;
	return 0;
}

/* A file without usable section headers is still an image: stripped of them on purpose, or cut short. */
static int parse_section_headers(struct image *image, const Elf64_Ehdr *header)
{
	const uint8_t *bytes = image_range(image, header->e_shoff, sizeof(Elf64_Shdr));
	uint64_t count = header->e_shnum, names = header->e_shstrndx;
	Elf64_Shdr first;

	if (!header->e_shoff || header->e_shentsize != sizeof(Elf64_Shdr) || !bytes)
		return 0;
	memcpy(&first, bytes, sizeof(first));
	if (!count) /* more than 65,279 sections: section 0 holds what does not fit the header */
		count = first.sh_size;
	if (names == SHN_XINDEX)
		names = first.sh_link;
	if (count > IMAGE_MAX_SECTIONS)
		count = IMAGE_MAX_SECTIONS;
	if (!count || !image_range(image, header->e_shoff, count * sizeof(Elf64_Shdr)))
		return 0;
	return read_sections(image, bytes, count, names);
}

static void describe_sections(struct image *image)
{
	struct symbolizer_image *description = &image->description;

	for (size_t i = 0; i < image->section_count; i++) {
		const struct image_section *section = &image->sections[i];

		if (section->type == SHT_NOBITS)
			continue;
		if (section->type == SHT_SYMTAB)
			description->has_symtab = 1;
		else if (section->type == SHT_NOTE)
			image_parse_notes(image, section->offset, section->size, 4);
		else if (!strcmp(section->name, ".debug_info") || !strcmp(section->name, ".zdebug_info"))
			description->has_dwarf = 1;
	}
	image_parse_debuglink(image);
}

static int parse(struct image *image)
{
	Elf64_Ehdr header;
	int error = check_header(image, &header);

	if (error)
		return error;
	image->description.machine = header.e_machine;
	image->description.elf_class = header.e_ident[EI_CLASS];
	image->description.type = header.e_type;
	parse_program_headers(image, &header);
	error = parse_section_headers(image, &header);
	if (!error)
		describe_sections(image);
	return error;
}

static int open_bytes(const uint8_t *bytes, size_t size, bool mapped, struct image **ret_image)
{
	struct image *image = calloc(1, sizeof(*image));
	int error = -ENOMEM;

	if (image) {
		*image = (struct image){ .bytes = bytes, .size = size, .mapped = mapped };
		error = parse(image);
	} else if (mapped) {
		munmap((void *)(uintptr_t)bytes, size);
	}
	if (error) {
		image_close(image);
		return error;
	}
	*ret_image = image;
	return 0;
}

int image_open(int fd, struct image **ret_image)
{
	struct stat status;
	void *bytes;

	if (fstat(fd, &status) < 0)
		return -errno;
	if (!S_ISREG(status.st_mode) || status.st_size < EI_NIDENT)
		return -ENOEXEC;
	if ((uint64_t)status.st_size > MAX_FILE_BYTES)
		return -EFBIG;
	bytes = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (bytes == MAP_FAILED)
		return -errno;
	return open_bytes(bytes, (size_t)status.st_size, true, ret_image);
}

int image_open_memory(const void *bytes, size_t size, struct image **ret_image)
{
	return open_bytes(bytes, size, false, ret_image);
}

void image_close(struct image *image)
{
	if (!image)
		return;
	image_close(image->debugdata);
	free(image->debugdata_bytes);
	for (size_t i = 0; image->inflated && i < image->section_count; i++)
		free(image->inflated[i].bytes);
	free(image->inflated);
	free(image->sections);
	free(image->section_names);
	if (image->mapped)
		munmap((void *)(uintptr_t)image->bytes, image->size);
	free(image);
}

void image_describe(const struct image *image, struct symbolizer_image *ret_description)
{
	*ret_description = image->description;
}

size_t image_segments(const struct image *image, const struct symbolizer_segment **ret_segments)
{
	*ret_segments = image->description.segments;
	return image->description.segment_count;
}

size_t image_sections(const struct image *image, const struct image_section **ret_sections)
{
	*ret_sections = image->sections;
	return image->section_count;
}

const struct image_section *image_find(const struct image *image, const char *name)
{
	for (size_t i = 0; i < image->section_count; i++)
		if (!strcmp(image->sections[i].name, name))
			return &image->sections[i];
	return NULL;
}

int image_eh_frame_hdr(const struct image *image, uint64_t *ret_vaddr, uint64_t *ret_size)
{
	const struct image_section *section = image_find(image, ".eh_frame_hdr");

	if (image->eh_frame_hdr_bytes) {
		*ret_vaddr = image->eh_frame_hdr;
		*ret_size = image->eh_frame_hdr_bytes;
		return 0;
	}
	if (!section || section->type == SHT_NOBITS || !section->size)
		return -ENODATA;
	*ret_vaddr = section->vaddr;
	*ret_size = section->size;
	return 0;
}

/* What a compressed section claims about itself, before anything of it is believed. */
struct packed {
	enum image_codec codec;
	const uint8_t *bytes;
	size_t packed;
	uint64_t size;
};

static int read_packed(const struct image_section *section, const uint8_t *bytes, struct packed *ret_packed)
{
	Elf64_Chdr header;

	if (section->flags & SHF_COMPRESSED) {
		if (section->size < sizeof(header))
			return -EINVAL;
		memcpy(&header, bytes, sizeof(header));
		if (header.ch_type != ELFCOMPRESS_ZLIB && header.ch_type != 2 /* ELFCOMPRESS_ZSTD */)
			return -ENOTSUP;
		*ret_packed = (struct packed){ header.ch_type == ELFCOMPRESS_ZLIB ? IMAGE_ZLIB : IMAGE_ZSTD,
					       bytes + sizeof(header), section->size - sizeof(header),
					       header.ch_size };
		return 1;
	}
	/* Before SHF_COMPRESSED: the name says so, then "ZLIB" and the size in big endian. */
	if (!strncmp(section->name, ".zdebug_", 8) && section->size >= 12 && !memcmp(bytes, "ZLIB", 4)) {
		uint64_t size;

		memcpy(&size, bytes + 4, sizeof(size));
		*ret_packed = (struct packed){ IMAGE_ZLIB, bytes + 12, section->size - 12, be64toh(size) };
		return 1;
	}
	return 0;
}

static int inflate_section(struct image *image, const struct packed *packed, struct image_inflated *into)
{
	int error;

	if (packed->size > IMAGE_MAX_INFLATED - image->inflated_bytes)
		return -EFBIG;
	if (packed->size > RATIO_FREE_BYTES && packed->size / MAX_RATIO > packed->packed)
		return -EFBIG;
	error = image_inflate(packed->codec, packed->bytes, packed->packed, packed->size, &into->bytes);
	if (error)
		return error;
	into->size = packed->size;
	image->inflated_bytes += packed->size;
	return 0;
}

int image_bytes(struct image *image, const struct image_section *section, const uint8_t **ret_bytes,
		size_t *ret_size)
{
	struct image_inflated *inflated = &image->inflated[section - image->sections];
	const uint8_t *bytes;
	struct packed packed;
	int compressed;

	if (section->type == SHT_NOBITS || section->type == SHT_NULL)
		return -ENODATA;
	bytes = image_range(image, section->offset, section->size);
	if (!bytes)
		return -EINVAL;
	compressed = read_packed(section, bytes, &packed);
	if (compressed < 0)
		return compressed;
	if (compressed && !inflated->bytes) {
		int error = inflate_section(image, &packed, inflated);

		if (error)
			return error;
	}
	*ret_bytes = compressed ? inflated->bytes : bytes;
	*ret_size = compressed ? inflated->size : section->size;
	return 0;
}

const uint8_t *image_at(const struct image *image, uint64_t vaddr, size_t size)
{
	for (uint32_t i = 0; i < image->description.segment_count; i++) {
		const struct symbolizer_segment *segment = &image->description.segments[i];
		uint64_t into = vaddr - segment->vaddr;

		if (vaddr < segment->vaddr || into > segment->filesz || size > segment->filesz - into)
			continue;
		if (segment->offset <= UINT64_MAX - into)
			return image_range(image, segment->offset + into, size);
	}
	return NULL;
}

struct image *image_debugdata(struct image *image)
{
	const struct image_section *section = image_find(image, ".gnu_debugdata");
	const uint8_t *bytes;
	size_t packed, size;

	if (image->debugdata_tried || !section)
		return image->debugdata;
	image->debugdata_tried = true;
	if (image_bytes(image, section, &bytes, &packed) < 0 ||
	    image_inflate_xz(bytes, packed, MAX_DEBUGDATA_BYTES, &image->debugdata_bytes, &size) < 0)
		return NULL;
	if (image_open_memory(image->debugdata_bytes, size, &image->debugdata) == 0)
		image->debugdata->debugdata_tried = true; /* one level: a debugdata in a debugdata is a trap */
	return image->debugdata;
}

uint64_t image_entry(const struct image *image)
{
	Elf64_Ehdr header;

	memcpy(&header, image->bytes, sizeof(header)); /* image_open refused anything shorter */
	return header.e_entry;
}

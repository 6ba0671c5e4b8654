/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: a small ELF file from a list of sections, in memory that is exactly as long as the file. */
#ifndef TESTS_ELF_MAKER_H
#define TESTS_ELF_MAKER_H

#include "symbolizer/image.h"

#include <elf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

struct part { /* a section to be */
	const char *name;
	uint32_t type;
	uint64_t flags, vaddr;
	const void *bytes;
	size_t size;
};

struct file {
	uint8_t *bytes; /* exactly as long as its allocation, so that ASan knows the end */
	size_t size;
	Elf64_Ehdr *header;
	Elf64_Phdr *segments; /* PT_LOAD of the first part, PT_NOTE of the second */
	Elf64_Shdr *sections;
};

/* Layout: header, two program headers, section headers, names, then the parts. */
static struct file make_file(const struct part *parts, size_t count)
{
	size_t sections = 64 + 2 * 56, names = sections + (count + 2) * 64, name = 1, at = names + 512;
	struct file file = { .size = at };

	for (size_t i = 0; i < count; i++)
		file.size += (parts[i].size + 7) & ~7UL;
	file.bytes = calloc(1, file.size);
	assert_non_null(file.bytes);
	file.header = (void *)file.bytes;
	file.segments = (void *)(file.bytes + 64);
	file.sections = (void *)(file.bytes + sections);
	*file.header = (Elf64_Ehdr){ .e_type = ET_DYN, .e_machine = EM_X86_64, .e_version = 1, .e_phoff = 64,
				     .e_shoff = sections, .e_ehsize = 64, .e_phentsize = 56, .e_phnum = 2,
				     .e_shentsize = 64, .e_shnum = (uint16_t)(count + 2), .e_shstrndx = 1 };
	memcpy(file.header->e_ident, "\177ELF\2\1\1", 7);
	file.sections[1] = (Elf64_Shdr){ .sh_type = SHT_STRTAB, .sh_offset = names, .sh_size = 512 };
	for (size_t i = 0; i < count; i++) {
		file.sections[i + 2] = (Elf64_Shdr){ .sh_name = (uint32_t)name, .sh_type = parts[i].type,
						     .sh_flags = parts[i].flags, .sh_addr = parts[i].vaddr,
						     .sh_offset = at, .sh_size = parts[i].size };
		strcpy((char *)file.bytes + names + name, parts[i].name);
		name += strlen(parts[i].name) + 1;
		if (parts[i].size)
			memcpy(file.bytes + at, parts[i].bytes, parts[i].size);
		if (i < 2)
			file.segments[i] = (Elf64_Phdr){ .p_type = i ? PT_NOTE : PT_LOAD,
							 .p_flags = PF_R | PF_X,
							 .p_offset = at,
							 .p_vaddr = parts[i].vaddr,
							 .p_align = 4,
							 .p_filesz = parts[i].size,
							 .p_memsz = parts[i].size + 100 };
		at += (parts[i].size + 7) & ~7UL;
	}
	return file;
}

static struct image *open_file(const struct file *file)
{
	struct image *image = NULL;

	assert_int_equal(image_open_memory(file->bytes, file->size, &image), 0);
	return image;
}

#endif

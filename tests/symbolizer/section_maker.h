/* SPDX-License-Identifier: Apache-2.0 */
/* Inputs for symbolizer tests: an ELF file put together from sections, compressed ones too. */
#ifndef TESTS_SECTION_MAKER_H
#define TESTS_SECTION_MAKER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <elf.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define ELF_SECTIONS 12

struct elf_section {
	const char *name;
	const void *bytes;
	size_t size;
	bool compressed; /* deflate it here */
};

/* Builds the file; the caller frees it. Sections get no address: enough for what is read by name. */
static inline uint8_t *elf_make(const struct elf_section *sections, size_t count, size_t *ret_size)
{
	Elf64_Shdr headers[ELF_SECTIONS + 2] = { { 0 } };
	Elf64_Ehdr ehdr = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
			    .e_type = ET_EXEC, .e_machine = EM_X86_64, .e_version = EV_CURRENT, .e_ehsize = sizeof(ehdr),
			    .e_shentsize = sizeof(Elf64_Shdr), .e_shnum = (Elf64_Half)(count + 2),
			    .e_shstrndx = (Elf64_Half)(count + 1) };
	size_t room = sizeof(ehdr) + sizeof(headers) + 4096, at = sizeof(ehdr), names = 1;
	char strings[1024] = "";
	uint8_t *file;

	assert_true(count <= ELF_SECTIONS);
	for (size_t i = 0; i < count; i++)
		room += compressBound(sections[i].size) + 64;
	file = calloc(1, room);
	assert_non_null(file);
	for (size_t i = 0; i < count; i++) {
		Elf64_Chdr chdr = { .ch_type = ELFCOMPRESS_ZLIB, .ch_size = sections[i].size, .ch_addralign = 1 };
		uLongf packed = compressBound(sections[i].size);
		Elf64_Shdr *header = &headers[i + 1];

		*header = (Elf64_Shdr){ .sh_name = (Elf64_Word)names, .sh_type = SHT_PROGBITS, .sh_offset = at,
					.sh_size = sections[i].size, .sh_addralign = 1 };
		names += (size_t)sprintf(strings + names, "%s", sections[i].name) + 1;
		if (sections[i].compressed) {
			memcpy(file + at, &chdr, sizeof(chdr));
			assert_int_equal(compress2(file + at + sizeof(chdr), &packed, sections[i].bytes,
						   sections[i].size, 1), Z_OK);
			header->sh_flags = SHF_COMPRESSED;
			header->sh_size = packed + sizeof(chdr);
		} else {
			memcpy(file + at, sections[i].bytes, sections[i].size);
		}
		at += header->sh_size;
	}
	headers[count + 1] = (Elf64_Shdr){ .sh_name = (Elf64_Word)names, .sh_type = SHT_STRTAB, .sh_offset = at };
	names += (size_t)sprintf(strings + names, ".shstrtab") + 1;
	headers[count + 1].sh_size = names;
	memcpy(file + at, strings, names);
	at = (at + names + 7) & ~(size_t)7;
	ehdr.e_shoff = at;
	memcpy(file + at, headers, sizeof(headers[0]) * (count + 2));
	memcpy(file, &ehdr, sizeof(ehdr));
	*ret_size = at + sizeof(headers[0]) * (count + 2);
	return file;
}

#endif

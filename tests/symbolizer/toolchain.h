/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inputs for symbolizer tests: programs compiled at run time in a folder that goes when the test ends, and ELF
 * files put together from sections. Where a tool is missing the test skips and says which.
 */
#ifndef TESTS_TOOLCHAIN_H
#define TESTS_TOOLCHAIN_H

#include "symbolizer/image.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

static char toolchain_folder[64];

static int toolchain_setup(void **state)
{
	(void)state;
	strcpy(toolchain_folder, "/tmp/wick-test-XXXXXX");
	return mkdtemp(toolchain_folder) ? 0 : -1;
}

static int toolchain_teardown(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", toolchain_folder);
	return system(command);
}

/* Runs a command inside the folder; its exit status. */
__attribute__((format(printf, 1, 2))) static int run(const char *format, ...)
{
	char command[4096];
	va_list arguments;
	int at, status;

	/* the tools under test's sanitizer settings are not for compilers */
	at = snprintf(command, sizeof(command), "unset ASAN_OPTIONS; cd %s && ", toolchain_folder);
	va_start(arguments, format);
	vsnprintf(command + at, sizeof(command) - (size_t)at, format, arguments);
	va_end(arguments);
	status = system(command);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static inline bool have(const char *tool)
{
	return run("command -v %s >/dev/null 2>&1", tool) == 0;
}

#define need(tool)                                                                                            \
	do {                                                                                                  \
		if (!have(tool)) {                                                                            \
			print_message("[  SKIPPED ] %s: no %s\n", __func__, tool);                            \
			skip();                                                                               \
		}                                                                                             \
	} while (0)

static inline void write_file(const char *name, const char *text)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", toolchain_folder, name);
	file = fopen(path, "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static inline FILE *open_output(const char *name)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", toolchain_folder, name);
	file = fopen(path, "r");
	assert_non_null(file);
	return file;
}

static inline struct image *open_image(const char *name)
{
	struct image *image;
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s%s%s", *name == '/' ? "" : toolchain_folder, *name == '/' ? "" : "/", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(image_open(fd, &image), 0);
	close(fd);
	return image;
}

static inline double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* ---- an ELF file made of sections ---- */

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

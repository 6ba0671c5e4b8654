/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: the rows of a file's table against what libdw, which reads the same .eh_frame by other code, says. */
#ifndef TESTS_FILE_COMPARISON_H
#define TESTS_FILE_COMPARISON_H

#include "cfi_oracle.h"
#include "rule_words.h"

#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

#define KINDS 262144

struct comparison {
	const char *path;
	struct image *image;
	struct table table;
	Elf *elf;
	Dwarf_CFI *cfi;
	uint64_t compared, uncovered, contexts, refused, differing;
	char kinds[KINDS]; /* escape rules met, for a test to look for */
};

/* False: not there, no ELF file of this machine, or one without call frame information. */
static bool comparison_open(struct comparison *comparison, const char *path)
{
	auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC);

	memset(comparison, 0, sizeof(*comparison));
	comparison->path = path;
	if (fd < 0 || image_open(fd, &comparison->image))
		return false;
	elf_version(EV_CURRENT);
	comparison->elf = elf_begin(fd, ELF_C_READ_MMAP, NULL);
	comparison->cfi = dwarf_getcfi_elf(comparison->elf);
	if (comparison->cfi) {
		table_open(comparison->image, &comparison->table);
		return true;
	}
	elf_end(comparison->elf);
	image_close(comparison->image);
	return false;
}

static void comparison_close(struct comparison *comparison)
{
	dwarf_cfi_end(comparison->cfi);
	elf_end(comparison->elf);
	table_close(&comparison->table);
	image_close(comparison->image);
}

/* Where the two differ: counted and, of a file's first, told. */
static void compare(struct comparison *comparison, uint64_t vaddr)
{
	char ours[160], theirs[160];

	describe(&comparison->table, vaddr, ours);
	oracle_describe(comparison->cfi, vaddr, strstr(ours, " saved"), theirs);
	comparison->compared++;
	if (!strcmp(ours, theirs))
		return;
	if (!strcmp(theirs, "none")) { /* padding, or what test_unwind_repair.c looks at */
		comparison->uncovered++;
		return;
	}
	if (!strcmp(ours, "outermost") && !strcmp(theirs, "r7+8 bp same ra -8")) { /* glibc's __start_context */
		comparison->contexts++;
		return;
	}
	if (!strcmp(ours, "unsupported") || !strcmp(theirs, "unsupported")) {
		comparison->refused++;
		return;
	}
	if (comparison->differing++ < 3)
		print_message("%s 0x%" PRIx64 ": ours \"%s\", libdw's \"%s\"\n", comparison->path, vaddr, ours, theirs);
}

/* Of every step-th row the beginning, the address before it and one in its middle. */
static void compare_rows(struct comparison *comparison, uint64_t step)
{
	const struct table *table = &comparison->table;
	uint64_t seen = 0;

	for (uint32_t p = 0; p < table->header->pages; p++) {
		const struct unwind_file_page *page = &table->pages[p];
		uint32_t count = page_rows(table, page);

		uint32_t end;
		uint16_t next = page_row(table, page, 0, &end);

		for (uint32_t i = 0; i < count; i++) {
			uint32_t pc = end;
			uint16_t rule = next;
			uint64_t vaddr = (uint64_t)page->page << 16 | pc;
			bool escape = rule >> 14 == UNWIND_KIND_ESCAPE;

			end = pc + 1;
			if (i + 1 < count)
				next = page_row(table, page, i + 1, &end);
			if (seen++ % step && !escape)
				continue;
			compare(comparison, vaddr);
			compare(comparison, vaddr - 1);
			compare(comparison, vaddr + (end - pc) / 2);
			if (escape && strlen(comparison->kinds) < sizeof(comparison->kinds) - 160) {
				describe_escape(&table->escapes[rule & 0x3fff],
						comparison->kinds + strlen(comparison->kinds));
				strcat(comparison->kinds, "\n");
			}
		}
	}
}

#endif

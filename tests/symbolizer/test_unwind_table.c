/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table compiler against libdw, which reads the same .eh_frame by other code: real binaries of this machine and
 * of its compilers, then hostile ones. The look-up here is the one of abi/unwind.h, written down a second time.
 */
#include "abi/unwind.h"
#include "base/clean.h"
#include "symbolizer/unwind_table.h"

#include <dwarf.h>
#include <elf.h>
#include <elfutils/libdw.h>
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <inttypes.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <cmocka.h>

/* ---- reading a table ---------------------------------------------------------------------------------------- */

struct table {
	const uint8_t *bytes;
	size_t size;
	const struct unwind_file *header;
	const struct unwind_escape *escapes;
	const struct unwind_file_page *pages;
	struct symbolizer_table report;
};

/* Everything that a reader in the kernel relies on. */
static void check_page(const struct table *table, const struct unwind_file_page *page)
{
	const uint16_t *starts = (const void *)(table->bytes + page->offset);
	const struct unwind_row *rows = (const void *)(table->bytes + page->offset + UNWIND_HEAD_BYTES);
	uint32_t count = starts[UNWIND_BUCKETS];

	assert_int_equal(page->offset % 4, 0);
	assert_true((uint64_t)page->offset + page->bytes <= table->size);
	assert_int_equal(page->bytes, UNWIND_HEAD_BYTES + count * sizeof(*rows));
	assert_in_range(count, 1, UNWIND_MAX_PAGE_ROWS);
	assert_int_equal(rows[0].pc, 0);
	assert_int_equal(starts[0], 0);
	for (uint32_t i = 0; i < count; i++) {
		if (i) {
			assert_true(rows[i].pc > rows[i - 1].pc);
			assert_int_not_equal(rows[i].rule, rows[i - 1].rule);
		}
		assert_in_range(i, starts[rows[i].pc >> 8], starts[(rows[i].pc >> 8) + 1] - 1);
		if (rows[i].rule >> 14 == UNWIND_KIND_ESCAPE)
			assert_true((rows[i].rule & 0x3fff) < table->header->escapes);
	}
}

static void table_open(struct image *image, struct table *ret_table)
{
	struct table table = { 0 };
	auto_fd int fd = memfd_create("rows", MFD_CLOEXEC);
	uint64_t rows = 0;
	struct stat status;

	assert_true(fd >= 0);
	assert_int_equal(unwind_table_write(image, fd, &table.report), 0);
	assert_int_equal(fstat(fd, &status), 0);
	table.size = (size_t)status.st_size;
	assert_int_equal(table.size, table.report.bytes);
	table.bytes = mmap(NULL, table.size, PROT_READ, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(table.bytes, MAP_FAILED);
	table.header = (const void *)table.bytes;
	table.escapes = (const void *)(table.header + 1);
	table.pages = (const void *)(table.escapes + table.header->escapes);
	assert_int_equal(table.header->magic, UNWIND_FILE_MAGIC);
	assert_int_equal(table.header->pages, table.report.pages);
	assert_int_equal(table.header->escapes, table.report.escapes);
	assert_true(table.header->escapes <= UNWIND_MAX_ESCAPES);
	for (uint32_t i = 0; i < table.header->pages; i++) {
		if (i)
			assert_true(table.pages[i].page > table.pages[i - 1].page);
		check_page(&table, &table.pages[i]);
		rows += (table.pages[i].bytes - UNWIND_HEAD_BYTES) / sizeof(struct unwind_row);
	}
	assert_int_equal(rows, table.report.rows);
	*ret_table = table;
}

static void table_close(struct table *table)
{
	munmap((void *)table->bytes, table->size);
}

static uint16_t table_find(const struct table *table, uint64_t vaddr)
{
	uint32_t low = 0, high = table->header->pages;
	const struct unwind_row *rows;
	const uint16_t *starts;
	uint32_t row;

	while (low < high) {
		uint32_t middle = (low + high) / 2;

		if (table->pages[middle].page < vaddr >> 16)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == table->header->pages || table->pages[low].page != vaddr >> 16)
		return UNWIND_RULE_NONE;
	starts = (const void *)(table->bytes + table->pages[low].offset);
	rows = (const void *)(table->bytes + table->pages[low].offset + UNWIND_HEAD_BYTES);
	row = starts[(vaddr >> 8) & 255];
	while (row < starts[((vaddr >> 8) & 255) + 1] && rows[row].pc <= (vaddr & 0xffff))
		row++;
	return rows[row - 1].rule;
}

/* A rule in words, in which both sides are compared. */
static void describe_escape(const struct unwind_escape *escape, char *text)
{
	char bp[40], cfa[40];

	if (escape->cfa == UNWIND_CFA_NONE || escape->cfa == UNWIND_CFA_SIGNAL) {
		strcpy(text, escape->cfa == UNWIND_CFA_NONE ? "unsupported" : "signal");
		return;
	}
	if (escape->cfa == UNWIND_CFA_REG)
		sprintf(cfa, "r%d%+d", escape->reg, escape->cfa_offset);
	else if (escape->cfa == UNWIND_CFA_DEREF)
		sprintf(cfa, "*(r%d%+d)%+d", escape->reg, escape->cfa_offset, escape->cfa_add);
	else
		sprintf(cfa, "plt %d", escape->cfa_offset);
	if (escape->bp == UNWIND_BP_SAME)
		strcpy(bp, "same");
	else if (escape->bp == UNWIND_BP_UNKNOWN)
		strcpy(bp, "unknown");
	else
		sprintf(bp, "%s%+d", escape->bp == UNWIND_BP_CFA ? "cfa" : "rbp", escape->bp_offset);
	sprintf(text, "%s bp %s ra %+d", cfa, bp, escape->ra_offset);
}

static void describe(const struct table *table, uint64_t vaddr, char *text)
{
	uint16_t rule = table_find(table, vaddr);
	int slot = rule >> 11 & 7, offset = (rule & 0x7ff) * 8;

	switch (rule >> 14) {
	case UNWIND_KIND_END:
		strcpy(text, rule == UNWIND_RULE_OUTERMOST ? "outermost" : "none");
		assert_true(rule <= UNWIND_RULE_OUTERMOST);
		return;
	case UNWIND_KIND_ESCAPE:
		describe_escape(&table->escapes[rule & 0x3fff], text);
		return;
	default:
		text += sprintf(text, "r%d%+d bp ", rule >> 14 == UNWIND_KIND_RSP ? 7 : 6, offset);
		text += slot ? sprintf(text, "cfa%+d", -8 * (slot + 1)) : sprintf(text, "same");
		strcpy(text, " ra -8");
	}
}

/* ---- what libdw says ---------------------------------------------------------------------------------------- */

static bool same_ops(const Dwarf_Op *ops, size_t count, const uint8_t *codes, size_t wanted)
{
	for (size_t i = 0; i < count && i < wanted; i++)
		if (codes[i] && ops[i].atom != codes[i])
			return false;
	return count == wanted;
}

static bool oracle_cfa(Dwarf_Frame *frame, bool signal, char *text, int *ret_rsp_offset)
{
	static const uint8_t plt[] = { DW_OP_breg7, DW_OP_breg16, DW_OP_lit15, DW_OP_and, 0, DW_OP_ge, DW_OP_lit3,
				       DW_OP_shl, DW_OP_plus };
	Dwarf_Op *ops;
	size_t count;

	*ret_rsp_offset = INT_MAX;
	if (dwarf_frame_cfa(frame, &ops, &count) || !count)
		return false;
	if (same_ops(ops, count, plt, sizeof(plt))) {
		sprintf(text, "plt %d", ops[4].atom - DW_OP_lit0);
		return true;
	}
	if (count == 1 && ops[0].atom == DW_OP_bregx) {
		sprintf(text, "r%d%+d", (int)ops[0].number, (int)ops[0].number2);
		if (ops[0].number == 7)
			*ret_rsp_offset = (int)ops[0].number2;
		return ops[0].number < 16;
	}
	if (ops[0].atom < DW_OP_breg0 || ops[0].atom > DW_OP_breg15)
		return false;
	if (count == 1) {
		sprintf(text, "r%d%+d", ops[0].atom - DW_OP_breg0, (int)ops[0].number);
		if (ops[0].atom == DW_OP_breg7)
			*ret_rsp_offset = (int)ops[0].number;
		return true;
	}
	if (ops[1].atom != DW_OP_deref || count > 3 || (count == 3 && ops[2].atom != DW_OP_plus_uconst))
		return false;
	sprintf(text, "*(r%d%+d)%+d", ops[0].atom - DW_OP_breg0, (int)ops[0].number, count == 3 ? (int)ops[2].number : 0);
	if (signal && !strcmp(text, "*(r7+160)+0"))
		strcpy(text, "signal");
	return true;
}

/* The register's place; false: an undefined one. */
static bool oracle_register(Dwarf_Frame *frame, int number, int rsp_offset, char *text)
{
	Dwarf_Op memory[3], *ops;
	size_t count;

	assert_int_equal(dwarf_frame_register(frame, number, memory, &ops, &count), 0);
	if (!count) {
		strcpy(text, ops ? "unknown" : "same");
		return !ops;
	}
	if (ops[0].atom == DW_OP_call_frame_cfa && count <= 2 && (count == 1 || ops[1].atom == DW_OP_plus_uconst)) {
		int offset = count == 2 ? (int)ops[1].number : 0;

		/* Below rsp: popped, so the register has it. */
		if (number == 6 && rsp_offset != INT_MAX && rsp_offset + offset < 0)
			strcpy(text, "same");
		else
			sprintf(text, "cfa%+d", offset);
	} else if (ops[0].atom == DW_OP_call_frame_cfa && count == 2 && ops[1].atom == DW_OP_breg6) {
		sprintf(text, "rbp%+d", (int)ops[1].number);
	} else if (count == 1 && ops[0].atom == DW_OP_breg6) {
		sprintf(text, "rbp%+d", (int)ops[0].number);
	} else {
		strcpy(text, "unknown");
	}
	return true;
}

static void oracle_describe(Dwarf_CFI *cfi, uint64_t vaddr, char *text)
{
	char cfa[60], bp[40], ra[40];
	Dwarf_Frame *frame = NULL;
	int rsp_offset;
	bool signal;

	strcpy(text, "none");
	if (dwarf_cfi_addrframe(cfi, vaddr, &frame))
		return;
	dwarf_frame_info(frame, NULL, NULL, &signal);
	strcpy(text, "unsupported");
	if (!oracle_register(frame, 16, INT_MAX, ra)) {
		strcpy(text, "outermost");
	} else if (oracle_cfa(frame, signal, cfa, &rsp_offset)) {
		oracle_register(frame, 6, rsp_offset, bp);
		if (!strcmp(cfa, "signal"))
			strcpy(text, "signal");
		else if (!strncmp(ra, "cfa", 3))
			sprintf(text, "%s bp %s ra %s", cfa, bp, ra + 3);
	}
	free(frame);
}

/* ---- comparing ---------------------------------------------------------------------------------------------- */

struct comparison {
	const char *path;
	struct table table;
	Dwarf_CFI *cfi;
	uint64_t compared, padding;
	char kinds[4096]; /* escape rules met, for a test to look for */
};

/* An address behind a function's end, in its padding, may carry the function's rule: nothing runs there. */
static bool is_padding(struct comparison *comparison, uint64_t vaddr, const char *ours)
{
	char theirs[160];

	for (uint64_t back = 1; back <= 15; back++) {
		oracle_describe(comparison->cfi, vaddr - back, theirs);
		if (strcmp(theirs, "none"))
			return !strcmp(theirs, ours);
	}
	return false;
}

static void compare(struct comparison *comparison, uint64_t vaddr)
{
	char ours[160], theirs[160];

	describe(&comparison->table, vaddr, ours);
	oracle_describe(comparison->cfi, vaddr, theirs);
	comparison->compared++;
	if (!strcmp(ours, theirs))
		return;
	if (!strcmp(theirs, "none") && is_padding(comparison, vaddr, ours)) {
		comparison->padding++;
		return;
	}
	fail_msg("%s 0x%" PRIx64 ": ours \"%s\", libdw's \"%s\"", comparison->path, vaddr, ours, theirs);
}

static void compare_rows(struct comparison *comparison, uint64_t samples)
{
	const struct table *table = &comparison->table;
	uint64_t step = table->report.rows / samples + 1, seen = 0;

	for (uint32_t p = 0; p < table->header->pages; p++) {
		const struct unwind_file_page *page = &table->pages[p];
		const struct unwind_row *rows = (const void *)(table->bytes + page->offset + UNWIND_HEAD_BYTES);
		uint32_t count = (page->bytes - UNWIND_HEAD_BYTES) / sizeof(*rows);

		for (uint32_t i = 0; i < count; i++) {
			uint64_t vaddr = (uint64_t)page->page << 16 | rows[i].pc;
			uint64_t end = i + 1 < count ? rows[i + 1].pc : rows[i].pc + 1U;
			bool escape = rows[i].rule >> 14 == UNWIND_KIND_ESCAPE;

			if (seen++ % step && !escape)
				continue;
			compare(comparison, vaddr);
			compare(comparison, vaddr - 1);
			compare(comparison, vaddr + (end - rows[i].pc) / 2);
			if (escape && strlen(comparison->kinds) < sizeof(comparison->kinds) - 160) {
				describe_escape(&table->escapes[rows[i].rule & 0x3fff],
						comparison->kinds + strlen(comparison->kinds));
				strcat(comparison->kinds, "\n");
			}
		}
	}
}

/* Random addresses find what the rows themselves cannot show: functions that were left out. */
static void compare_random(struct comparison *comparison, const struct image *image, uint64_t samples)
{
	const struct symbolizer_segment *segments;
	size_t count = image_segments(image, &segments);

	for (size_t i = 0; i < count; i++) {
		if (!(segments[i].flags & PF_X) || !segments[i].filesz)
			continue;
		for (uint64_t sample = 0; sample < samples; sample++)
			compare(comparison, segments[i].vaddr + ((uint64_t)random() << 20 ^ (uint64_t)random()) %
								       segments[i].filesz);
	}
}

static bool compare_file(const char *path, uint64_t samples, char *ret_kinds)
{
	struct comparison comparison = { .path = path };
	auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct image *image;
	Elf *elf;

	if (fd < 0)
		return false;
	assert_int_equal(image_open(fd, &image), 0);
	table_open(image, &comparison.table);
	elf_version(EV_CURRENT);
	elf = elf_begin(fd, ELF_C_READ_MMAP, NULL);
	comparison.cfi = dwarf_getcfi_elf(elf);
	assert_non_null(comparison.cfi);
	compare_rows(&comparison, samples);
	compare_random(&comparison, image, samples);
	print_message("%s: %u rows, %.2f bytes a row, %u escapes, %u unsupported, %" PRIu64 " compared\n", path,
		      comparison.table.report.rows,
		      (double)comparison.table.report.bytes / comparison.table.report.rows,
		      comparison.table.report.escapes, comparison.table.report.unsupported, comparison.compared);
	assert_true(comparison.table.report.rows > 0);
	if (ret_kinds)
		strcpy(ret_kinds, comparison.kinds);
	dwarf_cfi_end(comparison.cfi);
	elf_end(elf);
	table_close(&comparison.table);
	image_close(image);
	return true;
}

static const char *find_library(const char *name, char *path)
{
	static const char *const folders[] = { "/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64" };

	for (size_t i = 0; i < array_size(folders); i++) {
		sprintf(path, "%s/%s", folders[i], name);
		if (!access(path, R_OK))
			return path;
	}
	return NULL;
}

static void test_system_files(void **state)
{
	static const char *const libraries[] = { "libc.so.6", "ld-linux-x86-64.so.2", "libcrypto.so.3", "libstdc++.so.6",
						 "libm.so.6", "libgcc_s.so.1" };
	char path[256], kinds[4096];

	(void)state;
	assert_true(compare_file("/bin/bash", 5000, NULL));
	for (size_t i = 0; i < array_size(libraries); i++) {
		if (!find_library(libraries[i], path) || !compare_file(path, 3000, kinds)) {
			print_message("%s: not on this machine\n", libraries[i]);
			continue;
		}
		if (i == 0) /* __restore_rt */
			assert_non_null(strstr(kinds, "signal\n"));
	}
}

/* ---- files that compilers make here ------------------------------------------------------------------------- */

static char folder[] = "/tmp/test-unwind-table-XXXXXX";

static const char program[] =
	"#include <alloca.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n"
	"static int order(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }\n"
	"__attribute__((noinline)) int aligned(int n) {\n"
	"	char wide[64] __attribute__((aligned(64))); char *more = alloca((size_t)n);\n"
	"	memset(wide, n, 64); memset(more, n, (size_t)n); return puts(more) + wide[n & 63]; }\n"
	"__attribute__((noinline)) int deep(int n) { volatile char big[70000]; big[n] = 1;\n"
	"	return n ? deep(n - 1) + big[n] : 0; }\n"
	"__attribute__((noinline, noreturn)) void leave(int n) { printf(\"%d\\n\", n); exit(n); }\n"
	"int main(int argc, char **argv) { int v[8] = { 3, 1, argc };\n"
	"	qsort(v, 8, sizeof(int), order); if (argc > 9) leave(argc);\n"
	"	return aligned(argc) + deep(argc) + (argv[0] == 0); }\n";

static const char rust_program[] =
	"fn main() { let mut v: Vec<String> = std::env::args().collect(); v.sort(); println!(\"{:?}\", v); }\n";

static void write_file(const char *name, const char *text)
{
	char path[256];

	sprintf(path, "%s/%s", folder, name);
	auto_file FILE *file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
}

/* Runs a compiler in the folder; false: it is not installed or cannot. */
static bool compile(const char *command, char *ret_path)
{
	char line[1024];

	sprintf(line, "cd %s && rm -f out && %s -o out 2>/dev/null", folder, command);
	sprintf(ret_path, "%s/out", folder);
	return system(line) == 0;
}

static int setup_folder(void **state)
{
	(void)state;
	if (!mkdtemp(folder))
		return -1;
	write_file("program.c", program);
	write_file("program.rs", rust_program);
	return 0;
}

static int remove_folder(void **state)
{
	char line[256];

	(void)state;
	sprintf(line, "rm -rf %s", folder);
	return system(line);
}

static void test_compiled_files(void **state)
{
	static const char *const commands[] = {
		"gcc -O2 -fomit-frame-pointer -fcf-protection=none -Wl,-z,lazy program.c",
		"gcc -O2 -fcf-protection=full -Wl,-z,lazy,-z,ibtplt -static-libgcc program.c",
		"gcc -O0 -fno-omit-frame-pointer -no-pie program.c",
		"gcc -O2 -fomit-frame-pointer -static program.c",
		"gcc -O2 -Wl,--no-eh-frame-hdr program.c",
		"clang-14 -O2 -fomit-frame-pointer program.c",
		"clang-14 -O0 -fno-omit-frame-pointer program.c",
		"rustc -O program.rs",
	};
	char path[256], kinds[4096];

	(void)state;
	for (size_t i = 0; i < array_size(commands); i++) {
		if (!compile(commands[i], path)) {
			print_message("skipped: %s\n", commands[i]);
			assert_int_not_equal(i, 0);
			continue;
		}
		assert_true(compare_file(path, 3000, kinds));
		if (i)
			continue;
		assert_non_null(strstr(kinds, "plt 11 bp same ra -8"));
		assert_non_null(strstr(kinds, "r10+0 bp ")); /* the DRAP of aligned() */
		assert_non_null(strstr(kinds, "*(r6"));
		assert_non_null(strstr(kinds, "bp rbp+0"));
		assert_non_null(strstr(kinds, "r7+70")); /* a CFA offset past 11 bits */
	}
}

/* ---- files written by hand ---------------------------------------------------------------------------------- */

#define FRAME_OFFSET 0x1000 /* file offset = vaddr; one segment covers all */
#define TEXT_VADDR 0x200000
#define TEXT_SIZE 0x40000

struct bytes {
	uint8_t *data;
	size_t size, capacity;
};

static void put(struct bytes *bytes, const void *data, size_t size)
{
	while (bytes->size + size > bytes->capacity) {
		bytes->capacity = bytes->capacity ? bytes->capacity * 2 : 4096;
		bytes->data = realloc(bytes->data, bytes->capacity);
		assert_non_null(bytes->data);
	}
	memcpy(bytes->data + bytes->size, data, size);
	bytes->size += size;
}

static void put_u32(struct bytes *bytes, uint32_t value)
{
	put(bytes, &value, 4);
}

/* The usual CIE: "zR" (or "zRS"), pcrel sdata4, CFA = rsp + 8, return address at CFA - 8. */
static void put_cie(struct bytes *frame, bool signal)
{
	static const uint8_t plain[] = { 1, 'z', 'R', 0, 1, 0x78, 16, 1, 0x1b, 0x0c, 7, 8, 0x90, 1, 0, 0 };
	static const uint8_t signals[] = { 1, 'z', 'R', 'S', 0, 1, 0x78, 16, 1, 0x1b, 0x0c, 7, 8, 0x90, 1, 0 };

	put_u32(frame, 4 + sizeof(plain));
	put_u32(frame, 0);
	put(frame, signal ? signals : plain, sizeof(plain));
}

static void put_fde(struct bytes *frame, size_t cie, uint64_t start, uint32_t size, const void *code, size_t code_size)
{
	put_u32(frame, (uint32_t)(4 + 4 + 4 + 1 + code_size));
	put_u32(frame, (uint32_t)(frame->size - cie));
	put_u32(frame, (uint32_t)(start - (FRAME_OFFSET + frame->size)));
	put_u32(frame, size);
	put(frame, "", 1);
	put(frame, code, code_size);
}

/* An ELF whose one segment holds the frame section and the text; `table`: where .eh_frame_hdr begins in the frame
 * bytes, 0: there is none. The file is exactly as long as its allocation. */
static struct image *open_frame(const struct bytes *frame, size_t table, uint8_t **ret_file)
{
	static const char names[] = "\0.eh_frame\0.shstrtab";
	size_t text = TEXT_VADDR, size = text + TEXT_SIZE;
	uint8_t *file = calloc(1, size);
	Elf64_Ehdr *header = (void *)file;
	Elf64_Phdr *segment = (void *)(file + 64);
	Elf64_Shdr *sections = (void *)(file + 512);
	struct image *image;

	assert_non_null(file);
	assert_true(FRAME_OFFSET + frame->size <= text);
	*header = (Elf64_Ehdr){ .e_type = ET_DYN, .e_machine = EM_X86_64, .e_version = 1, .e_phoff = 64, .e_shoff = 512,
				.e_ehsize = 64, .e_phentsize = 56, .e_phnum = 1, .e_shentsize = 64, .e_shnum = 3,
				.e_shstrndx = 2 };
	memcpy(header->e_ident, "\177ELF\2\1\1", 7);
	*segment = (Elf64_Phdr){ .p_type = PT_LOAD, .p_flags = PF_R | PF_X, .p_filesz = size, .p_memsz = size };
	if (table) {
		header->e_phnum = 2;
		segment[1] = (Elf64_Phdr){ .p_type = PT_GNU_EH_FRAME, .p_vaddr = FRAME_OFFSET + table,
					   .p_filesz = frame->size - table };
	}
	sections[1] = (Elf64_Shdr){ .sh_name = 1, .sh_type = SHT_PROGBITS, .sh_addr = FRAME_OFFSET,
				    .sh_offset = FRAME_OFFSET, .sh_size = table ? table : frame->size };
	sections[2] = (Elf64_Shdr){ .sh_name = 11, .sh_type = SHT_STRTAB, .sh_offset = 2048, .sh_size = sizeof(names) };
	memcpy(file + 2048, names, sizeof(names));
	memcpy(file + FRAME_OFFSET, frame->data, frame->size);
	assert_int_equal(image_open_memory(file, size, &image), 0);
	*ret_file = file;
	return image;
}

static void expect(const struct table *table, uint64_t vaddr, const char *wanted)
{
	char text[160];

	describe(table, vaddr, text);
	if (strcmp(text, wanted))
		fail_msg("0x%" PRIx64 ": \"%s\" instead of \"%s\"", vaddr, text, wanted);
}

/* One function a rule; what it says 16 bytes in. */
static void test_rules(void **state)
{
	static const struct {
		const char *code;
		size_t size;
		bool signal;
		const char *wanted;
	} rules[] = {
#define CODE(bytes) bytes, sizeof(bytes) - 1
		{ CODE("\x48\x0e\x10\x86\x02"), false, "r7+16 bp cfa-16 ra -8" },
		{ CODE("\x48\x0e\x10\x86\x02\x0d\x06"), false, "r6+16 bp cfa-16 ra -8" },
		{ CODE("\x48\x0e\x80\x80\x01"), false, "r7+16384 bp same ra -8" },
		{ CODE("\x48\x0e\xf8\x7f"), false, "r7+16376 bp same ra -8" },
		{ CODE("\x48\x0e\x0c"), false, "r7+12 bp same ra -8" },
		{ CODE("\x48\x0c\x06\x60\x86\x08"), false, "r6+96 bp cfa-64 ra -8" },
		{ CODE("\x48\x0c\x06\x60\x86\x09"), false, "r6+96 bp cfa-72 ra -8" },
		{ CODE("\x48\x0c\x06\x60\x86\x01"), false, "r6+96 bp cfa-8 ra -8" },
		{ CODE("\x48\x0c\x0a\x00"), false, "r10+0 bp same ra -8" },
		{ CODE("\x48\x0c\x03\x10"), false, "r3+16 bp same ra -8" },
		{ CODE("\x48\x0c\x11\x10"), false, "unsupported" },
		{ CODE("\x48\x86\x02"), false, "r7+8 bp same ra -8" }, /* below rsp: popped already */
		{ CODE("\x48\x0f\x03\x76\x78\x06"), false, "*(r6-8)+0 bp same ra -8" },
		{ CODE("\x48\x0f\x06\x77\x90\x01\x06\x23\x08"), false, "*(r7+144)+8 bp same ra -8" },
		{ CODE("\x48\x0f\x05\x77\x10\x06\x38\x22"), false, "*(r7+16)+8 bp same ra -8" },
		{ CODE("\x48\x0f\x03\x77\x08\x1a"), false, "unsupported" },
		{ CODE("\x48\x0f\x0b\x77\x08\x80\x00\x3f\x1a\x3b\x2a\x33\x24\x22"), false, "plt 11 bp same ra -8" },
		{ CODE("\x48\x0f\x0b\x77\x08\x80\x00\x3f\x1a\x3a\x2a\x33\x24\x22"), false, "plt 10 bp same ra -8" },
		{ CODE("\x48\x0f\x04\x77\xa0\x01\x06"), true, "signal" },
		{ CODE("\x48\x0f\x04\x77\xa0\x01\x06"), false, "*(r7+160)+0 bp same ra -8" },
		{ CODE("\x48\x0c\x06\x10\x10\x06\x02\x76\x00"), false, "r6+16 bp rbp+0 ra -8" },
		{ CODE("\x48\x0e\x40\x10\x06\x02\x77\x10"), false, "r7+64 bp cfa-48 ra -8" },
		{ CODE("\x48\x0e\x40\x16\x06\x02\x77\x10"), false, "r7+64 bp unknown ra -8" },
		{ CODE("\x48\x07\x06"), false, "r7+8 bp unknown ra -8" },
		{ CODE("\x48\x09\x06\x03"), false, "r7+8 bp unknown ra -8" },
		{ CODE("\x48\x07\x10"), false, "outermost" },
		{ CODE("\x48\x90\x02"), false, "r7+8 bp same ra -16" },
		{ CODE("\x48\x09\x10\x03"), false, "unsupported" },
		{ CODE("\x48\x0a\x0e\x20\x86\x02\x44\x0b"), false, "r7+8 bp same ra -8" },
		{ CODE("\x48\x0e\x20\x86\x02\x44\xc6"), false, "r7+32 bp same ra -8" },
		{ CODE("\x48\x0b"), false, "unsupported" }, /* nothing to restore */
		{ CODE("\x48\x3f"), false, "unsupported" }, /* no such code */
		{ CODE("\x48\x0e"), false, "unsupported" }, /* cut off */
		{ CODE("\x48\x2e\x30\x0e\x10"), false, "r7+16 bp same ra -8" },
#undef CODE
	};
	struct bytes frame = { 0 };
	struct image *image;
	struct table table;
	uint8_t *file;
	size_t signals;

	(void)state;
	put_cie(&frame, false);
	signals = frame.size;
	put_cie(&frame, true);
	for (size_t i = array_size(rules); i-- > 0;) /* not in the order of their addresses */
		put_fde(&frame, rules[i].signal ? signals : 0, TEXT_VADDR + 64 * i, 64, rules[i].code, rules[i].size);
	image = open_frame(&frame, 0, &file);
	table_open(image, &table);
	expect(&table, TEXT_VADDR - 1, "none");
	for (size_t i = 0; i < array_size(rules); i++) {
		expect(&table, TEXT_VADDR + 64 * i, "r7+8 bp same ra -8");
		expect(&table, TEXT_VADDR + 64 * i + 7, "r7+8 bp same ra -8");
		expect(&table, TEXT_VADDR + 64 * i + 16, rules[i].wanted);
		expect(&table, TEXT_VADDR + 64 * i + 63, rules[i].wanted);
	}
	expect(&table, TEXT_VADDR + 64 * array_size(rules), "none");
	assert_int_equal(table.report.unsupported, 2 + 2 * 3 + 1);
	table_close(&table);
	image_close(image);
	free(file);
	free(frame.data);
}

/* Gaps, merging, and functions that reach over pages. */
static void test_layout(void **state)
{
	struct bytes frame = { 0 };
	struct image *image;
	struct table table;
	uint8_t *file;

	(void)state;
	put_cie(&frame, false);
	put_fde(&frame, 0, TEXT_VADDR, 0x20, "", 0);
	put_fde(&frame, 0, TEXT_VADDR + 0x2f, 0x11, "", 0);      /* 15 bytes of padding */
	put_fde(&frame, 0, TEXT_VADDR + 0x50, 0x10, "", 0);      /* a gap of 16 */
	put_fde(&frame, 0, TEXT_VADDR + 0x100, 0x30000, "", 0);  /* over four pages, equal to the one before */
	put_fde(&frame, 0, TEXT_VADDR + 0x10200, 0x100, "\x0e\x20", 2); /* inside another: that one ends here */
	image = open_frame(&frame, 0, &file);
	table_open(image, &table);
	expect(&table, TEXT_VADDR + 0x2e, "r7+8 bp same ra -8");
	expect(&table, TEXT_VADDR + 0x3f, "r7+8 bp same ra -8");
	expect(&table, TEXT_VADDR + 0x40, "none");
	expect(&table, TEXT_VADDR + 0x4f, "none");
	expect(&table, TEXT_VADDR + 0x5f, "r7+8 bp same ra -8");
	expect(&table, TEXT_VADDR + 0x60, "none");
	expect(&table, TEXT_VADDR + 0x10000, "r7+8 bp same ra -8");
	expect(&table, TEXT_VADDR + 0x101ff, "r7+8 bp same ra -8");
	expect(&table, TEXT_VADDR + 0x10200, "r7+32 bp same ra -8");
	expect(&table, TEXT_VADDR + 0x10300, "none");
	assert_int_equal(table.report.pages, 2);
	assert_int_equal(table.report.rows, 5 + 3);
	table_close(&table);
	image_close(image);
	free(file);
	free(frame.data);
}

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* More states than any compiler nests (reliability E4), rows past a page's limit, an FDE for each byte. */
static void test_excess(void **state)
{
	size_t big = 1 << 20;
	uint8_t *code = malloc(big);
	struct bytes frame = { 0 };
	struct image *image;
	struct table table;
	uint8_t *file;
	double start = now_s();

	(void)state;
	put_cie(&frame, false);
	memset(code, 0x0a, big);
	put_fde(&frame, 0, TEXT_VADDR, 0x100, code, big);
	for (size_t i = 0; i < 0x18000; i += 3) /* a row at each byte: advance 1, CFA offset 8 or 16 */
		memcpy(code + i, i % 2 ? "\x41\x0e\x10" : "\x41\x0e\x18", 3);
	put_fde(&frame, 0, TEXT_VADDR + 0x10000, 0x10000, code, 0x18000);
	image = open_frame(&frame, 0, &file);
	table_open(image, &table);
	expect(&table, TEXT_VADDR + 0x80, "unsupported");
	expect(&table, TEXT_VADDR + 0x10000 + 100, "r7+16 bp same ra -8");
	expect(&table, TEXT_VADDR + 0x10000 + 101, "r7+24 bp same ra -8");
	expect(&table, TEXT_VADDR + 0x10000 + 20000, "unsupported");
	assert_true(table.report.unsupported > 10000);
	assert_true(now_s() - start < 2);
	table_close(&table);
	image_close(image);
	free(file);
	free(frame.data);
	free(code);
}

/*
 * FDEs whose augmentation data reach over all the others to one program that they share: what is read must grow with
 * the size of the section, not with its square.
 */
static void test_overlap(void **state)
{
	enum { FDES = 20000, FDE_BYTES = 19, CIE_BYTES = 24, NOPS = 1 << 20 };
	struct bytes frame = { 0 };
	uint8_t *nops = calloc(1, NOPS), *file;
	struct image *image;
	struct table table;
	double start;

	(void)state;
	put_cie(&frame, false);
	assert_int_equal(frame.size, CIE_BYTES);
	for (uint32_t i = 0; i < FDES; i++) {
		uint32_t skip = (FDES - 1 - i) * FDE_BYTES, end = CIE_BYTES + FDES * FDE_BYTES + NOPS;
		uint8_t uleb[] = { (uint8_t)(skip | 0x80), (uint8_t)(skip >> 7 | 0x80), (uint8_t)(skip >> 14) };

		put_u32(&frame, end - (uint32_t)frame.size - 4);
		put_u32(&frame, (uint32_t)frame.size);
		put_u32(&frame, TEXT_VADDR + 8 * i - FRAME_OFFSET - (uint32_t)frame.size);
		put_u32(&frame, 8);
		put(&frame, uleb, sizeof(uleb));
	}
	put(&frame, nops, NOPS);
	size_t hdr = frame.size;
	put(&frame, "\x01\x1b\x03\x3b", 4);
	put_u32(&frame, (uint32_t)-(int)(hdr + 4));
	put_u32(&frame, FDES);
	for (uint32_t i = 0; i < FDES; i++) {
		put_u32(&frame, TEXT_VADDR + 8 * i - FRAME_OFFSET - (uint32_t)hdr);
		put_u32(&frame, CIE_BYTES + i * FDE_BYTES - (uint32_t)hdr);
	}
	start = now_s();
	image = open_frame(&frame, hdr, &file);
	table_open(image, &table);
	assert_true(now_s() - start < 2);
	expect(&table, TEXT_VADDR, "r7+8 bp same ra -8");
	expect(&table, TEXT_VADDR + 8 * (FDES - 1), "unsupported");
	table_close(&table);
	image_close(image);
	free(file);
	free(nops);
	free(frame.data);
}

/* More distinct rules than escapes can be: the rest is unsupported, nothing else is lost. */
static void test_many_escapes(void **state)
{
	struct bytes frame = { 0 };
	struct image *image;
	struct table table;
	uint8_t *file;

	(void)state;
	put_cie(&frame, false);
	for (uint32_t i = 0; i < 10000; i++) {
		uint8_t code[] = { 0x0e, 0x81, (uint8_t)(0x80 | (i & 0x7f)), (uint8_t)(i >> 7 | 0x80), 1 };

		put_fde(&frame, 0, TEXT_VADDR + 16 * i, 16, code, sizeof(code));
	}
	image = open_frame(&frame, 0, &file);
	table_open(image, &table);
	assert_int_equal(table.report.escapes, UNWIND_MAX_ESCAPES);
	assert_int_equal(table.report.unsupported, 10000 - (UNWIND_MAX_ESCAPES - 1));
	expect(&table, TEXT_VADDR + 16 * 9999, "unsupported");
	expect(&table, TEXT_VADDR + 16 * 3, "r7+2097537 bp same ra -8");
	table_close(&table);
	image_close(image);
	free(file);
	free(frame.data);
}

/* ---- broken copies of a real file --------------------------------------------------------------------------- */

static uint8_t *read_whole(const char *path, size_t *ret_size)
{
	auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat status;
	uint8_t *bytes;

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &status), 0);
	bytes = malloc((size_t)status.st_size);
	assert_non_null(bytes);
	assert_int_equal(read(fd, bytes, (size_t)status.st_size), status.st_size);
	*ret_size = (size_t)status.st_size;
	return bytes;
}

/* Whatever the bytes are: an error, or a file that check_page accepts. A copy, so that ASan knows its end. */
static void try_bytes(const uint8_t *bytes, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);
	struct image *image;
	struct table table;

	memcpy(copy, bytes, size);
	if (image_open_memory(copy, size, &image) == 0) {
		table_open(image, &table);
		table_close(&table);
		image_close(image);
	}
	free(copy);
}

static void test_broken_files(void **state)
{
	double start = now_s(), longest = 0;
	char path[256];
	uint8_t *bytes;
	size_t size;
	struct image *image;
	const struct image_section *frame;
	uint64_t low, high;

	(void)state;
	assert_true(compile("gcc -O2 -fomit-frame-pointer program.c", path));
	bytes = read_whole(path, &size);
	assert_int_equal(image_open_memory(bytes, size, &image), 0);
	frame = image_find(image, ".eh_frame");
	low = frame->offset - 256; /* with its header table */
	high = frame->offset + frame->size;
	image_close(image);
	for (size_t cut = 0; cut < size; cut += 61)
		try_bytes(bytes, cut);
	srandom(3);
	for (int round = 0; round < 4000; round++) {
		uint8_t *copy = malloc(size);
		double begun = now_s();

		memcpy(copy, bytes, size);
		for (long edits = 1 + random() % 8; edits > 0; edits--) {
			uint64_t area = random() % 8;
			uint64_t at = area ? low + (uint64_t)random() % (high - low) : (uint64_t)random() % 1024;

			copy[at] = random() % 3 ? (uint8_t)random() : (uint8_t)(0xff * (random() & 1));
		}
		try_bytes(copy, size);
		free(copy);
		if (now_s() - begun > longest)
			longest = now_s() - begun;
		if (now_s() - start > 20)
			break;
	}
	print_message("the slowest broken file took %.1f ms\n", longest * 1e3);
	assert_true(longest < 1);
	free(bytes);
}

static void test_no_frame(void **state)
{
	struct bytes frame = { 0 };
	struct image *image;
	struct table table;
	uint8_t *file;

	(void)state;
	put_u32(&frame, 0);
	image = open_frame(&frame, 0, &file);
	table_open(image, &table);
	assert_int_equal(table.report.pages, 0);
	assert_int_equal(table.report.rows, 0);
	expect(&table, TEXT_VADDR, "none");
	table_close(&table);
	image_close(image);
	free(file);
	free(frame.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_system_files),
		cmocka_unit_test(test_compiled_files),
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_layout),
		cmocka_unit_test(test_excess),
		cmocka_unit_test(test_overlap),
		cmocka_unit_test(test_many_escapes),
		cmocka_unit_test(test_no_frame),
		cmocka_unit_test(test_broken_files),
	};

	return cmocka_run_group_tests(tests, setup_folder, remove_folder);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Call frame information written by hand: each rule class once, the layout of rows, excess of every kind. */
#include "now.h"
#include "rule_words.h"

#include <elf.h>
#include <errno.h>
#include <inttypes.h>

#define FRAME_OFFSET 0x1000 /* file offset = vaddr; one segment covers all */
#define TEXT_VADDR 0x200000
#define TEXT_SIZE 0x140000

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

static void put_fde(struct bytes *frame, size_t cie, uint64_t start, uint32_t size, const void *code,
		    size_t code_size)
{
	put_u32(frame, (uint32_t)(4 + 4 + 4 + 1 + code_size));
	put_u32(frame, (uint32_t)(frame->size - cie));
	put_u32(frame, (uint32_t)(start - (FRAME_OFFSET + frame->size)));
	put_u32(frame, size);
	put(frame, "", 1);
	put(frame, code, code_size);
}

/* An ELF whose one segment holds the frame section and the text; `table`: where .eh_frame_hdr begins in the
 * frame bytes, 0: there is none. The file is exactly as long as its allocation. */
static struct image *open_frame(const struct bytes *frame, size_t table, uint8_t **ret_file)
{
	static const char names[] = "\0.eh_frame\0.shstrtab\0.text";
	size_t text = TEXT_VADDR, size = text + TEXT_SIZE;
	uint8_t *file = calloc(1, size);
	Elf64_Ehdr *header = (void *)file;
	Elf64_Phdr *segment = (void *)(file + 64);
	Elf64_Shdr *sections = (void *)(file + 512);
	struct image *image;

	assert_non_null(file);
	assert_true(FRAME_OFFSET + frame->size <= text);
	*header = (Elf64_Ehdr){ .e_type = ET_DYN,
				.e_machine = EM_X86_64,
				.e_version = 1,
				.e_phoff = 64,
				.e_shoff = 512,
				.e_ehsize = 64,
				.e_phentsize = 56,
				.e_phnum = 1,
				.e_shentsize = 64,
				.e_shnum = 4,
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
	sections[2] = (Elf64_Shdr){ .sh_name = 11, .sh_type = SHT_STRTAB, .sh_offset = 2048 };
	sections[2].sh_size = sizeof(names);
	sections[3] = (Elf64_Shdr){ .sh_name = 21, .sh_type = SHT_PROGBITS, .sh_flags = SHF_ALLOC | SHF_EXECINSTR,
				    .sh_addr = TEXT_VADDR, .sh_offset = TEXT_VADDR, .sh_size = TEXT_SIZE };
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

/* One function a rule; what it says from 8 bytes in on. */
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
	{ CODE("\x48\x0e\x10\x0f\x03\x77\x20\x06\x0d\x07"), false, "r7+16 bp same ra -8" }, /* libgcrypt */
	{ CODE("\x48\x0e\x10\x0f\x02\x77\x20"), false, "r7+32 bp same ra -8" },
	{ CODE("\x48\x0f\x03\x77\x08\x1a"), false, "unsupported" },
	{ CODE("\x48\x0f\x0b\x77\x08\x80\x00\x3f\x1a\x3b\x2a\x33\x24\x22"), false, "plt 11 bp same ra -8" },
	{ CODE("\x48\x0f\x0b\x77\x08\x80\x00\x3f\x1a\x3a\x2a\x33\x24\x22"), false, "plt 10 bp same ra -8" },
	{ CODE("\x48\x0f\x04\x77\xa0\x01\x06"), true, "signal" },
	{ CODE("\x48\x0f\x04\x77\xa0\x01\x06"), false, "*(r7+160)+0 bp same ra -8" },
	{ CODE("\x48\x0c\x06\x10\x10\x06\x02\x76\x00"), false, "r6+16 bp r6+0 ra -8" },
	{ CODE("\x48\x0e\x40\x10\x06\x02\x77\x10"), false, "r7+64 bp cfa-48 ra -8" },
	{ CODE("\x48\x0e\x40\x16\x06\x02\x77\x10"), false, "r7+64 bp =r7+16 ra -8" },
	{ CODE("\x48\x0e\x40\x16\x06\x03\x77\x10\x06"), false, "r7+64 bp cfa-48 ra -8" },
	{ CODE("\x48\x0e\x40\x10\x06\x05\x77\x10\x06\x23\x08"), false, "r7+64 bp *(r7+16)+8 ra -8" },
	{ CODE("\x48\x0e\x40\x16\x06\x02\x23\x10"), false, "r7+64 bp =cfa+16 ra -8" },
	{ CODE("\x48\x14\x06\x02"), false, "r7+8 bp =cfa-16 ra -8" },
	{ CODE("\x48\x15\x06\x7e"), false, "r7+8 bp =cfa+16 ra -8" },
	{ CODE("\x48\x0f\x04\x77\x10\x94\x04"), false, "u32*(r7+16)+0 bp same ra -8" },
	{ CODE("\x48\x0f\x04\x77\x10\x94\x08"), false, "*(r7+16)+0 bp same ra -8" },
	{ CODE("\x48\x0f\x04\x77\x10\x94\x02"), false, "unsupported" },
	{ CODE("\x48\x0f\x0a\x77\x08\x79\x00\x38\x1e\x22\x06\x23\x08"), false,
	  "*(r7+8*r9+8)+8 bp same ra -8" },
	{ CODE("\x48\x0f\x07\x77\x08\x79\x00\x38\x1e\x22"), false, "unsupported" }, /* not behind a pointer */
	{ CODE("\x48\x0f\x08\x77\x08\x79\x00\x34\x1e\x22\x06"), false, "unsupported" }, /* times 4 */
	{ CODE("\x48\x0c\x05\x00\x09\x10\x01\x09\x06\x09\x09\x07\x08"), false, "r8+0 bp =r9+0 ra r1" },
	{ CODE("\x48\x09\x07\x08"), false, "unsupported" }, /* the return address counts from a CFA nobody keeps */
	{ CODE("\x48\x07\x06"), false, "r7+8 bp unknown ra -8" },
	{ CODE("\x48\x09\x06\x03"), false, "r7+8 bp =r3+0 ra -8" },
	{ CODE("\x48\x07\x10"), false, "outermost" },
	{ CODE("\x48\x90\x02"), false, "r7+8 bp same ra -16" },
	{ CODE("\x48\x09\x10\x03"), false, "r7+8 bp same ra r3" },
	{ CODE("\x48\x0a\x0e\x20\x86\x02\x44\x0b"), false, "r7+8 bp same ra -8" },
	{ CODE("\x48\x0e\x20\x86\x02\x44\xc6"), false, "r7+32 bp same ra -8" },
	{ CODE("\x48\x0b"), false, "unsupported" }, /* nothing to restore */
	{ CODE("\x48\x3f"), false, "unsupported" }, /* no such code */
	{ CODE("\x48\x0e"), false, "unsupported" }, /* cut off */
	{ CODE("\x48\x04\x01"), false, "unsupported" },
	{ CODE("\x48\x2e\x30\x0e\x10"), false, "r7+16 bp same ra -8" },
#undef CODE
};

static void test_rules(void **state)
{
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
		put_fde(&frame, rules[i].signal ? signals : 0, TEXT_VADDR + 64 * i, 64, rules[i].code,
			rules[i].size);
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
	assert_int_equal(table.report.unsupported, 10);
	table_close_both(&table, image);
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
	put_fde(&frame, 0, TEXT_VADDR + 0x18000, 0x20000, "", 0); /* a whole page without a row of its own */
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
	expect(&table, TEXT_VADDR + 0x17fff, "none");
	expect(&table, TEXT_VADDR + 0x2abcd, "r7+8 bp same ra -8");
	expect(&table, TEXT_VADDR + 0x37fff, "r7+8 bp same ra -8");
	expect(&table, TEXT_VADDR + 0x38000, "none");
	assert_int_equal(table.report.pages, 4);
	assert_int_equal(table.report.rows, 5 + 4 + 1 + 2);
	table_close_both(&table, image);
	free(file);
	free(frame.data);
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
	table_close_both(&table, image);
	free(file);
	free(frame.data);
	free(code);
}

/*
 * FDEs whose augmentation data reach over all the others to one program that they share: what is read must
 * grow with the size of the section, not with its square.
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
	table_close_both(&table, image);
	free(file);
	free(nops);
	free(frame.data);
}

/* More distinct rules than escapes can be, or than a page's palette has: the rest is unsupported, no more is lost. */
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
	assert_int_equal(table.report.pages, 3);
	assert_int_equal(table.report.unsupported, 10000 - 2 * (UNWIND_MAX_PALETTE - 1)); /* the third's have no escapes */
	expect(&table, TEXT_VADDR + 16 * 9999, "unsupported");
	expect(&table, TEXT_VADDR + 16 * 3, "r7+2097537 bp same ra -8");
	table_close_both(&table, image);
	free(file);
	free(frame.data);
}

/* Blocks that outgrow the writer's buffer lie behind a hole. */
static void test_big_table(void **state)
{
	enum { PAGES = TEXT_SIZE >> 16, ROWS = 16000 };
	struct bytes frame = { 0 }, code = { 0 };
	struct image *image;
	struct table table;
	uint8_t *file;

	(void)state;
	put_cie(&frame, false);
	for (size_t i = 0; i < ROWS; i++)
		put(&code, i % 2 ? "\x44\x0e\x10" : "\x44\x0e\x18", 3);
	for (size_t i = 0; i < PAGES; i++)
		put_fde(&frame, 0, TEXT_VADDR + 0x10000 * i, 0x10000, code.data, code.size);
	image = open_frame(&frame, 0, &file);
	table_open(image, &table);
	assert_true(table.report.bytes > 1 << 20);
	assert_int_equal(table.report.rows, PAGES * (ROWS + 1));
	for (size_t i = 0; i < PAGES; i++) {
		expect(&table, TEXT_VADDR + 0x10000 * i + 3, "r7+8 bp same ra -8");
		expect(&table, TEXT_VADDR + 0x10000 * i + 4, "r7+24 bp same ra -8");
		expect(&table, TEXT_VADDR + 0x10000 * i + 4 * ROWS + 3, "r7+16 bp same ra -8");
	}
	table_close_both(&table, image);
	free(file);
	free(frame.data);
	free(code.data);
}

/* Two functions with an .eh_frame_hdr that lists them in the wrong order, then in a segment without PF_X. */
static void test_wild_tables(void **state)
{
	struct bytes frame = { 0 };
	struct image *image;
	struct table table;
	uint8_t *file;
	size_t second, hdr;

	(void)state;
	put_cie(&frame, false);
	put_fde(&frame, 0, TEXT_VADDR, 16, "\x0e\x10", 2);
	second = frame.size;
	put_fde(&frame, 0, TEXT_VADDR + 16, 16, "\x0e\x20", 2);
	put_u32(&frame, 0);
	hdr = frame.size;
	put(&frame, "\x01\x1b\x03\x3b", 4);
	put_u32(&frame, (uint32_t)-(int)(hdr + 4));
	put_u32(&frame, 2);
	put_u32(&frame, TEXT_VADDR + 16 - FRAME_OFFSET - (uint32_t)hdr);
	put_u32(&frame, (uint32_t)(second - hdr));
	put_u32(&frame, TEXT_VADDR - FRAME_OFFSET - (uint32_t)hdr);
	put_u32(&frame, 24 - (uint32_t)hdr);
	image = open_frame(&frame, hdr, &file);
	table_open(image, &table);
	expect(&table, TEXT_VADDR, "r7+16 bp same ra -8");
	expect(&table, TEXT_VADDR + 16, "r7+32 bp same ra -8");
	assert_int_equal(table.report.unsupported, 0);
	table_close_both(&table, image);
	((Elf64_Phdr *)(file + 64))->p_flags = PF_R;
	assert_int_equal(image_open_memory(file, TEXT_VADDR + TEXT_SIZE, &image), 0);
	table_open(image, &table);
	assert_int_equal(table.report.rows, 0);
	assert_int_equal(table.report.unsupported, 2);
	table_close_both(&table, image);
	free(file);
	free(frame.data);
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
	table_close_both(&table, image);
	free(file);
	free(frame.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rules),	     cmocka_unit_test(test_layout),
		cmocka_unit_test(test_excess),	     cmocka_unit_test(test_overlap),
		cmocka_unit_test(test_many_escapes), cmocka_unit_test(test_big_table),
		cmocka_unit_test(test_wild_tables),  cmocka_unit_test(test_no_frame),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The image reader on files made here byte by byte, on this program itself, and on broken copies of both. */
#include "base/clean.h"
#include "elf_maker.h"

#include <elf.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <lzma.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <zlib.h>
#include <zstd.h>
#include <cmocka.h>

#define MAX_PARTS 15
#define TEXT_VADDR 0x401000

static const uint8_t text[] = "the text";
static const char note[] = "\4\0\0\0\5\0\0\0\1\0\0\0GNU\0abcde\0\0\0"
			   "\4\0\0\0\6\0\0\0\3\0\0\0GNU\0\x11\x22\x33\x44\x55\x66\0";
#define PLAIN                                                                                                 \
	{ ".text", SHT_PROGBITS, SHF_ALLOC, TEXT_VADDR, text, sizeof(text) },                                 \
	{ ".note.gnu.build-id", SHT_NOTE, SHF_ALLOC, 0, note, sizeof(note) }

static void test_description(void **state)
{
	const struct part parts[] = { PLAIN,
				      { ".symtab", SHT_SYMTAB, 0, 0, text, 8 },
				      { ".debug_info", SHT_PROGBITS, 0, 0, text, 8 },
				      { ".gnu_debuglink", SHT_PROGBITS, 0, 0, "x.debug\0\x78\x56\x34\x12",
					12 } };
	struct file file = make_file(parts, array_size(parts));
	struct image *image = open_file(&file);
	const struct symbolizer_segment *segments;
	const struct image_section *sections;
	struct symbolizer_image description;
	const uint8_t *bytes;
	size_t size;

	(void)state;
	image_describe(image, &description);
	assert_int_equal(description.machine, EM_X86_64);
	assert_int_equal(description.elf_class, ELFCLASS64);
	assert_int_equal(description.type, ET_DYN);
	assert_int_equal(description.has_symtab, 1);
	assert_int_equal(description.has_dwarf, 1);
	assert_int_equal(description.build_id_bytes, 6);
	assert_memory_equal(description.build_id, "\x11\x22\x33\x44\x55\x66", 6);
	assert_string_equal(description.debuglink, "x.debug");
	assert_int_equal(description.debuglink_crc, 0x12345678);
	assert_int_equal(image_segments(image, &segments), 1);
	assert_int_equal(segments[0].vaddr, TEXT_VADDR);
	assert_int_equal(segments[0].memsz, segments[0].filesz + 100);
	assert_int_equal(image_sections(image, &sections), array_size(parts) + 2);
	assert_string_equal(sections[2].name, ".text");
	assert_null(image_find(image, ".nothing"));
	assert_int_equal(image_bytes(image, image_find(image, ".text"), &bytes, &size), 0);
	assert_int_equal(size, sizeof(text));
	assert_memory_equal(bytes, text, size);
	assert_memory_equal(image_at(image, TEXT_VADDR + 4, 5), "text", 5);
	assert_null(image_at(image, TEXT_VADDR + 4, sizeof(text)));
	assert_null(image_at(image, TEXT_VADDR - 1, 1));
	assert_null(image_at(image, TEXT_VADDR + 50, 1)); /* in memory, not in the file */
	assert_null(image_at(image, TEXT_VADDR + 1, SIZE_MAX));
	assert_null(image_debugdata(image));
	image_close(image);
	free(file.bytes);
}

static void expect_debuglink(const char *bytes, size_t size, const char *wanted)
{
	const struct part parts[] = { PLAIN, { ".gnu_debuglink", SHT_PROGBITS, 0, 0, bytes, size } };
	struct file file = make_file(parts, array_size(parts));
	struct image *image = open_file(&file);
	struct symbolizer_image description;

	image_describe(image, &description);
	assert_string_equal(description.debuglink, wanted);
	image_close(image);
	free(file.bytes);
}

static void test_debuglink(void **state)
{
	char longest[304] = { 0 };

	(void)state;
	expect_debuglink("a.debug\0....", 12, "a.debug");
	expect_debuglink("../../etc/shadow\0\0\0\0....", 24, "");
	expect_debuglink("a/b\0....", 8, "");
	expect_debuglink("..\0\0....", 8, "");
	expect_debuglink(".\0\0\0....", 8, "");
	expect_debuglink("...\0....", 8, "...");
	expect_debuglink("\0\0\0\0....", 8, "");
	expect_debuglink("a.debug", 7, "");      /* no end */
	expect_debuglink("a.debug\0...", 11, ""); /* no room for the sum */
	memset(longest, 'x', 255);
	expect_debuglink(longest, 260, longest);
	memset(longest, 'x', 256);
	expect_debuglink(longest, 264, "");
}

/* ---- compressed sections ------------------------------------------------------------------------------- */

#define PAYLOAD 100000

static uint8_t payload[PAYLOAD], packed[2 * PAYLOAD + 64];

static void fill_payload(void)
{
	for (size_t i = 0; i < PAYLOAD; i++)
		payload[i] = (uint8_t)(i * i >> 7);
}

static size_t pack_zlib(uint8_t *into)
{
	uLongf size = PAYLOAD + 1000;

	assert_int_equal(compress(into, &size, payload, PAYLOAD), Z_OK);
	return size;
}

/* One compressed section named `name` with `size` bytes of `packed`; what image_bytes says of it. */
static int inflate_part(const char *name, uint64_t flags, size_t size)
{
	const struct part parts[] = { PLAIN, { name, SHT_PROGBITS, flags, 0, packed, size } };
	struct file file = make_file(parts, array_size(parts));
	struct image *image = open_file(&file);
	const uint8_t *bytes = NULL, *again;
	size_t length;
	int error = image_bytes(image, image_find(image, name), &bytes, &length);

	if (!error) {
		assert_int_equal(length, PAYLOAD);
		assert_memory_equal(bytes, payload, PAYLOAD);
		assert_int_equal(image_bytes(image, image_find(image, name), &again, &length), 0);
		assert_ptr_equal(again, bytes);
	}
	image_close(image);
	free(file.bytes);
	return error;
}

static void test_compressed(void **state)
{
	Elf64_Chdr *header = (void *)packed;
	size_t size, old;
	uint64_t big = htobe64(PAYLOAD);

	(void)state;
	fill_payload();
	*header = (Elf64_Chdr){ .ch_type = ELFCOMPRESS_ZLIB, .ch_size = PAYLOAD };
	size = sizeof(*header) + pack_zlib(packed + sizeof(*header));
	assert_int_equal(inflate_part(".debug_info", SHF_COMPRESSED, size), 0);
	assert_int_equal(inflate_part(".debug_info", SHF_COMPRESSED, size - 1), -EINVAL);
	assert_int_equal(inflate_part(".debug_info", SHF_COMPRESSED, sizeof(*header) - 1), -EINVAL);
	packed[size / 2] ^= 0xff;
	assert_int_equal(inflate_part(".debug_info", SHF_COMPRESSED, size), -EINVAL);
	packed[size / 2] ^= 0xff;
	header->ch_size = PAYLOAD - 1;
	assert_int_equal(inflate_part(".debug_info", SHF_COMPRESSED, size), -EINVAL);
	header->ch_size = PAYLOAD + 1;
	assert_int_equal(inflate_part(".debug_info", SHF_COMPRESSED, size), -EINVAL);
	header->ch_type = 77;
	assert_int_equal(inflate_part(".debug_info", SHF_COMPRESSED, size), -ENOTSUP);
	*header = (Elf64_Chdr){ .ch_type = 2, .ch_size = PAYLOAD };
	size = sizeof(*header) +
	       ZSTD_compress(packed + sizeof(*header), sizeof(packed) - sizeof(*header), payload, PAYLOAD, 1);
	assert_int_equal(inflate_part(".debug_info", SHF_COMPRESSED, size), 0);
	header->ch_size = PAYLOAD - 1;
	assert_int_equal(inflate_part(".debug_info", SHF_COMPRESSED, size), -EINVAL);
	memcpy(packed, "ZLIB", 4);
	memcpy(packed + 4, &big, 8);
	old = 12 + pack_zlib(packed + 12);
	assert_int_equal(inflate_part(".zdebug_info", 0, old), 0);
}

/* Sizes that are only claimed: refused before a byte is allocated (reliability E3). */
static void test_bombs(void **state)
{
	static const uint64_t claims[] = { UINT64_MAX, 1ULL << 40, IMAGE_MAX_INFLATED + 1, 64 << 20 };
	Elf64_Chdr *header = (void *)packed;

	(void)state;
	for (size_t i = 0; i < array_size(claims); i++) {
		for (uint32_t type = 1; type <= 2; type++) {
			*header = (Elf64_Chdr){ .ch_type = type, .ch_size = claims[i] };
			assert_int_equal(inflate_part(".debug_info", SHF_COMPRESSED, 20000), -EFBIG);
		}
	}
}

/* The limit is one for all sections of an image. */
static void test_inflated_total(void **state)
{
	size_t each = 16 << 20, size, count, length;
	const struct image_section *sections;
	const uint8_t *bytes;
	struct part parts[MAX_PARTS] = { PLAIN };
	uint8_t *zeros = calloc(1, each), *zstd = malloc(ZSTD_compressBound(each) + 24);
	struct image *image;
	struct file file;
	int refused = 0;

	(void)state;
	*(Elf64_Chdr *)zstd = (Elf64_Chdr){ .ch_type = 2, .ch_size = each };
	size = 24 + ZSTD_compress(zstd + 24, ZSTD_compressBound(each), zeros, each, 1);
	for (size_t i = 2; i < MAX_PARTS; i++)
		parts[i] = (struct part){
			i == 2 ? ".debug_a" : ".debug_b", SHT_PROGBITS, SHF_COMPRESSED, 0, zstd, size
		};
	file = make_file(parts, MAX_PARTS);
	image = open_file(&file);
	count = image_sections(image, &sections);
	for (size_t i = 0; i < count; i++)
		if (sections[i].flags & SHF_COMPRESSED)
			refused += image_bytes(image, &sections[i], &bytes, &length) == -EFBIG;
	assert_int_equal(refused, MAX_PARTS - 2 - IMAGE_MAX_INFLATED / each);
	image_close(image);
	free(file.bytes);
	free(zeros);
	free(zstd);
}

/* ---- .gnu_debugdata ------------------------------------------------------------------------------------ */

static size_t pack_xz(const void *bytes, size_t size, uint8_t **ret_packed)
{
	size_t bound = lzma_stream_buffer_bound(size), at = 0;

	*ret_packed = malloc(bound);
	assert_int_equal(
		lzma_easy_buffer_encode(1, LZMA_CHECK_CRC32, NULL, bytes, size, *ret_packed, &at, bound),
		LZMA_OK);
	return at;
}

static struct image *open_debugdata(const void *bytes, size_t size, struct file *ret_file)
{
	const struct part parts[] = { PLAIN, { ".gnu_debugdata", SHT_PROGBITS, 0, 0, bytes, size } };

	*ret_file = make_file(parts, array_size(parts));
	return open_file(ret_file);
}

/* Whether an image with these bytes as its .gnu_debugdata has one. */
static bool has_debugdata(const void *bytes, size_t size, int depth)
{
	struct file outer;
	struct image *image = open_debugdata(bytes, size, &outer), *inner = image;
	bool found;

	for (int i = 0; i < depth && inner; i++) {
		assert_ptr_equal(image_debugdata(inner), image_debugdata(inner));
		inner = image_debugdata(inner);
	}
	found = inner && image_find(inner, ".symtab");
	image_close(image);
	free(outer.bytes);
	return found;
}

static void test_debugdata(void **state)
{
	struct part parts[] = { PLAIN,
				{ ".symtab", SHT_SYMTAB, 0, 0, text, 8 },
				{ ".gnu_debugdata", SHT_PROGBITS } };
	struct file inner = make_file(parts, 3), nested;
	size_t huge = (64 << 20) + 1, size, nested_size;
	uint8_t *xz, *nested_xz, *zeros;

	(void)state;
	size = pack_xz(inner.bytes, inner.size, &xz);
	assert_true(has_debugdata(xz, size, 1));
	assert_false(has_debugdata(xz, size - 1, 1));
	parts[3].bytes = xz;
	parts[3].size = size;
	nested = make_file(parts, 4);
	nested_size = pack_xz(nested.bytes, nested.size, &nested_xz);
	assert_true(has_debugdata(nested_xz, nested_size, 1));
	assert_false(has_debugdata(nested_xz, nested_size, 2)); /* an image may not unfold without end */
	free(nested_xz);
	free(nested.bytes);
	free(xz);
	zeros = calloc(1, huge); /* inflates past the limit, from 10 KB */
	memcpy(zeros, inner.bytes, inner.size);
	size = pack_xz(zeros, huge, &xz);
	assert_false(has_debugdata(xz, size, 1));
	free(zeros);
	free(xz);
	free(inner.bytes);
}

/* ---- what is no image, and what is half of one --------------------------------------------------------- */

static void test_refused(void **state)
{
	const struct part parts[] = { PLAIN };
	struct file file = make_file(parts, array_size(parts));
	struct image *image = NULL;
	auto_fd int pipe_end = -1, other = -1, zero = open("/dev/zero", O_RDONLY);
	int ends[2];

	(void)state;
	assert_int_equal(image_open_memory("#!/bin/sh\necho this is no image\n", 32, &image), -ENOEXEC);
	assert_int_equal(image_open_memory(file.bytes, 63, &image), -ENOEXEC);
	assert_int_equal(image_open_memory(file.bytes, 0, &image), -ENOEXEC);
	file.header->e_ident[EI_CLASS] = ELFCLASS32;
	assert_int_equal(image_open_memory(file.bytes, file.size, &image), -ENOTSUP);
	file.header->e_ident[EI_CLASS] = ELFCLASS64;
	file.header->e_ident[EI_DATA] = ELFDATA2MSB;
	assert_int_equal(image_open_memory(file.bytes, file.size, &image), -ENOTSUP);
	file.header->e_ident[EI_DATA] = ELFDATA2LSB;
	file.header->e_machine = EM_AARCH64;
	assert_int_equal(image_open_memory(file.bytes, file.size, &image), -ENOTSUP);
	assert_int_equal(pipe(ends), 0);
	pipe_end = ends[0];
	other = ends[1];
	assert_int_equal(image_open(pipe_end, &image), -ENOEXEC);
	assert_int_equal(image_open(zero, &image), -ENOEXEC);
	assert_int_equal(image_open(-1, &image), -EBADF);
	assert_null(image);
	image_close(NULL);
	free(file.bytes);
}

static void test_no_section_headers(void **state)
{
	const struct part parts[] = { PLAIN };
	struct file file = make_file(parts, array_size(parts));
	struct symbolizer_image description;
	const struct image_section *sections;
	struct image *image;

	(void)state;
	memset(file.sections, 0xff, 4 * 64);
	for (int kind = 0; kind < 3; kind++) {
		file.header->e_shoff = kind == 0 ? 0 : kind == 1 ? file.size - 10 : UINT64_MAX - 5;
		image = open_file(&file);
		image_describe(image, &description);
		assert_int_equal(image_sections(image, &sections), 0);
		assert_int_equal(description.build_id_bytes, 6);
		assert_int_equal(description.segment_count, 1);
		assert_non_null(image_at(image, TEXT_VADDR, sizeof(text)));
		image_close(image);
	}
	free(file.bytes);
}

static void test_wild_sections(void **state)
{
	const struct part parts[] = { PLAIN,
				      { ".a", SHT_PROGBITS, 0, 0, text, 8 },
				      { ".b", SHT_NOBITS, 0, 0, text, 8 },
				      { ".c", SHT_PROGBITS, 0, 0, text, 8 },
				      { ".d", SHT_PROGBITS, 0, 0, text, 8 } };
	struct file file = make_file(parts, array_size(parts));
	struct image *image;
	const uint8_t *bytes;
	size_t size;

	(void)state;
	file.sections[4].sh_offset = UINT64_MAX - 3;
	file.sections[5].sh_size = 1ULL << 60; /* .bss may be larger than any file */
	file.sections[6].sh_size = UINT64_MAX - 100;
	file.sections[7].sh_name = 600; /* behind the name table */
	image = open_file(&file);
	assert_int_equal(image_bytes(image, image_find(image, ".a"), &bytes, &size), -EINVAL);
	assert_int_equal(image_bytes(image, image_find(image, ".b"), &bytes, &size), -ENODATA);
	assert_int_equal(image_bytes(image, image_find(image, ".c"), &bytes, &size), -EINVAL);
	assert_null(image_find(image, ".d"));
	image_close(image);
	free(file.bytes);
}

static void test_wild_segments(void **state)
{
	const struct part parts[] = { PLAIN };
	struct file file = make_file(parts, array_size(parts));
	struct symbolizer_image description;
	struct image *image;

	(void)state;
	file.segments[0].p_filesz = UINT64_MAX;
	file.segments[0].p_offset = UINT64_MAX - 4;
	file.segments[1].p_filesz = UINT64_MAX;
	file.header->e_shoff = 0;
	image = open_file(&file);
	image_describe(image, &description);
	assert_int_equal(description.build_id_bytes, 0);
	assert_null(image_at(image, TEXT_VADDR, 1));
	assert_null(image_at(image, TEXT_VADDR + 100, 1));
	image_close(image);
	file.header->e_phnum = 0xffff;
	image = open_file(&file);
	image_close(image);
	free(file.bytes);
}

/* Reads all there is to read: under the address sanitizer nothing of it may lie outside. */
static void touch(const uint8_t *bytes, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);
	const struct image_section *sections;
	struct image *image;

	memcpy(copy, bytes, size);
	if (image_open_memory(copy, size, &image) == 0) {
		size_t count = image_sections(image, &sections), length;
		volatile uint8_t sink = 0;
		const uint8_t *part;

		for (size_t i = 0; i < count; i++)
			if (image_bytes(image, &sections[i], &part, &length) == 0 && length)
				sink = (uint8_t)(sink + part[0] + part[length - 1] + strlen(sections[i].name));
		image_debugdata(image);
		image_close(image);
	}
	free(copy);
}

static void test_broken_files(void **state)
{
	Elf64_Chdr *chdr = (void *)packed;
	struct part parts[] = { PLAIN, { ".debug_info", SHT_PROGBITS, SHF_COMPRESSED, 0, packed, 0 },
				{ ".gnu_debuglink", SHT_PROGBITS, 0, 0, "x.debug\0\x78\x56\x34\x12", 12 } };
	struct file file;

	(void)state;
	fill_payload();
	memset(payload + 1000, 0, PAYLOAD - 1000);
	*chdr = (Elf64_Chdr){ .ch_type = ELFCOMPRESS_ZLIB, .ch_size = PAYLOAD };
	parts[2].size = sizeof(*chdr) + pack_zlib(packed + sizeof(*chdr));
	file = make_file(parts, array_size(parts));
	for (size_t cut = 0; cut <= file.size; cut++)
		touch(file.bytes, cut);
	srandom(7);
	for (int round = 0; round < 5000; round++) {
		uint8_t *copy = malloc(file.size);

		memcpy(copy, file.bytes, file.size);
		for (long edits = 1 + random() % 6; edits > 0; edits--)
			copy[(size_t)random() % file.size] = random() % 2 ? (uint8_t)random() : 0xff;
		touch(copy, file.size);
		free(copy);
	}
	free(file.bytes);
}

static void test_self(void **state)
{
	auto_fd int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	struct symbolizer_image description;
	uint64_t vaddr, size;
	struct image *image;

	(void)state;
	assert_int_equal(image_open(fd, &image), 0);
	image_describe(image, &description);
	assert_int_equal(description.build_id_bytes, 20);
	assert_int_equal(description.has_symtab, 1);
	assert_int_equal(description.has_dwarf, 1);
	assert_int_equal(image_eh_frame_hdr(image, &vaddr, &size), 0);
	assert_int_equal(vaddr, image_find(image, ".eh_frame_hdr")->vaddr);
	assert_int_equal(*image_at(image, vaddr, size), 1); /* its version */
	image_close(image);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_description),
		cmocka_unit_test(test_debuglink),
		cmocka_unit_test(test_compressed),
		cmocka_unit_test(test_bombs),
		cmocka_unit_test(test_inflated_total),
		cmocka_unit_test(test_debugdata),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_no_section_headers),
		cmocka_unit_test(test_wild_sections),
		cmocka_unit_test(test_wild_segments),
		cmocka_unit_test(test_broken_files),
		cmocka_unit_test(test_self),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: unwind files built in a memfd. */
#ifndef TESTS_PUBLISH_FILE_H
#define TESTS_PUBLISH_FILE_H

#include "publish_fixture.h"

#include <sys/mman.h>
#include <unistd.h>

/* A file of one escape and two pages, 5 and 7; page 5 has 3 rows, page 7 has 1. */
struct image_file {
	struct unwind_file head;
	struct unwind_escape escape;
	struct unwind_file_page pages[2];
	struct block5 {
		uint16_t starts[257], palette[3];
		struct unwind_row rows[3];
	} five;
	struct {
		uint16_t starts[257], palette[1];
		struct unwind_row rows[1];
	} seven;
};

static inline void fill_file(struct image_file *file)
{
	memset(file, 0, sizeof(*file));
	file->head = (struct unwind_file){ UNWIND_FILE_MAGIC, 1, 2, 4 };
	file->escape = (struct unwind_escape){ .cfa = UNWIND_CFA_PLT, .reg = 7, .cfa_offset = 11, .ra_offset = -8 };
	file->pages[0] = (struct unwind_file_page){ 5, offsetof(struct image_file, five), sizeof(file->five) };
	file->pages[1] = (struct unwind_file_page){ 7, offsetof(struct image_file, seven), sizeof(file->seven) };
	file->five.palette[0] = UNWIND_RULE_NONE;
	file->five.palette[1] = UNWIND_RULE(UNWIND_KIND_ESCAPE, 0, 0);
	file->five.palette[2] = UNWIND_RULE(UNWIND_KIND_RSP, 1, 2);
	file->five.rows[0] = (struct unwind_row){ 0, 0 };
	file->five.rows[1] = (struct unwind_row){ 0, 1 }; /* 0x100 */
	file->five.rows[2] = (struct unwind_row){ 0x40, 2 };
	for (int i = 0; i <= 256; i++)
		file->five.starts[i] = (uint16_t)(260 + (i > 1 ? 3 : i));
	file->seven.palette[0] = UNWIND_RULE_OUTERMOST;
	for (int i = 0; i <= 256; i++)
		file->seven.starts[i] = (uint16_t)(258 + (i > 0));
}

#define IMAGE 77

static inline int publish_bytes(struct publish *publish, const void *bytes, size_t length,
				const struct symbolizer_table *table, uint32_t *ret_dir)
{
	auto_fd int fd = memfd_create("test", MFD_CLOEXEC);

	assert_int_equal(write(fd, bytes, length), length);
	return publish_image(publish, IMAGE, fd, table, ret_dir);
}

static inline int publish_file(struct publish *publish, const struct image_file *file, uint32_t *ret_dir)
{
	const struct symbolizer_table table = { .bytes = sizeof(*file), .first_page = 5, .span = 3 };

	return publish_bytes(publish, file, sizeof(*file), &table, ret_dir);
}

static inline struct unwind_page read_page(struct fixture *f, uint32_t index)
{
	struct unwind_page page;

	assert_int_equal(bpf_map_lookup_elem(f->loader.fds[LOADER_DIRECTORY], &index, &page), 0);
	return page;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: real maps made in the loader's place, and unwind files built in a memfd. */
#ifndef TESTS_PUBLISH_FIXTURE_H
#define TESTS_PUBLISH_FIXTURE_H

#include "base/clean.h"
#include "base/clock.h"
#include "publish.h"
#include "publish_private.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

struct loader {
	int fds[LOADER_MAP_COUNT];
};

int loader_map_fd(const struct loader *loader, enum loader_map map)
{
	return loader->fds[map];
}

static inline int make_array(uint32_t value, uint32_t entries)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_MMAPABLE);
	int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "test", 4, value, entries, &opts);

	return fd < 0 ? -errno : fd;
}

static inline int make_outer(uint32_t value, uint32_t entries)
{
	auto_fd int inner = make_array(value, 1);
	LIBBPF_OPTS(bpf_map_create_opts, opts, .inner_map_fd = (uint32_t)inner);

	return bpf_map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, "test", 4, 4, entries, &opts);
}

struct fixture {
	struct loader loader;
	struct publish *publish;
};

static inline int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int probe = make_array(8, 1);

	*state = f;
	if (probe < 0) {
		print_message("no BPF maps here (root is needed): %s\n", strerror(-probe));
		return 0;
	}
	close(probe);
	f->loader.fds[LOADER_ROWS] = make_outer(UNWIND_CHUNK_BYTES, UNWIND_MAX_CHUNKS);
	f->loader.fds[LOADER_MAPPINGS] = make_outer(UNWIND_MAPPING_CHUNK * 32, PUBLISH_MAPPING_CHUNKS);
	f->loader.fds[LOADER_DIRECTORY] = make_array(sizeof(struct unwind_page), UNWIND_MAX_DIRECTORY);
	f->loader.fds[LOADER_ESCAPES] = make_array(sizeof(struct unwind_escape), UNWIND_MAX_ESCAPES);
	f->loader.fds[LOADER_PROCESSES] = bpf_map_create(BPF_MAP_TYPE_HASH, "test", 4, sizeof(struct unwind_process),
							 1024, NULL);
	return publish_new(&f->loader, 8 << 20, &f->publish);
}

static inline int teardown(void **state)
{
	static const enum loader_map maps[] = { LOADER_ROWS, LOADER_MAPPINGS, LOADER_DIRECTORY, LOADER_ESCAPES,
						LOADER_PROCESSES };
	struct fixture *f = *state;

	publish_free(f->publish);
	for (size_t i = 0; f->publish && i < array_size(maps); i++)
		close(f->loader.fds[maps[i]]);
	free(f);
	return 0;
}

static inline struct fixture *need(void **state)
{
	struct fixture *f = *state;

	if (!f->publish)
		skip();
	return f;
}

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

/* Reads through the kernel, not through what publish has mapped. */
static inline void read_inner(int outer, uint32_t slot, void *value)
{
	uint32_t id, zero = 0;

	assert_int_equal(bpf_map_lookup_elem(outer, &slot, &id), 0);
	auto_fd int inner = bpf_map_get_fd_by_id(id);
	assert_true(inner >= 0);
	assert_int_equal(bpf_map_lookup_elem(inner, &zero, value), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif

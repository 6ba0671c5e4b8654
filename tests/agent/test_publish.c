/* SPDX-License-Identifier: Apache-2.0 */
/* publish against real maps made here in the loader's place; unwind files are built in a memfd. */
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

static int make_array(uint32_t value, uint32_t entries)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_MMAPABLE);
	int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "test", 4, value, entries, &opts);

	return fd < 0 ? -errno : fd;
}

static int make_outer(uint32_t value, uint32_t entries)
{
	auto_fd int inner = make_array(value, 1);
	LIBBPF_OPTS(bpf_map_create_opts, opts, .inner_map_fd = (uint32_t)inner);

	return bpf_map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, "test", 4, 4, entries, &opts);
}

struct fixture {
	struct loader loader;
	struct publish *publish;
};

static int setup(void **state)
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

static int teardown(void **state)
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

static struct fixture *need(void **state)
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
		uint16_t starts[258];
		struct unwind_row rows[3];
	} five;
	struct {
		uint16_t starts[258];
		struct unwind_row rows[1];
	} seven;
};

static void fill_file(struct image_file *file)
{
	memset(file, 0, sizeof(*file));
	file->head = (struct unwind_file){ UNWIND_FILE_MAGIC, 1, 2, 4 };
	file->escape = (struct unwind_escape){ UNWIND_CFA_PLT, 7, UNWIND_BP_SAME, 0, 11, 0, 0, -8 };
	file->pages[0] = (struct unwind_file_page){ 5, offsetof(struct image_file, five), sizeof(file->five) };
	file->pages[1] = (struct unwind_file_page){ 7, offsetof(struct image_file, seven), sizeof(file->seven) };
	file->five.rows[0] = (struct unwind_row){ 0, UNWIND_RULE_NONE };
	file->five.rows[1] = (struct unwind_row){ 0x100, UNWIND_RULE(UNWIND_KIND_ESCAPE, 0, 0) };
	file->five.rows[2] = (struct unwind_row){ 0x140, UNWIND_RULE(UNWIND_KIND_RSP, 1, 2) };
	file->five.starts[0] = 0;
	file->five.starts[1] = 1;
	for (int i = 2; i <= 256; i++)
		file->five.starts[i] = 3;
	file->seven.rows[0] = (struct unwind_row){ 0, UNWIND_RULE_OUTERMOST };
	for (int i = 1; i <= 256; i++)
		file->seven.starts[i] = 1;
}

static int publish_bytes(struct publish *publish, const void *bytes, size_t length, uint64_t told, uint32_t *ret_dir)
{
	auto_fd int fd = memfd_create("test", MFD_CLOEXEC);

	assert_int_equal(write(fd, bytes, length), length);
	return publish_image(publish, fd, told, ret_dir);
}

static int publish_file(struct publish *publish, const struct image_file *file, uint32_t *ret_dir)
{
	return publish_bytes(publish, file, sizeof(*file), sizeof(*file), ret_dir);
}

static struct unwind_page read_page(struct fixture *f, uint32_t index)
{
	struct unwind_page page;

	assert_int_equal(bpf_map_lookup_elem(f->loader.fds[LOADER_DIRECTORY], &index, &page), 0);
	return page;
}

/* Reads through the kernel, not through what publish has mapped. */
static void read_inner(int outer, uint32_t slot, void *value)
{
	uint32_t id, zero = 0;

	assert_int_equal(bpf_map_lookup_elem(outer, &slot, &id), 0);
	auto_fd int inner = bpf_map_get_fd_by_id(id);
	assert_true(inner >= 0);
	assert_int_equal(bpf_map_lookup_elem(inner, &zero, value), 0);
}

static void image_is_where_the_directory_says(void **state)
{
	struct fixture *f = need(state);
	auto_free char *chunk = malloc(UNWIND_CHUNK_BYTES);
	struct image_file file;
	struct unwind_escape escape;
	struct unwind_row row;
	uint32_t dir, other, index;
	struct unwind_page page;
	struct publish_stats stats;

	fill_file(&file);
	assert_int_equal(publish_file(f->publish, &file, &dir), 0);
	assert_int_equal(publish_file(f->publish, &file, &other), 0);
	assert_int_not_equal(dir, other);
	page = read_page(f, other + 6);
	assert_int_equal(page.chunk, 0); /* the page between has no rows */
	page = read_page(f, other + 5);
	assert_int_equal(page.chunk, 1);
	assert_int_equal(page.offset % 4, 0);
	read_inner(f->loader.fds[LOADER_ROWS], 0, chunk);
	assert_memory_equal(chunk + page.offset, file.five.starts, 514);
	memcpy(&row, chunk + page.offset + UNWIND_HEAD_BYTES + sizeof(row), sizeof(row));
	assert_int_equal(row.pc, 0x100);
	assert_int_equal(row.rule >> 14, UNWIND_KIND_ESCAPE);
	index = row.rule & 0x3fff;
	assert_int_equal(index, 1); /* 0 is taken, and the second file uses the first one's */
	assert_int_equal(bpf_map_lookup_elem(f->loader.fds[LOADER_ESCAPES], &index, &escape), 0);
	assert_memory_equal(&escape, &file.escape, sizeof(escape));
	page = read_page(f, other + 7);
	memcpy(&row, chunk + page.offset + UNWIND_HEAD_BYTES, sizeof(row));
	assert_int_equal(row.rule, UNWIND_RULE_OUTERMOST);
	publish_get_stats(f->publish, &stats);
	assert_int_equal(stats.rows, 8);
	assert_int_equal(stats.escapes, 2);
	assert_int_equal(stats.map_bytes, UNWIND_CHUNK_BYTES);
	assert_int_equal(stats.row_bytes, 2 * (sizeof(file.five) + sizeof(file.seven)));
}

#define BROKEN(change)                                                                                        \
	do {                                                                                                  \
		fill_file(&file);                                                                             \
		change;                                                                                       \
		print_message("%s\n", #change);                                                               \
		assert_int_equal(publish_file(f->publish, &file, &dir), -EINVAL);                             \
	} while (0)

static void malformed_files_are_refused(void **state)
{
	struct fixture *f = need(state);
	struct image_file file;
	uint32_t dir = 77;
	struct publish_stats stats;

	BROKEN(file.head.magic++);
	BROKEN(file.head.escapes++);
	BROKEN(file.head.escapes = UINT32_MAX);
	BROKEN(file.head.pages++);
	BROKEN(file.head.pages--);
	BROKEN(file.head.pages = UINT32_MAX);
	BROKEN(file.head.rows++);
	BROKEN(file.head.rows--);
	BROKEN(file.escape.cfa = 0);
	BROKEN(file.escape.cfa = UNWIND_CFA_NONE + 1);
	BROKEN(file.escape.reg = 17);
	BROKEN(file.escape.bp = UNWIND_BP_UNKNOWN + 1);
	BROKEN(file.escape.pad = 1);
	BROKEN(file.pages[1].page = 5);
	BROKEN(file.pages[1].page = 4);
	BROKEN(file.pages[0].offset = 0);
	BROKEN(file.pages[0].offset += 2);
	BROKEN(file.pages[0].offset = UINT32_MAX - 3);
	BROKEN(file.pages[1].offset += 4);
	BROKEN(file.pages[0].bytes += 2);
	BROKEN(file.pages[0].bytes = 4; file.head.rows = 1);
	BROKEN(file.pages[0].bytes = UINT32_MAX - 3);
	BROKEN(file.five.starts[256] = 2);
	BROKEN(file.five.starts[256] = 4);
	BROKEN(file.five.starts[1] = 4);
	BROKEN(file.five.starts[100] = 2);
	BROKEN(file.five.rows[0].pc = 1);
	BROKEN(file.five.rows[2].pc = 0x100);
	BROKEN(file.five.rows[2].pc = 0xff);
	BROKEN(file.five.rows[1].rule = UNWIND_RULE(UNWIND_KIND_ESCAPE, 0, 1));
	fill_file(&file);
	assert_int_equal(publish_bytes(f->publish, &file, 8, 8, &dir), -EINVAL);
	assert_int_equal(publish_bytes(f->publish, &file, sizeof(file) - 4, sizeof(file), &dir), -EINVAL);
	assert_int_equal(publish_bytes(f->publish, &file, sizeof(file), 65ULL << 20, &dir), -EFBIG);
	assert_int_equal(dir, 77);
	file.pages[1].page = UNWIND_MAX_DIRECTORY + 6;
	assert_int_equal(publish_file(f->publish, &file, &dir), -ENOSPC);
	publish_get_stats(f->publish, &stats);
	assert_int_equal(stats.rows, 0);
	assert_int_equal(stats.refused_rows, 4);
	/* And none of them left anything behind: the space of the refused is used by the next. */
	fill_file(&file);
	assert_int_equal(publish_file(f->publish, &file, &dir), 0);
	assert_int_equal(read_page(f, dir + 5).offset, 0);
}

/* The largest page: 16384 rows, 66052 bytes, 15 to a chunk. */
static void rows_stop_at_their_limit(void **state)
{
	struct fixture *f = need(state);
	size_t block = UNWIND_HEAD_BYTES + 4 * UNWIND_MAX_PAGE_ROWS, bytes = 16 + 12 + block;
	auto_free char *data = calloc(1, bytes);
	struct unwind_file head = { UNWIND_FILE_MAGIC, 0, 1, UNWIND_MAX_PAGE_ROWS };
	struct unwind_file_page page = { 3, 28, (uint32_t)block };
	struct publish_stats stats;
	uint32_t dir, count = 0;
	int err;

	memcpy(data, &head, 16);
	memcpy(data + 16, &page, 12);
	for (uint32_t i = 0; i <= 256; i++)
		memcpy(data + 28 + 2 * i, &(uint16_t){ (uint16_t)(i * 64) }, 2);
	for (uint32_t i = 0; i < UNWIND_MAX_PAGE_ROWS; i++)
		memcpy(data + 28 + UNWIND_HEAD_BYTES + 4 * i, &(struct unwind_row){ (uint16_t)(4 * i), 0x4001 }, 4);
	while (!(err = publish_bytes(f->publish, data, bytes, bytes, &dir)))
		count++;
	assert_int_equal(err, -ENOSPC);
	assert_int_equal(count, 8 * 15); /* 8 MiB, and no block crosses a chunk */
	publish_get_stats(f->publish, &stats);
	assert_int_equal(stats.map_bytes, 8 << 20);
	assert_int_equal(stats.refused_rows, UNWIND_MAX_PAGE_ROWS);
	assert_int_equal(stats.rows, count * UNWIND_MAX_PAGE_ROWS);
}

static void escapes_past_the_limit_become_one(void **state)
{
	struct fixture *f = need(state);
	size_t bytes = 16 + 20 * 1024;
	auto_free char *data = calloc(1, bytes);
	struct unwind_file head = { UNWIND_FILE_MAGIC, 1024, 0, 0 };
	struct publish_stats stats;
	struct image_file file;
	struct unwind_row row;
	auto_free char *chunk = malloc(UNWIND_CHUNK_BYTES);
	uint32_t dir;

	memcpy(data, &head, 16);
	for (int round = 0; round < 8; round++) {
		for (int i = 0; i < 1024; i++) {
			struct unwind_escape escape = { .cfa = UNWIND_CFA_REG, .cfa_offset = round * 1024 + i };

			memcpy(data + 16 + 20 * i, &escape, 20);
		}
		assert_int_equal(publish_bytes(f->publish, data, bytes, bytes, &dir), 0);
	}
	publish_get_stats(f->publish, &stats);
	assert_int_equal(stats.escapes, UNWIND_MAX_ESCAPES);
	assert_int_equal(stats.refused_escapes, 1);
	fill_file(&file);
	assert_int_equal(publish_file(f->publish, &file, &dir), 0);
	read_inner(f->loader.fds[LOADER_ROWS], 0, chunk);
	memcpy(&row, chunk + read_page(f, dir + 5).offset + UNWIND_HEAD_BYTES + 4, 4);
	assert_int_equal(row.rule, UNWIND_KIND_ESCAPE << 14);
}

/* ---- processes ---- */
static struct process_image table_image = { .id = 2, .has_table = true, .segment_count = 1,
					    .segments = { { 0x51000, 0x52000, 0x40000, 5 } } };
static struct process_image plain_image = { .id = 3 };
static struct process_image anon_image = { .id = 4, .anonymous = true };

static struct unwind_process read_process(struct fixture *f, uint32_t pid)
{
	struct unwind_process value = { 0 };

	if (bpf_map_lookup_elem(f->loader.fds[LOADER_PROCESSES], &pid, &value))
		assert_int_equal(errno, ENOENT);
	return value;
}

static void read_mappings(struct fixture *f, const struct unwind_process *value, struct unwind_mapping *to)
{
	auto_free struct unwind_mapping *chunk = malloc(UNWIND_MAPPING_CHUNK * sizeof(*chunk));

	read_inner(f->loader.fds[LOADER_MAPPINGS], value->chunk, chunk);
	memcpy(to, chunk + value->first, value->count * sizeof(*to));
}

static void table_of_a_process(void **state)
{
	struct fixture *f = need(state);
	struct process_mapping mappings[] = { { 0x400000, 0x420000, 0x51000, &table_image, 1 },
					      { 0x500000, 0x501000, 0, &plain_image, 1 },
					      { 0x600000, 0x601000, 0, &anon_image, 1 } };
	struct process process = { .pid = 10, .from_ns = 5, .until_ns = UINT64_MAX, .known_ns = 6,
				   .mapping_count = 3, .mappings = mappings };
	struct unwind_mapping read[8];
	struct unwind_process value;
	struct image_file file;

	fill_file(&file); /* pages 5 to 7 of 0x52000…0x72000: the mapping's page 5 is cut in front, all is inside */
	assert_int_equal(publish_file(f->publish, &file, &table_image.dir), 0);
	assert_int_equal(publish_process(f->publish, &process), 0);
	value = read_process(f, 10);
	assert_int_equal(value.count, 3);
	assert_int_equal(value.known_ns, 6);
	assert_int_equal(value.version, process.version);
	assert_true(value.version > 0);
	read_mappings(f, &value, read);
	assert_int_equal(read[0].start, 0x400000);
	assert_int_equal(read[0].end, 0x420000);
	assert_int_equal(read[0].start - read[0].bias, 0x52000);
	assert_int_equal(read[0].dir, table_image.dir);
	assert_int_equal(read[0].flags, 0);
	assert_int_equal(read[1].flags, UNWIND_MAPPING_NO_TABLE);
	assert_int_equal(read[2].flags, UNWIND_MAPPING_ANON);
	process.until_ns = 100;
	assert_int_equal(publish_process(f->publish, &process), 0);
	assert_int_equal(read_process(f, 10).version, 0);
	assert_null(process.published);
}

/* A pc outside the pages that have rows must not reach the directory: another image's entries lie there. */
static void text_without_rows_is_cut_off(void **state)
{
	struct fixture *f = need(state);
	struct process_mapping mapping = { 0x400000, 0x500000, 0, NULL, 1 };
	struct process_image image = { .has_table = true, .segment_count = 1, .segments = { { 0, 0, 0x100000, 5 } } };
	struct process process = { .pid = 11, .from_ns = 5, .until_ns = UINT64_MAX, .known_ns = 6,
				   .mapping_count = 1, .mappings = &mapping };
	struct unwind_mapping read[8];
	struct unwind_process value;
	struct image_file file;

	fill_file(&file);
	assert_int_equal(publish_file(f->publish, &file, &image.dir), 0);
	mapping.image = &image;
	assert_int_equal(publish_process(f->publish, &process), 0);
	value = read_process(f, 11);
	assert_int_equal(value.count, 3);
	read_mappings(f, &value, read);
	assert_int_equal(read[0].end, 0x450000);
	assert_int_equal(read[0].flags, UNWIND_MAPPING_ANON);
	assert_int_equal(read[1].start, 0x450000);
	assert_int_equal(read[1].end, 0x480000);
	assert_int_equal(read[1].flags, 0);
	assert_int_equal(read[1].bias, 0x400000);
	assert_int_equal(read[2].start, 0x480000);
	assert_int_equal(read[2].end, 0x500000);
	assert_int_equal(read[2].flags, UNWIND_MAPPING_ANON);
	publish_forget(f->publish, &process);
}

static void forks_share_and_changes_part(void **state)
{
	struct fixture *f = need(state);
	struct process_mapping mappings[] = { { 0x1000, 0x2000, 0, &plain_image, 1 } };
	struct process_mapping others[] = { { 0x1000, 0x3000, 0, &plain_image, 1 } };
	struct process a = { .pid = 20, .from_ns = 5, .until_ns = UINT64_MAX, .known_ns = 6, .mapping_count = 1,
			     .mappings = mappings }, b = a;
	struct unwind_process first, second;
	struct unwind_mapping read;
	struct publish_stats stats;
	uint32_t version;

	b.pid = 21;
	assert_int_equal(publish_process(f->publish, &a), 0);
	assert_int_equal(publish_process(f->publish, &b), 0);
	first = read_process(f, 20);
	second = read_process(f, 21);
	assert_int_equal(first.first, second.first);
	publish_get_stats(f->publish, &stats);
	assert_int_equal(stats.shared_tables, 1);
	assert_int_equal(stats.processes, 2);
	assert_int_equal(stats.mappings, 2);
	version = b.version;
	assert_int_equal(publish_process(f->publish, &b), 0);
	assert_int_equal(b.version, version); /* nothing changed */
	b.mappings = others;
	assert_int_equal(publish_process(f->publish, &b), 0);
	assert_true(b.version > version);
	second = read_process(f, 21);
	assert_int_not_equal(first.first, second.first);
	publish_forget(f->publish, &a);
	publish_tick(f->publish, clock_monotonic_ns() + NS_PER_S);
	read_mappings(f, &second, &read);
	assert_int_equal(read.end, 0x3000); /* what was freed is not b's */
	publish_forget(f->publish, &b);
	publish_get_stats(f->publish, &stats);
	assert_int_equal(stats.processes + stats.mappings, 0);
}

static uint32_t free_units(const struct publish_space *space)
{
	uint32_t units = 0;

	for (unsigned order = 0; order < PUBLISH_ORDERS; order++)
		units += space->free_count[order] << order;
	return units;
}

static void freed_places_wait_for_the_grace_time(void **state)
{
	struct fixture *f = need(state);
	struct process_mapping mapping = { 0x1000, 0x2000, 0, &plain_image, 1 };
	struct process process = { .pid = 30, .from_ns = 5, .until_ns = UINT64_MAX, .known_ns = 6, .mapping_count = 1,
				   .mappings = &mapping };
	struct unwind_process first, second, third;

	publish_process(f->publish, &process);
	first = read_process(f, 30);
	mapping.end = 0x3000;
	publish_process(f->publish, &process);
	second = read_process(f, 30);
	publish_tick(f->publish, clock_monotonic_ns());
	mapping.end = 0x4000;
	publish_process(f->publish, &process);
	third = read_process(f, 30);
	assert_int_not_equal(third.first, first.first);
	assert_int_not_equal(third.first, second.first);
	assert_int_equal(free_units(&f->publish->space), PUBLISH_UNITS - 3);
	publish_tick(f->publish, clock_monotonic_ns() + NS_PER_S);
	assert_int_equal(free_units(&f->publish->space), PUBLISH_UNITS - 1);
	publish_forget(f->publish, &process);
}

static void generations_do_not_overwrite_younger_ones(void **state)
{
	struct fixture *f = need(state);
	struct process_mapping mapping = { 0x1000, 0x2000, 0, &plain_image, 1 }, next = { 0x5000, 0x6000, 0, &plain_image, 1 };
	struct process old = { .pid = 40, .from_ns = 100, .until_ns = UINT64_MAX, .known_ns = 100, .mapping_count = 1,
			       .mappings = &mapping };
	struct process young = { .pid = 40, .from_ns = 200, .until_ns = UINT64_MAX, .known_ns = 200,
				 .mapping_count = 1, .mappings = &next };
	int fd = f->loader.fds[LOADER_PROCESSES];

	assert_int_equal(publish_process(f->publish, &old), 0);
	assert_int_equal(publish_process(f->publish, &young), 0); /* the kernel side missed the exec */
	assert_int_equal(read_process(f, 40).known_ns, 200);
	publish_forget(f->publish, &old); /* deletes only its own */
	assert_int_equal(read_process(f, 40).known_ns, 200);
	assert_int_equal(publish_process(f->publish, &old), -EEXIST);
	assert_int_equal(read_process(f, 40).known_ns, 200);
	publish_forget(f->publish, &old);
	/* The kernel deletes at exec; a change of the generation before brings nothing back at once… */
	assert_int_equal(bpf_map_delete_elem(fd, &young.pid), 0);
	next.end = 0x7000;
	assert_int_equal(publish_process(f->publish, &young), 0);
	assert_int_equal(read_process(f, 40).version, 0);
	/* …but if it was this generation's own exec, the second look does. */
	publish_tick(f->publish, clock_monotonic_ns() + NS_PER_S);
	assert_int_equal(read_process(f, 40).version, young.version);
	publish_forget(f->publish, &young);
	publish_tick(f->publish, clock_monotonic_ns() + 2 * NS_PER_S);
	assert_int_equal(read_process(f, 40).version, 0);
}

static void too_many_mappings_are_cut(void **state)
{
	struct fixture *f = need(state);
	size_t count = UNWIND_MAX_PROCESS_MAPPINGS + 10;
	auto_free struct process_mapping *mappings = calloc(count, sizeof(*mappings));
	struct process process = { .pid = 50, .from_ns = 5, .until_ns = UINT64_MAX, .known_ns = 6,
				   .mapping_count = count, .mappings = mappings };
	struct publish_stats stats;

	for (size_t i = 0; i < count; i++)
		mappings[i] = (struct process_mapping){ (i + 1) << 13, ((i + 1) << 13) + 4096, 0, &plain_image, 1 };
	assert_int_equal(publish_process(f->publish, &process), 0);
	assert_int_equal(read_process(f, 50).count, UNWIND_MAX_PROCESS_MAPPINGS);
	publish_get_stats(f->publish, &stats);
	assert_int_equal(stats.cut_mappings, 10);
	publish_forget(f->publish, &process);
}

static void a_full_map_is_told(void **state)
{
	struct fixture *f = need(state);
	struct process_mapping mapping = { 0x1000, 0x2000, 0, &plain_image, 1 };
	auto_free struct process *processes = calloc(1100, sizeof(*processes));
	struct publish_stats stats;
	int refused = 0;

	for (uint32_t i = 0; i < 1100; i++) {
		processes[i] = (struct process){ .pid = 1000 + i, .from_ns = 5, .until_ns = UINT64_MAX, .known_ns = 6,
						 .mapping_count = 1, .mappings = &mapping };
		refused += publish_process(f->publish, &processes[i]) == -E2BIG;
	}
	assert_int_equal(refused, 76);
	publish_get_stats(f->publish, &stats);
	assert_int_equal(stats.refused_processes, 76);
	assert_int_equal(stats.processes, 1024);
	publish_forget(f->publish, &processes[0]);
	assert_int_equal(publish_process(f->publish, &processes[1099]), 0);
	for (uint32_t i = 1; i < 1100; i++)
		publish_forget(f->publish, &processes[i]);
}

/* The allocator of places alone: no two overlap, and all that was given back is one piece again. */
static void places_never_overlap(void **state)
{
	auto_free struct publish_space *space = calloc(1, sizeof(*space));
	auto_free uint8_t *used = calloc(1, UNWIND_MAPPINGS);
	struct { uint32_t count, chunk, first; } taken[500] = { 0 };
	uint32_t seed = 1, chunk, first;

	(void)state;
	publish_space_grow(space);
	publish_space_grow(space);
	for (int round = 0; round < 20000; round++) {
		uint32_t i = (seed = seed * 1664525 + 1013904223) % array_size(taken);

		if (taken[i].count) {
			memset(used + taken[i].chunk * UNWIND_MAPPING_CHUNK + taken[i].first, 0, taken[i].count);
			publish_space_give(space, taken[i].count, taken[i].chunk, taken[i].first);
			taken[i].count = 0;
			continue;
		}
		taken[i].count = 1 + (seed >> 8) % (i % 50 ? 60 : 4096);
		if (publish_space_take(space, taken[i].count, &taken[i].chunk, &taken[i].first)) {
			taken[i].count = 0;
			continue;
		}
		assert_true(taken[i].first + taken[i].count <= UNWIND_MAPPING_CHUNK);
		for (uint32_t at = 0; at < taken[i].count; at++) {
			uint8_t *byte = &used[taken[i].chunk * UNWIND_MAPPING_CHUNK + taken[i].first + at];

			assert_int_equal(*byte, 0);
			*byte = 1;
		}
	}
	for (uint32_t i = 0; i < array_size(taken); i++)
		if (taken[i].count)
			publish_space_give(space, taken[i].count, taken[i].chunk, taken[i].first);
	assert_int_equal(publish_space_take(space, UNWIND_MAPPING_CHUNK, &chunk, &first), 0);
	assert_int_equal(publish_space_take(space, UNWIND_MAPPING_CHUNK, &chunk, &first), 0);
	assert_int_equal(publish_space_take(space, 1, &chunk, &first), -ENOSPC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(image_is_where_the_directory_says, setup, teardown),
		cmocka_unit_test_setup_teardown(malformed_files_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(rows_stop_at_their_limit, setup, teardown),
		cmocka_unit_test_setup_teardown(escapes_past_the_limit_become_one, setup, teardown),
		cmocka_unit_test_setup_teardown(table_of_a_process, setup, teardown),
		cmocka_unit_test_setup_teardown(text_without_rows_is_cut_off, setup, teardown),
		cmocka_unit_test_setup_teardown(forks_share_and_changes_part, setup, teardown),
		cmocka_unit_test_setup_teardown(freed_places_wait_for_the_grace_time, setup, teardown),
		cmocka_unit_test_setup_teardown(generations_do_not_overwrite_younger_ones, setup, teardown),
		cmocka_unit_test_setup_teardown(too_many_mappings_are_cut, setup, teardown),
		cmocka_unit_test_setup_teardown(a_full_map_is_told, setup, teardown),
		cmocka_unit_test(places_never_overlap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

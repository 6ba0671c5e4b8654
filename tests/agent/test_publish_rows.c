/* SPDX-License-Identifier: Apache-2.0 */
/* Unwind files into real maps: where they land, and every way to be malformed. */
#include "publish_file.h"

static void image_is_where_the_directory_says(void **state)
{
	struct fixture *f = need(state);
	auto_free char *chunk = malloc(UNWIND_CHUNK_BYTES);
	struct image_file file;
	struct unwind_escape escape;
	uint16_t rule;
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
	assert_int_equal(page.offset % 2, 0);
	read_inner(f->loader.fds[LOADER_ROWS], 0, chunk);
	assert_memory_equal(chunk + page.offset, file.five.starts, 514);
	memcpy(&rule, chunk + page.offset + 2 * (UNWIND_HEAD + 1), sizeof(rule));
	assert_int_equal(rule >> 14, UNWIND_KIND_ESCAPE);
	assert_memory_equal(chunk + page.offset + 2 * (UNWIND_HEAD + 3), file.five.rows, sizeof(file.five.rows));
	index = rule & 0x3fff;
	assert_int_equal(index, 1); /* 0 is taken, and the second file uses the first one's */
	assert_int_equal(bpf_map_lookup_elem(f->loader.fds[LOADER_ESCAPES], &index, &escape), 0);
	assert_memory_equal(&escape, &file.escape, sizeof(escape));
	page = read_page(f, other + 7);
	memcpy(&rule, chunk + page.offset + 2 * UNWIND_HEAD, sizeof(rule));
	assert_int_equal(rule, UNWIND_RULE_OUTERMOST);
	publish_get_stats(f->publish, &stats);
	assert_int_equal(stats.rows, 8);
	assert_int_equal(stats.escapes, 2);
	assert_int_equal(stats.map_bytes, UNWIND_CHUNK_BYTES);
	assert_int_equal(stats.row_bytes, 2 * (sizeof(file.five) + sizeof(file.seven)));
	assert_int_equal(stats.pages, 4);
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
	BROKEN(file.escape.cfa = UNWIND_CFA_INDEX + 1);
	BROKEN(file.escape.reg = 16);
	BROKEN(file.escape.bp = UNWIND_BP_DEREF + 1);
	BROKEN(file.escape.ra = UNWIND_RA_REG + 1);
	BROKEN(file.pages[1].page = 5);
	BROKEN(file.pages[1].page = 4);
	BROKEN(file.pages[0].page = 4);
	BROKEN(file.pages[1].page = 8);
	BROKEN(file.pages[0].offset = 0);
	BROKEN(file.pages[0].offset += 1);
	BROKEN(file.pages[0].offset = UINT32_MAX - 3);
	BROKEN(file.pages[1].offset += 4);
	BROKEN(file.pages[0].bytes += 2);
	BROKEN(file.pages[0].bytes = 4; file.head.rows = 1);
	BROKEN(file.pages[0].bytes = UINT32_MAX - 3);
	BROKEN(file.pages[0].bytes += 1);
	BROKEN(file.five.starts[256]--);
	BROKEN(file.five.starts[256]++);
	BROKEN(file.five.starts[1] = UINT16_MAX);
	BROKEN(file.five.starts[2] = UINT16_MAX);
	BROKEN(file.five.starts[100]--);
	BROKEN(file.five.starts[1]--); /* the first bucket has no row */
	BROKEN(file.five.starts[1]++); /* two rows with pc 0 in it */
	BROKEN(file.five.starts[0]--);
	BROKEN(file.five.starts[0] = 0);
	BROKEN(file.five.starts[0] = UNWIND_HEAD);
	BROKEN(file.seven.starts[0]++);
	BROKEN(file.seven.starts[255] = 0);
	BROKEN(file.five.rows[0].pc = 1);
	BROKEN(file.five.rows[2].pc = 0);
	BROKEN(file.five.rows[2].rule = 3);
	BROKEN(file.five.palette[1] = UNWIND_RULE(UNWIND_KIND_ESCAPE, 0, 1));
	publish_get_stats(f->publish, &stats);
	assert_int_equal(stats.rows, 0);
	assert_int_equal(stats.row_bytes, 0);
	assert_int_equal(dir, 77);
	/* And none of them left anything behind: the space of the refused is used by the next. */
	fill_file(&file);
	assert_int_equal(publish_file(f->publish, &file, &dir), 0);
	assert_int_equal(read_page(f, dir + 5).offset, 0);
}

/* What the child says of its file is doubted, too. */
static void wrong_reports_are_refused(void **state)
{
	struct fixture *f = need(state);
	struct symbolizer_table table = { .first_page = 5, .span = 3 };
	struct image_file file;
	uint32_t dir = 77;

	fill_file(&file);
	table.bytes = 8;
	assert_int_equal(publish_bytes(f->publish, &file, 8, &table, &dir), -EINVAL);
	table.bytes = sizeof(file);
	assert_int_equal(publish_bytes(f->publish, &file, sizeof(file) - 4, &table, &dir), -EINVAL);
	table.bytes = 65ULL << 20;
	assert_int_equal(publish_bytes(f->publish, &file, sizeof(file), &table, &dir), -EFBIG);
	table.bytes = sizeof(file);
	table.span = PUBLISH_IMAGE_PAGES + 1;
	assert_int_equal(publish_bytes(f->publish, &file, sizeof(file), &table, &dir), -ENOSPC);
	table.span = 3;
	table.first_page = UINT32_MAX - 1;
	assert_int_equal(publish_bytes(f->publish, &file, sizeof(file), &table, &dir), -EINVAL);
	assert_int_equal(dir, 77);
	assert_int_equal(publish_file(f->publish, &file, &dir), 0);
	assert_int_equal(read_page(f, dir + 5).offset, 0); /* nothing was left behind */
}

/* The largest page: 16384 rows, 33284 bytes, 31 to a chunk. */
static void rows_stop_at_their_limit(void **state)
{
	struct fixture *f = need(state);
	size_t block = 2 * (UNWIND_HEAD + 1 + UNWIND_MAX_PAGE_ROWS), bytes = 16 + 12 + block;
	auto_free char *data = calloc(1, bytes);
	struct unwind_file head = { UNWIND_FILE_MAGIC, 0, 1, UNWIND_MAX_PAGE_ROWS };
	struct unwind_file_page page = { 3, 28, (uint32_t)block };
	const struct symbolizer_table table = { .bytes = bytes, .first_page = 3, .span = 1 };
	struct publish_stats stats;
	uint32_t dir, count = 0;

	memcpy(data, &head, 16);
	memcpy(data + 16, &page, 12);
	for (uint32_t i = 0; i <= 256; i++)
		memcpy(data + 28 + 2 * i, &(uint16_t){ (uint16_t)(UNWIND_HEAD + 1 + i * 64) }, 2);
	memcpy(data + 28 + 2 * UNWIND_HEAD, &(uint16_t){ 0x4001 }, 2);
	for (uint32_t i = 0; i < UNWIND_MAX_PAGE_ROWS; i++)
		memcpy(data + 28 + 2 * (UNWIND_HEAD + 1 + i), &(struct unwind_row){ (uint8_t)(4 * i), 0 }, 2);
	for (;; count++) { /* what finds no room is wanted when it is met */
		assert_int_equal(publish_bytes(f->publish, data, bytes, &table, &dir), 0);
		if (read_page(f, dir + 3).chunk == UNWIND_PAGE_NOT_BUILT)
			break;
	}
	assert_int_equal(count, 8 * 31); /* 8 MiB, and no block crosses a chunk */
	publish_get_stats(f->publish, &stats);
	assert_int_equal(stats.map_bytes, 8 << 20);
	assert_int_equal(stats.refused_rows, UNWIND_MAX_PAGE_ROWS);
	assert_int_equal(stats.rows, count * UNWIND_MAX_PAGE_ROWS);
}

/* A dropped image's pages are empty at once; its place serves another, but not before the grace time is over. */
static void dropped_rows_make_room(void **state)
{
	struct fixture *f = need(state);
	struct image_file file;
	uint32_t first, second, third, used;
	struct publish_stats stats;

	fill_file(&file);
	assert_int_equal(publish_file(f->publish, &file, &first), 0);
	used = f->publish->row_used[0];
	publish_drop_image(f->publish, first);
	assert_int_equal(read_page(f, first + 5).chunk, 0);
	assert_int_equal(read_page(f, first + 7).chunk, 0);
	publish_get_stats(f->publish, &stats);
	assert_int_equal(stats.rows + stats.row_bytes, 0);
	assert_int_equal(stats.evicted_images, 1);
	publish_tick(f->publish, clock_monotonic_ns());
	assert_int_equal(publish_file(f->publish, &file, &second), 0); /* the place is not free yet */
	assert_int_equal(f->publish->row_used[0], 2 * used);
	publish_tick(f->publish, clock_monotonic_ns() + NS_PER_S);
	assert_int_equal(publish_file(f->publish, &file, &third), 0);
	assert_int_equal(f->publish->row_used[0], 2 * used);
	assert_int_equal(third, first);
	assert_int_equal(read_page(f, third + 5).chunk, 1);
	assert_int_equal(read_page(f, third + 5).offset, 0);
	publish_drop_image(f->publish, 12345); /* nobody's */
	publish_get_stats(f->publish, &stats);
	assert_int_equal(stats.evicted_images, 1);
	assert_int_equal(stats.rows, 8);
}

static void escapes_past_the_limit_become_one(void **state)
{
	struct fixture *f = need(state);
	size_t bytes = 16 + sizeof(struct unwind_escape) * 1024;
	auto_free char *data = calloc(1, bytes);
	struct unwind_file head = { UNWIND_FILE_MAGIC, 1024, 0, 0 };
	const struct symbolizer_table table = { .bytes = bytes };
	struct publish_stats stats;
	struct image_file file;
	uint16_t rule;
	auto_free char *chunk = malloc(UNWIND_CHUNK_BYTES);
	uint32_t dir;

	memcpy(data, &head, 16);
	for (int round = 0; round < 8; round++) {
		for (int i = 0; i < 1024; i++) {
			struct unwind_escape escape = { .cfa = UNWIND_CFA_REG, .cfa_offset = round * 1024 + i };

			memcpy(data + 16 + sizeof(escape) * (size_t)i, &escape, sizeof(escape));
		}
		assert_int_equal(publish_bytes(f->publish, data, bytes, &table, &dir), 0);
	}
	publish_get_stats(f->publish, &stats);
	assert_int_equal(stats.escapes, UNWIND_MAX_ESCAPES);
	assert_int_equal(stats.refused_escapes, 1);
	fill_file(&file);
	assert_int_equal(publish_file(f->publish, &file, &dir), 0);
	read_inner(f->loader.fds[LOADER_ROWS], 0, chunk);
	memcpy(&rule, chunk + read_page(f, dir + 5).offset + 2 * (UNWIND_HEAD + 1), 2);
	assert_int_equal(rule, UNWIND_KIND_ESCAPE << 14);
}

struct other_thread {
	struct fixture *f;
	_Atomic int done, published;
};

static void *publish_images(void *context)
{
	struct other_thread *other = context;
	struct image_file file;
	uint32_t dir;

	fill_file(&file);
	for (int i = 0; i < 300; i++) {
		file.escape.cfa_offset = i;
		other->published += !publish_file(other->f->publish, &file, &dir);
	}
	other->done = 1;
	return NULL;
}

/* Images come on the thread that resolves, processes and questions on others. */
static void images_come_from_another_thread(void **state)
{
	struct fixture *f = need(state);
	struct process_image image = { .has_table = true, .segment_count = 1, .segments = { { 0, 0, 0x100000, 5 } } };
	struct process_mapping mapping = { 0x400000, 0x500000, 0, &image, 1 };
	struct process process = { .pid = 12, .from_ns = 5, .until_ns = UINT64_MAX, .known_ns = 6,
				   .mapping_count = 1, .mappings = &mapping };
	struct publish_stats stats = { 0 };
	struct image_file file;
	struct other_thread other = { .f = f };
	pthread_t thread;

	fill_file(&file);
	assert_int_equal(publish_file(f->publish, &file, &image.dir), 0);
	assert_int_equal(pthread_create(&thread, NULL, publish_images, &other), 0);
	while (!other.done) {
		mapping.end ^= 0x1000;
		assert_int_equal(publish_process(f->publish, &process), 0);
		publish_tick(f->publish, clock_monotonic_ns());
		publish_get_stats(f->publish, &stats);
		assert_int_equal(stats.processes, 1);
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(other.published, 300);
	publish_get_stats(f->publish, &stats);
	assert_int_equal(stats.rows, 301 * 4);
	assert_int_equal(stats.escapes, 301); /* with the one that says "none"; 11 was there already */
	publish_forget(f->publish, &process);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(image_is_where_the_directory_says),
		TEST(malformed_files_are_refused),
		TEST(wrong_reports_are_refused),
		TEST(images_come_from_another_thread),
		TEST(dropped_rows_make_room),
		TEST(rows_stop_at_their_limit),
		TEST(escapes_past_the_limit_become_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

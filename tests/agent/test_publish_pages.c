/* SPDX-License-Identifier: Apache-2.0 */
/* Pages of a large image: built when wanted, given up when the sampler does not use them and room is short. */
#include "publish_file.h"

#define SPAN 40 /* pages from 5 on */
#define FIRST 11 /* pages 5 to 15: made together, as 16 to 31 and 32 to 44 */

static struct asked {
	uint32_t image, pages[64];
	size_t count, calls;
	int result;
} asked;

static int on_wanted(void *context, uint32_t image, const uint32_t *pages, size_t count)
{
	(void)context;
	asked.image = image;
	asked.calls++;
	for (size_t i = 0; i < count; i++)
		asked.pages[asked.count++] = pages[i];
	return asked.result;
}

static size_t take_wanted(struct fixture *f)
{
	asked = (struct asked){ .result = asked.result };
	publish_take_wanted(f->publish, on_wanted, NULL);
	return asked.count;
}

static uint32_t big_image(struct fixture *f, uint32_t image)
{
	const struct symbolizer_table table = { .bytes = sizeof(struct unwind_file), .first_page = 5, .span = SPAN };
	const struct unwind_file head = { UNWIND_FILE_MAGIC, 0, 0, 0 };
	auto_fd int fd = memfd_create("test", MFD_CLOEXEC);
	uint32_t dir;

	assert_int_equal(write(fd, &head, sizeof(head)), sizeof(head));
	assert_int_equal(publish_image(f->publish, image, fd, &table, &dir), 0);
	return dir;
}

static void write_page(struct fixture *f, uint32_t index, struct unwind_page page)
{
	assert_int_equal(bpf_map_update_elem(f->loader.fds[LOADER_DIRECTORY], &index, &page, BPF_ANY), 0);
}

/* As the kernel side does it. */
static void want(struct fixture *f, uint32_t index)
{
	struct unwind_page page = read_page(f, index);
	struct unwind_wish wish = { .index = index, .time_ns = clock_monotonic_ns() };

	if (page.mark)
		return;
	page.mark = 1;
	write_page(f, index, page);
	assert_int_equal(publish_receive(f->publish, &wish, sizeof(wish)), 0);
}

static void answer(struct fixture *f, uint32_t image, const uint32_t *pages, size_t count)
{
	auto_fd int fd = memfd_create("test", MFD_CLOEXEC);
	struct symbolizer_table table = { .bytes = sizeof(struct image_file) };
	struct image_file file;

	fill_file(&file);
	assert_int_equal(write(fd, &file, sizeof(file)), sizeof(file));
	publish_pages(f->publish, image, pages, count, fd, &table);
}

static void pages_are_built_when_wanted(void **state)
{
	struct fixture *f = need(state);
	uint32_t other = big_image(f, 2), dir = big_image(f, 3), index;
	struct publish_stats stats;
	uint16_t rule;

	for (uint32_t page = 5; page < 5 + SPAN; page++)
		assert_int_equal(read_page(f, dir + page).chunk, UNWIND_PAGE_NOT_BUILT);
	assert_int_equal(take_wanted(f), 0);
	want(f, dir + 7);
	want(f, dir + 5);
	want(f, dir + 7);
	want(f, dir + 6);
	want(f, other + 5);
	assert_int_equal(take_wanted(f), 2 * FIRST);
	assert_int_equal(asked.calls, 2);
	for (uint32_t i = 0; i < 2 * FIRST; i++)
		assert_int_equal(asked.pages[i], 5 + i % FIRST);
	assert_int_equal(publish_pending(f->publish), 2 * FIRST);
	assert_int_equal(take_wanted(f), 0);
	answer(f, 3, (uint32_t[]){ 5, 6, 7 }, 3);
	assert_int_equal(publish_pending(f->publish), 2 * FIRST - 3);
	assert_int_equal(read_page(f, dir + 5).chunk, 1);
	assert_int_equal(read_page(f, dir + 5).mark, 1);
	assert_int_equal(read_page(f, dir + 6).chunk, 0); /* asked for, and has no rows */
	assert_int_equal(read_page(f, dir + 7).chunk, 1);
	assert_int_equal(read_page(f, dir + 8).chunk, UNWIND_PAGE_NOT_BUILT);
	assert_int_equal(read_page(f, other + 5).chunk, UNWIND_PAGE_NOT_BUILT);
	assert_int_equal(publish_find_rule(f->publish, dir, 0x50140, &rule), REASON_NONE);
	assert_int_equal(rule, UNWIND_RULE(UNWIND_KIND_RSP, 1, 2));
	index = read_page(f, dir + 5).offset;
	answer(f, 3, (uint32_t[]){ 5 }, 1); /* once more: it stays where it is */
	assert_int_equal(read_page(f, dir + 5).offset, index);
	publish_get_stats(f->publish, &stats);
	assert_int_equal(stats.pages, 2);
	assert_int_equal(stats.wanted_pages, 2 * FIRST);
	assert_int_equal(stats.built_pages, 2);
	assert_true(stats.longest_wait_ns > 0 && stats.longest_wait_ns < 10 * NS_PER_S);
	assert_int_equal(stats.row_bytes, sizeof(struct block5) + sizeof(((struct image_file *)0)->seven));
}

static void neighbours_are_made_while_there_is_room(void **state)
{
	struct fixture *f = need(state);
	uint32_t dir = big_image(f, 3);

	answer(f, 3, (uint32_t[]){ 17 }, 1); /* it has no rows: nobody asks again */
	want(f, dir + 31);
	want(f, dir + 44);
	assert_int_equal(take_wanted(f), 15 + 13);
	for (uint32_t i = 0; i < 15 + 13; i++)
		assert_int_equal(asked.pages[i], i ? 17 + i : 16);
	f->publish->stats.row_bytes += f->publish->row_limit_bytes / 2;
	want(f, dir + 9);
	assert_int_equal(take_wanted(f), 1);
	f->publish->stats.row_bytes -= f->publish->row_limit_bytes / 2;
}

static void the_hosts_unwinder_wants_pages_too(void **state)
{
	struct fixture *f = need(state);
	uint32_t dir = big_image(f, 3);
	uint16_t rule;

	for (int turn = 0; turn < 2; turn++)
		assert_int_equal(publish_find_rule(f->publish, dir, 0x50140, &rule), REASON_NO_TABLE);
	publish_want(f->publish, dir, 0x70000);
	publish_want(f->publish, dir, 0x40000); /* outside */
	assert_int_equal(take_wanted(f), FIRST);
	assert_int_equal(asked.image, 3);
	answer(f, 3, asked.pages, FIRST);
	assert_int_equal(publish_find_rule(f->publish, dir, 0x50140, &rule), REASON_NONE);
	assert_int_equal(publish_find_rule(f->publish, dir, 0x7abcd, &rule), REASON_NONE);
}

static void what_fails_is_asked_for_again_later(void **state)
{
	struct fixture *f = need(state);
	uint32_t dir = big_image(f, 3);
	struct publish_dir *known;
	struct publish_stats stats;

	want(f, dir + 5);
	asked.result = -ENOMEM;
	assert_int_equal(take_wanted(f), FIRST);
	asked.result = 0;
	assert_int_equal(publish_pending(f->publish), 0);
	assert_int_equal(read_page(f, dir + 5).mark, 0);
	want(f, dir + 5);
	assert_int_equal(take_wanted(f), FIRST);
	publish_pages(f->publish, 3, asked.pages, FIRST, -1, NULL);
	assert_int_equal(read_page(f, dir + 5).chunk, UNWIND_PAGE_NOT_BUILT);
	assert_int_equal(read_page(f, dir + 5).mark, 0);
	want(f, dir + 5);
	assert_int_equal(take_wanted(f), 0); /* too soon */
	assert_int_equal(read_page(f, dir + 5).mark, 0);
	known = hmap_find(&f->publish->dirs, &dir);
	known->again_ns = 0;
	want(f, dir + 5);
	assert_int_equal(take_wanted(f), FIRST);
	publish_get_stats(f->publish, &stats);
	assert_int_equal(stats.failed_pages, FIRST);
}

static void too_many_wishes_are_heard_again(void **state)
{
	struct fixture *f = need(state);
	uint32_t dir = big_image(f, 3);
	struct unwind_wish wish = { .index = dir + 5 };

	want(f, dir + 5);
	for (int i = 0; i < 4095; i++)
		(void)publish_receive(f->publish, &wish, sizeof(wish));
	want(f, dir + 6);
	assert_int_equal(read_page(f, dir + 6).mark, 0);
	wish.index = UNWIND_MAX_DIRECTORY;
	(void)publish_receive(f->publish, &wish, sizeof(wish));
	(void)publish_receive(f->publish, &wish, sizeof(wish) - 1);
	assert_int_equal(take_wanted(f), 1);
	want(f, dir + 6);
	assert_int_equal(take_wanted(f), FIRST - 1);
	assert_int_equal(asked.pages[0], 6);
}

/* A page of 16384 rows, 33284 bytes. */
static void answer_large(struct fixture *f, uint32_t image, uint32_t page)
{
	size_t block = 2 * (UNWIND_HEAD + 1 + UNWIND_MAX_PAGE_ROWS), bytes = 16 + 12 + block;
	auto_fd int fd = memfd_create("test", MFD_CLOEXEC);
	auto_free char *data = calloc(1, bytes);
	struct unwind_file head = { UNWIND_FILE_MAGIC, 0, 1, UNWIND_MAX_PAGE_ROWS };
	struct unwind_file_page place = { page, 28, (uint32_t)block };
	struct symbolizer_table table = { .bytes = bytes };

	memcpy(data, &head, 16);
	memcpy(data + 16, &place, 12);
	for (uint32_t i = 0; i <= 256; i++)
		memcpy(data + 28 + 2 * i, &(uint16_t){ (uint16_t)(UNWIND_HEAD + 1 + i * 64) }, 2);
	memcpy(data + 28 + 2 * UNWIND_HEAD, &(uint16_t){ 0x4001 }, 2);
	for (uint32_t i = 0; i < UNWIND_MAX_PAGE_ROWS; i++)
		memcpy(data + 28 + 2 * (UNWIND_HEAD + 1 + i), &(struct unwind_row){ (uint8_t)(4 * i), 0 }, 2);
	assert_int_equal(write(fd, data, bytes), bytes);
	publish_pages(f->publish, image, &page, 1, fd, &table);
}

/* 10 images of 40 pages of 33 KB want 13 MB of 8: what is used stays, the rest comes and goes. The kernel side marks
 * what it uses only when it has forgotten the rules it remembers. */
static void the_clock_gives_up_what_is_not_used(void **state)
{
	struct fixture *f = need(state);
	uint64_t now_ns = clock_monotonic_ns(), forgot = 0;
	uint32_t dirs[10], refused = 0;
	struct publish_stats stats;

	for (uint32_t i = 0; i < 10; i++)
		dirs[i] = big_image(f, 100 + i);
	for (uint32_t turn = 0; turn < 10 * SPAN; turn++) {
		uint32_t image = turn / SPAN, page = 5 + turn % SPAN;
		struct unwind_page entry;

		answer_large(f, 100 + image, page);
		entry = read_page(f, dirs[image] + page);
		refused += entry.chunk == UNWIND_PAGE_NOT_BUILT;
		for (uint32_t used = 5; used < 9; used++) { /* the first image's first four pages are in use always */
			entry = read_page(f, dirs[0] + used);
			if (turn < 4)
				continue;
			assert_int_not_equal(entry.chunk, UNWIND_PAGE_NOT_BUILT);
			assert_int_equal(entry.generation, 0);
			if (f->loader.forgot == forgot)
				continue;
			entry.mark = 1;
			write_page(f, dirs[0] + used, entry);
		}
		forgot = f->loader.forgot;
		now_ns += 10 * NS_PER_MS;
		publish_tick(f->publish, now_ns);
		publish_get_stats(f->publish, &stats);
		assert_true(stats.row_bytes <= 8 << 20 && stats.map_bytes <= 8 << 20);
	}
	assert_int_equal(refused, 0); /* room is made ahead */
	assert_true(stats.evicted_pages >= 120);
	assert_true(stats.pages >= 150);
	assert_int_equal(stats.rows, stats.pages * UNWIND_MAX_PAGE_ROWS);
	assert_int_equal(read_page(f, dirs[0] + 20).chunk, UNWIND_PAGE_NOT_BUILT);
	assert_true(read_page(f, dirs[0] + 20).generation > 0);
}

/* Between giving up and the end of the grace time a handler may still read the block. */
static void given_up_rows_stay_for_the_grace_time(void **state)
{
	struct fixture *f = need(state);
	auto_free char *chunk = malloc(UNWIND_CHUNK_BYTES);
	uint32_t dir = big_image(f, 3);
	struct unwind_page before, after;
	struct image_file file;

	answer(f, 3, (uint32_t[]){ 5, 7 }, 2);
	before = read_page(f, dir + 5);
	f->publish->row_limit_bytes = 1 << 20;
	f->publish->stats.row_bytes += 1 << 20; /* as if full */
	publish_tick(f->publish, clock_monotonic_ns());
	assert_int_equal(read_page(f, dir + 5).chunk, 1); /* the first takes the marks */
	publish_tick(f->publish, clock_monotonic_ns() + 20 * NS_PER_MS);
	after = read_page(f, dir + 5);
	assert_int_equal(after.chunk, UNWIND_PAGE_NOT_BUILT);
	assert_int_equal(after.generation, before.generation + 1);
	f->publish->stats.row_bytes -= 1 << 20;
	answer(f, 3, (uint32_t[]){ 7 }, 1);
	read_inner(f->loader.fds[LOADER_ROWS], 0, chunk);
	fill_file(&file);
	assert_memory_equal(chunk + before.offset, file.five.starts, sizeof(file.five.starts));
	assert_int_not_equal(read_page(f, dir + 7).offset, before.offset);
	publish_tick(f->publish, clock_monotonic_ns() + NS_PER_S);
	answer(f, 3, (uint32_t[]){ 5 }, 1);
	assert_true(read_page(f, dir + 5).offset <= before.offset + sizeof(file.five));
}

/* Its place in the directory may be another's, the next time it is looked into. */
static void rules_are_forgotten_with_their_image(void **state)
{
	struct fixture *f = need(state);
	uint32_t dir = big_image(f, 3);

	answer(f, 3, (uint32_t[]){ 5, 7 }, 2);
	publish_tick(f->publish, clock_monotonic_ns());
	assert_int_equal(f->loader.forgot, 0);
	publish_drop_image(f->publish, dir + 1); /* none */
	assert_int_equal(f->loader.forgot, 0);
	publish_drop_image(f->publish, dir);
	assert_int_equal(f->loader.forgot, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(pages_are_built_when_wanted),
		TEST(neighbours_are_made_while_there_is_room),
		TEST(the_hosts_unwinder_wants_pages_too),
		TEST(what_fails_is_asked_for_again_later),
		TEST(too_many_wishes_are_heard_again),
		TEST(the_clock_gives_up_what_is_not_used),
		TEST(given_up_rows_stay_for_the_grace_time),
		TEST(rules_are_forgotten_with_their_image),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

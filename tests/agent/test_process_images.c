/* SPDX-License-Identifier: Apache-2.0 */
/* Images: files written anew under the same inode, images that nobody speaks of any more, too many of them. */
#include "process_fixture.h"

static struct process_image *image_of(struct fixture *f, uint32_t pid)
{
	return process_find(f->table, pid, UINT64_MAX)->mappings[0].image;
}

static void program(struct fixture *f, uint64_t time, uint32_t pid)
{
	map(f, time, pid, 0x1000, 0x3000, 0, 7, "/bin/a");
}

static struct process_image *was_mapped_and_read(struct fixture *f)
{
	struct process_image *image;

	program(f, 100, PARENT);
	image = image_of(f, PARENT);
	image->segment_count = 1;
	image->state = PROCESS_IMAGE_READY;
	image->has_table = true;
	return image;
}

static void a_file_mapped_again_is_looked_at(void **state)
{
	struct fixture *f = *state;
	struct process_image *image = was_mapped_and_read(f);
	const struct process_mapping *mapping;

	program(f, 150, CHILD); /* somebody has it all the time */
	assert_false(image->doubted);
	task(f, SIDEBAND_EXIT, 160, CHILD, CHILD, 0, "");
	task(f, SIDEBAND_EXIT, 200, PARENT, PARENT, 0, "");
	program(f, 2 * NS_PER_S, CHILD + 1);
	assert_true(image->doubted);
	mapping = &process_find(f->table, CHILD + 1, UINT64_MAX)->mappings[0];
	assert_true(process_mapping_mixed(f->table, mapping, 1));
	tick(f, 2 * NS_PER_S + 10);
	assert_int_equal(f->checks, 1);
	assert_true(process_table_checks(f->table));
	tick(f, 2 * NS_PER_S + 20);
	assert_int_equal(f->checks, 1); /* once */
	process_image_checked(f->table, image, 0, 2 * NS_PER_S + 30);
	assert_false(image->doubted || process_table_checks(f->table));
	assert_false(process_mapping_mixed(f->table, mapping, 1));
	/* Within the second: when the slice ends. */
	task(f, SIDEBAND_EXIT, 2 * NS_PER_S + 40, CHILD + 1, CHILD + 1, 0, "");
	program(f, 2 * NS_PER_S + 50, CHILD + 2);
	tick(f, 2 * NS_PER_S + 60);
	assert_int_equal(f->checks, 1);
	process_table_check(f->table, 2 * NS_PER_S + 70);
	assert_int_equal(f->checks, 2);
	/* And once more meanwhile: the answer does not speak of that. */
	task(f, SIDEBAND_EXIT, 2 * NS_PER_S + 80, CHILD + 2, CHILD + 2, 0, "");
	program(f, 2 * NS_PER_S + 90, CHILD + 3);
	process_image_checked(f->table, image, 0, 2 * NS_PER_S + 100);
	assert_true(image->doubted);
	assert_ptr_equal(image_of(f, CHILD + 3), image);
}

static void other_bytes_are_another_image(void **state)
{
	struct fixture *f = *state;
	struct process_image *image = was_mapped_and_read(f), *new;
	int told = f->images;

	task(f, SIDEBAND_EXIT, 200, PARENT, PARENT, 0, "");
	program(f, 300, CHILD);
	task(f, SIDEBAND_FORK, 310, CHILD + 1, CHILD + 1, CHILD, "");
	tick(f, 400);
	process_image_checked(f->table, image, 250, 500);
	new = image_of(f, CHILD);
	assert_ptr_not_equal(new, image);
	assert_ptr_equal(image_of(f, CHILD + 1), new);
	assert_ptr_equal(process_find(f->table, PARENT, 150)->mappings[0].image, image); /* its last samples */
	assert_string_equal(new->path, "/bin/a");
	assert_int_equal(new->state, PROCESS_IMAGE_ASKED);
	assert_int_equal(f->images, told + 1);
	assert_int_equal(image->users, 0);
	assert_int_equal(image->refs, 1);
	assert_int_equal(new->users, 1);
	assert_int_equal(new->refs, 1);
	assert_false(new->doubted || image->doubted);
	assert_true(process_find(f->table, CHILD, 500)->dirty);
	program(f, 600, CHILD + 2);
	assert_ptr_equal(image_of(f, CHILD + 2), new);
}

static void an_image_goes_with_the_last_that_speaks_of_it(void **state)
{
	struct fixture *f = *state;
	struct process_image *image = was_mapped_and_read(f);
	uint32_t id = image->id;
	size_t at = 0;

	assert_null(process_image_unused(f->table, &at));
	task(f, SIDEBAND_EXIT, 200, PARENT, PARENT, 0, "");
	tick(f, 300);
	at = 0;
	assert_null(process_image_unused(f->table, &at)); /* its last samples */
	tick(f, 300 + 2 * PROCESS_GRACE_S * NS_PER_S);
	at = 0;
	assert_ptr_equal(process_image_unused(f->table, &at), image);
	assert_null(process_image_unused(f->table, &at));
	process_image_leave(f->table, image);
	at = 0;
	assert_null(process_image_unused(f->table, &at));
	program(f, 20 * NS_PER_S, PARENT); /* mapped again before it has gone */
	assert_int_not_equal(image_of(f, PARENT)->id, id);
	process_image_free(f->table, image);
	assert_null(process_image_get(f->table, id));
	map(f, 21 * NS_PER_S, CHILD, 0x1000, 0x3000, 0, 8, "/bin/b");
	assert_int_equal(image_of(f, CHILD)->id, id);
	assert_string_equal(process_image_get(f->table, id)->path, "/bin/b");
}

static void collect(struct fixture *f)
{
	struct process_image *image;

	for (size_t at = 0; (image = process_image_unused(f->table, &at));) {
		process_image_leave(f->table, image);
		process_image_free(f->table, image);
	}
}

/* Three times as many programs as the table holds, a few alive at a time. */
static void generations_of_images_need_no_more_room(void **state)
{
	struct fixture *f = *state;
	struct process_stats stats;
	uint32_t highest = 0;
	uint64_t now = NS_PER_S;

	for (uint64_t i = 0; i < 3 * PROCESS_IMAGE_LIMIT; i++, now += NS_PER_MS) {
		map(f, now, PARENT, 0x1000, 0x3000, 0, 1000 + i, "/tmp/generated");
		image_of(f, PARENT)->state = PROCESS_IMAGE_READY;
		highest = image_of(f, PARENT)->id > highest ? image_of(f, PARENT)->id : highest;
		assert_false(image_of(f, PARENT)->overflow);
		task(f, SIDEBAND_EXIT, now + 1, PARENT, PARENT, 0, "");
		process_table_keep(f->table, now);
		if (i % 1000)
			continue;
		tick(f, now + 10 * NS_PER_S);
		if (process_image_is_filling(f->table))
			collect(f);
	}
	process_table_get_stats(f->table, &stats);
	assert_int_equal(stats.refused_images, 0);
	assert_true(highest < PROCESS_IMAGE_LIMIT / 4 + 3000);
	assert_true(f->table->image_path_bytes < PROCESS_IMAGE_PATH_BYTES / 4 + 100000);
}

static void what_has_no_room_says_so(void **state)
{
	struct fixture *f = *state;
	struct process_stats stats;

	for (uint64_t i = 0; i < PROCESS_IMAGE_LIMIT + 10; i++)
		map(f, 100 + i, PARENT + (uint32_t)(i / 1000), (i % 1000 + 1) * 0x1000, (i % 1000 + 2) * 0x1000, 0,
		    1000 + i, "/x");
	process_table_get_stats(f->table, &stats);
	assert_int_equal(stats.refused_images, 10);
	assert_true(process_find(f->table, PARENT + PROCESS_IMAGE_LIMIT / 1000, UINT64_MAX)->mappings[540].image->overflow);
	assert_false(image_of(f, PARENT)->overflow);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_file_mapped_again_is_looked_at),
		TEST(other_bytes_are_another_image),
		TEST(an_image_goes_with_the_last_that_speaks_of_it),
		TEST(generations_of_images_need_no_more_room),
		TEST(what_has_no_room_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

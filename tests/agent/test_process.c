/* SPDX-License-Identifier: Apache-2.0 */
/* The life of processes, driven by synthetic side-band events. */
#include "process_fixture.h"

static uint64_t living(struct fixture *f)
{
	struct process_stats stats;

	process_table_get_stats(f->table, &stats);
	return stats.processes;
}

static void fork_copies_and_exec_begins_anew(void **state)
{
	struct fixture *f = *state;
	struct process *child;

	map(f, 100, PARENT, 0x1000, 0x3000, 0, 7, "/bin/a");
	task(f, SIDEBAND_COMM, 110, PARENT, PARENT, 0, "shell");
	task(f, SIDEBAND_FORK, 200, CHILD, CHILD, PARENT, "");
	child = process_find(f->table, CHILD, 250);
	assert_non_null(child);
	assert_string_equal(child->comm, "shell");
	assert_int_equal(child->parent, PARENT);
	assert_int_equal(child->known_ns, 200);
	assert_int_equal(child->mapping_count, 1);
	assert_int_equal(child->mappings[0].image->users, 1); /* a shared table counts once */
	assert_ptr_equal(child->mappings, process_find(f->table, PARENT, 250)->mappings);
	map(f, 260, CHILD, 0x0, 0x1000, 0, 8, "/lib/b");
	assert_int_equal(child->mapping_count, 2);
	assert_int_equal(child->mappings[1].image->users, 2);
	assert_int_equal(process_find(f->table, PARENT, 270)->mappings[0].start, 0x1000);
	assert_int_equal(process_find(f->table, PARENT, 270)->mapping_count, 1); /* and no longer */
	task(f, SIDEBAND_EXEC, 300, CHILD, CHILD, 0, "prog");
	map(f, 310, CHILD, 0x10000, 0x20000, 0, 9, "/bin/prog");
	child = process_find(f->table, CHILD, 299);
	assert_string_equal(child->comm, "shell");
	assert_int_equal(child->until_ns, 300);
	assert_int_equal(child->mapping_count, 2);
	child = process_find(f->table, CHILD, 300);
	assert_string_equal(child->comm, "prog");
	assert_int_equal(child->mapping_count, 1);
	assert_int_equal(child->parent, PARENT);
	assert_int_equal(child->until_ns, UINT64_MAX);
	assert_int_equal(f->images, 3);
	assert_int_equal(process_find(f->table, PARENT, 310)->mappings[0].image->users, 1);
	assert_null(process_find(f->table, CHILD + 1, 300));
}

static void changes_are_told_once(void **state)
{
	struct fixture *f = *state;

	map(f, 100, PARENT, 0x1000, 0x3000, 0, 7, "/bin/a");
	map(f, 101, PARENT, 0x4000, 0x5000, 0, 8, "/lib/b");
	tick(f, 1000);
	assert_int_equal(f->changes, 1);
	map(f, 102, PARENT, 0x4000, 0x5000, 0, 8, "/lib/b"); /* told twice: no change */
	tick(f, 1001);
	assert_int_equal(f->changes, 1);
	task(f, SIDEBAND_FORK, 200, CHILD, CHILD, PARENT, "");
	tick(f, 1002);
	assert_int_equal(f->changes, 2);
	assert_int_equal(f->changed_pid, CHILD);
	process_image_ready(f->table, process_find(f->table, PARENT, 300)->mappings[1].image);
	process_image_ready(f->table, process_find(f->table, PARENT, 300)->mappings[0].image);
	assert_int_equal(f->changes, 2);
	tick(f, 1003);
	assert_int_equal(f->changes, 4); /* both use it, each once */
	tick(f, 1004);
	assert_int_equal(f->changes, 4);
}

/* An image failed because its process had ended: the next that maps it, or still does, is asked; not at once. */
static void failed_images_are_asked_for_again(void **state)
{
	struct fixture *f = *state;
	struct process_image *image;

	map(f, 100, PARENT, 0x1000, 0x3000, 0, 7, "/bin/a");
	image = process_find(f->table, PARENT, 200)->mappings[0].image;
	assert_int_equal(f->images, 1);
	image->state = PROCESS_IMAGE_FAILED;
	map(f, 200, CHILD, 0x1000, 0x3000, 0, 7, "/bin/a");
	assert_int_equal(f->images, 1);
	map(f, 2 * NS_PER_S, CHILD + 1, 0x1000, 0x3000, 0, 7, "/bin/a");
	assert_int_equal(f->images, 2);
	assert_int_equal(image->state, PROCESS_IMAGE_ASKED);
	image->state = PROCESS_IMAGE_FAILED;
	tick(f, 3 * NS_PER_S);
	assert_int_equal(f->images, 2);
	tick(f, 9 * NS_PER_S);
	assert_int_equal(f->images, 3);
}

static void the_last_thread_ends_a_process(void **state)
{
	struct fixture *f = *state;
	struct process *process;

	map(f, 100, PARENT, 0x1000, 0x3000, 0, 7, "/bin/a");
	task(f, SIDEBAND_FORK, 110, CHILD, CHILD, PARENT, "");
	task(f, SIDEBAND_FORK, 120, CHILD, CHILD + 1, CHILD, "");
	task(f, SIDEBAND_EXIT, 130, CHILD, CHILD, PARENT, ""); /* the leader goes first */
	process = process_find(f->table, CHILD, 140);
	assert_int_equal(process->until_ns, UINT64_MAX);
	task(f, SIDEBAND_EXIT, 150, CHILD, CHILD + 1, PARENT, "");
	assert_int_equal(process->until_ns, 150);
	assert_int_equal(living(f), 1);
	tick(f, 200);
	assert_int_equal(f->exits, 1);
	assert_int_equal(f->exited_pid, CHILD);
	assert_int_equal(f->changed_until, 150);
	assert_int_equal(process->mappings[0].image->users, 1);
	/* Its last samples still find it; a while later it is forgotten. */
	tick(f, 150 + PROCESS_GRACE_S * NS_PER_S - 1);
	assert_ptr_equal(process_find(f->table, CHILD, 140), process);
	assert_int_equal(process->mapping_count, 1);
	/* And however late it is, while its samples are still to be looked up. */
	process_table_keep(f->table, 150);
	tick(f, 150 + 3 * PROCESS_GRACE_S * NS_PER_S);
	assert_ptr_equal(process_find(f->table, CHILD, 140), process);
	process_table_keep(f->table, 151);
	tick(f, 150 + PROCESS_GRACE_S * NS_PER_S);
	assert_null(process_find(f->table, CHILD, 140));
	assert_int_equal(f->exits, 1);
}

static void a_pid_is_used_again(void **state)
{
	struct fixture *f = *state;

	map(f, 100, PARENT, 0x1000, 0x3000, 0, 7, "/bin/a");
	task(f, SIDEBAND_FORK, 110, CHILD, CHILD, PARENT, "");
	task(f, SIDEBAND_EXEC, 115, CHILD, CHILD, 0, "first");
	task(f, SIDEBAND_EXIT, 120, CHILD, CHILD, PARENT, "");
	task(f, SIDEBAND_FORK, 130, CHILD, CHILD, PARENT, "");
	task(f, SIDEBAND_EXEC, 135, CHILD, CHILD, 0, "second");
	assert_string_equal(process_find(f->table, CHILD, 118)->comm, "first");
	assert_string_equal(process_find(f->table, CHILD, 140)->comm, "second");
	tick(f, 200);
	assert_int_equal(f->exits, 1);
	/* An EXIT that was lost: the next birth of the pid ends the old one. */
	task(f, SIDEBAND_FORK, 300, CHILD, CHILD, PARENT, "");
	assert_int_equal(process_find(f->table, CHILD, 200)->until_ns, 300);
	assert_int_equal(living(f), 2);
	tick(f, 310);
	assert_int_equal(f->exits, 2);
}

static void events_before_the_reading_are_in_it(void **state)
{
	struct fixture *f = *state;
	struct process_entry *entry;
	struct process *process;

	map(f, 1000, PARENT, 0x1000, 0x3000, 0, 7, "/bin/a");
	entry = process_entry_newest(f->table, PARENT);
	process = &entry->process;
	entry->scanned = true; /* as if /proc had been read at 1000 */
	entry->threads = 2;
	map(f, 990, PARENT, 0x2000, 0x9000, 0, 8, "/old");
	task(f, SIDEBAND_EXEC, 991, PARENT, PARENT, 0, "old");
	task(f, SIDEBAND_FORK, 992, PARENT, PARENT + 7, PARENT, "");
	task(f, SIDEBAND_EXIT, 993, PARENT, PARENT + 8, PARENT, "");
	task(f, SIDEBAND_FORK, 994, PARENT, PARENT, CHILD, "");
	assert_int_equal(process->mapping_count, 1);
	assert_int_equal(entry->threads, 2);
	assert_int_equal(process->from_ns, 1000);
	assert_ptr_equal(process_find(f->table, PARENT, 2000), process);
	task(f, SIDEBAND_EXEC, 1001, PARENT, PARENT, 0, "new");
	assert_string_equal(process_find(f->table, PARENT, 2000)->comm, "new");
}

static void the_thought_dead_may_speak(void **state)
{
	struct fixture *f = *state;

	map(f, 100, PARENT, 0x1000, 0x3000, 0, 7, "/bin/a");
	task(f, SIDEBAND_EXIT, 200, PARENT, PARENT, 0, "");
	assert_int_equal(process_find(f->table, PARENT, 250)->until_ns, 200);
	map(f, 300, PARENT, 0x8000, 0x9000, 0, 8, "/lib/b"); /* a thread nobody had counted */
	assert_int_equal(process_find(f->table, PARENT, 310)->until_ns, UINT64_MAX);
	assert_int_equal(process_find(f->table, PARENT, 310)->mapping_count, 2);
	tick(f, 200 + 2 * PROCESS_GRACE_S * NS_PER_S);
	assert_non_null(process_find(f->table, PARENT, 310));
	assert_int_equal(f->exits, 0);
	assert_int_equal(process_find(f->table, PARENT, 310)->mappings[0].image->users, 1);
}

static void generations_of_a_pid_are_bounded(void **state)
{
	struct fixture *f = *state;
	size_t count = 0;

	map(f, 1, PARENT, 0x1000, 0x2000, 0, 50, "/lib/a");
	for (uint64_t i = 0; i < 1000; i++)
		task(f, SIDEBAND_EXEC, 10 + i, PARENT, PARENT, 0, "again");
	for (struct process *at = process_find(f->table, PARENT, 5000); at; at = at->older)
		count++;
	assert_true(count <= PROCESS_GENERATION_LIMIT + 1);
	assert_int_equal(process_find(f->table, PARENT, 5000)->from_ns, 1009);
	assert_int_equal(living(f), 1);
	tick(f, 2000);
	assert_int_equal(f->exits, 0);
}

static void descendants_are_followed(void **state)
{
	struct fixture *f = *state;

	map(f, 1, PARENT, 0x1000, 0x2000, 0, 50, "/lib/a");
	task(f, SIDEBAND_FORK, 10, CHILD, CHILD, PARENT, "");
	task(f, SIDEBAND_FORK, 20, CHILD + 1, CHILD + 1, CHILD, "");
	process_table_follow(f->table, CHILD);
	assert_int_equal(process_find(f->table, PARENT, 30)->root, 0);
	assert_int_equal(process_find(f->table, CHILD, 30)->root, CHILD);
	assert_int_equal(process_find(f->table, CHILD + 1, 30)->root, CHILD);
	task(f, SIDEBAND_FORK, 40, CHILD + 2, CHILD + 2, CHILD + 1, "");
	task(f, SIDEBAND_EXEC, 50, CHILD + 2, CHILD + 2, 0, "x");
	assert_int_equal(process_find(f->table, CHILD + 2, 60)->root, CHILD);
	process_table_follow(f->table, CHILD + 9); /* not born yet */
	task(f, SIDEBAND_FORK, 70, CHILD + 9, CHILD + 9, PARENT, "");
	assert_int_equal(process_find(f->table, CHILD + 9, 80)->root, CHILD + 9);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(fork_copies_and_exec_begins_anew),
		TEST(changes_are_told_once),
		TEST(failed_images_are_asked_for_again),
		TEST(the_last_thread_ends_a_process),
		TEST(a_pid_is_used_again),
		TEST(events_before_the_reading_are_in_it),
		TEST(the_thought_dead_may_speak),
		TEST(generations_of_a_pid_are_bounded),
		TEST(descendants_are_followed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Generated code: one image for each generation of a process, told with its jitdump, marked when the process ends. */
#include "process_fixture.h"

static uint64_t told_dump;
static uint32_t told_pid;
static int told;

static void jit_new(void *context, struct process_image *image, uint32_t pid, uint64_t start, uint64_t end)
{
	if (!image->jit) {
		image_new(context, image, pid, start, end);
		return;
	}
	told++;
	told_pid = pid;
	told_dump = image->dump_start;
}

static int jit_setup(void **state)
{
	if (setup(state))
		return -1;
	((struct fixture *)*state)->table->callbacks.image_new = jit_new;
	told = 0;
	return 0;
}

/* The image of a frame in the process's anonymous memory, as aggregation asks for it. */
static struct process_image *jit_of(struct fixture *f, uint32_t pid, uint64_t at_ns)
{
	struct process *process = process_find(f->table, pid, at_ns);
	struct process_image *image;
	uint64_t vaddr;
	bool is_vaddr;

	assert_non_null(process);
	image = resolve(process, 0x5800, &vaddr, &is_vaddr);
	assert_non_null(image);
	assert_int_equal(vaddr, 0x5800);
	return process_jit_image(f->table, process, image);
}

static void start(struct fixture *f, uint64_t time, uint32_t pid)
{
	task(f, SIDEBAND_FORK, time, pid, pid, 1, NULL);
	map(f, time + 1, pid, 0x5000, 0x6000, 0, 0, "//anon");
}

static void test_one_each(void **state)
{
	struct fixture *f = *state;
	struct process_image *parent, *child;

	start(f, 10, PARENT);
	start(f, 20, CHILD);
	parent = jit_of(f, PARENT, 30);
	child = jit_of(f, CHILD, 30);
	assert_true(parent->jit && child->jit && parent != child && parent->id != child->id);
	assert_string_equal(parent->path, "[jit]");
	assert_ptr_equal(jit_of(f, PARENT, 40), parent);
	assert_int_equal(told, 2);
	assert_int_equal(told_pid, CHILD);
	assert_int_equal(atomic_load(&parent->ended), PROCESS_ALIVE);
}

static void test_ends(void **state)
{
	struct fixture *f = *state;
	struct process_image *before, *after, *late;

	start(f, 10, PARENT);
	before = jit_of(f, PARENT, 20);
	task(f, SIDEBAND_EXEC, 30, PARENT, PARENT, 1, "other");
	map(f, 31, PARENT, 0x5000, 0x6000, 0, 0, "//anon");
	after = jit_of(f, PARENT, 40);
	assert_ptr_not_equal(before, after);
	assert_int_equal(atomic_load(&before->ended), PROCESS_REPLACED);
	assert_int_equal(atomic_load(&after->ended), PROCESS_ALIVE);
	assert_ptr_equal(jit_of(f, PARENT, 25), before); /* a sample of the time before */
	start(f, 50, CHILD);
	task(f, SIDEBAND_EXIT, 60, CHILD, CHILD, 1, NULL);
	late = jit_of(f, CHILD, 55); /* its first frame is seen after its end */
	assert_int_equal(atomic_load(&late->ended), PROCESS_EXITED);
}

static void test_dump(void **state)
{
	struct fixture *f = *state;
	struct process_image *jit;

	start(f, 10, PARENT);
	map(f, 12, PARENT, 0x7000, 0x8000, 0, 77, "/tmp/jit-x.dump"); /* no number */
	jit = jit_of(f, PARENT, 20);
	assert_int_equal(told_dump, 0);
	map(f, 21, PARENT, 0x9000, 0xa000, 0, 78, "/tmp/jit-123.dump");
	assert_ptr_equal(jit_of(f, PARENT, 30), jit);
	assert_int_equal(told, 2);
	assert_int_equal(told_dump, 0x9000);
	assert_ptr_equal(jit_of(f, PARENT, 40), jit);
	assert_int_equal(told, 2);
}

static void test_limit(void **state)
{
	struct fixture *f = *state;
	struct process_stats stats;

	start(f, 10, PARENT);
	f->table->jit_count = PROCESS_JIT_LIMIT;
	assert_false(jit_of(f, PARENT, 20)->jit);
	process_table_get_stats(f->table, &stats);
	assert_int_equal(stats.refused_jits, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_one_each, jit_setup, teardown),
		cmocka_unit_test_setup_teardown(test_ends, jit_setup, teardown),
		cmocka_unit_test_setup_teardown(test_dump, jit_setup, teardown),
		cmocka_unit_test_setup_teardown(test_limit, jit_setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

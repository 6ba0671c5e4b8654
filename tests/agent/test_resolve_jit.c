/* SPDX-License-Identifier: Apache-2.0 */
/* Names of generated code through a real symbolizer child; this process's own perf map is the input, or a trap. */
#include "resolve_fixture.h"
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <cmocka.h>

#define IMAGE NAMES_FIRST_IMAGE

static char map_path[64], other_path[64];
static atomic_uint ended;

static void write_map(const char *path, const char *text)
{
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static void remove_maps(void)
{
	unlink(map_path);
	unlink(other_path);
}

static int setup(void **state)
{
	snprintf(map_path, sizeof(map_path), "/tmp/perf-%d.map", getpid());
	snprintf(other_path, sizeof(other_path), "/tmp/wick-test-%d.map", getpid());
	remove_maps();
	atomic_store(&ended, PROCESS_ALIVE);
	*state = fixture_new(-1);
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	fixture_free(*state);
	remove_maps();
	return 0;
}

static uint32_t ask(struct fixture *fixture, uint64_t address)
{
	struct resolve_image_request request = { .image = IMAGE, .pid = (uint32_t)getpid(), .path = "[jit]",
						 .jit = true, .ended = &ended };
	uint32_t id;

	names_set_image(fixture->names, IMAGE, "[jit]", "");
	assert_int_equal(resolve_image(fixture->resolve, &request), 0);
	id = names_frame(fixture->names, IMAGE, address, true, true);
	resolve_names(fixture->resolve);
	return id;
}

static void test_named(void **state)
{
	uint32_t id, unknown;

	write_map(map_path, "1000 10 first\n");
	id = ask(*state, 0x1008);
	unknown = ask(*state, 0x9000);
	assert_true(wait_names(*state));
	assert_string_equal(frame_name(*state, id), "first");
	assert_int_equal(frame_source(*state, id), SYMBOL_PERF_MAP);
	assert_int_equal(frame_source(*state, unknown), SYMBOL_ANONYMOUS);
}

/* The code ran before its name, or even the file, was there. */
static void test_late(void **state)
{
	uint32_t id = ask(*state, 0x1008), second;

	usleep(300000); /* it has been looked for */
	write_map(map_path, "1000 10 first\n");
	assert_true(wait_names(*state));
	assert_string_equal(frame_name(*state, id), "first");
	second = ask(*state, 0x2008);
	usleep(300000);
	write_map(map_path, "1000 10 first\n2000 10 second\n");
	assert_true(wait_names(*state));
	assert_string_equal(frame_name(*state, second), "second");
}

/* Nothing of it is believed, and nothing waits for it. */
static void check_refused(struct fixture *fixture)
{
	uint64_t start = clock_monotonic_ns();
	uint32_t id = ask(fixture, 0x1008);
	struct resolve_stats stats;

	assert_true(wait_names(fixture));
	assert_true(clock_monotonic_ns() - start < 10 * NS_PER_S);
	assert_int_equal(frame_source(fixture, id), SYMBOL_ANONYMOUS);
	resolve_get_stats(fixture->resolve, &stats);
	assert_int_equal(stats.deaths, 0);
	assert_int_equal(stats.timeouts, 0);
	assert_int_equal(open_stuck(), 0);
}

static void test_fifo(void **state)
{
	assert_int_equal(mkfifo(map_path, 0600), 0);
	check_refused(*state);
	assert_int_equal(open(map_path, O_WRONLY | O_NONBLOCK | O_CLOEXEC), -1);
	assert_int_equal(errno, ENXIO); /* nobody has it open for reading */
}

static void test_links(void **state)
{
	write_map(other_path, "1000 10 not_for_you\n");
	assert_int_equal(symlink(other_path, map_path), 0);
	check_refused(*state);
}

static void test_hard_link(void **state)
{
	write_map(other_path, "1000 10 not_for_you\n");
	assert_int_equal(link(other_path, map_path), 0);
	check_refused(*state);
}

static void test_folder(void **state)
{
	assert_int_equal(mkdir(map_path, 0700), 0);
	check_refused(*state);
	rmdir(map_path);
}

static void test_foreign_owner(void **state)
{
	write_map(map_path, "1000 10 not_for_you\n");
	if (chown(map_path, 12345, 12345))
		skip();
	check_refused(*state);
}

/* The file lies there, but it is the next program's: what was not read before is not read any more. */
static void test_replaced(void **state)
{
	write_map(map_path, "1000 10 first\n");
	atomic_store(&ended, PROCESS_REPLACED);
	check_refused(*state);
}

static void test_replaced_while_served(void **state)
{
	uint32_t id, later;

	write_map(map_path, "1000 10 first\n");
	id = ask(*state, 0x1008);
	assert_true(wait_names(*state));
	assert_string_equal(frame_name(*state, id), "first");
	atomic_store(&ended, PROCESS_REPLACED);
	usleep(700000); /* long enough that the file could be read again */
	write_map(map_path, "1000 10 second\n3000 10 third\n");
	later = ask(*state, 0x3008);
	id = ask(*state, 0x100c);
	assert_true(wait_names(*state));
	assert_string_equal(frame_name(*state, id), "first");
	assert_int_equal(frame_source(*state, later), SYMBOL_ANONYMOUS);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_named),	  TEST(test_late),     TEST(test_fifo),
		TEST(test_links),	  TEST(test_hard_link), TEST(test_folder),
		TEST(test_foreign_owner), TEST(test_replaced), TEST(test_replaced_while_served),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

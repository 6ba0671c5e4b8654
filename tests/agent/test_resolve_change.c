/* SPDX-License-Identifier: Apache-2.0 */
/* Files that are written anew under the same inode, and images that are forgotten: ids and memory are used again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "resolve_fixture.h"
#include "resolve_private.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#define FILES 300

static char folder[] = "/tmp/wick-change-XXXXXX", path[64];
static char *tiny; /* an ELF file with nothing but a header that says x86-64 */
static const size_t tiny_bytes = 4096;

static int setup(void **state)
{
	*state = fixture_new(-1);
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	fixture_free(*state);
	return 0;
}

static void write_file(const char *to, char mark)
{
	auto_fd int fd = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);

	assert_true(fd >= 0);
	tiny[tiny_bytes - 1] = mark;
	assert_int_equal(write(fd, tiny, tiny_bytes), tiny_bytes);
}

static struct resolve_image_request request_of(uint32_t image, const char *file)
{
	struct resolve_image_request request = { .image = image, .pid = (uint32_t)getpid(), .path = file };
	struct stat status;

	assert_int_equal(stat(file, &status), 0);
	request.file.inode = status.st_ino;
	return request;
}

static void a_changed_file_is_noticed(void **state)
{
	struct fixture *fixture = *state;
	struct resolve_image_request request;
	struct timespec later = { 0, 20 * NS_PER_MS }; /* a file's times go by ticks */
	uint32_t id;

	write_file(path, 1);
	request = request_of(2, path);
	assert_int_equal(resolve_image(fixture->resolve, &request), 0);
	assert_true(wait_image(fixture, 2, 1));
	assert_true(fixture->done[2].known);
	request.check = true;
	assert_int_equal(resolve_image(fixture->resolve, &request), 0);
	assert_true(wait_count(fixture, &fixture->done[2].checked, 1));
	assert_int_equal(fixture->done[2].changed_ns, 0);
	nanosleep(&later, NULL);
	write_file(path, 2);
	assert_int_equal(resolve_image(fixture->resolve, &request), 0);
	assert_true(wait_count(fixture, &fixture->done[2].checked, 2));
	assert_in_range(fixture->done[2].changed_ns, clock_wall_ns() - 60 * NS_PER_S, clock_wall_ns());
	id = names_frame(fixture->names, 2, 0x10, true, false); /* of the bytes that are gone */
	assert_true(wait_names(fixture));
	assert_int_equal(frame_source(fixture, id), SYMBOL_CHANGED);
	request = request_of(3, path); /* and as another image */
	assert_int_equal(resolve_image(fixture->resolve, &request), 0);
	assert_true(wait_image(fixture, 3, 1));
	assert_true(fixture->done[3].known);
}

/* Before anybody looks: neither a new child nor one that runs gives names of other bytes. */
static void names_of_other_bytes_are_refused(void **state)
{
	struct fixture *fixture = *state;
	struct timespec later = { 0, 20 * NS_PER_MS };
	struct resolve_image_request request;
	uint32_t id;

	write_file(path, 1);
	request = request_of(2, path);
	assert_int_equal(resolve_image(fixture->resolve, &request), 0);
	assert_true(wait_image(fixture, 2, 1));
	nanosleep(&later, NULL);
	write_file(path, 2);
	id = names_frame(fixture->names, 2, 0x10, true, true);
	assert_true(wait_names(fixture));
	assert_int_equal(frame_source(fixture, id), SYMBOL_CHANGED);
}

static void forgotten_images_leave_nothing(void **state)
{
	struct fixture *fixture = *state;
	char file[96];

	for (unsigned turn = 0; turn < FILES; turn++) { /* each another file, few ids */
		uint32_t image = 2 + turn % 4;
		struct resolve_image_request request;
		uint32_t id;

		snprintf(file, sizeof(file), "%s/file%u", folder, turn);
		write_file(file, (char)turn);
		request = request_of(image, file);
		assert_int_equal(resolve_image(fixture->resolve, &request), 0);
		assert_true(wait_image(fixture, image, turn / 4 + 1));
		assert_true(fixture->done[image].known);
		id = names_frame(fixture->names, image, turn * 16, true, true);
		if (turn % 2) /* with and without a child that has just answered */
			assert_true(wait_names(fixture));
		request = (struct resolve_image_request){ .image = image, .forget = true };
		assert_int_equal(resolve_image(fixture->resolve, &request), 0);
		assert_true(wait_count(fixture, &fixture->done[image].forgotten, turn / 4 + 1));
		assert_true(wait_names(fixture));
		assert_int_not_equal(frame_source(fixture, id), SYMBOL_SOURCE_COUNT);
		unlink(file);
	}
	assert_int_equal(fixture->resolve->subjects.count, 0);
	assert_null(fixture->resolve->active);
	for (size_t at = 0; at < RESOLVE_MAX_FDS; at++)
		assert_null(fixture->resolve->holders[at]);
}

static void make_tiny(void)
{
	auto_fd int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	tiny = calloc(1, tiny_bytes);
	assert_true(tiny && fd >= 0 && read(fd, tiny, 64) == 64); /* the header, */
	memset(tiny + 32, 0, 16);                                 /* without tables */
	memset(tiny + 54, 0, 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_changed_file_is_noticed, setup, teardown),
		cmocka_unit_test_setup_teardown(names_of_other_bytes_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(forgotten_images_leave_nothing, setup, teardown),
	};
	int failed;

	if (!mkdtemp(folder))
		return 1;
	snprintf(path, sizeof(path), "%s/file", folder);
	make_tiny();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(path);
	rmdir(folder);
	free(tiny);
	return failed;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The wiring that gives frames and files back: what a kept window speaks of stays what it was, whatever comes after
 * under the numbers of what went. */
#include "pipeline_private.h"
#include "process_fixture.h"
#include "slice_fixture.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define RETENTION_S 100
#define FILES (PROCESS_IMAGE_LIMIT / 2 + 500)
#define FILES_A_PROCESS 1000

struct agent { /* as much of it as is needed */
	struct fixture *processes;
	struct pipeline pipeline;
	int sockets[2];
};

static struct agent *agent_new(struct fixture *processes)
{
	const struct store_opts store = { .retention_ns = RETENTION_S * NS_PER_S, .limit_bytes = 1 << 20 };
	struct agent *agent = calloc(1, sizeof(*agent));
	struct pipeline *pipeline = &agent->pipeline;
	struct resolve_callbacks callbacks = { .image_done = pipeline_image_done, .pages_done = pipeline_pages_done,
					       .image_checked = pipeline_image_checked,
					       .image_forgotten = pipeline_image_forgotten, .context = pipeline };

	agent->processes = processes;
	pipeline->processes = processes->table;
	pipeline->names = names_new();
	pipeline->store = store_new(&store);
	pipeline->news_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	STAILQ_INIT(&pipeline->news);
	pthread_mutex_init(&pipeline->news_lock, NULL);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, agent->sockets), 0);
	assert_int_equal(resolve_new(agent->sockets[0], pipeline->names, &callbacks, &pipeline->resolve), 0);
	return agent;
}

static void agent_free(struct agent *agent)
{
	struct pipeline *pipeline = &agent->pipeline;

	resolve_free(pipeline->resolve);
	pipeline_take_news(pipeline);
	store_free(pipeline->store);
	names_free(pipeline->names);
	pthread_mutex_destroy(&pipeline->news_lock);
	close(pipeline->news_fd);
	close(agent->sockets[1]);
	free(agent);
}

static uint32_t named(struct agent *agent, uint32_t image, uint64_t address, const char *name)
{
	struct names *names = agent->pipeline.names;
	uint32_t id = names_frame(names, image, address, true, true), taken;
	struct names_line line = { .name = names_string(names, name) };
	uint64_t asked;

	names_take_unasked(names, 1, &image, &taken, &asked);
	names_set_lines(names, id, SYMBOL_SYMTAB, &line, 1);
	return id;
}

static const char *name_of(struct agent *agent, uint32_t id)
{
	struct names_frame frame;

	names_get_frame(agent->pipeline.names, id, &frame);
	return frame.line_count ? names_get_string(agent->pipeline.names, frame.lines[0].name) : "";
}

/* A window of the second with one stack; its process has that name. */
static void keep(struct agent *agent, uint64_t second, uint32_t frame, const char *comm)
{
	struct fixture_slice slice = { 0 };
	struct window_labels labels = { .comm = names_string(agent->pipeline.names, comm) };

	fixture_sample(&slice, labels, FRAMES(frame), 1);
	store_add(agent->pipeline.store, fixture_close(&slice, second * NS_PER_S, (second + 1) * NS_PER_S));
}

/* Frames of no window, until the table is past its half. */
static void fill_names(struct agent *agent, uint64_t from, const char *name)
{
	for (uint64_t at = from; !names_is_filling(agent->pipeline.names); at++)
		named(agent, NAMES_FIRST_IMAGE + 1 + (uint32_t)(at % 8), at, name);
}

static const struct window *oldest(struct agent *agent, struct window ***ret_windows, size_t *ret_count)
{
	*ret_count = (size_t)store_range(agent->pipeline.store, 0, UINT64_MAX, ret_windows);
	return (*ret_windows)[0];
}

static void a_kept_window_has_its_names(void **state)
{
	struct agent *agent = agent_new(*state);
	struct names *names = agent->pipeline.names;
	uint32_t old = named(agent, NAMES_FIRST_IMAGE, 1, "old"), lost;
	const struct window *window;
	struct window **windows;
	size_t count;

	keep(agent, 1, old, "program");
	lost = named(agent, NAMES_FIRST_IMAGE, 2, "lost");
	fill_names(agent, 1, "first");
	pipeline_recycle(&agent->pipeline, 10 * NS_PER_S);
	assert_true(names_recycled(names) > NAMES_MAX_FRAMES / 2 - 100);
	assert_string_equal(name_of(agent, lost), "[frame table full]"); /* and not whose slot it is */
	fill_names(agent, 1U << 24, "second"); /* in the slots, and under the string numbers, of the first */
	assert_string_equal(name_of(agent, lost), "[frame table full]");
	window = oldest(agent, &windows, &count);
	assert_string_equal(name_of(agent, window->frames[0]), "old");
	assert_string_equal(names_get_string(names, window->labels[0].comm), "program");
	store_release(windows, count);

	keep(agent, 2 + RETENTION_S, named(agent, NAMES_FIRST_IMAGE, 3, "new"), "other"); /* the old window goes */
	pipeline_recycle(&agent->pipeline, 30 * NS_PER_S);
	assert_string_equal(name_of(agent, old), "[frame table full]");
	window = oldest(agent, &windows, &count);
	assert_int_equal(count, 1);
	assert_string_equal(name_of(agent, window->frames[0]), "new");
	assert_string_equal(names_get_string(names, window->labels[0].comm), "other");
	store_release(windows, count);
	agent_free(agent);
}

/* All that is told while a query reads waits for it. */
static void nothing_goes_under_a_query(void **state)
{
	struct agent *agent = agent_new(*state);
	struct names *names = agent->pipeline.names;
	uint32_t read = named(agent, NAMES_FIRST_IMAGE, 1, "read");

	fill_names(agent, 1, "first");
	names_hold(names);
	pipeline_recycle(&agent->pipeline, 10 * NS_PER_S);
	assert_string_equal(name_of(agent, read), "read");
	names_release(names);
	pipeline_recycle(&agent->pipeline, 100 * NS_PER_S);
	assert_string_equal(name_of(agent, read), "[frame table full]");
	agent_free(agent);
}

static const struct process_image *image_at(struct fixture *f, uint32_t pid, uint64_t address)
{
	return process_mapping_at(process_find(f->table, pid, UINT64_MAX), address, UINT64_MAX - 1)->image;
}

/* Programs that have all ended, and whose last samples were looked up. */
static void fill_images(struct fixture *f)
{
	for (uint32_t i = 0; i < FILES; i++) {
		uint64_t at = (i % FILES_A_PROCESS + 1) * 0x1000;

		map(f, 200 + i, CHILD + i / FILES_A_PROCESS, at, at + 0x1000, 0, 1000 + i, "/tmp/generated");
	}
	for (uint32_t i = 0; i < FILES; i += FILES_A_PROCESS)
		task(f, SIDEBAND_EXIT, NS_PER_S, CHILD + i / FILES_A_PROCESS, CHILD + i / FILES_A_PROCESS, 0, "");
	process_table_keep(f->table, 20 * NS_PER_S);
	tick(f, 20 * NS_PER_S);
}

static void recycle_images(struct agent *agent, uint64_t now_ns)
{
	struct pollfd news = { .fd = agent->pipeline.news_fd, .events = POLLIN };

	while (process_image_is_filling(agent->pipeline.processes)) {
		pipeline_recycle(&agent->pipeline, now_ns);
		assert_int_equal(poll(&news, 1, 20000), 1);
		pipeline_take_news(&agent->pipeline);
	}
}

static void a_file_in_a_kept_window_keeps_its_number(void **state)
{
	struct fixture *f = *state;
	struct agent *agent = agent_new(f);
	uint32_t kept, frame;
	const char *path, *build_id;

	map(f, 100, PARENT, 0x1000, 0x3000, 0, 7, "/bin/kept");
	kept = image_at(f, PARENT, 0x1000)->id;
	names_set_image(agent->pipeline.names, kept, "/bin/kept", "abcd");
	frame = named(agent, kept, 0x1234, "function");
	keep(agent, 1, frame, "program");
	task(f, SIDEBAND_EXIT, 150, PARENT, PARENT, 0, "");
	fill_images(f);
	assert_true(process_image_is_filling(f->table));
	recycle_images(agent, 20 * NS_PER_S);
	assert_true(process_image_get(f->table, kept) && f->table->spare_count > 0);

	for (uint32_t i = 0; i < FILES / 2; i++) { /* others under the numbers that are free */
		uint64_t at = (i % FILES_A_PROCESS + 1) * 0x1000;
		uint32_t pid = PARENT - 1 - i / FILES_A_PROCESS;

		map(f, 21 * NS_PER_S, pid, at, at + 0x1000, 0, 200000 + i, "/bin/other");
		assert_int_not_equal(image_at(f, pid, at)->id, kept);
	}
	names_get_image(agent->pipeline.names, kept, &path, &build_id);
	assert_string_equal(path, "/bin/kept");
	assert_string_equal(build_id, "abcd");
	assert_string_equal(name_of(agent, frame), "function");
	agent_free(agent);
}

static void a_file_of_no_window_gives_its_number_away(void **state)
{
	struct fixture *f = *state;
	struct agent *agent = agent_new(f);
	uint32_t id;
	const char *path, *build_id;

	map(f, 100, PARENT, 0x1000, 0x3000, 0, 7, "/bin/gone");
	id = image_at(f, PARENT, 0x1000)->id;
	names_set_image(agent->pipeline.names, id, "/bin/gone", "abcd");
	task(f, SIDEBAND_EXIT, 150, PARENT, PARENT, 0, "");
	fill_images(f);
	recycle_images(agent, 20 * NS_PER_S);
	assert_null(process_image_get(f->table, id));
	names_get_image(agent->pipeline.names, id, &path, &build_id);
	assert_string_equal(path, "");
	assert_string_equal(build_id, "");
	agent_free(agent);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_kept_window_has_its_names),
		TEST(nothing_goes_under_a_query),
		TEST(a_file_in_a_kept_window_keeps_its_number),
		TEST(a_file_of_no_window_gives_its_number_away),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

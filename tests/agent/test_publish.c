/* SPDX-License-Identifier: Apache-2.0 */
/* Processes' mapping tables into real maps, as the kernel side finds them there. */
#include "publish_file.h"

static struct process_image table_image = { .id = 2, .has_table = true, .segment_count = 1,
					    .segments = { { 0x51000, 0x52000, 0x40000, 5 } } };
static struct process_image plain_image = { .id = 3 };
static struct process_image unreadable_image = { .id = 5, .state = PROCESS_IMAGE_FAILED };
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
					      { 0x600000, 0x601000, 0, &anon_image, 1 },
					      { 0x700000, 0x701000, 0, &unreadable_image, 1 } };
	struct process process = { .pid = 10, .from_ns = 5, .until_ns = UINT64_MAX, .known_ns = 6,
				   .mapping_count = 4, .mappings = mappings };
	struct unwind_mapping read[8];
	struct unwind_process value;
	struct image_file file;

	fill_file(&file); /* pages 5 to 7 of 0x52000…0x72000: the mapping's page 5 is cut in front, all is inside */
	assert_int_equal(publish_file(f->publish, &file, &table_image.dir), 0);
	assert_int_equal(publish_process(f->publish, &process), 0);
	value = read_process(f, 10);
	assert_int_equal(value.count, 4);
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
	assert_int_equal(read[3].flags, UNWIND_MAPPING_ANON);
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
	assert_int_equal(read[0].flags, 0);
	for (uint64_t pc = read[0].start; pc < read[0].end; pc += 0x10000) /* as the kernel side looks it up */
		assert_int_equal(read_page(f, read[0].dir + (uint32_t)((pc - read[0].bias) >> 16)).chunk, 0);
	assert_int_equal(read[1].start, 0x450000);
	assert_int_equal(read[1].end, 0x480000);
	assert_int_equal(read[1].flags, 0);
	assert_int_equal(read[1].bias, 0x400000);
	assert_true(read_page(f, read[1].dir + (uint32_t)((read[1].start - read[1].bias) >> 16)).chunk > 0);
	assert_int_equal(read[2].start, 0x480000);
	assert_int_equal(read[2].end, 0x500000);
	assert_int_equal(read[2].flags, 0);
	for (uint64_t pc = read[2].start; pc < read[2].end; pc += 0x10000)
		assert_int_equal(read_page(f, read[2].dir + (uint32_t)((pc - read[2].bias) >> 16)).chunk, 0);
	image.segments[0].filesz = mapping.end = 64 << 20; /* more than the empty entries can be about */
	mapping.end += mapping.start;
	assert_int_equal(publish_process(f->publish, &process), 0);
	value = read_process(f, 11);
	read_mappings(f, &value, read);
	assert_int_equal(read[2].end, mapping.end);
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
	struct process_mapping mapping = { 0x1000, 0x2000, 0, &plain_image, 1 };
	struct process_mapping next = { 0x5000, 0x6000, 0, &plain_image, 1 };
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

/* Handlers remember entries. */
static void each_change_of_an_entry_is_told(void **state)
{
	struct fixture *f = need(state);
	struct process_mapping mapping = { 0x1000, 0x2000, 0, &plain_image, 1 };
	struct process process = { .pid = 45, .from_ns = 5, .until_ns = UINT64_MAX, .known_ns = 6, .mapping_count = 1,
				   .mappings = &mapping };
	const uint64_t *told = &f->loader.forgot_process[45];

	assert_int_equal(publish_process(f->publish, &process), 0);
	assert_int_equal(*told, 1);
	assert_int_equal(publish_process(f->publish, &process), 0); /* as it was */
	assert_int_equal(*told, 1);
	mapping.end = 0x3000;
	assert_int_equal(publish_process(f->publish, &process), 0);
	assert_int_equal(*told, 2);
	publish_forget(f->publish, &process);
	assert_int_equal(*told, 3);
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

/* Tables of the largest size over two chunks, looked into by turns through the one window. */
static void the_window_follows_and_closes(void **state)
{
	struct fixture *f = need(state);
	size_t count = UNWIND_MAX_PROCESS_MAPPINGS, tables = UNWIND_MAPPING_CHUNK / count + 2;
	auto_free struct process_mapping *mappings = calloc(count, sizeof(*mappings));
	auto_free struct unwind_mapping *read = calloc(count, sizeof(*read));
	auto_free struct process *processes = calloc(2 * tables, sizeof(*processes));
	uint32_t chunks = 0;

	for (uint32_t i = 0; i < 2 * tables; i++) { /* each table is met twice: written, then found to be there */
		for (size_t at = 0; at < count; at++)
			mappings[at] = (struct process_mapping){ (at + 1) << 16, ((at + 1) << 16) + ((i % tables + 1) << 12),
								 0, &plain_image, 1 };
		processes[i] = (struct process){ .pid = 3000 + i, .from_ns = 5, .until_ns = UINT64_MAX, .known_ns = 6,
						 .mapping_count = count, .mappings = mappings };
		assert_int_equal(publish_process(f->publish, &processes[i]), 0);
	}
	for (uint32_t i = 0; i < 2 * tables; i++) {
		struct unwind_process value = read_process(f, 3000 + i), twin = read_process(f, 3000 + i % tables);

		assert_true(value.chunk == twin.chunk && value.first == twin.first);
		read_mappings(f, &value, read);
		for (size_t at = 0; at < count; at++)
			assert_int_equal(read[at].end - read[at].start, (i % tables + 1) << 12);
		chunks |= 1U << value.chunk;
	}
	assert_int_equal(chunks, 3);
	assert_non_null(f->publish->window.base);
	publish_tick(f->publish, f->publish->window_ns + PUBLISH_WINDOW_MS * NS_PER_MS);
	assert_non_null(f->publish->window.base);
	publish_tick(f->publish, f->publish->window_ns + PUBLISH_WINDOW_MS * NS_PER_MS + 1);
	assert_null(f->publish->window.base);
	for (uint32_t i = 0; i < 2 * tables; i++)
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
		TEST(table_of_a_process),
		TEST(text_without_rows_is_cut_off),
		TEST(forks_share_and_changes_part),
		TEST(freed_places_wait_for_the_grace_time),
		TEST(generations_do_not_overwrite_younger_ones),
		TEST(each_change_of_an_entry_is_told),
		TEST(too_many_mappings_are_cut),
		TEST(a_full_map_is_told),
		TEST(the_window_follows_and_closes),
		cmocka_unit_test(places_never_overlap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

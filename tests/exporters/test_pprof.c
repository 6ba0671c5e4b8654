/* SPDX-License-Identifier: Apache-2.0 */
/* pprof output, read back by protobuf-c and by go tool pprof. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "pprof.pb-c.h"
#include "sample_profile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

extern const struct exporter pprof_exporter;

static void encode(const struct profile *profile, struct buf *out)
{
	struct exporter_request request = { 0 };

	assert_int_equal(pprof_exporter.encode(profile, &request, out), 0);
}

static Pprof__Profile *decode(const struct buf *from)
{
	static uint8_t bytes[1 << 20];
	z_stream zip = { .next_in = (uint8_t *)from->data, .avail_in = (unsigned)from->length, .next_out = bytes,
			 .avail_out = sizeof(bytes) };
	Pprof__Profile *profile;

	assert_int_equal(inflateInit2(&zip, 15 + 16), Z_OK);
	assert_int_equal(inflate(&zip, Z_FINISH), Z_STREAM_END);
	assert_int_equal(zip.avail_in, 0); /* one gzip member, nothing behind it */
	inflateEnd(&zip);
	profile = pprof__profile__unpack(NULL, zip.total_out, bytes);
	assert_non_null(profile);
	return profile;
}

static const char *text(const Pprof__Profile *profile, int64_t id)
{
	assert_in_range(id, 0, profile->n_string_table - 1);
	return profile->string_table[id];
}

static const Pprof__Label *label(const Pprof__Profile *profile, size_t sample, const char *key)
{
	for (size_t i = 0; i < profile->sample[sample]->n_label; i++)
		if (!strcmp(text(profile, profile->sample[sample]->label[i]->key), key))
			return profile->sample[sample]->label[i];
	return NULL;
}

static struct buf out;
static Pprof__Profile *profile;

static int set_up(void **state)
{
	(void)state;
	encode(&sample_profile, &out);
	profile = decode(&out);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	pprof__profile__free_unpacked(profile, NULL);
	buf_done(&out);
	return 0;
}

static void head_says_what_it_is(void **state)
{
	(void)state;
	assert_string_equal(profile->string_table[0], "");
	assert_int_equal(profile->n_sample_type, 2);
	assert_string_equal(text(profile, profile->sample_type[0]->type), "samples");
	assert_string_equal(text(profile, profile->sample_type[1]->unit), "nanoseconds");
	assert_string_equal(text(profile, profile->period_type->type), "cpu");
	assert_int_equal(profile->period, 10000000);
	assert_int_equal(profile->time_nanos, 1764205200000000000);
	assert_int_equal(profile->duration_nanos, 2000000000);
	assert_int_equal(profile->n_comment, 1);
	assert_string_equal(text(profile, profile->comment[0]), "cpu, last=2s");
}

static void ids_are_in_order(void **state)
{
	(void)state;
	assert_int_equal(profile->n_mapping, COUNT(sample_mappings));
	assert_int_equal(profile->n_function, COUNT(sample_functions));
	assert_int_equal(profile->n_location, COUNT(sample_locations));
	for (size_t i = 0; i < profile->n_mapping; i++)
		assert_int_equal(profile->mapping[i]->id, i + 1);
	for (size_t i = 0; i < profile->n_function; i++)
		assert_int_equal(profile->function[i]->id, i + 1);
	for (size_t i = 0; i < profile->n_location; i++)
		assert_int_equal(profile->location[i]->id, i + 1);
}

static void mappings_are_whole_and_named(void **state)
{
	(void)state;
	for (size_t i = 0; i < profile->n_mapping; i++) {
		const Pprof__Mapping *mapping = profile->mapping[i];

		assert_int_equal(mapping->memory_start, 0);
		assert_true(mapping->memory_limit == UINT64_MAX);
		assert_int_equal(mapping->file_offset, 0);
		assert_true(mapping->has_functions && mapping->has_filenames && mapping->has_line_numbers &&
			    mapping->has_inline_frames);
	}
	assert_string_equal(text(profile, profile->mapping[0]->filename), "/usr/bin/web");
	assert_string_equal(text(profile, profile->mapping[0]->build_id), "c0ffee");
}

static void inlined_lines_come_first(void **state)
{
	const Pprof__Location *location = profile->location[1];

	(void)state;
	assert_int_equal(location->n_line, 2);
	assert_int_equal(location->line[0]->function_id, 3);
	assert_int_equal(location->line[0]->line, 33);
	assert_int_equal(location->line[1]->function_id, 2);
	assert_string_equal(text(profile, profile->function[1]->name), "outer(int)");
	assert_string_equal(text(profile, profile->function[1]->system_name), "_Z5outeri");
	assert_int_equal(profile->function[1]->start_line, 10);
	assert_int_equal(profile->location[4]->mapping_id, 0); /* a note */
	assert_true(profile->location[2]->address == 0xffffffff81000123);
}

static void samples_are_whole(void **state)
{
	(void)state;
	assert_int_equal(profile->n_sample, COUNT(sample_samples) - 1); /* the one of nothing is left out */
	assert_int_equal(profile->sample[2]->n_location_id, 3);
	assert_int_equal(profile->sample[2]->location_id[0], 3); /* leaf first */
	assert_int_equal(profile->sample[2]->location_id[2], 1);
	assert_int_equal(profile->sample[2]->n_value, 2);
	assert_int_equal(profile->sample[2]->value[0], 20);
	assert_int_equal(profile->sample[2]->value[1], 200000000);
}

static void labels_are_text_or_numbers_with_units(void **state)
{
	(void)state;
	assert_string_equal(text(profile, label(profile, 1, "container")->str), "web-1");
	assert_string_equal(text(profile, label(profile, 1, "thread")->str), "worker");
	assert_int_equal(label(profile, 1, "pid")->num, 101);
	assert_string_equal(text(profile, label(profile, 1, "pid")->num_unit), "id");
	assert_int_equal(label(profile, 1, "tid")->num, 102);
	assert_null(label(profile, 0, "tid"));
	assert_null(label(profile, 0, "thread"));
	assert_null(label(profile, 3, "pod"));
	assert_non_null(label(profile, 3, "pid")); /* pid 0 too */
}

static void go_reads_it(void **state)
{
	char file[] = "/tmp/wick-pprof-XXXXXX", command[256], line[1024], all[65536] = "";
	int fd;
	FILE *pipe;

	(void)state;
	if (access("/usr/local/go/bin/go", X_OK) && access("/usr/bin/go", X_OK)) {
		print_message("no go here to read pprof with\n");
		skip();
	}
	fd = mkstemp(file);
	assert_int_equal(write(fd, out.data, out.length), out.length);
	close(fd);
	snprintf(command, sizeof(command), "PATH=$PATH:/usr/local/go/bin; go tool pprof -top -nodecount=100 %s 2>&1; "
		 "go tool pprof -raw %s 2>&1", file, file);
	pipe = popen(command, "r");
	while (fgets(line, sizeof(line), pipe))
		strncat(all, line, sizeof(all) - strlen(all) - 1);
	assert_int_equal(pclose(pipe), 0);
	unlink(file);
	assert_non_null(strstr(all, "File: web\n"));
	assert_non_null(strstr(all, "Duration: 2s, Total samples = 700ms (35.00%)"));
	assert_non_null(strstr(all, "600ms 85.71%  inner (inline)\n"));
	assert_non_null(strstr(all, "container:[web-1]"));
	assert_non_null(strstr(all, "inner /src/web.cc:33"));
	assert_non_null(strstr(all, "0x0/0xffffffffffffffff/0x0 /usr/bin/web c0ffee [FN][FL][LN][IN]"));
}

static void nothing_is_valid(void **state)
{
	struct buf nothing = { 0 };
	Pprof__Profile *back;

	(void)state;
	encode(&empty_profile, &nothing);
	back = decode(&nothing);
	assert_int_equal(back->n_sample, 0);
	assert_int_equal(back->n_sample_type, 2);
	pprof__profile__free_unpacked(back, NULL);
	buf_done(&nothing);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(head_says_what_it_is),
		cmocka_unit_test(ids_are_in_order),
		cmocka_unit_test(mappings_are_whole_and_named),
		cmocka_unit_test(inlined_lines_come_first),
		cmocka_unit_test(samples_are_whole),
		cmocka_unit_test(labels_are_text_or_numbers_with_units),
		cmocka_unit_test(go_reads_it),
		cmocka_unit_test(nothing_is_valid),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}

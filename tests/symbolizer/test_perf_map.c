/* SPDX-License-Identifier: Apache-2.0 */
/* Perf maps and jitdumps that are right, half-written, cut short, begun anew, far too long, or noise. */
#include "toolchain.h"

#include "symbolizer/lookup.h"
#include "symbolizer/perf_map.h"

#include <sys/stat.h>

struct fixture {
	int fd; /* for writing */
	struct perf_map *map;
	int read_fd;
};

static struct fixture open_fixture(void)
{
	struct fixture fixture;
	char path[128];

	snprintf(path, sizeof(path), "%s/map", toolchain_folder);
	fixture.fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	fixture.read_fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fixture.fd >= 0 && fixture.read_fd >= 0);
	assert_int_equal(perf_map_new(fixture.read_fd, &fixture.map), 0);
	return fixture;
}

static void close_fixture(struct fixture *fixture)
{
	perf_map_free(fixture->map);
	close(fixture->fd);
	close(fixture->read_fd);
}

static void put(struct fixture *fixture, const void *bytes, size_t size)
{
	assert_int_equal(write(fixture->fd, bytes, size), size);
}

static void put_text(struct fixture *fixture, const char *text)
{
	put(fixture, text, strlen(text));
}

/* Waits until a reading is allowed. */
static void update(struct fixture *fixture)
{
	struct perf_map_stats before, after;
	double end = now_s() + 60;

	perf_map_get_stats(fixture->map, &before);
	do {
		perf_map_update(fixture->map);
		perf_map_get_stats(fixture->map, &after);
		if (after.readings == before.readings)
			usleep(20000);
	} while (after.readings == before.readings && now_s() < end);
	assert_int_equal(after.readings, before.readings + 1);
}

static const char *name_at(struct fixture *fixture, uint64_t address)
{
	enum symbol_source source;
	const char *name;

	return perf_map_find(fixture->map, address, &name, &source) ? name : "";
}

static struct perf_map_stats stats_of(struct fixture *fixture)
{
	struct perf_map_stats stats;

	perf_map_get_stats(fixture->map, &stats);
	return stats;
}

static void test_lines(void **state)
{
	struct fixture fixture = open_fixture();
	enum symbol_source source;
	const char *name;

	(void)state;
	put_text(&fixture, "7f0000001000 40 LazyCompile:*spin /x y.js:1:2\n0x2000 0x10 prefixed\r\nABC0 1 upper\n");
	update(&fixture);
	assert_true(perf_map_find(fixture.map, 0x7f0000001000, &name, &source));
	assert_string_equal(name, "LazyCompile:*spin /x y.js:1:2");
	assert_int_equal(source, SYMBOL_PERF_MAP);
	assert_string_equal(name_at(&fixture, 0x7f000000103f), name);
	assert_string_equal(name_at(&fixture, 0x7f0000001040), "");
	assert_string_equal(name_at(&fixture, 0x7f0000000fff), "");
	assert_string_equal(name_at(&fixture, 0x200f), "prefixed");
	assert_string_equal(name_at(&fixture, 0xabc0), "upper");
	assert_int_equal(stats_of(&fixture).bad, 0);
	close_fixture(&fixture);
}

static void test_bad_lines(void **state)
{
	static const char *const bad[] = {
		"", "x", "1000", "1000 10", "1000 10 ", " 1000 10 a", "1000  10 a", "1000 0 empty", "zz 10 a",
		"12345678901234567 10 long", "1000 100000000 big", "ffffffff80000000 10 kernel", "1000 -10 a", "0x 10 a",
	};
	struct fixture fixture = open_fixture();

	(void)state;
	for (size_t at = 0; at < sizeof(bad) / sizeof(bad[0]); at++) {
		put_text(&fixture, bad[at]);
		put_text(&fixture, "\n");
	}
	put_text(&fixture, "5000 10 good\n6000 10 a\x01\x1b[31mb\n");
	update(&fixture);
	assert_int_equal(stats_of(&fixture).bad, sizeof(bad) / sizeof(bad[0]));
	assert_int_equal(stats_of(&fixture).entries, 2);
	assert_string_equal(name_at(&fixture, 0x5001), "good");
	assert_string_equal(name_at(&fixture, 0x6001), "a??[31mb");
	close_fixture(&fixture);
}

static void test_growth(void **state)
{
	struct fixture fixture = open_fixture();

	(void)state;
	put_text(&fixture, "1000 10 one\n2000 10 tw");
	update(&fixture);
	assert_false(perf_map_update(fixture.map)); /* too soon */
	assert_string_equal(name_at(&fixture, 0x1000), "one");
	assert_string_equal(name_at(&fixture, 0x2000), ""); /* half a name is none */
	put_text(&fixture, "o\n");
	update(&fixture);
	assert_string_equal(name_at(&fixture, 0x2000), "two");
	put_text(&fixture, "1000 20 newer\n1008 4 inner\n0ff0 40 outer\n"); /* the place is used again */
	update(&fixture);
	assert_string_equal(name_at(&fixture, 0x1000), "outer");
	assert_string_equal(name_at(&fixture, 0x1009), "outer");
	assert_int_equal(stats_of(&fixture).restarts, 0);
	close_fixture(&fixture);
}

static void test_order(void **state)
{
	struct fixture fixture = open_fixture();

	(void)state;
	put_text(&fixture, "0ff0 40 outer\n1000 20 old\n1000 20 new\n1008 4 inner\n");
	update(&fixture);
	assert_string_equal(name_at(&fixture, 0x0ff1), "outer");
	assert_string_equal(name_at(&fixture, 0x1000), "new");
	assert_string_equal(name_at(&fixture, 0x1009), "inner");
	assert_string_equal(name_at(&fixture, 0x100c), "new");
	assert_string_equal(name_at(&fixture, 0x102f), "outer");
	assert_int_equal(stats_of(&fixture).entries, 3);
	close_fixture(&fixture);
}

static void test_begun_anew(void **state)
{
	struct fixture fixture = open_fixture();

	(void)state;
	put_text(&fixture, "1000 10 before\n2000 10 before\n");
	update(&fixture);
	assert_int_equal(ftruncate(fixture.fd, 0), 0);
	lseek(fixture.fd, 0, SEEK_SET);
	put_text(&fixture, "1000 10 after\n");
	update(&fixture);
	assert_string_equal(name_at(&fixture, 0x1000), "after");
	assert_string_equal(name_at(&fixture, 0x2000), "");
	assert_int_equal(ftruncate(fixture.fd, 0), 0); /* anew, and longer than before */
	lseek(fixture.fd, 0, SEEK_SET);
	put_text(&fixture, "3000 10 third\n4000 10 third\n5000 10 third\n");
	update(&fixture);
	assert_string_equal(name_at(&fixture, 0x1000), "");
	assert_string_equal(name_at(&fixture, 0x5000), "third");
	assert_int_equal(stats_of(&fixture).restarts, 2);
	close_fixture(&fixture);
}

static void test_too_much(void **state)
{
	struct fixture fixture = open_fixture();
	static char line[1 << 20];
	int at;

	(void)state;
	put_text(&fixture, "1000 10 first\n");
	memset(line, 'x', sizeof(line)); /* a line that does not end for a long time */
	memcpy(line, "2000 10 ", 8);
	put(&fixture, line, sizeof(line));
	put_text(&fixture, "\n3000 10 behind\n");
	memset(line, '\0', 5000);
	memset(line, 'n', 4999);
	put_text(&fixture, "4000 10 ");
	put_text(&fixture, line); /* a name that is cut */
	put_text(&fixture, "\n");
	update(&fixture);
	assert_string_equal(name_at(&fixture, 0x1000), "first");
	assert_string_equal(name_at(&fixture, 0x2000), "");
	assert_string_equal(name_at(&fixture, 0x3000), "behind");
	assert_int_equal(strlen(name_at(&fixture, 0x4000)), SYMBOLIZER_NAME_BYTES - 1);
	assert_int_equal(stats_of(&fixture).bad, 1);
	memset(line, 'f', sizeof(line));
	for (at = 0; at < 1024; at++)
		memcpy(line + at * 1024, "10000000 10 f", 13), line[at * 1024 + 1023] = '\n';
	for (at = 0; at < 200; at++) /* 200 MB */
		put(&fixture, line, sizeof(line));
	put_text(&fixture, "5000 10 too_far\n");
	double begin = now_s();
	update(&fixture);
	assert_true(now_s() - begin < 10);
	assert_true(stats_of(&fixture).is_cut);
	assert_string_equal(name_at(&fixture, 0x1000), "first");
	assert_string_equal(name_at(&fixture, 0x5000), "");
	close_fixture(&fixture);
}

static void test_too_many(void **state)
{
	struct fixture fixture = open_fixture();
	char *text = malloc(24 * (PERF_MAP_MAX_ENTRIES + 1000)), *to = text;

	(void)state;
	for (size_t at = 0; at < PERF_MAP_MAX_ENTRIES + 1000; at++)
		to += sprintf(to, "%zx 8 n%zu\n", 0x100000 + 8 * at, at);
	put(&fixture, text, (size_t)(to - text));
	free(text);
	update(&fixture);
	assert_int_equal(stats_of(&fixture).entries, PERF_MAP_MAX_ENTRIES);
	assert_true(stats_of(&fixture).is_cut && stats_of(&fixture).dropped >= 1);
	assert_string_equal(name_at(&fixture, 0x100000), "n0");
	assert_string_equal(name_at(&fixture, 0x100000 + 8 * (uint64_t)PERF_MAP_MAX_ENTRIES - 1), "n499999");
	close_fixture(&fixture);
}

/* ---- jitdump ---- */

static void put_header(struct fixture *fixture)
{
	uint32_t header[10] = { 0x4a695444, 1, 40, 62, 0, 1 };

	put(fixture, header, sizeof(header));
}

static void put_load(struct fixture *fixture, uint64_t address, uint64_t size, const char *name, uint32_t code)
{
	uint32_t head[4] = { 0, (uint32_t)(56 + strlen(name) + 1 + code), 0, 0 }, ids[2] = { 1, 1 };
	uint64_t body[4] = { address, address, size, 7 };
	char *bytes = calloc(1, code + 1);

	put(fixture, head, sizeof(head));
	put(fixture, ids, sizeof(ids));
	put(fixture, body, sizeof(body));
	put(fixture, name, strlen(name) + 1);
	put(fixture, bytes, code);
	free(bytes);
}

static void test_dump(void **state)
{
	uint32_t other[4] = { 2, 16 + 8, 0, 0 };
	struct fixture fixture = open_fixture();
	enum symbol_source source;
	const char *name;

	(void)state;
	put_header(&fixture);
	put_load(&fixture, 0x1000, 0x40, "one", 0x40);
	put(&fixture, other, sizeof(other)); /* debug information: passed over */
	put(&fixture, other, 8);
	put_load(&fixture, 0x2000, 0x20000, "long code", 0x20000);
	put_load(&fixture, 0x1000, 0x20, "one again", 0x20);
	update(&fixture);
	assert_true(perf_map_find(fixture.map, 0x2fff, &name, &source));
	assert_string_equal(name, "long code");
	assert_int_equal(source, SYMBOL_JITDUMP);
	assert_string_equal(name_at(&fixture, 0x1000), "one again");
	assert_string_equal(name_at(&fixture, 0x1020), "");
	assert_int_equal(stats_of(&fixture).bad, 0);
	put_load(&fixture, 0x50000, 0x10, "later", 0x10);
	assert_int_equal(ftruncate(fixture.fd, lseek(fixture.fd, 0, SEEK_CUR) - 1), 0);
	update(&fixture);
	assert_string_equal(name_at(&fixture, 0x50000), ""); /* not all of it is there */
	put(&fixture, "", 1);
	update(&fixture);
	assert_string_equal(name_at(&fixture, 0x50000), "later");
	assert_int_equal(stats_of(&fixture).restarts, 0);
	close_fixture(&fixture);
}

static void test_dump_damage(void **state)
{
	uint32_t endless[4] = { 0, 3, 0, 0 };
	struct fixture fixture = open_fixture();

	(void)state;
	put_header(&fixture);
	put_load(&fixture, 0x1000, 0x40, "one", 0x40);
	put_load(&fixture, 0x1800, 0x40, "", 0x40); /* no name */
	put(&fixture, endless, sizeof(endless));
	put_load(&fixture, 0x2000, 0x40, "behind", 0x40);
	update(&fixture);
	assert_string_equal(name_at(&fixture, 0x1000), "one");
	assert_string_equal(name_at(&fixture, 0x2000), "");
	assert_int_equal(stats_of(&fixture).bad, 2);
	close_fixture(&fixture);
}

/* Noise after a beginning that is right; the sanitizers watch. */
static void test_noise(void **state)
{
	static unsigned char noise[8192];

	(void)state;
	srand(17);
	for (int round = 0; round < 300; round++) {
		struct fixture fixture = open_fixture();
		size_t size = 1 + (size_t)rand() % sizeof(noise);

		if (round % 2)
			put_header(&fixture);
		for (size_t at = 0; at < size; at++)
			noise[at] = round % 3 ? (unsigned char)rand() : (unsigned char)"0123456789abcdef \n\r\1"[rand() % 20];
		if (round % 4 == 1) /* small sizes lead further */
			for (size_t at = 4; at + 8 < size; at += 16)
				memcpy(noise + at, (uint32_t[]){ (uint32_t)rand() % 200 }, 4);
		put(&fixture, noise, size);
		perf_map_update(fixture.map);
		for (uint64_t address = 0; address < 0x2000; address += 64)
			assert_true(strlen(name_at(&fixture, address)) < SYMBOLIZER_NAME_BYTES);
		close_fixture(&fixture);
	}
}

/* As a child uses it: found, unknown, frozen. */
static void test_lookup(void **state)
{
	struct lookup_line lines[LOOKUP_MAX_CALLS];
	enum symbol_source source;
	struct fixture fixture = open_fixture();
	static struct lookup *volatile lookup; /* lives as long as its process */
	double end = now_s() + 20;

	(void)state;
	lookup = lookup_new(dup(fixture.read_fd), SYMBOLIZER_PERF_MAP);
	put_text(&fixture, "1000 10 _ZN4deep4workEi\n");
	assert_int_equal(lookup_find(lookup, 0x1004, lines, &source), 1);
	assert_int_equal(source, SYMBOL_PERF_MAP);
	assert_string_equal(lines[0].name, "deep::work");
	assert_string_equal(lines[0].system_name, "_ZN4deep4workEi");
	assert_int_equal(lookup_find(lookup, 0x2000, lines, &source), 0);
	assert_int_equal(source, SYMBOL_ANONYMOUS);
	put_text(&fixture, "2000 10 second\n");
	while (!lookup_find(lookup, 0x2000, lines, &source) && now_s() < end)
		usleep(20000);
	assert_string_equal(lines[0].name, "second");
	lookup_freeze(lookup);
	put_text(&fixture, "3000 10 third\n");
	for (end = now_s() + 1.5; now_s() < end; usleep(50000))
		assert_int_equal(lookup_find(lookup, 0x3000, lines, &source), 0);
	close_fixture(&fixture);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),	 cmocka_unit_test(test_bad_lines), cmocka_unit_test(test_growth),
		cmocka_unit_test(test_order),	 cmocka_unit_test(test_begun_anew), cmocka_unit_test(test_too_much),
		cmocka_unit_test(test_too_many), cmocka_unit_test(test_dump),	   cmocka_unit_test(test_dump_damage),
		cmocka_unit_test(test_noise),	 cmocka_unit_test(test_lookup),
	};

	return cmocka_run_group_tests(tests, toolchain_setup, toolchain_teardown);
}

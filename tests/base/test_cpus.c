/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of processors: what the kernel writes, what it never would, and its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/cpus.h"

static void lists_are_read(void **state)
{
	static const struct {
		const char *text, *bits; /* the first eight */
		size_t count, end;
	} table[] = {
		{ "0\n", "10000000", 1, 1 },	     { "0-3\n", "11110000", 4, 4 },
		{ "0-1,3,5-6\n", "11010110", 5, 7 }, { "7", "00000001", 1, 8 },
		{ "5,0-2\n", "11100100", 4, 6 },     { "0-2,1,2-3", "11110000", 4, 4 },
		{ "0,4095", "10000000", 2, 4096 },
	};

	(void)state;
	for (size_t i = 0; i < array_size(table); i++) {
		struct cpus cpus;

		assert_int_equal(cpus_parse(table[i].text, &cpus), 0);
		assert_int_equal(cpus.count, table[i].count);
		assert_int_equal(cpus.end, table[i].end);
		for (int cpu = 0; cpu < 8; cpu++)
			assert_int_equal(cpus.online[cpu], table[i].bits[cpu] == '1');
	}
}

static void other_texts_are_refused(void **state)
{
	static const char *const texts[] = { "",     "\n",  "1-",  "0,",  "0 1",     "-1", " 0",
					     "+1",   "a",   "1;2", "3-1", "0,4096", "0-99999999999999999999" };
	struct cpus cpus = { .count = 77 };

	(void)state;
	for (size_t i = 0; i < array_size(texts); i++)
		assert_int_equal(cpus_parse(texts[i], &cpus), -EINVAL);
	assert_int_equal(cpus.count, 77);
}

static void this_machine_has_as_many_as_it_says(void **state)
{
	struct cpus cpus;

	(void)state;
	assert_int_equal(cpus_read_online(&cpus), 0);
	assert_int_equal(cpus.count, sysconf(_SC_NPROCESSORS_ONLN));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lists_are_read),
		cmocka_unit_test(other_texts_are_refused),
		cmocka_unit_test(this_machine_has_as_many_as_it_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

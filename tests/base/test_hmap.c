/* SPDX-License-Identifier: Apache-2.0 */
/* The hash map: against a plain array through growth and removal, its limit, and that nobody can foresee its hashes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/hmap.h"

#include <stdio.h>
#include <string.h>

#define KEYS 5000
#define RUNS 4

struct entry {
	uint64_t key, value;
};

static void what_goes_in_is_found_until_removed(void **state)
{
	static bool inside[KEYS];
	uint64_t random = 88172645463325252ULL;
	struct entry *entry;
	struct hmap map;
	size_t count = 0;
	bool new;

	(void)state;
	hmap_init(&map, sizeof(uint64_t), sizeof(struct entry), 0);
	for (int step = 0; step < 200000; step++) {
		uint64_t key = (random = random * 6364136223846793005ULL + 1442695040888963407ULL) >> 33;

		key = key % KEYS << 12; /* addresses are aligned */
		if (random >> 62) {
			entry = hmap_insert(&map, &key, &new);
			assert_non_null(entry);
			assert_int_equal(new, !inside[key >> 12]);
			assert_int_equal(entry->value, new ? 0 : key + 1);
			entry->value = key + 1;
		} else {
			new = false;
			assert_int_equal(hmap_remove(&map, &key), inside[key >> 12]);
		}
		count += (random >> 62 ? 1 : 0) - (size_t)inside[key >> 12];
		inside[key >> 12] = random >> 62;
		assert_int_equal(map.count, count);
	}
	for (uint64_t at = 0; at < KEYS; at++) {
		uint64_t key = at << 12;

		entry = hmap_find(&map, &key);
		assert_int_equal(entry != NULL, inside[at]);
		if (entry)
			assert_int_equal(entry->value, key + 1);
	}
	hmap_done(&map);
}

static void all_are_met_once_also_when_removed_meanwhile(void **state)
{
	static int met[KEYS];
	struct entry *entry;
	struct hmap map;

	(void)state;
	hmap_init(&map, sizeof(uint64_t), sizeof(struct entry), 0);
	for (uint64_t key = 0; key < KEYS; key++)
		assert_non_null(hmap_insert(&map, &key, NULL));
	for (size_t at = 0; (entry = hmap_next(&map, &at));) {
		met[entry->key]++;
		if (entry->key % 2)
			assert_true(hmap_remove(&map, &entry->key));
	}
	for (uint64_t key = 0; key < KEYS; key++) {
		assert_int_equal(met[key], 1);
		assert_int_equal(hmap_find(&map, &key) != NULL, key % 2 == 0);
	}
	hmap_clear(&map);
	assert_int_equal(map.count, 0);
	hmap_done(&map);
}

static void past_its_limit_it_takes_no_more(void **state)
{
	uint64_t key;
	struct hmap map;

	(void)state;
	hmap_init(&map, sizeof(uint64_t), sizeof(struct entry), 10);
	for (key = 0; key < 10; key++)
		assert_non_null(hmap_insert(&map, &key, NULL));
	assert_null(hmap_insert(&map, &key, NULL));
	key = 3;
	assert_non_null(hmap_insert(&map, &key, NULL)); /* one that is there is no more */
	assert_true(hmap_remove(&map, &key));
	key = 11;
	assert_non_null(hmap_insert(&map, &key, NULL));
	hmap_done(&map);
}

static void every_start_has_hashes_of_its_own(void **state)
{
	char first[32] = "", text[32];
	bool differ = false;

	(void)state;
	for (int run = 0; run < RUNS; run++) {
		FILE *self = popen("/proc/$PPID/exe hash", "r");

		assert_non_null(self);
		assert_non_null(fgets(text, sizeof(text), self));
		pclose(self);
		if (run)
			differ |= strcmp(first, text) != 0;
		else
			strcpy(first, text);
	}
	assert_true(differ);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_goes_in_is_found_until_removed),
		cmocka_unit_test(all_are_met_once_also_when_removed_meanwhile),
		cmocka_unit_test(past_its_limit_it_takes_no_more),
		cmocka_unit_test(every_start_has_hashes_of_its_own),
	};

	if (argc == 2 && !strcmp(argv[1], "hash"))
		return printf("%llx\n", (unsigned long long)hmap_hash("key", 3)) < 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The store: order, ranges, both limits, references that outlive eviction, listeners. */
#include "base/clock.h"
#include "store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static struct window *make(uint64_t second, uint64_t bytes)
{
	struct window *slice = calloc(1, sizeof(*slice));

	atomic_init(&slice->references, 1);
	slice->from_ns = second * NS_PER_S;
	slice->to_ns = (second + 1) * NS_PER_S;
	slice->bytes = bytes;
	return slice;
}

static struct store *filled(uint64_t seconds, uint64_t limit_bytes)
{
	const struct store_opts opts = { .retention_ns = 10 * NS_PER_S, .limit_bytes = limit_bytes };
	struct store *store = store_new(&opts);

	for (uint64_t i = 0; i < seconds; i++)
		store_add(store, make(i, 100));
	return store;
}

static void ranges_are_half_open(void **state)
{
	struct store *store = filled(8, 1 << 20);
	struct window **slices;

	(void)state;
	assert_int_equal(store_range(store, 2 * NS_PER_S, 5 * NS_PER_S, &slices), 3);
	assert_int_equal(slices[0]->from_ns, 2 * NS_PER_S);
	assert_int_equal(slices[2]->to_ns, 5 * NS_PER_S);
	store_release(slices, 3);
	assert_int_equal(store_range(store, 2 * NS_PER_S + 1, 5 * NS_PER_S + 1, &slices), 4);
	store_release(slices, 4);
	assert_int_equal(store_range(store, 8 * NS_PER_S, 20 * NS_PER_S, &slices), 0);
	store_release(slices, 0);
	store_free(store);
}

static void old_slices_leave_uncounted(void **state)
{
	struct store *store = filled(30, 1 << 20);
	uint64_t from, to, slices, bytes, dropped;

	(void)state;
	assert_true(store_span(store, &from, &to));
	assert_int_equal(to, 30 * NS_PER_S);
	assert_int_equal(from, 20 * NS_PER_S);
	store_get_stats(store, &slices, &bytes, &dropped);
	assert_int_equal(slices, 10);
	assert_int_equal(bytes, 1000);
	assert_int_equal(dropped, 0);
	store_free(store);
}

static void bytes_run_out_counted(void **state)
{
	struct store *store = filled(8, 500);
	uint64_t slices, bytes, dropped;

	(void)state;
	store_get_stats(store, &slices, &bytes, &dropped);
	assert_int_equal(slices, 5);
	assert_int_equal(bytes, 500);
	assert_int_equal(dropped, 3);
	store_free(store);
}

static void late_slice_finds_its_place(void **state)
{
	struct store *store = filled(3, 1 << 20);
	struct window **slices;

	(void)state;
	store_add(store, make(5, 1));
	store_add(store, make(4, 1));
	assert_int_equal(store_range(store, 0, UINT64_MAX, &slices), 5);
	assert_int_equal(slices[3]->from_ns, 4 * NS_PER_S);
	assert_int_equal(slices[4]->from_ns, 5 * NS_PER_S);
	store_release(slices, 5);
	store_free(store);
}

static void reference_outlives_the_store(void **state)
{
	struct store *store = filled(2, 1 << 20);
	struct window **slices;

	(void)state;
	assert_int_equal(store_range(store, 0, NS_PER_S, &slices), 1);
	assert_int_equal(atomic_load(&slices[0]->references), 2);
	for (uint64_t i = 2; i < 40; i++)
		store_add(store, make(i, 1));
	assert_int_equal(atomic_load(&slices[0]->references), 1);
	store_free(store);
	assert_int_equal(slices[0]->to_ns, NS_PER_S);
	store_release(slices, 1);
}

static void count_to(void *context, uint64_t to_ns)
{
	*(uint64_t *)context += to_ns;
}

static void listeners_hear_each_slice(void **state)
{
	uint64_t first = 0, second = 0;
	struct store *store = filled(0, 1 << 20);

	(void)state;
	store_on_add(store, count_to, &first);
	store_on_add(store, count_to, &second);
	store_add(store, make(0, 1));
	store_on_add(store, NULL, &first);
	store_add(store, make(1, 1));
	assert_int_equal(first, NS_PER_S);
	assert_int_equal(second, 3 * NS_PER_S);
	store_free(store);
}

static void empty_store_has_no_span(void **state)
{
	struct store *store = filled(0, 1);
	uint64_t from = 7, to = 7;

	(void)state;
	assert_false(store_span(store, &from, &to));
	assert_int_equal(from, 7);
	store_free(store);
	store_free(NULL);
	window_unref(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ranges_are_half_open),
		cmocka_unit_test(old_slices_leave_uncounted),
		cmocka_unit_test(bytes_run_out_counted),
		cmocka_unit_test(late_slice_finds_its_place),
		cmocka_unit_test(reference_outlives_the_store),
		cmocka_unit_test(listeners_hear_each_slice),
		cmocka_unit_test(empty_store_has_no_span),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* How long the pipeline sleeps when nothing wakes it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "pipeline_private.h"
#include "process_private.h"

static void sleeps_end_in_time(void **state)
{
	static const struct { uint64_t slice_ms, until_ms; int ms; } table[] = {
		{ 900, 0, 250 }, { 250, 0, 250 }, { 249, 0, 249 }, { 900, 100, 100 }, { 100, 900, 100 }, { 0, 0, 0 }, { 900, 1, 1 },
	};
	struct process_callbacks callbacks = { 0 };
	struct pipeline pipeline = { .processes = process_table_new(&callbacks) };
	uint64_t now = 5 * NS_PER_S;

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		uint64_t until = table[i].until_ms ? now + table[i].until_ms * NS_PER_MS : 0;

		pipeline.next_slice_ns = now + table[i].slice_ms * NS_PER_MS;
		assert_int_equal(pipeline_sleep_ms(&pipeline, now, until), table[i].ms);
	}
	/* Late already, and not a nanosecond early: what is woken too soon would turn in circles. */
	pipeline.next_slice_ns = now - 1;
	assert_int_equal(pipeline_sleep_ms(&pipeline, now, 0), 0);
	pipeline.next_slice_ns = now + 1;
	assert_int_equal(pipeline_sleep_ms(&pipeline, now, 0), 1);
	process_table_free(pipeline.processes);
}

static void processes_to_be_read_shorten_it(void **state)
{
	struct process_callbacks callbacks = { 0 };
	struct pipeline pipeline = { .processes = process_table_new(&callbacks), .next_slice_ns = NS_PER_S };

	(void)state;
	process_queue_pid(pipeline.processes, &pipeline.processes->unread, 7);
	assert_int_equal(pipeline_sleep_ms(&pipeline, 0, 0), 25);
	process_table_free(pipeline.processes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sleeps_end_in_time),
		cmocka_unit_test(processes_to_be_read_shorten_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

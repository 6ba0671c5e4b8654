/* SPDX-License-Identifier: Apache-2.0 */
/* Copies of stacks: hostile records, what is kept of them, and the join with drained samples. */
#include "snapshot_fixture.h"

static struct drain_sample finish(struct bench *bench)
{
	struct drain_sample sample = { .key = &bench->key, .value = &bench->value, .user = &bench->leaf,
				       .user_depth = 1, .user_reason = bench->key.user_reason };

	snapshot_finish(bench->store, &sample);
	return sample;
}

static size_t copy_size(const struct bench *bench)
{
	return sizeof(bench->copy.head) + bench->copy.head.bytes;
}

static void a_sample_gets_the_frames_of_its_copy(void **state)
{
	struct bench *bench = *state;
	struct snapshot_stats stats;
	struct drain_sample sample;

	make_stack(bench);
	assert_int_equal(snapshot_receive(bench->store, &bench->copy, copy_size(bench)), 0);
	sample = finish(bench);
	assert_int_equal(sample.user_depth, 3);
	assert_int_equal(sample.user_reason, REASON_NONE);
	assert_int_equal(sample.user[2], TEXT + ROOT + 0x10);
	snapshot_get_stats(bench->store, &stats);
	assert_int_equal(stats.finished, 1);
	assert_int_equal(stats.outcomes[REASON_NONE], 1);
}

static void without_a_copy_the_leaf_and_its_reason_remain(void **state)
{
	struct bench *bench = *state;
	struct snapshot_stats stats;
	struct drain_sample sample;

	make_stack(bench);
	snapshot_receive(bench->store, &bench->copy, copy_size(bench));
	bench->key.user_stack++; /* the ring was full for this one */
	sample = finish(bench);
	assert_ptr_equal(sample.user, &bench->leaf);
	assert_int_equal(sample.user_reason, REASON_PROCESS_UNKNOWN);
	bench->key.user_stack--;
	bench->key.tgid = CHILD; /* an id that is another's */
	assert_ptr_equal(finish(bench).user, &bench->leaf);
	snapshot_get_stats(bench->store, &stats);
	assert_int_equal(stats.missing, 2);
	assert_int_equal(stats.outcomes[REASON_PROCESS_UNKNOWN], 2);
	bench->key.flags = 0; /* a hash, not an id */
	bench->key.tgid = PARENT;
	assert_ptr_equal(finish(bench).user, &bench->leaf);
	snapshot_get_stats(bench->store, &stats);
	assert_int_equal(stats.missing + stats.finished, 2);
}

/* Code that nobody can name yet: what the kernel side walked was at least as much. */
static void a_walk_that_gains_nothing_leaves_the_fallback(void **state)
{
	struct bench *bench = *state;
	struct drain_sample sample = { .key = &bench->key, .value = &bench->value, .user = &bench->leaf,
				       .user_depth = 2, .user_reason = REASON_NO_TABLE };
	struct snapshot_stats stats;

	make_stack(bench);
	bench->process->mappings[0].image->has_table = false;
	bench->copy.head.reg[UNWIND_RBP] = 1;
	snapshot_receive(bench->store, &bench->copy, copy_size(bench));
	snapshot_finish(bench->store, &sample);
	assert_ptr_equal(sample.user, &bench->leaf);
	assert_int_equal(sample.user_depth, 2);
	snapshot_get_stats(bench->store, &stats);
	assert_int_equal(stats.useless, 1);
	assert_int_equal(stats.outcomes[REASON_NO_TABLE], 1);
}

static void a_process_never_met_leaves_the_leaf(void **state)
{
	struct bench *bench = *state;

	make_stack(bench);
	bench->copy.head.tgid = bench->key.tgid = CHILD;
	snapshot_receive(bench->store, &bench->copy, copy_size(bench));
	assert_ptr_equal(finish(bench).user, &bench->leaf);
}

static void a_slice_takes_its_copies_along(void **state)
{
	struct bench *bench = *state;

	make_stack(bench);
	snapshot_receive(bench->store, &bench->copy, copy_size(bench));
	bench->copy.head.id++;
	bench->copy.head.time_ns = 7000; /* of the next slice already */
	snapshot_receive(bench->store, &bench->copy, copy_size(bench));
	snapshot_drop(bench->store, 6000);
	assert_ptr_equal(finish(bench).user, &bench->leaf);
	bench->key.user_stack++;
	assert_int_equal(finish(bench).user_depth, 3);
	snapshot_drop(bench->store, 7000);
	assert_ptr_equal(finish(bench).user, &bench->leaf);
}

static void hostile_records_are_refused(void **state)
{
	struct bench *bench = *state;
	struct snapshot_stats stats;
	size_t size = copy_size(bench);

	make_stack(bench);
	snapshot_receive(bench->store, &bench->copy, sizeof(struct snapshot) - 1);
	snapshot_receive(bench->store, &bench->copy, size - 1);
	bench->copy.head.bytes = UINT32_MAX;
	snapshot_receive(bench->store, &bench->copy, size);
	bench->copy.head.bytes = UINT32_MAX - sizeof(struct snapshot) + 1;
	snapshot_receive(bench->store, &bench->copy, size);
	bench->copy.head.id = SNAPSHOT_ID | 2;
	bench->copy.head.bytes = SNAPSHOT_BYTES + 1;
	snapshot_receive(bench->store, &bench->copy, sizeof(struct snapshot) + SNAPSHOT_BYTES + 8);
	bench->copy.head.bytes = 8 * WORDS;
	bench->copy.head.id = 1;
	snapshot_receive(bench->store, &bench->copy, size);
	bench->copy.head.id = SNAPSHOT_ID | 1;
	snapshot_receive(bench->store, &bench->copy, size);
	snapshot_receive(bench->store, &bench->copy, size); /* the same id again */
	snapshot_get_stats(bench->store, &stats);
	assert_int_equal(stats.received, 8);
	assert_int_equal(stats.refused, 7);
	assert_int_equal(finish(bench).user_depth, 3);
}

static void the_store_has_a_limit(void **state)
{
	struct bench *bench = *state;
	struct snapshot_stats stats;
	uint32_t fit = SNAPSHOT_LIMIT_BYTES / (sizeof(struct snapshot) + SNAPSHOT_BYTES);

	make_stack(bench);
	bench->copy.head.bytes = SNAPSHOT_BYTES;
	for (uint32_t i = 0; i < fit + 3; i++) {
		snapshot_receive(bench->store, &bench->copy, copy_size(bench));
		bench->copy.head.id++;
	}
	snapshot_get_stats(bench->store, &stats);
	assert_int_equal(stats.refused, 3);
	assert_int_equal(finish(bench).user_depth, 3);
	snapshot_drop(bench->store, 6000);
	snapshot_receive(bench->store, &bench->copy, copy_size(bench));
	snapshot_get_stats(bench->store, &stats);
	assert_int_equal(stats.refused, 3);
}

static void images_being_read_are_waited_for(void **state)
{
	struct bench *bench = *state;

	bench->process->mappings[0].image->state = PROCESS_IMAGE_ASKED;
	assert_false(snapshot_awaits_images(bench->store, 6000)); /* nobody asks */
	snapshot_receive(bench->store, &bench->copy, copy_size(bench));
	assert_true(snapshot_awaits_images(bench->store, 6000));
	assert_false(snapshot_awaits_images(bench->store, 4000)); /* the next slice's */
	bench->process->mappings[0].image->state = PROCESS_IMAGE_FAILED;
	assert_false(snapshot_awaits_images(bench->store, 6000));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BENCH(a_sample_gets_the_frames_of_its_copy),
		BENCH(without_a_copy_the_leaf_and_its_reason_remain),
		BENCH(a_walk_that_gains_nothing_leaves_the_fallback),
		BENCH(a_process_never_met_leaves_the_leaf),
		BENCH(a_slice_takes_its_copies_along),
		BENCH(hostile_records_are_refused),
		BENCH(the_store_has_a_limit),
		BENCH(images_being_read_are_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

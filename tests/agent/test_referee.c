/* SPDX-License-Identifier: Apache-2.0 */
/* The referee: verdicts, lists, kept files, and the whole way of a copy of this process's own stack. */
#include "process_fixture.h"
#include "referee.h"
#include "referee_budget.h"
#include "referee_keep.h"
#include "replay.h"
#include "resolve_spawn.h"
#include "stack_case.h"
#include "tests/symbolizer/referee_fixture.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#define HASH 42
#define WAIT_MS 20000

struct bench {
	struct fixture *processes;
	struct names *names;
	struct resolve *resolve;
	struct referee *referee;
	int wake_fd, keep_fd;
	char directory[32];
	struct own_copy copy;
	uint64_t frames[64];
	uint64_t time_ns;
};

static struct referee_verdict compare(const uint64_t *walked, uint32_t walked_depth, enum reason walked_reason,
				      const uint64_t *judged, uint32_t judged_depth, enum reason judged_reason)
{
	return referee_compare(&(struct referee_opinion){ walked, walked_depth, 0, walked_reason },
			       &(struct referee_opinion){ judged, judged_depth, judged_depth + 1, judged_reason });
}

static void verdicts(void **state)
{
	const uint64_t stack[] = { 1 | SAMPLE_FRAME_EXACT, 2, 3, 4 }, wrong[] = { 1, 2, 9, 4 };
	struct referee_verdict verdict = compare(stack, 4, REASON_NONE, stack, 4, REASON_NONE);

	(void)state;
	assert_int_equal(verdict.outcome, REFEREE_AGREE);
	assert_int_equal(verdict.compared, 4);
	assert_true(verdict.root);
	verdict = compare(stack, 4, REASON_NONE, wrong, 4, REASON_NONE);
	assert_int_equal(verdict.outcome, REFEREE_DISAGREE);
	assert_int_equal(verdict.compared, 2);
	assert_false(verdict.root);
	/* who is cut short says nothing of what is beyond */
	verdict = compare(stack, 4, REASON_NONE, stack, 2, REASON_COPY_END);
	assert_int_equal(verdict.outcome, REFEREE_AGREE);
	assert_false(verdict.root);
	assert_int_equal(compare(stack, 2, REASON_NO_RULE, stack, 4, REASON_NONE).outcome, REFEREE_AGREE);
	/* but who says that there is nothing does */
	assert_int_equal(compare(stack, 4, REASON_NONE, stack, 2, REASON_NONE).outcome, REFEREE_DISAGREE);
	assert_int_equal(compare(stack, 2, REASON_NONE, stack, 4, REASON_COPY_END).outcome, REFEREE_DISAGREE);
	/* a pc that lies nowhere is no frame of libunwind's; of the walker's it is a wrong one */
	assert_int_equal(compare(stack, 4, REASON_NONE, wrong, 3, REASON_NO_MAPPING).outcome, REFEREE_AGREE);
	assert_int_equal(compare(wrong, 3, REASON_NO_MAPPING, stack, 4, REASON_NONE).outcome, REFEREE_DISAGREE);
	/* nor is the one frame behind the walker's root whose rule led there */
	verdict = compare(stack, 2, REASON_NONE, stack, 4, REASON_NO_MAPPING);
	assert_int_equal(verdict.outcome, REFEREE_AGREE);
	assert_false(verdict.root);
	assert_int_equal(compare(stack, 1, REASON_NONE, stack, 4, REASON_NO_MAPPING).outcome, REFEREE_DISAGREE);
	assert_int_equal(compare(stack, 4, REASON_NONE, stack, 1, REASON_NO_RULE).outcome, REFEREE_SHORT);
	assert_int_equal(compare(stack, 1, REASON_NONE, stack, 1, REASON_NONE).outcome, REFEREE_AGREE);
	assert_int_equal(compare(stack, 0, REASON_NO_REGISTERS, stack, 4, REASON_NONE).outcome, REFEREE_SHORT);
}

/* What libunwind guessed confirms, but accuses nobody. */
static void guesses(void **state)
{
	const uint64_t stack[] = { 1, 2, 3, 4 }, other[] = { 1, 2, 9, 4, 5 };
	const struct referee_opinion walked = { stack, 4, 0, REASON_NONE };
	struct referee_verdict verdict = referee_compare(&walked, &(struct referee_opinion){ stack, 4, 2, REASON_NONE });

	(void)state;
	assert_int_equal(verdict.outcome, REFEREE_AGREE);
	assert_true(verdict.root);
	verdict = referee_compare(&walked, &(struct referee_opinion){ other, 5, 2, REASON_NONE });
	assert_int_equal(verdict.outcome, REFEREE_AGREE);
	assert_int_equal(verdict.compared, 2);
	assert_false(verdict.root);
	verdict = referee_compare(&walked, &(struct referee_opinion){ other, 5, 3, REASON_NONE });
	assert_int_equal(verdict.outcome, REFEREE_DISAGREE);
	/* a root that no rule tells of */
	verdict = referee_compare(&walked, &(struct referee_opinion){ stack, 3, 3, REASON_NONE });
	assert_int_equal(verdict.outcome, REFEREE_AGREE);
	assert_false(verdict.root);
	verdict = referee_compare(&walked, &(struct referee_opinion){ stack, 3, 4, REASON_NONE });
	assert_int_equal(verdict.outcome, REFEREE_DISAGREE);
	verdict = referee_compare(&walked, &(struct referee_opinion){ other + 1, 4, 0, REASON_NONE });
	assert_int_equal(verdict.outcome, REFEREE_SHORT);
}

/* 2,000 frames, of which the walker kept both ends. */
static void verdicts_beyond_a_gap(void **state)
{
	enum { DEEP = 2000 };
	static uint64_t deep[DEEP], walked[SAMPLE_MAX_DEPTH + 1];
	struct referee_verdict verdict;

	(void)state;
	for (uint32_t i = 0; i < DEEP; i++)
		deep[i] = 0x1000 + i;
	memcpy(walked, deep, SAMPLE_INNER_FRAMES * sizeof(deep[0]));
	walked[SAMPLE_INNER_FRAMES] = SAMPLE_FRAME_GAP;
	memcpy(walked + SAMPLE_INNER_FRAMES + 1, deep + DEEP - SAMPLE_OUTER_FRAMES, SAMPLE_OUTER_FRAMES * sizeof(deep[0]));
	verdict = compare(walked, SAMPLE_MAX_DEPTH + 1, REASON_NONE, deep, DEEP, REASON_NONE);
	assert_int_equal(verdict.outcome, REFEREE_AGREE);
	assert_int_equal(verdict.compared, SAMPLE_MAX_DEPTH + 1);
	assert_true(verdict.root);
	/* from which root on, if one of them has none? */
	verdict = compare(walked, SAMPLE_MAX_DEPTH + 1, REASON_NONE, deep, DEEP - 1, REASON_COPY_END);
	assert_int_equal(verdict.outcome, REFEREE_AGREE);
	assert_false(verdict.root);
	assert_int_equal(verdict.compared, SAMPLE_INNER_FRAMES);
	verdict = compare(walked, SAMPLE_MAX_DEPTH + 1, REASON_NO_RULE, deep, DEEP, REASON_NONE);
	assert_int_equal(verdict.outcome, REFEREE_AGREE);
	assert_false(verdict.root);
	/* one frame more, and one that is wrong, behind the gap and before it */
	assert_int_equal(compare(walked, SAMPLE_MAX_DEPTH + 1, REASON_NONE, deep, DEEP - 1, REASON_NONE).outcome,
			 REFEREE_DISAGREE);
	assert_int_equal(compare(walked, SAMPLE_MAX_DEPTH + 1, REASON_NONE, deep, SAMPLE_MAX_DEPTH - 1, REASON_NONE).outcome,
			 REFEREE_DISAGREE);
	walked[SAMPLE_INNER_FRAMES + 11] = 1;
	verdict = compare(walked, SAMPLE_MAX_DEPTH + 1, REASON_NONE, deep, DEEP, REASON_NONE);
	assert_int_equal(verdict.outcome, REFEREE_DISAGREE);
	assert_int_equal(verdict.compared, SAMPLE_INNER_FRAMES + 11);
	walked[SAMPLE_INNER_FRAMES - 1] = 1;
	verdict = compare(walked, SAMPLE_MAX_DEPTH + 1, REASON_NONE, deep, DEEP, REASON_NONE);
	assert_int_equal(verdict.outcome, REFEREE_DISAGREE);
	assert_int_equal(verdict.compared, SAMPLE_INNER_FRAMES - 1);
}

static void costs_are_bounded(void **state)
{
	const uint64_t begin_ns = 5 * NS_PER_S, ms = NS_PER_S / 1000;
	struct referee_budget budget;

	(void)state;
	budget_init(&budget, 30 * ms, begin_ns);
	assert_true(budget_allows(&budget, begin_ns));
	budget_spend(&budget, 29 * ms);
	assert_true(budget_allows(&budget, begin_ns));
	budget_spend(&budget, 31 * ms); /* as much as a second gives is owed now */
	assert_false(budget_allows(&budget, begin_ns));
	assert_false(budget_allows(&budget, begin_ns + NS_PER_S - ms));
	assert_true(budget_allows(&budget, begin_ns + NS_PER_S + 50 * ms));
	assert_true(budget_allows(&budget, begin_ns + 3600 * NS_PER_S)); /* no more than a second's is saved up */
	budget_spend(&budget, 31 * ms);
	assert_false(budget_allows(&budget, begin_ns + 3600 * NS_PER_S));
	assert_false(budget_allows(&budget, begin_ns)); /* a clock that is behind gives nothing */
}

static void lists_are_bounded(void **state)
{
	struct referee_tally *tally = tally_new();
	struct tally_place frequent = { "/frequent", 0x10, REASON_NO_RULE, 1000, 0 }, places[3];
	const struct referee_verdict yes = { REFEREE_AGREE, 4, true }, no = { REFEREE_DISAGREE, 2, false };
	struct tally_binary binaries[3];
	char name[32];

	(void)state;
	tally_place(tally, TALLY_UNFINISHED, &frequent);
	for (uint64_t i = 0; i < 10 * TALLY_PLACES; i++)
		tally_place(tally, TALLY_UNFINISHED, &(struct tally_place){ "/rare", i, REASON_NO_RULE, 1, 0 });
	tally_place(tally, TALLY_UNFINISHED, &frequent);
	assert_int_equal(tally_places(tally, TALLY_UNFINISHED, places, 3), 3);
	assert_string_equal(places[0].path, "/frequent");
	assert_int_equal(places[0].count, 2000);
	assert_int_equal(places[0].over, 0);
	assert_true(places[1].over); /* it took over what others had */
	assert_int_equal(tally_places(tally, TALLY_PARTED, places, 3), 0);
	for (size_t i = 0; i < TALLY_BINARIES + 8; i++) {
		snprintf(name, sizeof(name), "/bin/%zu", i); /* which nobody keeps */
		tally_binary(tally, TALLY_BINARY, name, i == 3 ? &no : &yes);
	}
	assert_int_equal(tally_binaries(tally, TALLY_BINARY, binaries, 3), 3);
	assert_string_equal(binaries[0].path, "/bin/3"); /* who is not agreed on comes first */
	assert_int_equal(binaries[0].disagree, 1);
	assert_int_equal(binaries[0].root, 0);
	assert_int_equal(binaries[1].root, 1);
	tally_free(tally);
}

/* ---- the whole way --------------------------------------------------------------------------------------- */

/* What side-band events would have told of this process. */
static void map_myself(struct bench *bench)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	uint32_t pid = (uint32_t)getpid();
	char line[512];

	assert_non_null(maps);
	task(bench->processes, SIDEBAND_FORK, bench->time_ns, pid, pid, 1, NULL);
	while (fgets(line, sizeof(line), maps)) {
		unsigned long start, end, offset, inode;
		char mode[8], path[256] = "";

		if (sscanf(line, "%lx-%lx %7s %lx %*s %lu %255s", &start, &end, mode, &offset, &inode, path) == 6 &&
		    mode[2] == 'x' && path[0] == '/')
			map(bench->processes, bench->time_ns + 1, pid, start, end, offset, inode, path);
	}
	fclose(maps);
}

static void nothing_done(void *context, uint32_t image, const struct symbolizer_image *description, int table_fd,
			 const struct symbolizer_table *table)
{
	(void)context;
	(void)image;
	(void)description;
	(void)table_fd;
	(void)table;
}

static int bench_setup(void **state)
{
	struct bench *bench = calloc(1, sizeof(*bench));
	struct resolve_callbacks callbacks = { .image_done = nothing_done };
	struct referee_opts opts;
	char error[256];
	int socket;

	strcpy(bench->directory, "/tmp/wick-test-XXXXXX");
	bench->time_ns = clock_monotonic_ns();
	if (setup((void **)&bench->processes) || !mkdtemp(bench->directory))
		return -1;
	map_myself(bench);
	bench->names = names_new();
	spawn_without_exec(true);
	socket = resolve_spawn_parent(256 << 20, NULL);
	bench->wake_fd = eventfd(0, EFD_CLOEXEC);
	bench->keep_fd = keep_open(bench->directory, error, sizeof(error));
	if (socket < 0 || bench->keep_fd < 0 || resolve_new(socket, bench->names, &callbacks, &bench->resolve))
		return -1;
	opts = (struct referee_opts){ bench->resolve, bench->wake_fd, REFEREE_INTERVAL, bench->keep_fd };
	*state = bench;
	return referee_new(&opts, &bench->referee);
}

static int bench_teardown(void **state)
{
	struct bench *bench = *state;
	char command[64];

	referee_free(bench->referee);
	resolve_free(bench->resolve);
	names_free(bench->names);
	teardown((void **)&bench->processes);
	close(bench->wake_fd);
	close(bench->keep_fd);
	snprintf(command, sizeof(command), "rm -rf %s", bench->directory);
	free(bench);
	return system(command);
}

static __attribute__((noinline)) int dive(struct bench *bench, int depth)
{
	volatile char room[64];

	memset((void *)room, depth, sizeof(room));
	if (depth)
		return dive(bench, depth - 1) + room[3];
	own_copy_take(&bench->copy);
	return room[5];
}

static bool wait_answer(struct bench *bench)
{
	struct pollfd wait = { .fd = bench->wake_fd, .events = POLLIN };
	uint64_t count;

	return poll(&wait, 1, WAIT_MS) == 1 && read(bench->wake_fd, &count, sizeof(count)) == sizeof(count);
}

static void send_copy(struct bench *bench, uint32_t flags)
{
	struct snapshot *copy = &bench->copy.head;

	dive(bench, 5);
	copy->id = SNAPSHOT_ID | 7;
	copy->flags = flags;
	copy->hash = HASH;
	copy->tgid = (uint32_t)getpid();
	copy->time_ns = bench->time_ns + 2;
	bench->frames[0] = copy->pc | SAMPLE_FRAME_EXACT;
	for (int i = 1; i < bench->copy.truth_count; i++)
		bench->frames[i] = (uintptr_t)bench->copy.truth[i];
	referee_receive(bench->referee, copy, process_find(bench->processes->table, copy->tgid, copy->time_ns));
}

/* The sample that goes with the copy comes out of the kernel's maps, and the slice ends. */
static void drain(struct bench *bench, enum reason reason)
{
	struct sample_key key = { .user_stack = HASH, .tgid = (uint32_t)getpid(), .user_reason = (uint8_t)reason };
	struct sample_value value = { .count = 3, .last_ns = bench->time_ns + 2 };
	struct drain_sample sample = { .key = &key, .value = &value, .user = bench->frames,
				       .user_depth = (uint32_t)bench->copy.truth_count, .user_reason = reason };

	referee_observe(bench->referee, &sample, bench->processes->table);
	referee_settle(bench->referee, bench->processes->table, bench->time_ns + 3);
}

static struct tally_totals totals(struct bench *bench)
{
	struct tally_totals totals;

	tally_get(referee_tally(bench->referee), &totals);
	return totals;
}

static void right_stack(void **state)
{
	struct bench *bench = *state;
	struct tally_binary binaries[8];
	struct tally_place places[8];

	send_copy(bench, SNAPSHOT_REFEREE);
	assert_false(referee_awaits(bench->referee, UINT64_MAX)); /* nobody waits for a verdict */
	assert_true(wait_answer(bench));
	drain(bench, REASON_NONE);
	assert_int_equal(totals(bench).outcomes[REFEREE_AGREE], 1);
	assert_int_equal(totals(bench).outcomes[REFEREE_DISAGREE], 0);
	assert_int_equal(totals(bench).root, 1);
	assert_int_equal(tally_binaries(referee_tally(bench->referee), TALLY_PROGRAM, binaries, 8), 1);
	assert_non_null(strstr(binaries[0].path, "test_referee"));
	assert_int_equal(tally_binaries(referee_tally(bench->referee), TALLY_BINARY, binaries, 8), 3); /* cmocka, libc */
	assert_int_equal(tally_places(referee_tally(bench->referee), TALLY_UNFINISHED, places, 8), 0);
	drain(bench, REASON_NO_RULE);
	assert_int_equal(totals(bench).outcomes[REFEREE_AGREE], 1); /* judged once */
	assert_int_equal(tally_places(referee_tally(bench->referee), TALLY_UNFINISHED, places, 8), 1);
	assert_int_equal(places[0].count, 3);
	assert_int_equal(places[0].reason, REASON_NO_RULE);
}

static void wrong_stack(void **state)
{
	struct bench *bench = *state;
	struct tally_place places[8];
	char path[64], error[256];
	struct stat status;

	send_copy(bench, SNAPSHOT_REFEREE);
	assert_true(wait_answer(bench));
	bench->frames[3] += 16; /* a row that leads a word astray */
	drain(bench, REASON_NONE);
	assert_int_equal(totals(bench).outcomes[REFEREE_AGREE], 0);
	assert_int_equal(totals(bench).outcomes[REFEREE_DISAGREE], 1);
	assert_int_equal(tally_places(referee_tally(bench->referee), TALLY_PARTED, places, 8), 1);
	assert_non_null(strstr(places[0].path, "test_referee"));
	assert_true(wait_answer(bench)); /* it is written */
	snprintf(path, sizeof(path), "%s/disagreement-00.stack", bench->directory);
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_mode & 07777, 0600);
	assert_int_equal(replay_file(path, error, sizeof(error)), 0); /* the rows were right, and are again */
	drain(bench, REASON_NONE);
	assert_int_equal(totals(bench).outcomes[REFEREE_DISAGREE], 1);
}

static void slow_stack(void **state)
{
	struct bench *bench = *state;
	const uint64_t *frames;
	enum reason reason;
	uint32_t depth;

	send_copy(bench, 0);
	assert_true(wait_answer(bench));
	assert_false(referee_awaits(bench->referee, UINT64_MAX));
	assert_int_equal(referee_finished(bench->referee, SNAPSHOT_ID | 8, &frames, &reason), 0);
	depth = referee_finished(bench->referee, SNAPSHOT_ID | 7, &frames, &reason);
	assert_int_equal(depth, bench->copy.truth_count);
	assert_int_equal(reason, REASON_NONE);
	assert_memory_equal(frames, bench->frames, depth * sizeof(frames[0]));
	drain(bench, REASON_UNSUPPORTED_RULE);
	assert_int_equal(referee_finished(bench->referee, SNAPSHOT_ID | 7, &frames, &reason), 0); /* its slice is over */
	assert_int_equal(totals(bench).outcomes[REFEREE_AGREE], 0);
}

/* More copies than places, and no sample for any: all are counted, none stays. */
static void copies_nobody_asks_for(void **state)
{
	struct bench *bench = *state;
	struct referee_stats stats;
	uint64_t answered = 0, count;

	for (int i = 0; i < REFEREE_JOBS + 5; i++)
		send_copy(bench, SNAPSHOT_REFEREE);
	referee_get_stats(bench->referee, &stats);
	assert_int_equal(stats.asked, REFEREE_JOBS + 5);
	assert_true(stats.refused >= 5);
	while (answered < REFEREE_JOBS) {
		assert_int_equal(read(bench->wake_fd, &count, sizeof(count)), sizeof(count));
		answered += count;
	}
	referee_settle(bench->referee, bench->processes->table, bench->time_ns + 1000000000);
	referee_get_stats(bench->referee, &stats);
	assert_int_equal(stats.unmatched, 0); /* the sample may still come */
	referee_settle(bench->referee, bench->processes->table, bench->time_ns + 10000000000);
	referee_get_stats(bench->referee, &stats);
	assert_int_equal(stats.unmatched, REFEREE_JOBS);
	assert_int_equal(stats.failed, 0);
}

/* ---- the directory of kept stacks ------------------------------------------------------------------------- */

static void kept_files(void **state)
{
	char directory[] = "/tmp/wick-test-XXXXXX", error[256] = "", path[64], command[64];
	int fd, text = memfd_create("text", MFD_CLOEXEC), count = 0;
	struct stat status;

	(void)state;
	assert_non_null(mkdtemp(directory));
	assert_int_equal(chmod(directory, 0770), 0);
	assert_int_equal(keep_open(directory, error, sizeof(error)), -EPERM);
	assert_non_null(strstr(error, directory));
	assert_int_equal(chmod(directory, 0700), 0);
	snprintf(path, sizeof(path), "%s/absent", directory);
	assert_int_equal(keep_open(path, error, sizeof(error)), -ENOENT);
	fd = keep_open(directory, error, sizeof(error));
	assert_true(fd >= 0);
	assert_int_equal(keep_write(fd, text), -EFBIG); /* nothing was written there */
	assert_int_equal(write(text, "text\n", 5), 5);
	for (int i = 0; i < KEEP_FILES + 3; i++)
		assert_int_equal(keep_write(fd, text), 0);
	for (int i = 0; i < 100; i++) {
		snprintf(path, sizeof(path), "%s/disagreement-%02d.stack", directory, i);
		if (stat(path, &status))
			continue;
		assert_int_equal(status.st_mode & 07777, 0600);
		assert_int_equal(status.st_size, 5);
		count++;
	}
	assert_int_equal(count, KEEP_FILES);
	assert_int_equal(ftruncate(text, STACK_CASE_MAX_BYTES + 1), 0);
	assert_int_equal(keep_write(fd, text), -EFBIG);
	close(fd);
	close(text);
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	assert_int_equal(system(command), 0);
}

static void replay_of_nonsense(void **state)
{
	char error[256] = "";

	(void)state;
	assert_int_equal(replay_file("/nonexistent", error, sizeof(error)), -ENOENT);
	assert_int_equal(replay_file("/proc/self/exe", error, sizeof(error)), -EINVAL);
	assert_non_null(strstr(error, "no stack case"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(verdicts),
		cmocka_unit_test(guesses),
		cmocka_unit_test(costs_are_bounded),
		cmocka_unit_test(verdicts_beyond_a_gap),
		cmocka_unit_test(lists_are_bounded),
		cmocka_unit_test_setup_teardown(right_stack, bench_setup, bench_teardown),
		cmocka_unit_test_setup_teardown(wrong_stack, bench_setup, bench_teardown),
		cmocka_unit_test_setup_teardown(slow_stack, bench_setup, bench_teardown),
		cmocka_unit_test_setup_teardown(copies_nobody_asks_for, bench_setup, bench_teardown),
		cmocka_unit_test(kept_files),
		cmocka_unit_test(replay_of_nonsense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

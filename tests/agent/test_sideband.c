/* SPDX-License-Identifier: Apache-2.0 */
/* sideband: records by hand, and a real stream of forks and execs where perf events are allowed. */
#include "base/clean.h"
#include "base/clock.h"
#include "sideband.h"
#include "sideband_private.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

struct record {
	char bytes[512];
	size_t size;
};

static void add(struct record *record, const void *bytes, size_t length)
{
	memcpy(record->bytes + record->size, bytes, length);
	record->size += length;
}
#define ADD(record, type, value) add(record, &(type){ value }, sizeof(type))

static struct record begin(uint32_t type, uint16_t misc)
{
	struct record record = { 0 };
	struct perf_event_header header = { .type = type, .misc = misc };

	add(&record, &header, sizeof(header));
	return record;
}

static bool finish(struct record *record, struct sideband_event *event)
{
	struct sideband_trailer trailer = { 1, 2, 123456789, 3, 0 };

	add(record, &trailer, sizeof(trailer));
	return sideband_parse(record->bytes, record->size, 3, event);
}

static struct record mmap_record(uint32_t protection, uint16_t misc)
{
	struct record record = begin(PERF_RECORD_MMAP2, misc);

	ADD(&record, uint32_t, 10);
	ADD(&record, uint32_t, 11);
	ADD(&record, uint64_t, 0x1000);
	ADD(&record, uint64_t, 0x2000);
	ADD(&record, uint64_t, 0x3000);
	ADD(&record, uint32_t, 8);
	ADD(&record, uint32_t, 1);
	ADD(&record, uint64_t, 77);
	ADD(&record, uint64_t, 5);
	ADD(&record, uint32_t, protection);
	ADD(&record, uint32_t, 2);
	add(&record, "/bin/x\0\0", 8);
	return record;
}

static void records_are_read(void **state)
{
	struct record record = mmap_record(PROT_READ | PROT_EXEC, 0);
	struct sideband_event event;

	(void)state;
	assert_true(finish(&record, &event));
	assert_int_equal(event.kind, SIDEBAND_MMAP);
	assert_int_equal(event.pid, 10);
	assert_int_equal(event.tid, 11);
	assert_int_equal(event.start, 0x1000);
	assert_int_equal(event.end, 0x3000);
	assert_int_equal(event.offset, 0x3000);
	assert_int_equal(event.file.major, 8);
	assert_int_equal(event.file.minor, 1);
	assert_int_equal(event.file.inode, 77);
	assert_int_equal(event.file.generation, 5);
	assert_int_equal(event.time_ns, 123456789);
	assert_string_equal(event.name, "/bin/x");
	record = mmap_record(PROT_READ, 0);
	assert_false(finish(&record, &event));
	record = mmap_record(PROT_EXEC, PERF_RECORD_MISC_MMAP_BUILD_ID);
	assert_false(finish(&record, &event));
	record = begin(PERF_RECORD_COMM, PERF_RECORD_MISC_COMM_EXEC);
	ADD(&record, uint32_t, 10);
	ADD(&record, uint32_t, 10);
	add(&record, "0123456789abcdef", 16); /* no NUL: the name ends with its field */
	assert_true(finish(&record, &event));
	assert_int_equal(event.kind, SIDEBAND_EXEC);
	assert_string_equal(event.name, "0123456789abcdef");
	record = begin(PERF_RECORD_LOST, 0);
	ADD(&record, uint64_t, 1);
	ADD(&record, uint64_t, 42);
	assert_true(finish(&record, &event));
	assert_int_equal(event.kind, SIDEBAND_LOST);
	assert_int_equal(event.lost, 42);
	assert_int_equal(event.cpu, 3);
}

/* As the kernel gives it to the second listener and the third: longer by a trailer for each one before. */
static void a_symbol_too_long_has_its_time(void **state)
{
	struct sideband_event event;

	(void)state;
	for (size_t extra = 0; extra <= 48; extra += 24) {
		struct record record = begin(PERF_RECORD_KSYMBOL, 0);

		ADD(&record, uint64_t, 0x1000);
		ADD(&record, uint32_t, 64);
		ADD(&record, uint32_t, 1);
		add(&record, "program\0", 8);
		ADD(&record, uint64_t, 0x1111);
		ADD(&record, uint64_t, 123456789);
		ADD(&record, uint64_t, 3);
		memset(record.bytes + record.size, 0x3f, extra);
		((struct perf_event_header *)(void *)record.bytes)->size = (uint16_t)(record.size + extra);
		assert_true(sideband_parse(record.bytes, record.size + extra, 3, &event));
		assert_int_equal(event.time_ns, 123456789);
		assert_string_equal(event.name, "program");
	}
}

static void short_records_are_refused(void **state)
{
	static const uint32_t types[] = { PERF_RECORD_MMAP2, PERF_RECORD_COMM, PERF_RECORD_FORK, PERF_RECORD_EXIT,
					  PERF_RECORD_KSYMBOL, PERF_RECORD_LOST };
	struct sideband_event event;

	(void)state;
	for (size_t i = 0; i < array_size(types); i++) {
		struct record record = begin(types[i], 0);
		size_t cut = 0;

		memset(record.bytes + record.size, 0xff, 100);
		for (; !sideband_parse(record.bytes, cut, 0, &event) && cut < 100; cut++)
			;
		/* Fixed part and trailer: COMM 16, KSYMBOL and LOST 24, tasks 32, MMAP2 72 bytes. A record of
		 * 0xff is no mapping whose end is after its start, so that kind is refused at any size. */
		assert_int_equal(cut, i == 0 || i == 4 ? 100 : (i == 1 ? 16 : i == 5 ? 24 : 32) + 24);
	}
	assert_int_equal(sideband_record_time("", 0), 0);
}

/* ---- the real stream ---- */
struct seen {
	uint32_t pid;
	uint64_t last_ns, inode, dev, lost;
	int forks, threads, execs, exits, binaries, libcs, vdsos, comms, ksymbols, unordered;
	uint32_t parent;
};

static void look(void *context, const struct sideband_event *event)
{
	struct seen *seen = context;

	seen->unordered += event->time_ns < seen->last_ns;
	seen->last_ns = event->time_ns;
	if (event->kind == SIDEBAND_LOST)
		seen->lost += event->lost ? event->lost : 1;
	if (event->kind == SIDEBAND_KSYMBOL)
		seen->ksymbols += strstr(event->name, "wick_test") && event->end > event->start;
	if (event->pid != seen->pid)
		return;
	seen->forks += event->kind == SIDEBAND_FORK && event->parent_pid == (uint32_t)getpid();
	seen->threads += event->kind == SIDEBAND_FORK && event->parent_pid == event->pid;
	seen->execs += event->kind == SIDEBAND_EXEC && !strcmp(event->name, "true");
	seen->exits += event->kind == SIDEBAND_EXIT && event->pid == event->tid;
	seen->comms += event->kind == SIDEBAND_COMM && !strcmp(event->name, "renamed");
	if (event->kind == SIDEBAND_MMAP) {
		assert_true(event->protection & PROT_EXEC);
		seen->binaries += strstr(event->name, "/true") && event->file.inode == seen->inode;
		seen->libcs += strstr(event->name, "/libc.so") && event->file.inode != 0;
		seen->vdsos += !strcmp(event->name, "[vdso]") && !event->file.inode;
	}
}

static struct sideband *open_or_skip(void)
{
	struct sideband *sideband = NULL;
	char error[200] = "";

	if (sideband_open(&sideband, error, sizeof(error))) {
		print_message("%s\n", error);
		assert_true(error[0]);
		skip();
	}
	return sideband;
}

static pid_t run_true(void)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		prctl(PR_SET_NAME, "renamed");
		execl("/bin/true", "true", NULL);
		_exit(1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	return pid;
}

static void a_short_process_is_told_whole(void **state)
{
	struct sideband *sideband = open_or_skip();
	struct stat status;
	struct seen seen = { 0 };
	struct cpus cpus;
	uint64_t before;

	(void)state;
	assert_int_equal(stat("/bin/true", &status), 0);
	before = clock_monotonic_ns();
	seen.pid = (uint32_t)run_true();
	seen.inode = status.st_ino;
	/* Nothing of it is older than its own birth. */
	sideband_read(sideband, before, look, &seen);
	assert_int_equal(seen.forks + seen.execs + seen.exits, 0);
	assert_true(sideband_read(sideband, clock_monotonic_ns(), look, &seen) > 0);
	assert_int_equal(seen.forks, 1);
	assert_int_equal(seen.comms, 1);
	assert_int_equal(seen.execs, 1);
	assert_int_equal(seen.exits, 1);
	assert_int_equal(seen.binaries, 1);
	assert_int_equal(seen.libcs, 1);
	assert_int_equal(seen.vdsos, 1);
	assert_true(seen.last_ns > before && seen.last_ns < clock_monotonic_ns());
	assert_int_equal(seen.unordered, 0);
	assert_int_equal(cpus_read_online(&cpus), 0);
	assert_int_equal(sideband_tick(sideband, &cpus), 0);
	sideband_close(sideband);
}

/* Hops between CPUs, so that its records lie in several rings. */
static void rings_are_merged_by_time(void **state)
{
	struct sideband *sideband = open_or_skip();
	struct seen seen = { 0 };
	cpu_set_t all, one;

	(void)state;
	assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
	if (CPU_COUNT(&all) < 2) {
		print_message("a second CPU is needed\n");
		sideband_close(sideband);
		skip();
	}
	for (int i = 0; i < 20; i++) {
		for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
			if (!CPU_ISSET(cpu, &all))
				continue;
			CPU_ZERO(&one);
			CPU_SET(cpu, &one);
			sched_setaffinity(0, sizeof(one), &one);
			run_true();
		}
	}
	sched_setaffinity(0, sizeof(all), &all);
	assert_true(sideband_read(sideband, clock_monotonic_ns(), look, &seen) >= 20 * 2 * 5);
	assert_int_equal(seen.unordered, 0);
	sideband_close(sideband);
}

static void a_filling_ring_wakes_and_a_full_one_tells(void **state)
{
	struct sideband *sideband = open_or_skip();
	struct pollfd wait = { .fd = sideband_epoll_fd(sideband), .events = POLLIN };
	struct seen seen = { 0 };
	int processes = 0;

	(void)state;
	assert_int_equal(poll(&wait, 1, 0), 0);
	while (!poll(&wait, 1, 0)) {
		run_true();
		assert_true(++processes < 4000);
	}
	sideband_read(sideband, clock_monotonic_ns(), look, &seen);
	assert_int_equal(seen.lost, 0);
	assert_int_equal(poll(&wait, 1, 0), 0);
	/* A quarter woke it: this is more than two rings hold, also when others had helped to wake it. */
	for (int i = 0; i < 10 * processes || i < 2000; i++)
		run_true();
	sideband_read(sideband, clock_monotonic_ns(), look, &seen);
	for (int i = 0; i < 20 && !seen.lost; i++) { /* told with the next record that finds room */
		run_true();
		sideband_read(sideband, clock_monotonic_ns(), look, &seen);
	}
	assert_true(seen.lost > 0);
	sideband_close(sideband);
}

static void programs_have_symbols(void **state)
{
	struct sideband *sideband = open_or_skip();
	struct bpf_insn body[] = { { .code = 0xb7 }, { .code = 0x95 } }; /* r0 = 0; exit */
	struct seen seen = { 0 };
	char jit = '0';
	int fd = bpf_prog_load(BPF_PROG_TYPE_SOCKET_FILTER, "wick_test", "GPL", body, 2, NULL);
	auto_fd int knob = open("/proc/sys/net/core/bpf_jit_enable", O_RDONLY | O_CLOEXEC);

	(void)state;
	if (fd < 0 || (knob >= 0 && (read(knob, &jit, 1) != 1 || jit == '0'))) {
		print_message("no compiled BPF program here\n");
		sideband_close(sideband);
		skip();
	}
	close(fd);
	sideband_read(sideband, clock_monotonic_ns(), look, &seen);
	assert_true(seen.ksymbols >= 1);
	sideband_close(sideband);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(records_are_read), cmocka_unit_test(short_records_are_refused),
		cmocka_unit_test(a_symbol_too_long_has_its_time),
		cmocka_unit_test(a_short_process_is_told_whole),
		cmocka_unit_test(rings_are_merged_by_time),
		cmocka_unit_test(a_filling_ring_wakes_and_a_full_one_tells),
		cmocka_unit_test(programs_have_symbols),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

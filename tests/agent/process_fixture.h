/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: a table of processes, what it told, and synthetic side-band events. */
#ifndef TESTS_PROCESS_FIXTURE_H
#define TESTS_PROCESS_FIXTURE_H

#include "base/clean.h"
#include "base/clock.h"
#include "names.h"
#include "process.h"
#include "process_private.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#define PARENT 5000000U /* above the kernel's largest pid: never in /proc */
#define CHILD 5000001U

struct fixture {
	struct process_table *table;
	int images, changes, exits;
	uint32_t exited_pid, changed_pid;
	uint64_t changed_until;
};

static inline void image_new(void *context, struct process_image *image, uint32_t pid, uint64_t start, uint64_t end)
{
	struct fixture *f = context;

	assert_true(pid > 0 && start < end);
	assert_int_equal(image->state, PROCESS_IMAGE_NEW);
	assert_ptr_equal(process_image_get(f->table, image->id), image);
	if (!image->anonymous)
		image->state = PROCESS_IMAGE_ASKED;
	f->images++;
}

static inline void table_changed(void *context, struct process *process)
{
	struct fixture *f = context;

	f->changes++;
	f->changed_pid = process->pid;
	f->changed_until = process->until_ns;
}

static inline void exited(void *context, uint32_t pid)
{
	struct fixture *f = context;

	f->exits++;
	f->exited_pid = pid;
}

static inline int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct process_callbacks callbacks = { image_new, table_changed, exited, f };

	f->table = process_table_new(&callbacks);
	*state = f;
	return f->table ? 0 : -1;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	process_table_free(f->table);
	free(f);
	return 0;
}

static inline void tick(struct fixture *f, uint64_t now_ns)
{
	f->table->unread.count = 0; /* these pids are not in /proc */
	process_table_tick(f->table, now_ns);
}

static inline void map(struct fixture *f, uint64_t time, uint32_t pid, uint64_t start, uint64_t end, uint64_t offset,
		uint64_t inode, const char *path)
{
	struct sideband_event event = { .kind = SIDEBAND_MMAP, .time_ns = time, .pid = pid, .tid = pid,
					.start = start, .end = end, .offset = offset, .file = { 8, 1, inode, 1 },
					.protection = PROT_READ | PROT_EXEC, .name = path };

	if (!inode)
		event.file = (struct sideband_file){ 0 };
	process_table_event(f->table, &event);
}

static inline void task(struct fixture *f, enum sideband_kind kind, uint64_t time, uint32_t pid, uint32_t tid,
		 uint32_t parent, const char *name)
{
	struct sideband_event event = { .kind = kind, .time_ns = time, .pid = pid, .tid = tid, .parent_pid = parent,
					.name = name };

	process_table_event(f->table, &event);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif

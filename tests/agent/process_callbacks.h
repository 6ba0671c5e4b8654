/* SPDX-License-Identifier: Apache-2.0 */
/* For tests of the table of processes: what it calls back, counted. */
#ifndef TESTS_PROCESS_CALLBACKS_H
#define TESTS_PROCESS_CALLBACKS_H

#include "process.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct fixture {
	struct process_table *table;
	int images, changes, exits, checks;
	uint64_t checked_ns;
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

static inline int image_check(void *context, struct process_image *image, uint32_t pid, uint64_t start, uint64_t end,
			      uint64_t now_ns)
{
	struct fixture *f = context;

	assert_true(pid > 0 && start < end && image->doubted);
	f->checks++;
	f->checked_ns = now_ns;
	return 0;
}

#endif

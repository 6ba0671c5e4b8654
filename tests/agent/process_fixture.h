/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: a table of processes, what it told, and synthetic side-band events. */
#ifndef TESTS_PROCESS_FIXTURE_H
#define TESTS_PROCESS_FIXTURE_H

#include "base/clean.h"
#include "base/clock.h"
#include "names.h"
#include "process_callbacks.h"
#include "process_images.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PARENT 5000000U /* above the kernel's largest pid: never in /proc */
#define CHILD 5000001U

static inline int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct process_callbacks callbacks = { image_new, table_changed, exited, image_check, f };

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

/* The image and ELF address of an address now; NULL: no mapping. */
static inline struct process_image *resolve(const struct process *process, uint64_t address, uint64_t *ret_vaddr,
					    bool *ret_is_vaddr)
{
	const struct process_mapping *mapping = process_mapping_at(process, address, UINT64_MAX - 1);

	if (mapping)
		*ret_is_vaddr = process_mapping_vaddr(mapping, address, ret_vaddr);
	return mapping ? mapping->image : NULL;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: real maps made in the loader's place. */
#ifndef TESTS_PUBLISH_FIXTURE_H
#define TESTS_PUBLISH_FIXTURE_H

#include "base/clean.h"
#include "base/clock.h"
#include "publish_private.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct loader {
	int fds[LOADER_MAP_COUNT]; /* 0: not made */
	uint64_t forgot, forgot_process[KNOB_PROCESS_EPOCHS]; /* how often rules, and a process's entry, were */
};

void loader_forget_rules(struct loader *loader)
{
	loader->forgot++;
}

void loader_forget_process(struct loader *loader, uint32_t tgid)
{
	loader->forgot_process[tgid % KNOB_PROCESS_EPOCHS]++;
}

int loader_map_fd(const struct loader *loader, enum loader_map map)
{
	return loader->fds[map];
}

static inline int make_array(uint32_t value, uint32_t entries)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_MMAPABLE);

	return bpf_map_create(BPF_MAP_TYPE_ARRAY, "test", 4, value, entries, &opts); /* -errno, as all of libbpf 1 */
}

static inline int make_outer(uint32_t value, uint32_t entries)
{
	auto_fd int inner = make_array(value, 1);
	LIBBPF_OPTS(bpf_map_create_opts, opts, .inner_map_fd = (uint32_t)inner);

	return bpf_map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, "test", 4, 4, entries, &opts);
}

struct fixture {
	struct loader loader;
	struct publish *publish;
};

static inline int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int probe = make_array(8, 1);

	*state = f;
	if (probe < 0) {
		print_message("no BPF maps here (root is needed): %s\n", strerror(-probe));
		return 0;
	}
	close(probe);
	f->loader.fds[LOADER_ROWS] = make_outer(UNWIND_CHUNK_BYTES, UNWIND_MAX_CHUNKS);
	f->loader.fds[LOADER_MAPPINGS] = make_outer(UNWIND_MAPPING_CHUNK * 32, PUBLISH_MAPPING_CHUNKS);
	f->loader.fds[LOADER_DIRECTORY] = make_array(sizeof(struct unwind_page), UNWIND_MAX_DIRECTORY);
	f->loader.fds[LOADER_ESCAPES] = make_array(sizeof(struct unwind_escape), UNWIND_MAX_ESCAPES);
	f->loader.fds[LOADER_PROCESSES] = bpf_map_create(BPF_MAP_TYPE_HASH, "test", 4, sizeof(struct unwind_process),
							 1024, NULL);
	return publish_new(&f->loader, 8 << 20, &f->publish);
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	publish_free(f->publish);
	for (size_t i = 0; f->publish && i < LOADER_MAP_COUNT; i++)
		if (f->loader.fds[i])
			close(f->loader.fds[i]);
	free(f);
	return 0;
}

static inline struct fixture *need(void **state)
{
	struct fixture *f = *state;

	if (!f->publish)
		skip();
	return f;
}

/* Reads through the kernel, not through what publish has mapped. */
static inline void read_inner(int outer, uint32_t slot, void *value)
{
	uint32_t id, zero = 0;

	assert_int_equal(bpf_map_lookup_elem(outer, &slot, &id), 0);
	auto_fd int inner = bpf_map_get_fd_by_id(id);
	assert_true(inner >= 0);
	assert_int_equal(bpf_map_lookup_elem(inner, &zero, value), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif

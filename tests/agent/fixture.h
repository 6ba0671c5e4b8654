/* SPDX-License-Identifier: Apache-2.0 */
/* Fabricated names and containers, and a second of them, for the tests of the answering side. */
#ifndef FIXTURE_H
#define FIXTURE_H

#include "cgroup.h"
#include "names.h"
#include "slice_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct fixture {
	struct names *names;
	struct cgroup_table *cgroups;
	uint32_t web, db;                  /* containers */
	char web_name[256], db_name[256];  /* as the table calls them */
	uint32_t main_, outer, inner, libc, kernel, note, bare, jit; /* frames; inner is inlined into outer */
	uint32_t nginx, postgres, worker;  /* strings */
	char empty[32]; /* a folder without cgroups and runtimes */
};

static void fixture_cgroup(struct fixture *fixture, uint64_t id, const char *path)
{
	struct event_cgroup event = { .kind = EVENT_CGROUP_MADE, .id = id, .path_bytes = (uint32_t)strlen(path) };

	snprintf(event.path, sizeof(event.path), "%s", path);
	cgroup_table_event(fixture->cgroups, &event);
}

static void fixture_lines(struct fixture *fixture, uint32_t frame, enum symbol_source source, const char *name,
			  const char *outer)
{
	struct names *names = fixture->names;
	struct names_line lines[2] = {
		{ names_string(names, name), names_string(names, name), names_string(names, "/src/a.c"), 17, 10 },
		{ names_string(names, outer ? outer : ""), 0, names_string(names, "/src/b.c"), 42, 40 },
	};

	names_set_lines(names, frame, source, lines, outer ? 2 : 1);
}

static const char *fixture_id(char c)
{
	static char id[80];

	snprintf(id, sizeof(id), "/docker/");
	memset(id + 8, c, 64);
	id[72] = '\0';
	return id;
}

static void fixture_init(struct fixture *fixture)
{
	struct cgroup_opts nowhere = { .mount = fixture->empty, .root = fixture->empty };
	struct names *names = names_new();
	struct cgroup_name name;

	*fixture = (struct fixture){ .names = names, .empty = "/tmp/wick-test-XXXXXX" };
	if (!mkdtemp(fixture->empty))
		abort();
	fixture->cgroups = cgroup_table_new(CGROUP_SOURCE_V2, fixture->empty, &nowhere);
	fixture_cgroup(fixture, 101, fixture_id('a'));
	fixture_cgroup(fixture, 102, fixture_id('b'));
	fixture->web = cgroup_container(fixture->cgroups, 101);
	fixture->db = cgroup_container(fixture->cgroups, 102);
	cgroup_get_name(fixture->cgroups, fixture->web, &name);
	snprintf(fixture->web_name, sizeof(fixture->web_name), "%s", name.container);
	cgroup_get_name(fixture->cgroups, fixture->db, &name);
	snprintf(fixture->db_name, sizeof(fixture->db_name), "%s", name.container);

	names_set_image(names, 2, "/usr/bin/web", "c0ffee");
	names_set_image(names, 3, "/usr/lib/libc.so.6", "");
	names_set_image(names, 4, "//anon", "");
	fixture->main_ = names_frame(names, 2, 0x1001, false, true);
	fixture->outer = names_frame(names, 2, 0x2001, false, true);
	fixture->inner = names_frame(names, 2, 0x2100, true, true);
	fixture->libc = names_frame(names, 3, 0x3000, true, true);
	fixture->bare = names_frame(names, 3, 0x4567, true, true);
	fixture->jit = names_frame(names, 4, 0x7f0000001000, true, true);
	fixture->kernel = names_frame(names, NAMES_IMAGE_KERNEL, 0xffffffff81000123, true, true);
	fixture->note = names_note(names, "[truncated: no unwind rule]");
	fixture_lines(fixture, fixture->main_, SYMBOL_DWARF, "main", NULL);
	fixture_lines(fixture, fixture->outer, SYMBOL_DWARF, "outer", NULL);
	fixture_lines(fixture, fixture->inner, SYMBOL_DWARF, "inner", "outer");
	fixture_lines(fixture, fixture->libc, SYMBOL_DYNSYM, "write", NULL);
	fixture_lines(fixture, fixture->kernel, SYMBOL_KALLSYMS, "ksys_write", NULL);
	fixture_lines(fixture, fixture->jit, SYMBOL_ANONYMOUS, "jitted", NULL);
	names_set_lines(names, fixture->bare, SYMBOL_NO_SYMBOL, NULL, 0);
	fixture->nginx = names_string(names, "nginx");
	fixture->postgres = names_string(names, "postgres");
	fixture->worker = names_string(names, "worker");
}

static void fixture_done(struct fixture *fixture)
{
	cgroup_table_free(fixture->cgroups);
	names_free(fixture->names);
	rmdir(fixture->empty);
}

/* A second of the host: nginx in web 30 counts (10 of them in the kernel), postgres in db 20. */
static struct window *fixture_second(const struct fixture *fixture, uint64_t from_ns)
{
	struct window_labels web = { .container = fixture->web, .comm = fixture->nginx, .pid = 100 };
	struct window_labels db = { .container = fixture->db, .comm = fixture->postgres, .thread = fixture->worker,
				    .pid = 200 };
	struct fixture_slice slice = { 0 };

	fixture_sample(&slice, web, FRAMES(fixture->inner, fixture->main_), 20);
	fixture_sample(&slice, web, FRAMES(fixture->kernel, fixture->libc, fixture->main_), 10);
	fixture_sample(&slice, db, FRAMES(fixture->bare, fixture->note), 20);
	return fixture_close(&slice, from_ns, from_ns + NS_PER_S);
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Noun "cgroup", where a runtime puts a container. Its own files say so; a cgroup in any other place that
 * carries the same id was made by somebody else.
 */
#include "cgroup_place.h"

#include <stdio.h>
#include <string.h>

static bool ends_with(const char *string, const char *suffix)
{
	size_t length = strlen(string), tail = strlen(suffix);

	return length >= tail && !strcmp(string + length - tail, suffix);
}

/* "a-b.slice" lies in /a.slice/a-b.slice; "-.slice" is the root. */
static void add_slice(struct buf *out, const char *slice)
{
	size_t name = strlen(slice) - strlen(".slice");

	if (!strcmp(slice, "-.slice"))
		return;
	for (size_t end = 1; end <= name; end++)
		if (end == name || slice[end] == '-')
			buf_printf(out, "/%.*s.slice", (int)end, slice);
}

/* Rootless runtimes talk to the user's own service manager, whose root is its unit. */
static void add_manager(struct buf *out, uid_t owner)
{
	if (owner)
		buf_printf(out, "/user.slice/user-%u.slice/user@%u.service", owner, owner);
}

static void add_path(struct buf *out, const char *path)
{
	buf_printf(out, "%s%s", *path == '/' ? "" : "/", path);
}

static bool is_place(struct buf *expected, const char *path)
{
	return !expected->failed && expected->length && !strcmp(expected->data, path);
}

bool cgroup_place_docker(const char *path, const char *parent, const char *id, uid_t owner)
{
	auto_buf struct buf slice = { 0 }, plain = { 0 };
	bool is_slice = ends_with(parent, ".slice");

	add_manager(&slice, owner);
	add_slice(&slice, is_slice ? parent : owner ? "user.slice" : "system.slice");
	buf_printf(&slice, "/docker-%s.scope", id);
	if ((is_slice || !*parent) && is_place(&slice, path))
		return true;
	add_path(&plain, *parent ? parent : "docker");
	buf_printf(&plain, "/%s", id);
	return !is_slice && !owner && is_place(&plain, path);
}

bool cgroup_place_oci(const char *path, const char *cgroups_path, uid_t owner)
{
	auto_buf struct buf expected = { 0 }, inside = { 0 };
	const char *prefix = strchr(cgroups_path, ':'), *name = prefix ? strchr(prefix + 1, ':') : NULL;
	char slice[256];

	if (!*cgroups_path)
		return false;
	if (!name || strchr(cgroups_path, '/')) {
		add_path(&expected, cgroups_path);
		return !owner && is_place(&expected, path);
	}
	/* systemd's form taken literally by a runtime that makes cgroups itself: below its parent's own cgroup */
	buf_printf(&inside, "/system.slice/containerd.service/%s", cgroups_path);
	if (!owner && is_place(&inside, path))
		return true;
	snprintf(slice, sizeof(slice), "%.*s", (int)(prefix - cgroups_path), cgroups_path);
	if (!*slice)
		snprintf(slice, sizeof(slice), "%s", owner ? "user.slice" : "system.slice");
	if (!ends_with(slice, ".slice"))
		return false;
	add_manager(&expected, owner);
	add_slice(&expected, slice);
	buf_printf(&expected, "/%.*s%s%s.scope", (int)(name - prefix - 1), prefix + 1,
		   name - prefix > 1 ? "-" : "", name + 1);
	return is_place(&expected, path);
}

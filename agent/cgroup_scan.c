/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Noun "cgroup", the file system: which hierarchy names tasks on this host, and every cgroup that is there. On
 * the kernels we load on, a directory's inode number is the cgroup's id.
 */
#include "cgroup_private.h"

#include "base/buf.h"
#include "base/clean.h"
#include "base/clock.h"
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define MOUNTINFO_LIMIT (4U << 20)
#define DEPTH_LIMIT 32

/* In this order: a container has a cgroup of its own in the first ones on every runtime. */
static const struct {
	enum cgroup_source source;
	const char *controller; /* NULL: the v2 hierarchy */
} preferences[] = {
	{ CGROUP_SOURCE_MEMORY, "memory" }, { CGROUP_SOURCE_CPU, "cpu" }, { CGROUP_SOURCE_PIDS, "pids" },
	{ CGROUP_SOURCE_IO, "blkio" },      { CGROUP_SOURCE_V2, NULL },
};

/* Is `word` one of the comma-separated options? */
static bool has_option(const char *options, const char *word)
{
	size_t length = strlen(word);

	while (options) {
		if (!strncmp(options, word, length) && strchr(",\n", options[length]))
			return true;
		options = strchr(options, ',');
		options += !!options;
	}
	return false;
}

/* mountinfo writes blanks and the like as \ooo. */
static void unescape(char *text)
{
	char *to = text;

	for (const char *from = text; *from; to++) {
		unsigned octal;

		if (*from == '\\' && sscanf(from + 1, "%3o", &octal) == 1) {
			*to = (char)octal;
			from += 4;
		} else {
			*to = *from++;
		}
	}
	*to = '\0';
}

/* One line of mountinfo: is it the hierarchy of this preference, mounted from its root? */
static bool read_mount(const char *line, const char *controller, char *ret_mount, size_t size)
{
	char root[256], mount[1024], type[32], options[512];
	const char *rest = strstr(line, " - ");

	if (!rest || sscanf(line, "%*s %*s %*s %255s %1023s", root, mount) != 2 ||
	    sscanf(rest + 3, "%31s %*s %511s", type, options) != 2)
		return false;
	while (!strncmp(root, "/..", 3)) /* the whole tree, as seen from a cgroup namespace below it */
		memmove(root, root + 3, strlen(root + 3) + 1);
	if ((*root && strcmp(root, "/")) || strcmp(type, controller ? "cgroup" : "cgroup2") ||
	    (controller && !has_option(options, controller)))
		return false;
	unescape(mount);
	if (strlen(mount) >= size)
		return false;
	strcpy(ret_mount, mount);
	return true;
}

int cgroup_choose_from(const char *mountinfo, enum cgroup_source *ret_source, char *ret_mount, size_t mount_size)
{
	for (size_t i = 0; i < array_size(preferences); i++)
		for (const char *line = mountinfo; line && *line; line = strchr(line, '\n')) {
			char copy[4096];

			line += *line == '\n';
			snprintf(copy, sizeof(copy), "%.*s", (int)strcspn(line, "\n"), line);
			if (!read_mount(copy, preferences[i].controller, ret_mount, mount_size))
				continue;
			*ret_source = preferences[i].source;
			return 0;
		}
	return -ENOENT;
}

int cgroup_choose(enum cgroup_source *ret_source, char *ret_mount, size_t mount_size)
{
	auto_buf struct buf mountinfo = { 0 };
	int error = file_read(AT_FDCWD, "/proc/self/mountinfo", MOUNTINFO_LIMIT, &mountinfo);

	return error ? error : cgroup_choose_from(mountinfo.data, ret_source, ret_mount, mount_size);
}

/* Adds the directory and what lies below. `path` is a scratch of CGROUP_PATH_BYTES that holds the place so far. */
static int scan_folder(struct cgroup_table *table, int parent, const char *name, char *path, unsigned depth)
{
	size_t length = strlen(path);
	auto_fd int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	auto_dir DIR *folder = NULL;
	const struct dirent *entry;
	struct stat status;

	if (fd < 0 || fstat(fd, &status))
		return errno == ENOENT || errno == ENODEV ? 0 : -errno; /* removed meanwhile */
	if (!cgroup_add(table, status.st_ino, *path ? path : "/", false) || depth >= DEPTH_LIMIT)
		return 0;
	folder = fdopendir(fd);
	if (!folder)
		return -errno;
	fd = -1; /* the folder's now */
	while ((entry = readdir(folder))) {
		int error;

		if (entry->d_type != DT_DIR || !strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		if (length + strlen(entry->d_name) + 2 > CGROUP_PATH_BYTES)
			continue;
		sprintf(path + length, "/%s", entry->d_name);
		error = scan_folder(table, dirfd(folder), entry->d_name, path, depth + 1);
		path[length] = '\0';
		if (error)
			return error;
	}
	return 0;
}

int cgroup_scan_locked(struct cgroup_table *table)
{
	char path[CGROUP_PATH_BYTES] = "";
	uint64_t now_ns = clock_monotonic_ns();
	size_t before = table->nodes.count;
	struct cgroup_node *node;
	int error;

	table->scan++;
	table->last_scan_ns = now_ns;
	table->next_scan_ns = now_ns + CGROUP_SCAN_S * NS_PER_S;
	error = scan_folder(table, table->mount_fd, ".", path, 0);
	/* An id may stay unknown for good, as past the limit: no reason to look for it every second. */
	table->scan_pause_ns = table->nodes.count > before ? NS_PER_S : 2 * table->scan_pause_ns;
	if (table->scan_pause_ns > CGROUP_SCAN_S * NS_PER_S)
		table->scan_pause_ns = CGROUP_SCAN_S * NS_PER_S;
	if (error)
		return error; /* an unfinished scan says nothing about what it did not see */
	for (size_t at = 0; (node = hmap_next(&table->nodes, &at));)
		if (node->id && node->scan != table->scan)
			cgroup_remove(table, node, now_ns);
	return 0;
}

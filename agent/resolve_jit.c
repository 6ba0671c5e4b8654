/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names for generated code, the agent's end: takes a process with code in anonymous memory, gives the descriptor
 * of the file in which the process says what is there. Anybody may put a file there, or a FIFO, or a link to what
 * only the agent may read: it has to be a regular file of the process's user or of root, with one name and at its
 * own place. The process is known by the agent's events, so a file is not opened again once it has ended or has
 * become another program: what lies there then may be its successor's.
 */
#include "resolve_jit.h"
#include "process.h"
#include "resolve_open.h"
#include "resolve_subject.h"

#include "base/clean.h"
#include "base/clock.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define MAX_STATUS 65536
#define JIT_DEVICE (UINT64_MAX - 1) /* of identities that are no file's but an image's own */

struct owner {
	uint32_t euid;
	uint32_t pid; /* as the process sees itself */
};

/* A line of /proc/PID/status; NULL: none. */
static const char *find_line(const char *text, const char *name)
{
	const char *at = strstr(text, name);

	return at ? at + strlen(name) : NULL;
}

static int read_owner(uint32_t pid, struct owner *ret_owner)
{
	auto_buf struct buf text = { 0 };
	const char *uids, *pids, *last;
	char path[40];
	int error;

	snprintf(path, sizeof(path), "/proc/%u/status", pid);
	error = file_read(AT_FDCWD, path, MAX_STATUS, &text);
	if (error)
		return error;
	uids = find_line(text.data, "\nUid:");
	pids = find_line(text.data, "\nNSpid:"); /* one number for each nested namespace, the innermost last */
	if (!uids || sscanf(uids, "%*u %u", &ret_owner->euid) != 1)
		return -EINVAL;
	ret_owner->pid = pid;
	for (last = pids; last && *last && *last != '\n';) {
		char *end;
		unsigned long number = strtoul(last, &end, 10);

		if (end == last)
			break;
		ret_owner->pid = (uint32_t)number;
		last = end;
	}
	return 0;
}

/* O_PATH neither reads nor waits; a link at the last place stays a link and is refused as no regular file. */
static int open_perf_map(uint32_t pid, const struct owner *owner)
{
	struct open_how how = { .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
				.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };
	auto_fd int root = -1;
	auto_fd int folder = -1;
	char name[40];
	int handle;

	snprintf(name, sizeof(name), "/proc/%u/root", pid);
	root = open(name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return -errno;
	folder = (int)syscall(SYS_openat2, root, "/tmp", &how, sizeof(how));
	if (folder < 0)
		return -errno;
	snprintf(name, sizeof(name), "perf-%u.map", owner->pid);
	handle = openat(folder, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	return handle < 0 ? -errno : handle;
}

static int open_dump(const struct resolve_image_request *request)
{
	char path[80];
	int handle;

	snprintf(path, sizeof(path), "/proc/%u/map_files/%llx-%llx", request->pid, (unsigned long long)request->start,
		 (unsigned long long)request->end);
	handle = open(path, O_PATH | O_CLOEXEC);
	return handle < 0 ? -errno : handle;
}

int jit_open(const struct resolve_image_request *request)
{
	struct owner owner;
	auto_fd int handle = -1;
	struct stat status;
	char link[40];
	int error = read_owner(request->pid, &owner), fd;

	if (error)
		return error;
	handle = request->end ? open_dump(request) : open_perf_map(request->pid, &owner);
	if (handle < 0)
		return handle;
	if (fstat(handle, &status))
		return -errno;
	if (!S_ISREG(status.st_mode) || status.st_nlink > 1 || (status.st_uid != owner.euid && status.st_uid))
		return -EACCES;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", handle);
	fd = open(link, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

int jit_attach(struct resolve *resolve, struct image *image)
{
	struct open_identity identity = { .dev = JIT_DEVICE, .ino = image->request.image };
	struct subject *subject = subject_make(resolve, &identity);

	if (!subject)
		return -ENOMEM;
	subject->kind = SYMBOLIZER_PERF_MAP;
	subject->images = image;
	image->subject = subject;
	image->next = NULL;
	(void)jit_open_fd(resolve, subject); /* it may be too late when a child is free */
	return 0;
}

static unsigned how_ended(const struct subject *subject)
{
	const atomic_uint *ended = subject->images->request.ended;

	return ended ? atomic_load(ended) : PROCESS_ALIVE;
}

bool jit_is_frozen(const struct subject *subject)
{
	return subject->kind == SYMBOLIZER_PERF_MAP && how_ended(subject) != PROCESS_ALIVE;
}

/* A living process may have put another file there. One that exec has replaced writes to the same name. */
int jit_open_fd(struct resolve *resolve, struct subject *subject)
{
	struct open_identity identity;
	int fd = -ESRCH;

	if (how_ended(subject) == PROCESS_ALIVE)
		fd = open_image(&subject->images->request, &identity);
	if (how_ended(subject) != PROCESS_ALIVE && fd >= 0) {
		open_close(fd);
		fd = -ESRCH;
	}
	if (fd < 0)
		return subject->fd >= 0 && how_ended(subject) != PROCESS_REPLACED ? 0 : fd;
	open_close(subject->fd);
	subject->fd = fd;
	subject_hold(resolve, subject);
	return 0;
}

void jit_refuse(struct resolve *resolve, struct subject *subject, uint64_t now_ns)
{
	struct image *image = subject->images;
	size_t kept = 0;

	for (size_t at = 0; at < image->id_count; at++) {
		uint32_t id = image->ids[at];

		if (id & FRAME_ASKED_BEFORE || jit_is_frozen(subject))
			names_set_lines(resolve->names, id & FRAME_ID, SYMBOL_ANONYMOUS, NULL, 0);
		else
			image->ids[kept++] = id | FRAME_ASKED_BEFORE;
	}
	image->id_count = kept;
	subject->not_before_ns = now_ns + JIT_AGAIN_S * NS_PER_S;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first step of "symbolize": takes what a mapping said about its file, gives a descriptor of that very file.
 * map_files is the mapped inode itself, deleted or not; a path is only tried below the process's own root, and
 * on the host once the process is gone. A separate debug file is looked for in fixed folders by single names.
 */
#include "resolve_open.h"
#include "resolve_jit.h"

#include "base/clean.h"
#include "base/clock.h"
#include "base/file.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define MAX_VDSO_BYTES 65536
#define STACK_BYTES (128 << 10)
#define CANDIDATES 8 /* 4 names, each in the process's root and on the host */

enum job_kind { JOB_IMAGE, JOB_LOOK, JOB_JIT, JOB_DEBUG, JOB_CLOSE };

struct job { /* shared by the caller and its thread; the second to leave frees it */
	pthread_mutex_t lock;
	pthread_cond_t done_condition;
	bool done, abandoned;
	enum job_kind kind;
	struct resolve_image_request request;
	char *path;
	char names[4][PATH_MAX]; /* debug file candidates; "": none */
	unsigned candidate;
	int fd; /* the result; JOB_CLOSE: what to close */
	struct open_identity identity;
};

static atomic_uint stuck;

static void job_free(struct job *job)
{
	pthread_cond_destroy(&job->done_condition);
	pthread_mutex_destroy(&job->lock);
	free(job->path);
	free(job);
}

static int check_elf(int fd)
{
	char magic[SELFMAG];

	if (pread(fd, magic, sizeof(magic), 0) != (ssize_t)sizeof(magic) || memcmp(magic, ELFMAG, SELFMAG))
		return -ENOEXEC;
	return 0;
}

static int open_map_file(uint32_t pid, uint64_t start, uint64_t end)
{
	char path[80];
	auto_fd int handle = -1;
	struct stat status;
	int fd;

	snprintf(path, sizeof(path), "/proc/%u/map_files/%llx-%llx", pid, (unsigned long long)start,
		 (unsigned long long)end);
	handle = open(path, O_PATH | O_CLOEXEC);
	if (handle < 0 || fstat(handle, &status))
		return -errno;
	if (!S_ISREG(status.st_mode))
		return -EINVAL;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", handle);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

/* The root directory of a process, or of the host for pid 0. */
static int open_root(uint32_t pid)
{
	char path[40] = "/";
	int fd;

	if (pid)
		snprintf(path, sizeof(path), "/proc/%u/root", pid);
	fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int open_below(uint32_t pid, const char *path)
{
	auto_fd int root = open_root(pid);

	return root < 0 ? root : file_open_in_root(root, path);
}

static bool is_inode(int fd, const struct resolve_image_request *request)
{
	struct stat status;

	return !request->file.inode || (!fstat(fd, &status) && status.st_ino == request->file.inode);
}

static int open_mapped(const struct resolve_image_request *request)
{
	auto_fd int root = -1;
	int fd = open_map_file(request->pid, request->start, request->end);

	if (fd == -EINVAL || (fd >= 0 && is_inode(fd, request)))
		return fd;
	if (fd >= 0) /* what is at these addresses by now */
		close(fd);
	if (!request->path || request->path[0] != '/' || request->path[1] == '/')
		return -ENOENT; /* anonymous memory has names like "//anon" */
	root = request->pid ? open_root(request->pid) : -ESRCH;
	if (root >= 0)
		return file_open_in_root(root, request->path);
	/* The process is gone. What lies under its path in its parent's root or on the host is its file only if the
	 * inode says so. */
	if (!request->file.inode)
		return -ENOENT;
	fd = request->parent ? open_below(request->parent, request->path) : -ESRCH;
	if (fd >= 0 && is_inode(fd, request))
		return fd;
	if (fd >= 0)
		close(fd);
	return open_below(0, request->path);
}

/* The agent's own copy of what the kernel maps into every process; it has no file. */
static int copy_vdso(void)
{
	const Elf64_Ehdr *header = (const Elf64_Ehdr *)getauxval(AT_SYSINFO_EHDR);
	auto_fd int fd = memfd_create("vdso", MFD_CLOEXEC);
	const Elf64_Phdr *segments;
	size_t end;

	if (!header || fd < 0)
		return -ENOENT;
	end = header->e_shoff + (size_t)header->e_shnum * header->e_shentsize;
	segments = (const Elf64_Phdr *)((const char *)header + header->e_phoff);
	for (size_t at = 0; at < header->e_phnum; at++)
		if (segments[at].p_offset + segments[at].p_filesz > end)
			end = segments[at].p_offset + segments[at].p_filesz;
	if (end > MAX_VDSO_BYTES)
		return -EFBIG;
	if (pwrite(fd, header, end, 0) != (ssize_t)end) /* by the kernel: beyond the mapping it fails, no fault */
		return -EFAULT;
	return steal_fd(&fd);
}

static uint64_t to_ns(struct timespec time)
{
	return (uint64_t)time.tv_sec * NS_PER_S + (uint64_t)time.tv_nsec;
}

static struct open_identity identity_of(const struct stat *status)
{
	return (struct open_identity){ status->st_dev, status->st_ino, (uint64_t)status->st_size,
				       to_ns(status->st_mtim), to_ns(status->st_ctim) };
}

/*
 * The inode must be the event's. Its device is no help: on overlayfs before 6.8 a mapping shows the device of
 * the layer below and fstat that of the overlay.
 */
static int do_image(struct job *job)
{
	auto_fd int fd = job->request.vdso ? copy_vdso() : open_mapped(&job->request);
	struct stat status;
	int error;

	if (fd < 0)
		return fd;
	if (fstat(fd, &status))
		return -errno;
	if (!job->request.vdso && job->request.file.inode && status.st_ino != job->request.file.inode)
		return -ESTALE;
	error = check_elf(fd);
	if (error)
		return error;
	job->identity = identity_of(&status);
	if (job->request.vdso) /* a new memfd each time, always the same bytes */
		job->identity = (struct open_identity){ .dev = UINT64_MAX };
	return steal_fd(&fd);
}

/* What was opened is closed here: that can wait as well. */
static int do_look(struct job *job)
{
	auto_fd int fd = open_mapped(&job->request);
	struct stat status;

	if (fd < 0)
		return fd;
	if (fstat(fd, &status))
		return -errno;
	if (job->request.file.inode && status.st_ino != job->request.file.inode)
		return -ESTALE;
	job->identity = identity_of(&status);
	return -EALREADY; /* no descriptor */
}

static int do_debug(struct job *job)
{
	for (; job->candidate < CANDIDATES; job->candidate++) {
		const char *name = job->names[job->candidate / 2];
		uint32_t pid = job->candidate % 2 ? 0 : job->request.pid;
		auto_fd int fd = -1;

		if (!*name || (!pid && !(job->candidate % 2)))
			continue;
		fd = open_below(pid, name);
		if (fd < 0 || check_elf(fd))
			continue;
		job->candidate++;
		return steal_fd(&fd);
	}
	return -ENOENT;
}

static void *run_job(void *argument)
{
	struct job *job = argument;
	int result = -1;
	bool abandoned;

	if (job->kind == JOB_IMAGE)
		result = do_image(job);
	else if (job->kind == JOB_LOOK)
		result = do_look(job);
	else if (job->kind == JOB_JIT)
		result = jit_open(&job->request);
	else if (job->kind == JOB_DEBUG)
		result = do_debug(job);
	else
		close(job->fd);
	pthread_mutex_lock(&job->lock);
	abandoned = job->abandoned;
	job->fd = result;
	job->done = true;
	pthread_cond_signal(&job->done_condition);
	pthread_mutex_unlock(&job->lock);
	if (!abandoned)
		return NULL;
	if (result >= 0)
		close(result);
	job_free(job);
	atomic_fetch_sub(&stuck, 1);
	return NULL;
}

static struct job *job_new(enum job_kind kind)
{
	struct job *job = calloc(1, sizeof(*job));
	pthread_condattr_t monotonic;

	if (!job)
		return NULL;
	pthread_mutex_init(&job->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&job->done_condition, &monotonic);
	pthread_condattr_destroy(&monotonic);
	job->kind = kind;
	job->fd = -1;
	return job;
}

static int start_thread(struct job *job)
{
	pthread_attr_t attributes;
	pthread_t thread;
	int error;

	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	error = -pthread_create(&thread, &attributes, run_job, job);
	pthread_attr_destroy(&attributes);
	return error;
}

/* 0: the job is done and the caller's again; else it is not, and is gone. */
static int job_run(struct job *job)
{
	uint64_t end = clock_monotonic_ns() + RESOLVE_DEADLINE_MS * NS_PER_MS;
	struct timespec until = { (time_t)(end / NS_PER_S), (long)(end % NS_PER_S) };
	int error = atomic_load(&stuck) >= OPEN_MAX_STUCK ? -EBUSY : start_thread(job);
	bool done;

	if (error) {
		job_free(job);
		return error;
	}
	pthread_mutex_lock(&job->lock);
	while (!job->done && pthread_cond_timedwait(&job->done_condition, &job->lock, &until) != ETIMEDOUT)
		;
	done = job->done;
	if (!done) {
		job->abandoned = true;
		atomic_fetch_add(&stuck, 1);
	}
	pthread_mutex_unlock(&job->lock);
	return done ? 0 : -ETIMEDOUT;
}

static int run_image(struct job *job, const struct resolve_image_request *request, struct open_identity *ret_identity)
{
	int error, fd;

	if (!job)
		return -ENOMEM;
	job->request = *request;
	job->request.path = job->path = request->path ? strdup(request->path) : NULL;
	error = job_run(job);
	if (error)
		return error;
	fd = job->fd;
	if (fd >= 0 || fd == -EALREADY)
		*ret_identity = job->identity;
	job_free(job);
	return fd;
}

int open_image(const struct resolve_image_request *request, struct open_identity *ret_identity)
{
	return run_image(job_new(request->jit ? JOB_JIT : JOB_IMAGE), request, ret_identity);
}

int open_look(const struct resolve_image_request *request, struct open_identity *ret_identity)
{
	int error = run_image(job_new(JOB_LOOK), request, ret_identity);

	return error == -EALREADY ? 0 : error;
}

static uint64_t statx_ns(struct statx_timestamp time)
{
	return (uint64_t)time.tv_sec * NS_PER_S + time.tv_nsec;
}

/* Nothing is asked over a network or of a FUSE server, so no thread is needed that may hang. */
int open_look_fd(int fd, struct open_identity *ret_identity)
{
	struct statx status;

	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_BASIC_STATS, &status))
		return -errno;
	*ret_identity = (struct open_identity){ makedev(status.stx_dev_major, status.stx_dev_minor), status.stx_ino,
						status.stx_size, statx_ns(status.stx_mtime),
						statx_ns(status.stx_ctime) };
	return 0;
}

/* One component, as it stands in the section: it must not lead anywhere else. */
static bool is_plain_name(const char *name)
{
	return *name && !strchr(name, '/') && strcmp(name, ".") && strcmp(name, "..");
}

static void compose_names(const struct open_debug *wanted, char names[4][PATH_MAX])
{
	const char *slash = wanted->path ? strrchr(wanted->path, '/') : NULL;
	int directory = slash ? (int)(slash - wanted->path) : 0;
	char hex[130] = "";

	if (directory > 1024)
		return;
	for (size_t at = 0; at < wanted->build_id_bytes && at < 64; at++)
		snprintf(hex + 2 * at, 3, "%02x", wanted->build_id[at]);
	if (wanted->build_id_bytes >= 2)
		snprintf(names[0], PATH_MAX, "/usr/lib/debug/.build-id/%.2s/%s.debug", hex, hex + 2);
	if (!slash || wanted->path[0] != '/' || !is_plain_name(wanted->debuglink))
		return;
	snprintf(names[1], PATH_MAX, "%.*s/%s", directory, wanted->path, wanted->debuglink);
	snprintf(names[2], PATH_MAX, "%.*s/.debug/%s", directory, wanted->path, wanted->debuglink);
	snprintf(names[3], PATH_MAX, "/usr/lib/debug%.*s/%s", directory, wanted->path, wanted->debuglink);
}

int open_debug(const struct open_debug *wanted, unsigned *candidate)
{
	struct job *job = job_new(JOB_DEBUG);
	int error, fd;

	if (!job)
		return -ENOMEM;
	job->request.pid = wanted->pid;
	job->candidate = *candidate;
	compose_names(wanted, job->names);
	error = job_run(job);
	if (error)
		return error;
	fd = job->fd;
	*candidate = job->candidate;
	job_free(job);
	return fd;
}

/* FUSE flushes at every close and waits for its server. */
void open_close(int fd)
{
	struct job *job;

	if (fd < 0)
		return;
	job = job_new(JOB_CLOSE);
	if (!job)
		return; /* no memory: keeping a descriptor open is the smaller harm */
	job->fd = fd;
	if (!job_run(job))
		job_free(job);
}

unsigned open_stuck(void)
{
	return atomic_load(&stuck);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Part of "referee": takes a memfd that a child has written, gives a file. What is in it is the child's word, and a
 * child reads hostile files: only its size is looked at here, the rest is for stack_case_read to doubt.
 */
#include "referee_keep.h"

#include "base/clean.h"
#include "stack_case.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#define NEW_NAME ".new.stack"
#define NAME_FORMAT "disagreement-%02d.stack"

int keep_open(const char *path, char *error, size_t error_size)
{
	auto_fd int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat status;

	if (fd < 0 || fstat(fd, &status)) {
		int number = errno;

		snprintf(error, error_size, "debug.keep-stacks: %s: %s", path, strerror(number));
		return -number;
	}
	if (status.st_uid != geteuid() || status.st_mode & (S_IWGRP | S_IWOTH)) {
		snprintf(error, error_size, "debug.keep-stacks: %s must belong to the agent's user, and no other may write there",
			 path);
		return -EPERM;
	}
	return steal_fd(&fd);
}

/* A number without a file, or that of the oldest one. */
static int next_number(int directory)
{
	struct timespec oldest = { 0 };
	int number = 0;

	for (int at = 0; at < KEEP_FILES; at++) {
		struct stat status;
		char name[40];

		snprintf(name, sizeof(name), NAME_FORMAT, at);
		if (fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW))
			return at;
		if (!at || status.st_mtim.tv_sec < oldest.tv_sec ||
		    (status.st_mtim.tv_sec == oldest.tv_sec && status.st_mtim.tv_nsec < oldest.tv_nsec)) {
			oldest = status.st_mtim;
			number = at;
		}
	}
	return number;
}

static int copy(int to, int from)
{
	struct stat status;
	off_t at = 0;

	if (fstat(from, &status))
		return -errno;
	if (!status.st_size || status.st_size > (off_t)STACK_CASE_MAX_BYTES)
		return -EFBIG;
	while (at < status.st_size) {
		ssize_t sent = sendfile(to, from, &at, (size_t)(status.st_size - at));

		if (sent <= 0)
			return sent ? -errno : -EIO;
	}
	return 0;
}

int keep_write(int directory, int from)
{
	auto_fd int to = -1;
	char name[40];
	int error;

	(void)unlinkat(directory, NEW_NAME, 0); /* of an agent that was killed */
	to = openat(directory, NEW_NAME, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (to < 0)
		return -errno;
	error = copy(to, from);
	snprintf(name, sizeof(name), NAME_FORMAT, next_number(directory));
	if (!error && renameat(directory, NEW_NAME, directory, name))
		error = -errno;
	if (error)
		(void)unlinkat(directory, NEW_NAME, 0);
	return error;
}

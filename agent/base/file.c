/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"

#include "base/clean.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int file_read_fd(int fd, size_t limit, struct buf *out)
{
	size_t total = 0;

	for (;;) {
		ssize_t got;

		if (!buf_reserve(out, 16384))
			return -ENOMEM;
		got = read(fd, out->data + out->length, 16384);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (!got)
			break;
		total += (size_t)got;
		if (total > limit)
			return -EFBIG;
		out->length += (size_t)got;
	}
	out->data[out->length] = '\0';
	return 0;
}

int file_read(int directory, const char *path, size_t limit, struct buf *out)
{
	auto_fd int fd = openat(directory, path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	return fd < 0 ? -errno : file_read_fd(fd, limit, out);
}

/* O_PATH first: the type is known before anything could block; the second open goes by descriptor. */
int file_open_in_root(int root, const char *path)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC,
				.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };
	auto_fd int handle = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
	char link[40];
	struct stat status;
	int fd;

	if (handle < 0 || fstat(handle, &status))
		return -errno;
	if (!S_ISREG(status.st_mode))
		return -EINVAL;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", handle);
	fd = open(link, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* For tests of the referee: this process's own executable mappings, and a copy of its own stack. */
#ifndef TESTS_REFEREE_FIXTURE_H
#define TESTS_REFEREE_FIXTURE_H

#include "referee_talk.h"

#include <execinfo.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

struct own_space {
	struct referee_mapping mappings[64];
	int fds[REFEREE_MAX_IMAGES];
	size_t mapping_count, fd_count;
};

struct own_copy { /* as a packet holds it */
	struct snapshot head;
	uint8_t stack[SNAPSHOT_BYTES];
	void *truth[64]; /* what backtrace(3) says of the same moment */
	int truth_count;
	int no_truth; /* backtrace would not come back */
};

/* Executable mappings of /proc/self/maps, a descriptor for each that is a file's. */
static inline void own_space_read(struct own_space *space)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];

	memset(space, 0, sizeof(*space));
	while (maps && fgets(line, sizeof(line), maps) && space->mapping_count < 64) {
		struct referee_mapping *mapping = &space->mappings[space->mapping_count];
		unsigned long start, end, offset;
		char mode[8], path[256] = "";

		if (sscanf(line, "%lx-%lx %7s %lx %*s %*s %255s", &start, &end, mode, &offset, path) < 4 || mode[2] != 'x')
			continue;
		*mapping = (struct referee_mapping){ start, end, offset, REFEREE_NO_IMAGE, 0 };
		space->mapping_count++;
		if (path[0] != '/')
			continue;
		mapping->image = (uint32_t)space->fd_count;
		space->fds[space->fd_count++] = open(path, O_RDONLY | O_CLOEXEC);
	}
	if (maps)
		fclose(maps);
}

static inline void own_space_close(struct own_space *space)
{
	for (size_t i = 0; i < space->fd_count; i++)
		close(space->fds[i]);
}

static inline int own_space_memfd(const struct own_space *space)
{
	int fd = memfd_create("space", MFD_CLOEXEC);
	size_t bytes = space->mapping_count * sizeof(space->mappings[0]);

	return write(fd, space->mappings, bytes) == (ssize_t)bytes ? fd : -1;
}

/* Copied as the kernel side does, from rsp up; `copy` must not lie on the stack above. */
static __attribute__((noinline)) void own_copy_take(struct own_copy *copy)
{
	static const int order[SNAPSHOT_REGISTERS] = { REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI,
						       REG_RBP, REG_RSP, REG_R8,  REG_R9,  REG_R10, REG_R11,
						       REG_R12, REG_R13, REG_R14, REG_R15 };
	ucontext_t context;
	int pipe_fds[2];

	copy->truth_count = copy->no_truth ? 0 : backtrace(copy->truth, 64);
	getcontext(&context);
	for (int i = 0; i < SNAPSHOT_REGISTERS; i++)
		copy->head.reg[i] = (uint64_t)context.uc_mcontext.gregs[order[i]];
	copy->head.pc = (uint64_t)context.uc_mcontext.gregs[REG_RIP];
	copy->head.from = copy->head.reg[7];
	copy->head.bytes = 0;
	if (pipe(pipe_fds))
		return;
	for (uint64_t at = copy->head.from; copy->head.bytes < SNAPSHOT_BYTES; at += 256) {
		/* a pipe's write tells where the stack ends, without a fault */
		if (write(pipe_fds[1], (const void *)at, 256) != 256 ||
		    read(pipe_fds[0], copy->stack + copy->head.bytes, 256) != 256)
			break;
		copy->head.bytes += 256;
	}
	copy->head.near_bytes = copy->head.bytes;
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

#endif

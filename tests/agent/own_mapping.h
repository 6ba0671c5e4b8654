/* SPDX-License-Identifier: Apache-2.0 */
/* For tests that ask resolve about themselves. */
#ifndef OWN_MAPPING_H
#define OWN_MAPPING_H

#include "base/clean.h"
#include "resolve.h"

#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

/* The mapping of this process that holds the address: what a side-band event would have said. */
static inline bool find_mapping(const void *address, struct resolve_image_request *request, char *path,
				uint64_t *ret_offset)
{
	auto_file FILE *maps = fopen("/proc/self/maps", "re");
	unsigned long long start, end, offset, inode;
	unsigned major, minor;
	char line[8192];

	while (maps && fgets(line, sizeof(line), maps)) {
		path[0] = '\0';
		if (sscanf(line, "%llx-%llx %*s %llx %x:%x %llu %4000[^\n]", &start, &end, &offset, &major, &minor,
			   &inode, path) < 6 || (uintptr_t)address < start || (uintptr_t)address >= end)
			continue;
		request->pid = (uint32_t)getpid();
		request->start = start;
		request->end = end;
		request->file = (struct sideband_file){ major, minor, inode, 0 };
		request->path = path;
		*ret_offset = (uintptr_t)address - start + offset;
		return true;
	}
	return false;
}

#endif

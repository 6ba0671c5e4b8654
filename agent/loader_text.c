/* SPDX-License-Identifier: Apache-2.0 */
/* The loader's readers of text: kernel versions and the kernel's account of a map. Pure but for one read. */
#include "base/buf.h"
#include "base/file.h"
#include "loader.h"
#include "loader_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t loader_map_bytes(int fd)
{
	char path[64];
	auto_buf struct buf text = { 0 };
	const char *found;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	if (file_read(-1, path, 4096, &text) || !text.length)
		return 0;
	found = strstr(text.data, "memlock:");
	return found ? strtoull(found + strlen("memlock:"), NULL, 10) : 0;
}

/*
 * copy_from_user_nofault could sleep on a page table lock in an interrupt; mended in 6.1.36, 6.3.10 and 6.4.
 * Debian's `uname -v` ("… Debian 6.1.140-1 (…)") names the real version where its release names only the ABI.
 */
bool loader_kernel_freezes(const char *release)
{
	const char *debian = strstr(release, "Debian ");
	unsigned major = 0, minor = 0, patch = 0;
	int parts = sscanf(debian ? debian + strlen("Debian ") : release, "%u.%u.%u", &major, &minor, &patch);

	if (parts < 2 || major != 6)
		return false;
	return (minor == 1 && patch <= 35) || minor == 2 || (minor == 3 && patch <= 9);
}

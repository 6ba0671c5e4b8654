/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cpus.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#define ONLINE "/sys/devices/system/cpu/online"
#define LIST_BYTES 65536

static bool parse_number(const char **text, size_t *ret_cpu)
{
	char *end;

	if (**text < '0' || **text > '9') /* strtoul would take blanks and signs */
		return false;
	*ret_cpu = strtoul(*text, &end, 10);
	*text = end;
	return *ret_cpu < CPUS_MAX;
}

int cpus_parse(const char *list, struct cpus *ret_cpus)
{
	struct cpus cpus = { 0 };

	for (;; list++) {
		size_t first, last;

		if (!parse_number(&list, &first))
			return -EINVAL;
		last = first;
		if (*list == '-' && (list++, !parse_number(&list, &last)))
			return -EINVAL;
		if (last < first)
			return -EINVAL;
		for (size_t cpu = first; cpu <= last; cpu++) {
			cpus.count += !cpus.online[cpu];
			cpus.online[cpu] = true;
		}
		cpus.end = last >= cpus.end ? last + 1 : cpus.end;
		if (*list != ',')
			break;
	}
	if (*list && *list != '\n')
		return -EINVAL;
	*ret_cpus = cpus;
	return 0;
}

int cpus_read_online(struct cpus *ret_cpus)
{
	auto_buf struct buf text = { 0 };
	int error = file_read(AT_FDCWD, ONLINE, LIST_BYTES, &text);

	if (error)
		return error;
	return cpus_parse(text.length ? text.data : "", ret_cpus);
}

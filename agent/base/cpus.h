/* SPDX-License-Identifier: Apache-2.0 */
/* Which processors are online, as the kernel lists them. */
#ifndef BASE_CPUS_H
#define BASE_CPUS_H

#include <stdbool.h>
#include <stddef.h>

#define CPUS_MAX 4096

struct cpus {
	size_t count, end; /* end: the highest and one */
	bool online[CPUS_MAX];
};

/* "0-3,7" and perhaps a newline; 0, or -EINVAL where the list is none, is empty or goes past CPUS_MAX. */
int cpus_parse(const char *list, struct cpus *ret_cpus);
int cpus_read_online(struct cpus *ret_cpus); /* 0 or -errno */

#endif

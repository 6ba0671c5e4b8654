/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slices, a selector and the names become one profile. A pure function of them; runs on the query workers and
 * in `wick record`.
 */
#ifndef QUERY_H
#define QUERY_H

#include "cgroup.h"
#include "names.h"
#include "profile.h"
#include "store.h"

#include <stddef.h>
#include <stdint.h>

struct query_selector { /* shell globs, NULL: any. pid: decimal. Regexes (POSIX extended) on function names */
	const char *container, *pod, *namespace_, *pid, *comm, *cgroup;
	const char *focus, *ignore, *hide;
	uint32_t root; /* only descendants of this pid (window_labels.root), 0: any */
	const char *asked; /* one line for profile.comment, NULL: none */
};

#define QUERY_MAX_BYTES (64U << 20) /* of one profile and of what making it takes; past it -ENOMEM */

/* `error` gets a sentence for -EINVAL. duration_ns: what the range really covered. The leaf truncation frames,
 * notes and fallback names are made here. */
int query_profile(struct window *const *slices, size_t count, const struct query_selector *selector,
		  struct names *names, struct cgroup_table *cgroups, struct profile **ret_profile,
		  char *error, size_t error_size);

#endif

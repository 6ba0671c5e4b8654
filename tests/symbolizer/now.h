/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: seconds of a clock that never goes back. */
#ifndef TESTS_NOW_H
#define TESTS_NOW_H

#include <time.h>

static inline double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

#endif

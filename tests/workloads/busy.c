/* SPDX-License-Identifier: Apache-2.0 */
/* Spins for argv[1] seconds, pinned to processor argv[2] if given. */
#define _GNU_SOURCE
#include "split_work.h"

#include <sched.h>
#include <stdlib.h>
#include <time.h>

__attribute__((noinline)) static uint64_t busy_spin(uint64_t x)
{
	SPLIT_WORK(x, 1000000);
	return x;
}

int main(int argc, char **argv)
{
	struct timespec now;
	uint64_t x = 1;
	time_t end;

	if (argc > 2) {
		cpu_set_t set;

		CPU_ZERO(&set);
		CPU_SET((size_t)atoi(argv[2]), &set);
		sched_setaffinity(0, sizeof(set), &set);
	}
	clock_gettime(CLOCK_MONOTONIC, &now);
	end = now.tv_sec + (argc > 1 ? atoi(argv[1]) : 10);
	do {
		x = busy_spin(x);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (now.tv_sec < end);
	return (int)(x & 1) & 0;
}

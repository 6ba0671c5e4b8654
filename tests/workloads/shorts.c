/* SPDX-License-Identifier: Apache-2.0 */
/* Starts argv[1] processes one after the other, each of which burns argv[2] milliseconds of CPU and ends. */
#define _GNU_SOURCE
#include "split_work.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

__attribute__((noinline)) static void burn(long ms)
{
	struct timespec now;
	uint64_t x = 1;

	do {
		SPLIT_WORK(x, 20000);
		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	} while (now.tv_sec * 1000 + now.tv_nsec / 1000000 < ms);
}

int main(int argc, char **argv)
{
	for (int i = 0; argc > 2 && i < atoi(argv[1]); i++) {
		if (!fork()) {
			burn(atol(argv[2]));
			_exit(0);
		}
		wait(NULL);
	}
	return 0;
}

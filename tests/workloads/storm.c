/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starts the programs named after argv[1] by turns, each waited for, until argv[1] seconds have passed, and says
 * how many there were and what CPU time it and they took. Without any it forks, and the children end at once. Compiled
 * with -DWORK=name it is such a program: spends 2 ms, most of them in the function of that name, and ends. -DROOM=bytes
 * makes main's frame so large.
 */
#define _GNU_SOURCE
#include "split_work.h"

#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static double seconds(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

#ifndef ROOM
#define ROOM 8
#endif

#ifdef WORK
__attribute__((noinline)) static uint64_t WORK(uint64_t x)
{
	SPLIT_WORK(x, 20000);
	return x;
}

int main(void)
{
	double end = seconds(CLOCK_PROCESS_CPUTIME_ID) + 0.002;
	volatile char room[ROOM];
	uint64_t x = 1;

	room[0] = room[ROOM - 1] = 0;
	while (seconds(CLOCK_PROCESS_CPUTIME_ID) < end)
		x = WORK(x);
	return x == 7;
}
#else
static double used(int who)
{
	struct rusage usage;

	getrusage(who, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static pid_t spawn(char *program)
{
	char *arguments[] = { program, NULL };
	pid_t pid;

	return posix_spawn(&pid, program, NULL, NULL, arguments, environ) ? -1 : pid;
}

int main(int argc, char **argv)
{
	double end = seconds(CLOCK_MONOTONIC) + (argc > 1 ? atof(argv[1]) : 0);
	unsigned long count = 0;

	while (seconds(CLOCK_MONOTONIC) < end) {
		int status;
		pid_t pid = argc > 2 ? spawn(argv[2 + count % (unsigned long)(argc - 2)]) : fork();

		if (!pid)
			_exit(0);
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
			return 1;
		count++;
	}
	printf("{\"count\": %lu, \"cpu\": %.3f}\n", count, used(RUSAGE_SELF) + used(RUSAGE_CHILDREN));
	return 0;
}
#endif

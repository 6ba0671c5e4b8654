/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Programs and libraries whose functions end in the letter of their file, so that a name of a wrong one shows. Built
 * with -DLIBRARY -DLETTER=a: a library with enter_a; with -DPROGRAM -DLETTER=a: a program that works in work_a for
 * argv[1] milliseconds of CPU and then, if there is more in argv, becomes the next program named there while
 * argv[2] (CLOCK_MONOTONIC, seconds) has not come; otherwise tests/workloads/identity_host.c. What lies before a
 * function and how large its frame is differ from letter to letter (-DPLACE): rows of one are wrong for the others.
 */
#define _GNU_SOURCE
#include "split_work.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define JOIN(a, b) a##_##b
#define NAME(a, b) JOIN(a, b)
#define TEXT(a) #a
#define SKIP(bytes) __asm__(".text\n\t.skip " bytes ", 0xcc\n")
#define SKIP_BYTES(place) TEXT(place) " * 48 + 16"
#define KEEP(frame) __asm__ volatile("" : : "r"(frame) : "memory")

SKIP(SKIP_BYTES(PLACE));
__attribute__((noipa)) static uint64_t NAME(hot, LETTER)(uint64_t x, unsigned turns)
{
	volatile char frame[16 + 32 * PLACE];

	KEEP(frame);
	while (turns--)
		SPLIT_WORK(x, 500);
	return x;
}

SKIP(SKIP_BYTES(PLACE));
__attribute__((noipa)) static uint64_t NAME(middle, LETTER)(uint64_t x, unsigned turns)
{
	volatile char frame[48 + 16 * PLACE];

	KEEP(frame);
	x = NAME(hot, LETTER)(x, turns);
	KEEP(frame);
	return x + 1;
}

#ifdef LIBRARY
uint64_t NAME(enter, LETTER)(uint64_t x, unsigned turns, uint64_t (*back)(uint64_t x))
{
	x = back ? back(x) : NAME(middle, LETTER)(x, turns);
	KEEP(&x);
	return x + 1;
}
#else
static double seconds(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

__attribute__((noipa)) static uint64_t NAME(work, LETTER)(double end)
{
	uint64_t x = 1;

	while (seconds(CLOCK_PROCESS_CPUTIME_ID) < end)
		x = NAME(middle, LETTER)(x, 20);
	KEEP(&x);
	return x + 1;
}

/* ARGUMENTS: milliseconds, until when, programs; each goes on with the one behind itself. */
int main(int argc, char **argv)
{
	double begin = seconds(CLOCK_PROCESS_CPUTIME_ID);
	uint64_t x = NAME(work, LETTER)(begin + (argc > 1 ? atof(argv[1]) : 2) / 1000);
	struct rusage usage;
	int next = argc > 3 ? atoi(argv[3]) : 0;

	if (argc > 4 && seconds(CLOCK_MONOTONIC) < atof(argv[2])) {
		char number[16];

		snprintf(number, sizeof(number), "%d", (next + 1) % (argc - 4));
		argv[3] = number;
		execv(argv[4 + next], argv);
		return 1;
	}
	getrusage(RUSAGE_SELF, &usage);
	if (argc > 2)
		printf("{\"cpu\": %.3f}\n", (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
						    (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
	return x == 7;
}
#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program under 10,000 signals a second, half of them handled on a stack of their own, which meet it in leaf
 * functions, prologues, the C library and system calls. `interrupted PID` only sends such signals (SIGURG, which Go
 * uses itself) to another process until that is gone. Otherwise never ends.
 */
#include "split_work.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PERIOD_NS 200000 /* of each of the two timers */

static volatile uint64_t sink, handled;

__attribute__((noinline)) static void handler_work(int number)
{
	uint64_t x = (uint64_t)number + handled;
	char text[32];

	SPLIT_WORK(x, 2000);
	memset(text, (int)x, sizeof(text));
	sink = sink + x + (uint64_t)text[3];
}

static void handler(int number)
{
	handled++;
	handler_work(number);
}

__attribute__((noinline)) static uint64_t tiny(uint64_t x)
{
	return x * 3 + 1;
}

__attribute__((noinline)) static uint64_t nested(int depth, uint64_t x)
{
	volatile uint64_t kept = tiny(x);

	if (!depth)
		return kept;
	return nested(depth - 1, kept) + tiny(kept);
}

static int compare(const void *a, const void *b)
{
	return memcmp(a, b, 16);
}

__attribute__((noinline)) static uint64_t library_work(uint64_t x)
{
	static char many[256][16], text[512];

	for (int i = 0; i < 256; i++)
		snprintf(many[i], sizeof(many[i]), "%u", (unsigned)(x + (uint64_t)i * 7919) % 99991);
	qsort(many, 256, sizeof(many[0]), compare);
	memset(text, 'x', sizeof(text) - 1);
	return strlen(text) + (uint64_t)strtod(many[3], NULL) + (uint64_t)getppid();
}

static void start_timer(int number, int flags)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART | flags };
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = number };
	struct itimerspec every = { { 0, PERIOD_NS }, { 0, PERIOD_NS } };
	timer_t timer;

	if (sigaction(number, &action, NULL) || timer_create(CLOCK_MONOTONIC, &event, &timer) ||
	    timer_settime(timer, 0, &every, NULL))
		abort();
}

static int send_to(int target)
{
	struct timespec pause = { 0, 2 * PERIOD_NS };

	while (!kill(target, 0)) {
		for (int i = 0; i < 4; i++)
			kill(target, SIGURG);
		nanosleep(&pause, NULL);
	}
	return 0;
}

int main(int argc, char **argv)
{
	stack_t other = { .ss_sp = malloc(65536), .ss_size = 65536 };

	if (argc > 1)
		return send_to(atoi(argv[1]));
	if (!other.ss_sp || sigaltstack(&other, NULL))
		abort();
	start_timer(SIGUSR1, 0);
	start_timer(SIGUSR2, SA_ONSTACK);
	for (;;) {
		sink = nested(50, sink);
		sink = sink + library_work(sink);
	}
}

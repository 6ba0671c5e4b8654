/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stacks of many shapes, to be stopped anywhere; argv[1] says which. Never ends.
 *   calls      frames large and small, with every register kept, variable parts, variadic, left by a tail call
 *   deep N     N calls of itself, then work
 *   vfork      children that end at once: the parent waits in a call whose stack the child has used
 *   nested     a signal handler, interrupted by another on a stack of its own, works
 *   clock      the kernel's own code in every process (vDSO)
 *   strings    what the C library has in assembly
 *   bind       calls functions for the first time, each once, then works
 */
#define _GNU_SOURCE
#include "split_work.h"

#include <alloca.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/wait.h>

#define NOINLINE __attribute__((noinline))

static volatile uint64_t sink;

NOINLINE static uint64_t leaf(uint64_t x)
{
	SPLIT_WORK(x, 300);
	return x;
}

NOINLINE static uint64_t kept(uint64_t a, uint64_t b, uint64_t c)
{
	uint64_t d = leaf(a), e = leaf(b + d), f = leaf(c + e), g = leaf(a ^ f);

	return a + b + c + d * leaf(g) + e * leaf(d) + f + g;
}

NOINLINE static uint64_t large(uint64_t x)
{
	volatile uint64_t room[5000];

	room[x % 5000] = x;
	return kept(x, room[x % 5000], 3) + room[x % 5000];
}

NOINLINE static uint64_t variable(uint64_t x)
{
	volatile char *room = alloca(16 + x % 512);

	room[x % 16] = 1;
	return large(x) + (uint64_t)room[x % 16];
}

NOINLINE static uint64_t variadic(int count, ...)
{
	va_list list;
	uint64_t sum = 0;

	va_start(list, count);
	while (count--)
		sum += variable(va_arg(list, uint64_t));
	va_end(list);
	return sum;
}

NOINLINE static uint64_t tail(uint64_t x)
{
	return variadic(2, x + 1, x + 2);
}

NOINLINE static uint64_t deep(uint64_t depth)
{
	volatile uint64_t here = depth;
	uint64_t x = depth ? deep(depth - 1) : 0;

	for (; !depth;)
		sink = leaf(sink);
	return x + here;
}

NOINLINE static void child(void)
{
	sink = leaf(sink);
	_exit(0);
}

NOINLINE static void spawn(void)
{
	pid_t pid = vfork();

	if (!pid)
		child();
	waitpid(pid, NULL, 0);
}

NOINLINE static void work_in_handler(void)
{
	for (;;)
		sink = kept(sink, 1, 2);
}

static void second(int number)
{
	(void)number;
	work_in_handler();
}

static void first(int number)
{
	(void)number;
	sink = leaf(sink);
	raise(SIGUSR2);
}

NOINLINE static void nest(void)
{
	stack_t other = { .ss_sp = malloc(65536), .ss_size = 65536 };
	struct sigaction one = { .sa_handler = first }, two = { .sa_handler = second, .sa_flags = SA_ONSTACK };

	if (!other.ss_sp || sigaltstack(&other, NULL) || sigaction(SIGUSR1, &one, NULL) ||
	    sigaction(SIGUSR2, &two, NULL))
		abort();
	raise(SIGUSR1);
}

NOINLINE static void look_at_clock(void)
{
	struct timespec now;

	for (int i = 0; i < 100; i++) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		sink = sink + (uint64_t)now.tv_nsec;
	}
}

NOINLINE static void move_strings(void)
{
	static char from[65536], to[65536];
	size_t size = 1 + (size_t)(sink * 2654435761u >> 8) % (sizeof(from) - 1);

	memset(from, 'x', size);
	memcpy(to, from, size);
	memmove(to + 1, to, size - 1);
	from[size] = 0;
	sink = sink + strlen(from) + (uint64_t)memcmp(from, to, size) + (memchr(from, 'y', size) == NULL) +
	       (uint64_t)strcmp(from, "xxxx") + (strchr(from, 'z') == NULL) + (strstr(from, "xyz") == NULL);
}

NOINLINE static void bind(void)
{
	sink = sink + (uint64_t)cbrt((double)sink + 3) + (uint64_t)strtoul("12", NULL, 10);
	sink = sink + (uint64_t)hypot((double)sink, 2) + (uint64_t)getpgrp();
}

int main(int argc, char **argv)
{
	const char *shape = argc > 1 ? argv[1] : "calls";

	if (!strcmp(shape, "deep"))
		sink = deep(argc > 2 ? (uint64_t)atoi(argv[2]) : 300);
	if (!strcmp(shape, "nested"))
		nest();
	if (!strcmp(shape, "bind"))
		bind();
	for (;;) {
		if (!strcmp(shape, "vfork"))
			spawn();
		else if (!strcmp(shape, "clock"))
			look_at_clock();
		else if (!strcmp(shape, "strings"))
			move_strings();
		else
			sink = tail(sink);
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program whose right profile is known: it spends CPU time in named functions in a fixed split, and says at its end
 * how much each one really got ({"function": seconds, …}, by CLOCK_THREAD_CPUTIME_ID around each turn).
 *
 * Kinds: inlined into its caller, static, in a shared library, recursive 300 deep, below a signal handler, called
 * back through a PLT (libc's qsort), in the vDSO. Usage: split SECONDS
 */
#define _GNU_SOURCE
#include "split_work.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

uint64_t split_library(uint64_t rounds); /* split_lib.c */

static volatile uint64_t sink;

static inline __attribute__((always_inline)) uint64_t inlined_work(uint64_t rounds)
{
	uint64_t x = rounds;

	SPLIT_WORK(x, rounds);
	return x;
}

__attribute__((noinline)) static uint64_t inlined_caller(uint64_t rounds)
{
	return inlined_work(rounds) + 1;
}

__attribute__((noinline)) static uint64_t static_work(uint64_t rounds)
{
	uint64_t x = rounds + 7;

	SPLIT_WORK(x, rounds);
	return x;
}

__attribute__((noinline)) static uint64_t recursive_leaf(uint64_t rounds)
{
	uint64_t x = rounds + 9;

	SPLIT_WORK(x, rounds);
	return x;
}

__attribute__((noinline)) static uint64_t recursive_work(uint64_t rounds, int depth)
{
	volatile uint64_t kept = rounds;

	if (!depth)
		return recursive_leaf(rounds);
	return recursive_work(kept, depth - 1) + kept;
}

static volatile uint64_t signal_rounds;

__attribute__((noinline)) static uint64_t handler_work(uint64_t rounds)
{
	uint64_t x = rounds + 11;

	SPLIT_WORK(x, rounds);
	return x;
}

static void handler(int number)
{
	sink += handler_work(signal_rounds) + (uint64_t)number;
}

__attribute__((noinline)) static uint64_t signal_sender(uint64_t rounds)
{
	signal_rounds = rounds;
	raise(SIGUSR1);
	return sink;
}

static uint64_t compare_rounds;

__attribute__((noinline)) static int compare_work(const void *a, const void *b)
{
	uint64_t x = compare_rounds;

	SPLIT_WORK(x, compare_rounds);
	sink += x;
	return *(const int *)a - *(const int *)b;
}

__attribute__((noinline)) static uint64_t sorter(uint64_t rounds)
{
	int numbers[] = { 4, 3, 2, 1 };

	compare_rounds = rounds / 5;
	qsort(numbers, 4, sizeof(*numbers), compare_work);
	return (uint64_t)numbers[0];
}

__attribute__((noinline)) static uint64_t clock_reader(uint64_t rounds)
{
	struct timespec now;
	uint64_t x = 0;

	for (uint64_t i = 0; i < rounds / 40 + 1; i++) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		x += (uint64_t)now.tv_nsec;
	}
	return x;
}

static uint64_t recursive_300(uint64_t rounds)
{
	return recursive_work(rounds, 300);
}

static struct turn {
	const char *name;
	uint64_t (*work)(uint64_t rounds);
	double share; /* of the whole */
	double seconds;
} turns[] = {
	{ "inlined_work", inlined_caller, 0.20, 0 },  { "static_work", static_work, 0.15, 0 },
	{ "split_library", split_library, 0.20, 0 },  { "recursive_leaf", recursive_300, 0.15, 0 },
	{ "handler_work", signal_sender, 0.10, 0 },   { "compare_work", sorter, 0.10, 0 },
	{ "clock_reader", clock_reader, 0.10, 0 },
};
#define TURNS (sizeof(turns) / sizeof(*turns))

static double cpu_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Works until the turn has had its share of `total` CPU seconds. */
static void take_turn(struct turn *turn, double total)
{
	while (turn->seconds < turn->share * total) {
		double begin = cpu_now();

		sink += turn->work(400000);
		turn->seconds += cpu_now() - begin;
	}
}

int main(int argc, char **argv)
{
	double wanted = argc > 1 ? atof(argv[1]) : 5;

	signal(SIGUSR1, handler);
	/* Rounds of 10 to 50 ms without a pattern: a fixed length would beat with the sampling clock. */
	for (double total = 0.02; total <= wanted; total += 0.01 + 0.04 * (double)rand() / RAND_MAX)
		for (size_t i = 0; i < TURNS; i++)
			take_turn(&turns[i], total);
	printf("{");
	for (size_t i = 0; i < TURNS; i++)
		printf("%s\"%s\": %.6f", i ? ", " : "", turns[i].name, turns[i].seconds);
	printf("}\n");
	return 0;
}

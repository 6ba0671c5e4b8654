/* SPDX-License-Identifier: Apache-2.0 */
/* Burns CPU below a stack of argv[1] frames, pinned to processor argv[2], for argv[3] seconds. The frames go through
 * a few functions of different frame size, as real stacks do. */
#define _GNU_SOURCE
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static volatile uint64_t sink;
static time_t end;

__attribute__((noinline)) static uint64_t burn(void)
{
	uint64_t x = sink;

	do {
		for (int i = 0; i < 200000; i++)
			x = x * 6364136223846793005u + 1442695040888963407u;
		sink = x;
	} while (time(NULL) < end);
	return x;
}

static uint64_t (*step_table[4])(int depth);

#define STEP(number, bytes)                                                                                   \
	__attribute__((noinline)) static uint64_t step_##number(int depth)                                    \
	{                                                                                                     \
		volatile char room[bytes];                                                                    \
		uint64_t x;                                                                                   \
                                                                                                              \
		room[0] = (char)depth;                                                                        \
		x = depth <= 0 ? burn() : step_table[depth & 3](depth - 1);                                   \
		return x + (uint64_t)room[0] + (uint64_t)depth;                                               \
	}
STEP(0, 16)
STEP(1, 72)
STEP(2, 200)
STEP(3, 40)

int main(int argc, char **argv)
{
	cpu_set_t set;

	if (argc < 4)
		return 2;
	CPU_ZERO(&set);
	CPU_SET((size_t)atoi(argv[2]), &set);
	sched_setaffinity(0, sizeof(set), &set);
	end = time(NULL) + atoi(argv[3]);
	step_table[0] = step_0;
	step_table[1] = step_1;
	step_table[2] = step_2;
	step_table[3] = step_3;
	printf("%llu\n", (unsigned long long)step_table[0](atoi(argv[1]) - 4));
	return 0;
}

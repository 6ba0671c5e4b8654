/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workload: hot code all over a large text (wide.S): each of its dense functions in turn calls wide_spin, for the
 * seconds given. The stack is always _start … main, one of them, wide_spin.
 */
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

extern const char wide_base[];
static volatile uint64_t sink;

__attribute__((noinline)) void wide_spin(void)
{
	for (int i = 0; i < 3000; i++)
		sink = sink * 6364136223846793005u + 1;
}

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	double end = now_s() + (argc > 1 ? atof(argv[1]) : 1);

	for (uint32_t n = 0; n % 256 || now_s() < end; n++)
		((void (*)(void (*)(void)))(uintptr_t)(wide_base + 64 * (n * 977 % DENSE)))(wide_spin);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* C++: works in a template below a namespace, and in the handler of exceptions thrown twenty frames deep. */
#include "split_work.h"

#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <time.h>

static volatile uint64_t sink;

namespace shop {
template <typename T> __attribute__((noinline)) T total(T start, uint64_t rounds)
{
	uint64_t x = static_cast<uint64_t>(start);

	SPLIT_WORK(x, rounds);
	return static_cast<T>(x);
}

__attribute__((noinline)) int dig(int depth)
{
	volatile int kept = depth;

	if (!depth)
		throw std::runtime_error("bottom");
	return dig(kept - 1) + kept;
}

__attribute__((noinline)) uint64_t catcher(uint64_t rounds)
{
	uint64_t x = rounds;

	try {
		x += static_cast<uint64_t>(dig(20));
	} catch (const std::exception &error) {
		SPLIT_WORK(x, rounds);
		x += static_cast<uint64_t>(error.what()[0]);
	}
	return x;
}
} // namespace shop

static double cpu_now()
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

int main(int argc, char **argv)
{
	double wanted = argc > 1 ? atof(argv[1]) : 5, a = 0, b = 0;

	while (a + b < wanted) {
		double begin = cpu_now();

		sink = sink + (uint64_t)shop::total<long>(1, 3000000);
		a += cpu_now() - begin;
		begin = cpu_now();
		sink = sink + shop::catcher(3000000);
		b += cpu_now() - begin;
	}
	printf("{\"shop::total\": %.6f, \"shop::catcher\": %.6f}\n", a, b);
}

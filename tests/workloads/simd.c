/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Vector code whose functions realign their stack: a wide local array beside one of variable length, so that the
 * compiler keeps the caller's stack pointer in a register of its own (r10) and says so in its unwind rules. Never ends.
 */
#include <alloca.h>
#include <immintrin.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WIDTH 256

typedef float lane __attribute__((vector_size(32), aligned(32)));

static volatile float sink;

__attribute__((noinline)) static void scale(float *to, const float *from, float by)
{
	for (int i = 0; i < WIDTH; i++)
		to[i] = from[i] * by + (float)i;
}

__attribute__((noinline)) static float reduce(const lane *at, int count)
{
	lane sum = { 0 };
	float out = 0;

	for (int i = 0; i < count; i++)
		sum += at[i] * at[(i * 7 + 3) % count];
	for (int i = 0; i < 8; i++)
		out += sum[i];
	return out;
}

/* Calls with a vector argument on the stack, so the caller's frame must be aligned too. */
__attribute__((noinline)) static lane nine(lane a, lane b, lane c, lane d, lane e, lane f, lane g, lane h, lane i)
{
	lane local[4] = { a + i, b - h, c * g, d + f };

	__asm__ volatile("" : : "r"(local) : "memory");
	return local[0] * local[3] + local[1] * local[2] + e;
}

__attribute__((noinline)) static float realigned(int length, float seed)
{
	lane local[32];
	float *variable = alloca((size_t)length * sizeof(float));
	float whole[WIDTH] __attribute__((aligned(64)));

	for (int i = 0; i < length; i++)
		variable[i] = seed + (float)i;
	memset(whole, length & 3, sizeof(whole));
	scale(whole, variable, 0.5f);
	memcpy(local, whole, sizeof(local));
	local[1] = nine(local[0], local[1], local[2], local[3], local[4], local[5], local[6], local[7], local[8]);
	return reduce(local, 32) + variable[length - 1];
}

__attribute__((noinline)) static float recursive(int depth, float seed)
{
	lane kept[4] = { { seed }, { seed, 1 }, { 2, seed }, { 3 } };
	float *more = alloca(64u + (unsigned)depth * 16u);

	more[0] = seed;
	__asm__ volatile("" : : "r"(kept), "r"(more) : "memory");
	if (!depth)
		return realigned(WIDTH, seed);
	return recursive(depth - 1, seed * 1.01f) + reduce(kept, 4) + more[0];
}

static int compare(const void *a, const void *b)
{
	lane one = { *(const float *)a }, other = { *(const float *)b };
	lane apart[2] = { one - other, other };

	__asm__ volatile("" : : "r"(apart) : "memory");
	return (apart[0][0] > 0) - (apart[0][0] < 0);
}

__attribute__((noinline)) static float sorted(float seed)
{
	float many[512];

	for (int i = 0; i < 512; i++)
		many[i] = (float)((i * 7919 + (int)seed) % 521);
	qsort(many, 512, sizeof(many[0]), compare);
	return many[17];
}

int main(void)
{
	for (float x = 1;; x = x > 1e6f ? 1 : x + 0.25f) {
		for (int i = 0; i < 40; i++)
			x += recursive(i % 24, x) > 0;
		sink = sorted(x);
	}
}

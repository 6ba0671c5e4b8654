/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stack with holes, as libuv makes one: its large frames have two pages that nobody ever touched, and two small
 * frames lie between each two of them. Never ends.
 */
#include <stdint.h>

#define ROOM 12288 /* bytes, in which two whole pages lie wherever they begin */
#define DEPTH 5

static volatile uint64_t sink;

__attribute__((noinline)) static int hollow(int depth);

__attribute__((noinline)) static int small(int depth)
{
	return hollow(depth) + (int)sink;
}

__attribute__((noinline)) static int middle(int depth)
{
	return small(depth) + (int)sink;
}

__attribute__((noinline)) static int hollow(int depth)
{
	volatile char room[ROOM];

	room[ROOM - 1] = (char)depth;
	if (depth)
		return middle(depth - 1) + room[ROOM - 1];
	for (int i = 0; i < 1000000; i++)
		sink = sink * 6364136223846793005u + 1442695040888963407u;
	return room[ROOM - 1];
}

int main(void)
{
	for (;;)
		sink += (uint64_t)middle(DEPTH);
}

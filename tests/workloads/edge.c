/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Spends 4 ms in a thread whose stack ends where another mapping begins, and ends. What is behind such a stack is no
 * part of it. The place is fixed, so that whoever looks at a copy knows it.
 */
#define _GNU_SOURCE
#include "split_work.h"

#include <pthread.h>
#include <sys/mman.h>
#include <time.h>

#define STACK_AT ((char *)0x10000000)
#define STACK_BYTES (256UL << 10)

static void *edge_work(void *argument)
{
	struct timespec now;
	uint64_t x = 1;

	do {
		SPLIT_WORK(x, 20000);
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	} while (now.tv_nsec < 4000000 && !now.tv_sec);
	return x == 7 ? argument : NULL;
}

int main(void)
{
	int shared = MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_POPULATE;
	pthread_attr_t attributes;
	pthread_t thread;

	if (mmap(STACK_AT, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
		 0) != STACK_AT || mmap(STACK_AT + STACK_BYTES, STACK_BYTES, PROT_READ, shared, -1, 0) == MAP_FAILED)
		return 1;
	pthread_attr_init(&attributes);
	pthread_attr_setstack(&attributes, STACK_AT, STACK_BYTES);
	if (pthread_create(&thread, &attributes, edge_work, NULL))
		return 1;
	return pthread_join(thread, NULL);
}

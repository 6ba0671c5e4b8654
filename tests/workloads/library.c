/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lives in its C library, whichever it was linked with: sorting by a callback, printing and reading numbers,
 * strings, memory, the heap, mathematics, searching. Never ends.
 */
#include <fnmatch.h>
#include <math.h>
#include <pthread.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MANY 400

static char words[MANY][24];
static volatile double sink;

static int compare(const void *a, const void *b)
{
	return strcmp(a, b);
}

__attribute__((noinline)) static void strings(unsigned seed)
{
	for (unsigned i = 0; i < MANY; i++)
		snprintf(words[i], sizeof(words[i]), "%08x %.3f", (seed + i) * 7919u % 104729u, (double)i / 3);
	qsort(words, MANY, sizeof(words[0]), compare);
	for (unsigned i = 0; i < MANY; i++)
		sink += strtod(words[i] + 9, NULL) + (double)strtoul(words[i], NULL, 16);
	sink += bsearch(words[7], words, MANY, sizeof(words[0]), compare) != NULL;
}

__attribute__((noinline)) static void memory(unsigned seed)
{
	char *blocks[64];

	for (unsigned i = 0; i < 64; i++) {
		blocks[i] = malloc(100 + (seed + i * 97) % 5000);
		if (!blocks[i])
			abort();
		memset(blocks[i], 'a' + (int)(i % 26), 99);
		blocks[i][99] = 0;
	}
	for (unsigned i = 1; i < 64; i++) {
		memmove(blocks[i - 1] + 3, blocks[i], 60);
		sink += (double)strlen(blocks[i]) + (strstr(blocks[i], "ab") != NULL) + (memchr(blocks[i], 'z', 99) != NULL);
	}
	for (unsigned i = 0; i < 64; i++)
		free(blocks[i]);
}

__attribute__((noinline)) static void searches(void)
{
	regmatch_t where;
	regex_t wanted;

	if (regcomp(&wanted, "0+([1-9a-f]+)[a-f].*3$", REG_EXTENDED))
		abort();
	for (unsigned i = 0; i < MANY; i += 8)
		sink += regexec(&wanted, words[i], 1, &where, 0) + fnmatch("*[2-5]?3", words[i], 0);
	regfree(&wanted);
}

__attribute__((noinline)) static void numbers(void)
{
	for (double x = 0.1; x < 40; x += 0.1)
		sink += sin(x) + exp(x / 9) + pow(x, 1.3) + log(x) + cbrt(x) + fmod(x, 0.7);
}

/* The other thread; what writes `words` has but one. */
static void *memory_work(void *unused)
{
	for (unsigned round = 1;; round++)
		memory(round);
	return unused;
}

int main(void)
{
	struct timespec pause = { 0, 1000 };
	pthread_t other;

	if (pthread_create(&other, NULL, memory_work, NULL))
		abort();
	for (unsigned round = 0;; round++) {
		strings(round);
		memory(round);
		searches();
		numbers();
		nanosleep(&pause, NULL);
	}
}

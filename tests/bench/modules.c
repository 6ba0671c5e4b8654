/* SPDX-License-Identifier: Apache-2.0 */
/* Loads the shared objects argv[2]/0.so to argv[2]/N-1.so, N being argv[1], says so and waits for the end of its
 * input. Compiled with -DMODULE it is such an object: 64 functions of different frames make about 900 rows, more
 * than half of the files below /usr/lib have. */
#ifdef MODULE
#define F(name, bytes)                                                                                        \
	__attribute__((noinline)) int name(int (*next)(char *, int), int depth)                               \
	{                                                                                                     \
		char room[bytes];                                                                             \
		int sum = depth > 1 ? next(room, depth) : 0;                                                  \
                                                                                                              \
		for (int i = 0; i < depth; i++)                                                               \
			sum += next(room + i % (bytes), sum) * (sum ^ i);                                     \
		return sum + room[depth % (bytes)];                                                           \
	}
#define F4(name) F(name##_0, 24) F(name##_1, 72) F(name##_2, 200) F(name##_3, 1000)
#define F16(name) F4(name##_a) F4(name##_b) F4(name##_c) F4(name##_d)
#define F64(name) F16(name##_a) F16(name##_b) F16(name##_c) F16(name##_d)
F64(f)
#else
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
	char path[4096];

	for (int i = 0; argc > 2 && i < atoi(argv[1]); i++) {
		snprintf(path, sizeof(path), "%s/%d.so", argv[2], i);
		if (!dlopen(path, RTLD_NOW | RTLD_LOCAL)) {
			fprintf(stderr, "%s\n", dlerror());
			return 1;
		}
	}
	puts("loaded");
	fflush(stdout);
	return getchar() == EOF ? 0 : 1;
}
#endif

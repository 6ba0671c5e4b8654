/* SPDX-License-Identifier: Apache-2.0 */
/* The work itself, a macro so that it is part of whatever function uses it. */
#ifndef SPLIT_WORK_H
#define SPLIT_WORK_H

#include <stdint.h>

#define SPLIT_WORK(x, rounds)                                                                                 \
	for (uint64_t round_ = 0; round_ < (rounds); round_++) {                                              \
		(x) = (x) * 6364136223846793005u + 1442695040888963407u;                                      \
		__asm__ volatile("" : "+r"(x));                                                               \
	}

#endif

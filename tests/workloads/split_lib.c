/* SPDX-License-Identifier: Apache-2.0 */
/* The part of split.c that lives in a shared library. */
#include "split_work.h"

uint64_t split_library(uint64_t rounds);

uint64_t split_library(uint64_t rounds)
{
	uint64_t x = rounds + 5;

	SPLIT_WORK(x, rounds);
	return x;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is known about how well stacks are unwound: the referee's verdicts, in total and by binary, and the places
 * where stacks end too early or are read otherwise by libunwind. A place is (binary, ELF address, reason): no
 * contents of anybody's memory. Bounded; any thread.
 */
#ifndef REFEREE_TALLY_H
#define REFEREE_TALLY_H

#include "referee_compare.h"

#include <stddef.h>
#include <stdint.h>

#define TALLY_BINARIES 1024
#define TALLY_PLACES 1024 /* of each list; past it the rarest makes room */

struct referee_tally;

/* A stack counts once for its program, and once for each binary that both have a frame in. */
enum tally_by { TALLY_PROGRAM, TALLY_BINARY, TALLY_BYS };

struct tally_binary {
	const char *path;
	uint64_t agree, disagree, root; /* root: of those that agree, with the root in both */
};

/* Stacks that ended too early; that parted from libunwind's behind that place; that libunwind left there. */
enum tally_list { TALLY_UNFINISHED, TALLY_PARTED, TALLY_LEFT, TALLY_LISTS };

struct tally_place {
	const char *path;
	uint64_t address; /* in the ELF file, 0 where its segments are not known */
	enum reason reason;
	uint64_t count;   /* at most; `over` of it may be of a place that made room */
	uint64_t over;
};

struct tally_totals {
	uint64_t outcomes[REFEREE_OUTCOMES];
	uint64_t root;  /* comparisons in which both reached the root */
	uint64_t other_binaries; /* verdicts on binaries past the limit */
};

struct referee_tally *tally_new(void);
void tally_free(struct referee_tally *tally); /* accepts NULL */
void tally_verdict(struct referee_tally *tally, const struct referee_verdict *verdict);
/* Paths are copied; those that are given are borrowed as long as the tally. */
void tally_binary(struct referee_tally *tally, enum tally_by by, const char *path,
		  const struct referee_verdict *verdict);
void tally_place(struct referee_tally *tally, enum tally_list list, const struct tally_place *place);
void tally_get(struct referee_tally *tally, struct tally_totals *ret_totals);
/* The most frequent first, at most `limit`; how many. */
size_t tally_places(struct referee_tally *tally, enum tally_list list, struct tally_place *ret_places, size_t limit);
/* The least agreed on first. */
size_t tally_binaries(struct referee_tally *tally, enum tally_by by, struct tally_binary *ret_binaries, size_t limit);

#endif

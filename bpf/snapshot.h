/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The border between sample.bpf.c and snapshot.bpf.c. */
#ifndef SNAPSHOT_H
#define SNAPSHOT_H

#include "abi/snapshot.h"
#include "walk.h"

/*
 * Copies walk->regs, which must be the interrupted ones, and the stack above them. 1: the copy is on its way and
 * walk->hash is now its id, under SAMPLE_SNAPSHOT; what was walked so far stays as the second best. 0: no copy.
 */
int snapshot_take(struct walk *walk, __u32 set);
/* The same for the referee, and more of the stack: under SNAPSHOT_REFEREE, the walk stays as it is. */
int snapshot_refer(struct walk *walk);

#endif

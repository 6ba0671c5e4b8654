/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cage of the symbolizers. The parent gives up its identity and prepares the filter once; a child takes its
 * limits and the filter, and from then on owns nothing but its two descriptors and its memory.
 */
#ifndef SYMBOLIZER_SANDBOX_H
#define SYMBOLIZER_SANDBOX_H

#include <stdint.h>

#define SANDBOX_CPU_S 10        /* of CPU in one request, then the child dies */
#define SANDBOX_WALL_S 20       /* of time in one request: a read that hangs */
#define SANDBOX_SHORT_CPU_S 1   /* the same for a short one */
#define SANDBOX_SHORT_WALL_S 3
#define SANDBOX_CPU_LIFE_S 600  /* of CPU in a child's life */
#define SANDBOX_CPU_URGENT_S 1  /* of it ahead of the host's own work, for a child that samples wait for */
#define SANDBOX_FILE_BYTES (128ULL << 20) /* what a child may write to a table */
#define SANDBOX_MEMORY_BYTES (256ULL << 20) /* where the agent said nothing */
#define SANDBOX_MAPPED_BYTES (4ULL << 30) /* address space beyond that, for the files mapped read-only */

/* Unused user, no privileges to regain, no core, dies with the agent; `socket` becomes descriptor 3, alone. */
int sandbox_parent(int socket);
int sandbox_child(void); /* from now on nothing can be opened. 0 or negative errno */
void sandbox_request_begin(void);
void sandbox_request_begin_short(void);
void sandbox_request_end(void);

#endif

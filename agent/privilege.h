/* SPDX-License-Identifier: Apache-2.0 */
/* What the agent may do beyond others: ahead of them on a busy host, and no more than it needs once it runs. */
#ifndef PRIVILEGE_H
#define PRIVILEGE_H

#include <stddef.h>

/* Keeps only the capabilities of privilege.c's table and sets no_new_privs. A sentence in `error` on failure. */
int privilege_drop(char *error, size_t error_size);

/*
 * The calling thread and those it makes go before other work, if nobody chose a priority for the agent: it has to
 * answer when the host is busiest. What computes on others' behalf (queries, symbolizers) gives that up again.
 */
void privilege_hurry(void);
void privilege_calm(void);

#endif

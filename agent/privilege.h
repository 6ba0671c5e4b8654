/* SPDX-License-Identifier: Apache-2.0 */
/* Gives up what the agent does not need once it runs: capabilities, new privileges, core dumps. */
#ifndef PRIVILEGE_H
#define PRIVILEGE_H

#include <stddef.h>

/* Keeps only the capabilities of privilege.c's table and sets no_new_privs. A sentence in `error` on failure. */
int privilege_drop(char *error, size_t error_size);

#endif

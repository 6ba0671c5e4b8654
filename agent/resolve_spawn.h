/* SPDX-License-Identifier: Apache-2.0 */
/* How the symbolizers' parent comes to life, at start and again when somebody killed it. */
#ifndef RESOLVE_SPAWN_H
#define RESOLVE_SPAWN_H

#include <stdbool.h>
#include <stdint.h>

/* For programs that are not wick (tests): the parent is a fork that calls symbolizer_main, nothing is executed. */
void spawn_without_exec(bool without);
uint64_t spawn_cpu_ns(void); /* CPU time of the parent and the children it has waited for */
int spawn_again(void); /* with the memory limit of the first time. A socket or negative errno */

#endif

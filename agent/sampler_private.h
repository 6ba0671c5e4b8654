/* SPDX-License-Identifier: Apache-2.0 */
/* What the sampler reads from text: how busy the CPUs were. */
#ifndef SAMPLER_PRIVATE_H
#define SAMPLER_PRIVATE_H

#include <stdint.h>

/* Busy time in the first line of /proc/stat, in ticks; 0 if there is none. */
uint64_t sampler_parse_busy(const char *text);
uint64_t sampler_read_busy_ns(void);

#endif

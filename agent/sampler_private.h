/* SPDX-License-Identifier: Apache-2.0 */
/* What the sampler reads from text: lists of CPUs, and how busy they were. */
#ifndef SAMPLER_PRIVATE_H
#define SAMPLER_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>

#define SAMPLER_MAX_CPUS 4096

/* "0-3,7" of /sys/devices/system/cpu/online; -EINVAL if it is no such list. Sets what is in it. */
int sampler_parse_cpus(const char *text, bool online[SAMPLER_MAX_CPUS]);
/* Busy time in the first line of /proc/stat, in ticks; 0 if there is none. */
uint64_t sampler_parse_busy(const char *text);
uint64_t sampler_read_busy_ns(void);

#endif

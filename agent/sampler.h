/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One perf event per online CPU: software CPU clock, fixed period, idle excluded, the sample program attached.
 * CPUs that come and go are noticed by sampler_tick. Owns its descriptors.
 */
#ifndef SAMPLER_H
#define SAMPLER_H

#include "base/cpus.h"

#include <stddef.h>
#include <stdint.h>

struct sampler;

struct sampler_opts {
	unsigned frequency; /* 1..2000 */
	int program_fd;
};

int sampler_open(const struct sampler_opts *opts, struct sampler **ret_sampler, char *error, size_t error_size);
int sampler_start(struct sampler *sampler); /* opened events wait for it; needs no privilege. 0 or -errno */
void sampler_close(struct sampler *sampler); /* sampling stops; accepts NULL */
/* Call about once a second with the CPUs that are online now: >0 re-opened, 0, -errno */
int sampler_tick(struct sampler *sampler, const struct cpus *cpus);
unsigned sampler_cpus(const struct sampler *sampler);
/* CPU time that could have been sampled so far: busy time of the CPUs (user, nice, system, irq, softirq, steal
 * excluded) since opening, from /proc/stat. */
uint64_t sampler_busy_ns(const struct sampler *sampler);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stage "sample", user side: takes a frequency and the program, gives ticks of every online CPU to it. Owns one
 * perf event per CPU. A CPU that fails is tried again at the next tick and does not stop the others.
 */
#include "sampler.h"

#include "base/clean.h"
#include "base/clock.h"
#include "sampler_private.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

struct sampler {
	int program_fd;
	bool started;
	uint64_t period_ns;
	uint64_t busy_from_ns;
	int fds[CPUS_MAX]; /* -1: no event on this CPU */
};

static int open_event(const struct sampler *sampler, int cpu)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.config = PERF_COUNT_SW_CPU_CLOCK,
		.size = sizeof(attr),
		.sample_period = sampler->period_ns,
		.exclude_idle = 1,
		.disabled = 1,
	};
	auto_fd int fd = (int)syscall(SYS_perf_event_open, &attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);

	if (fd < 0 || ioctl(fd, PERF_EVENT_IOC_SET_BPF, sampler->program_fd) ||
	    (sampler->started && ioctl(fd, PERF_EVENT_IOC_ENABLE, 0)))
		return -errno;
	return steal_fd(&fd);
}

/* The number of CPUs opened; *ret_error the last failure. */
static int open_missing(struct sampler *sampler, const struct cpus *cpus, int *ret_error)
{
	int opened = 0;

	for (int cpu = 0; cpu < (int)cpus->end; cpu++) {
		int fd;

		if (!cpus->online[cpu] || sampler->fds[cpu] >= 0)
			continue;
		fd = open_event(sampler, cpu);
		if (fd < 0) {
			*ret_error = fd;
			continue;
		}
		sampler->fds[cpu] = fd;
		opened++;
	}
	return opened;
}

static int explain(int result, char *error, size_t error_size)
{
	switch (result) {
	case -EPERM:
	case -EACCES:
		snprintf(error, error_size,
			 "opening perf events was refused: wick needs root, or CAP_PERFMON and CAP_BPF");
		break;
	case -EMFILE:
	case -ENFILE:
		snprintf(error, error_size, "too few file descriptors for one perf event a CPU: raise the limit (ulimit -n)");
		break;
	default:
		snprintf(error, error_size, "no CPU could be sampled: %s", strerror(-result));
	}
	return result;
}

int sampler_open(const struct sampler_opts *opts, struct sampler **ret_sampler, char *error, size_t error_size)
{
	struct sampler *sampler;
	struct cpus cpus;
	int result;

	if (opts->frequency < 1 || opts->frequency > 2000) {
		snprintf(error, error_size, "the sampling frequency must lie between 1 and 2000");
		return -EINVAL;
	}
	sampler = calloc(1, sizeof(*sampler));
	if (!sampler)
		return -ENOMEM;
	sampler->program_fd = opts->program_fd;
	sampler->period_ns = NS_PER_S / opts->frequency;
	for (int cpu = 0; cpu < CPUS_MAX; cpu++)
		sampler->fds[cpu] = -1;
	result = cpus_read_online(&cpus);
	if (!result && !open_missing(sampler, &cpus, &result) && !result)
		result = -ENODEV;
	if (!sampler_cpus(sampler)) {
		sampler_close(sampler);
		return explain(result, error, error_size);
	}
	*ret_sampler = sampler;
	return 0;
}

int sampler_start(struct sampler *sampler)
{
	sampler->started = true;
	for (int cpu = 0; cpu < CPUS_MAX; cpu++)
		if (sampler->fds[cpu] >= 0 && ioctl(sampler->fds[cpu], PERF_EVENT_IOC_ENABLE, 0))
			return -errno;
	sampler->busy_from_ns = sampler_read_busy_ns();
	return 0;
}

void sampler_close(struct sampler *sampler)
{
	if (!sampler)
		return;
	for (int cpu = 0; cpu < CPUS_MAX; cpu++)
		if (sampler->fds[cpu] >= 0)
			close(sampler->fds[cpu]);
	free(sampler);
}

/* An event of a CPU that went offline never counts again, so it is closed and, once back, opened anew. */
int sampler_tick(struct sampler *sampler, const struct cpus *cpus)
{
	int error = 0, opened;

	for (int cpu = 0; cpu < CPUS_MAX; cpu++) {
		if (cpus->online[cpu] || sampler->fds[cpu] < 0)
			continue;
		close(sampler->fds[cpu]);
		sampler->fds[cpu] = -1;
	}
	opened = open_missing(sampler, cpus, &error);
	return opened ? opened : error;
}

unsigned sampler_cpus(const struct sampler *sampler)
{
	unsigned count = 0;

	for (int cpu = 0; cpu < CPUS_MAX; cpu++)
		count += sampler->fds[cpu] >= 0;
	return count;
}

uint64_t sampler_busy_ns(const struct sampler *sampler)
{
	uint64_t now_ns = sampler_read_busy_ns();

	return now_ns > sampler->busy_from_ns ? now_ns - sampler->busy_from_ns : 0;
}

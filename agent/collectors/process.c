/* SPDX-License-Identifier: Apache-2.0 */
/* Collector "process": the families process_* every Prometheus client has, from /proc/self. */
#include "base/buf.h"
#include "base/clean.h"
#include "base/clock.h"
#include "base/file.h"
#include "collector.h"
#include "metric.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define PROC_LIMIT (1U << 20)

struct process_stat {
	uint64_t threads, start_ticks, virtual_bytes, resident_pages;
};

/* Fields count from behind the name, which may hold blanks and brackets. */
static int read_stat(struct process_stat *ret_stat)
{
	auto_buf struct buf text = { 0 };
	const char *rest;
	int error = file_read(AT_FDCWD, "/proc/self/stat", PROC_LIMIT, &text);

	if (error)
		return error;
	rest = strrchr(text.data, ')');
	if (!rest || sscanf(rest + 1,
			    " %*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %lu %*s %lu %lu %lu",
			    &ret_stat->threads, &ret_stat->start_ticks, &ret_stat->virtual_bytes,
			    &ret_stat->resident_pages) != 4)
		return -EBADMSG;
	return 0;
}

static int read_boot_time(uint64_t *ret_seconds)
{
	auto_buf struct buf text = { 0 };
	const char *line;
	int error = file_read(AT_FDCWD, "/proc/stat", PROC_LIMIT, &text);

	if (error)
		return error;
	line = strstr(text.data, "\nbtime ");
	return line && sscanf(line, "\nbtime %lu", ret_seconds) == 1 ? 0 : -EBADMSG;
}

static int count_descriptors(uint64_t *ret_count)
{
	auto_dir DIR *folder = opendir("/proc/self/fd");
	uint64_t count = 0;

	if (!folder)
		return -errno;
	while (readdir(folder))
		count++;
	*ret_count = count - 3; /* ".", ".." and the folder's own */
	return 0;
}

static int add_gauge(struct metric_set *set, const char *name, const char *help, uint64_t value)
{
	return metric_family_open(set, METRIC_GAUGE, name, help) ?: metric_add_count(set, value, NULL);
}

static int collect(const struct host_view *view, struct metric_set *set)
{
	struct process_stat stat;
	struct rlimit files;
	uint64_t boot = 0, descriptors = 0;
	int error = read_stat(&stat);

	(void)view;
	error = error ?: read_boot_time(&boot);
	error = error ?: count_descriptors(&descriptors);
	if (error || getrlimit(RLIMIT_NOFILE, &files))
		return error ?: -errno;
	error = metric_family_open(set, METRIC_COUNTER, "process_cpu_seconds_total",
				   "User and system CPU time of the agent's own process.");
	error = error ?: metric_add(set, (double)clock_read_ns(CLOCK_PROCESS_CPUTIME_ID) / 1e9, NULL);
	error = error ?: add_gauge(set, "process_open_fds", "Open file descriptors.", descriptors);
	error = error ?: add_gauge(set, "process_max_fds", "Most file descriptors allowed.", files.rlim_cur);
	error = error ?: add_gauge(set, "process_virtual_memory_bytes", "Virtual memory size.", stat.virtual_bytes);
	error = error ?: add_gauge(set, "process_resident_memory_bytes", "Resident memory size.",
				   stat.resident_pages * (uint64_t)sysconf(_SC_PAGESIZE));
	error = error ?: add_gauge(set, "process_threads", "Threads.", stat.threads);
	error = error ?: metric_family_open(set, METRIC_GAUGE, "process_start_time_seconds",
					    "When the process was started, as a Unix time.");
	return error ?: metric_add(set, (double)boot + (double)stat.start_ticks / (double)sysconf(_SC_CLK_TCK), NULL);
}

const struct collector process_collector = { "process", "the agent's process, as every Prometheus client tells it",
					     collect };

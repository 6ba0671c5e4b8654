/* SPDX-License-Identifier: Apache-2.0 */
/* The sampler's readers of text. */
#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "sampler_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool parse_cpu(const char **text, unsigned long *ret_cpu)
{
	char *end;

	if (**text < '0' || **text > '9')
		return false;
	*ret_cpu = strtoul(*text, &end, 10);
	*text = end;
	return *ret_cpu < SAMPLER_MAX_CPUS;
}

int sampler_parse_cpus(const char *text, bool online[SAMPLER_MAX_CPUS])
{
	for (;;) {
		unsigned long first, last;

		if (!parse_cpu(&text, &first))
			return -EINVAL;
		last = first;
		if (*text == '-') {
			text++;
			if (!parse_cpu(&text, &last))
				return -EINVAL;
		}
		for (unsigned long cpu = first; cpu <= last; cpu++)
			online[cpu] = true;
		if (*text != ',')
			return *text == '\0' || *text == '\n' ? 0 : -EINVAL;
		text++;
	}
}

/* user nice system idle iowait irq softirq steal …; guest time is within user. */
uint64_t sampler_parse_busy(const char *text)
{
	unsigned long long field[7];

	/* A blank in a format also matches nothing: "cpu0" is another line. */
	if (strncmp(text, "cpu ", 4) || sscanf(text + 4, "%llu %llu %llu %llu %llu %llu %llu", &field[0], &field[1], &field[2], &field[3],
		   &field[4], &field[5], &field[6]) != 7)
		return 0;
	return field[0] + field[1] + field[2] + field[5] + field[6];
}

uint64_t sampler_read_busy_ns(void)
{
	auto_buf struct buf text = { 0 };
	long ticks = sysconf(_SC_CLK_TCK);

	if (file_read(-1, "/proc/stat", 1 << 22, &text) || !text.length || ticks <= 0)
		return 0;
	return sampler_parse_busy(text.data) * (NS_PER_S / (uint64_t)ticks);
}

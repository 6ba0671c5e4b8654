/* SPDX-License-Identifier: Apache-2.0 */
/* How busy the processors were, from /proc/stat. */
#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "sampler_private.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

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

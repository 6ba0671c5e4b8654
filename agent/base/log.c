/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include "base/clean.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static enum log_level threshold = LOG_INFO;
static enum log_format shape = LOG_FORMAT_LOGFMT;
static const char *const level_names[] = { "error", "warn", "info", "debug" };

void log_setup(enum log_level level, enum log_format format)
{
	threshold = level;
	shape = format;
}

bool log_wants(enum log_level level)
{
	return level <= threshold;
}

/* Names of processes and files are tenants' bytes: an escape sequence must not reach a terminal. */
static void escape(const char *text, char *out, size_t size)
{
	size_t used = 0;

	for (; *text && used + 5 < size; text++) {
		unsigned char byte = (unsigned char)*text;

		if (byte == '"' || byte == '\\') {
			out[used++] = '\\';
			out[used++] = (char)byte;
		} else if (byte < 0x20 || byte == 0x7f) {
			used += (size_t)snprintf(out + used, size - used, "?%02x", byte);
		} else {
			out[used++] = (char)byte;
		}
	}
	out[used] = '\0';
}

void log_write(enum log_level level, const char *format, ...)
{
	char text[1024], safe[2048], stamp[40];
	struct timespec now;
	struct tm broken;
	va_list arguments;

	if (!log_wants(level))
		return;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	escape(text, safe, sizeof(safe));
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &broken);
	strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &broken);
	if (shape == LOG_FORMAT_JSON)
		fprintf(stderr, "{\"ts\":\"%s.%03ldZ\",\"level\":\"%s\",\"msg\":\"%s\"}\n", stamp,
			now.tv_nsec / 1000000, level_names[level], safe);
	else
		fprintf(stderr, "ts=%s.%03ldZ level=%s msg=\"%s\"\n", stamp, now.tv_nsec / 1000000,
			level_names[level], safe);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Part of agent/serve: durations and moments as people write them in a URL. Pure. */
#include "serve_request.h"

#include "base/clock.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define MAX_DURATION_S (10ULL * 366 * 86400)

static bool read_number(const char **text, size_t max_digits, uint64_t *ret_number)
{
	uint64_t number = 0;
	size_t digits = 0;

	for (; isdigit((unsigned char)**text); (*text)++, digits++) {
		if (digits == max_digits)
			return false;
		number = number * 10 + (uint64_t)(**text - '0');
	}
	*ret_number = number;
	return digits > 0;
}

static uint64_t read_unit(const char **text)
{
	static const struct { const char *name; uint64_t ns; } units[] = {
		{ "ms", NS_PER_MS }, { "s", NS_PER_S }, { "m", 60 * NS_PER_S }, { "h", 3600 * NS_PER_S },
		{ "d", 86400 * NS_PER_S },
	};

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		size_t length = strlen(units[i].name);

		if (strncmp(*text, units[i].name, length) || isalpha((unsigned char)(*text)[length]))
			continue;
		*text += length;
		return units[i].ns;
	}
	return 0;
}

/* 10s, 5m, 1h30m, 250ms */
bool serve_duration(const char *text, uint64_t *ret_ns)
{
	uint64_t total = 0, number, unit, part;

	do {
		if (!read_number(&text, 12, &number) || !(unit = read_unit(&text)) ||
		    __builtin_mul_overflow(number, unit, &part) || __builtin_add_overflow(total, part, &total) ||
		    total > MAX_DURATION_S * NS_PER_S)
			return false;
	} while (*text);
	*ret_ns = total;
	return true;
}

/* .5 -> 500000000 */
static bool read_fraction(const char **text, uint64_t *ret_ns)
{
	uint64_t ns = 0, unit = NS_PER_S / 10;
	const char *at = *text;

	*ret_ns = 0;
	if (*at != '.')
		return true;
	for (at++; isdigit((unsigned char)*at); at++, unit /= 10)
		ns += unit * (uint64_t)(*at - '0');
	if (at == *text + 1)
		return false;
	*text = at;
	*ret_ns = ns;
	return true;
}

static bool read_two(const char **text, char before, int limit, int *ret_number)
{
	const char *at = *text;
	int number;

	if (before && *at++ != before)
		return false;
	if (!isdigit((unsigned char)at[0]) || !isdigit((unsigned char)at[1]))
		return false;
	number = (at[0] - '0') * 10 + at[1] - '0';
	*text = at + 2;
	*ret_number = number;
	return number <= limit;
}

/* Z, +01:00, -01:00. In a query an unescaped + arrives as a blank. */
static bool read_zone(const char **text, int *ret_seconds)
{
	int hours, minutes, sign = **text == '-' ? -1 : 1;

	if (**text == 'Z' || **text == 'z') {
		(*text)++;
		*ret_seconds = 0;
		return true;
	}
	if (**text != '+' && **text != ' ' && **text != '-')
		return false;
	(*text)++;
	if (!read_two(text, 0, 23, &hours) || !read_two(text, ':', 59, &minutes))
		return false;
	*ret_seconds = sign * (hours * 3600 + minutes * 60);
	return true;
}

static bool read_rfc3339(const char *text, uint64_t *ret_wall_ns)
{
	struct tm broken = { 0 }, check;
	int century, zone;
	uint64_t fraction;
	time_t seconds;

	if (!read_two(&text, 0, 99, &century) || !read_two(&text, 0, 99, &broken.tm_year) ||
	    !read_two(&text, '-', 12, &broken.tm_mon) || !read_two(&text, '-', 31, &broken.tm_mday))
		return false;
	if (*text != 'T' && *text != 't' && *text != ' ')
		return false;
	text++;
	if (!read_two(&text, 0, 23, &broken.tm_hour) || !read_two(&text, ':', 59, &broken.tm_min) ||
	    !read_two(&text, ':', 60, &broken.tm_sec) || !read_fraction(&text, &fraction) ||
	    !read_zone(&text, &zone) || *text)
		return false;
	broken.tm_year += century * 100 - 1900;
	broken.tm_mon--;
	check = broken;
	seconds = timegm(&check);
	if (check.tm_mday != broken.tm_mday || check.tm_mon != broken.tm_mon || seconds < 86400 ||
	    (uint64_t)seconds > UINT64_MAX / NS_PER_S / 2)
		return false; /* 30 February, or before 1970 */
	*ret_wall_ns = (uint64_t)(seconds - zone) * NS_PER_S + fraction;
	return true;
}

bool serve_moment(const char *text, uint64_t now_wall_ns, uint64_t *ret_wall_ns)
{
	uint64_t number, fraction, before;
	const char *at = text;

	if (!strcmp(text, "now")) {
		*ret_wall_ns = now_wall_ns;
		return true;
	}
	if (*text == '-') {
		if (!serve_duration(text + 1, &before))
			return false;
		*ret_wall_ns = before < now_wall_ns ? now_wall_ns - before : 0;
		return true;
	}
	if (read_number(&at, 10, &number) && read_fraction(&at, &fraction) && !*at) {
		*ret_wall_ns = number * NS_PER_S + fraction;
		return true;
	}
	return read_rfc3339(text, ret_wall_ns);
}

void serve_show_time(uint64_t wall_ns, char *text, size_t size)
{
	time_t seconds = (time_t)(wall_ns / NS_PER_S);
	struct tm broken;
	size_t used;

	gmtime_r(&seconds, &broken);
	used = strftime(text, size, "%Y-%m-%dT%H:%M:%S", &broken);
	snprintf(text + used, size - used, ".%03uZ", (unsigned)(wall_ns % NS_PER_S / NS_PER_MS));
}

/* SPDX-License-Identifier: Apache-2.0 */
/* One value of the option table: text to value, value to text. Durations are 10s 5m 24h, sizes 64MiB. */
#include "config_private.h"

#include "base/arena.h"
#include "base/clock.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct unit {
	const char *name;
	uint64_t factor;
};

static const struct unit durations[] = { { "ms", NS_PER_MS }, { "s", NS_PER_S }, { "m", 60 * NS_PER_S },
					 { "h", 3600 * NS_PER_S }, { "d", 24 * 3600 * NS_PER_S }, { NULL, 0 } };
static const struct unit sizes[] = { { "KiB", 1ULL << 10 }, { "MiB", 1ULL << 20 }, { "GiB", 1ULL << 30 },
				     { "TiB", 1ULL << 40 }, { "B", 1 }, { NULL, 0 } };
static const char *const levels[] = { "error", "warn", "info", "debug", NULL };
static const char *const formats[] = { "logfmt", "json", NULL };

static bool parse_units(const char *text, const struct unit *units, uint64_t *ret_value)
{
	uint64_t total = 0;

	if (!*text)
		return false;
	while (*text) {
		char *end;
		uint64_t number, part;
		const struct unit *unit = units;
		size_t length;

		if (!isdigit((unsigned char)*text))
			return false;
		errno = 0;
		number = strtoull(text, &end, 10);
		length = strspn(end, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
		while (unit->name && (strlen(unit->name) != length || strncmp(unit->name, end, length)))
			unit++;
		if (errno || !unit->name || __builtin_mul_overflow(number, unit->factor, &part) ||
		    __builtin_add_overflow(total, part, &total))
			return false;
		text = end + length;
	}
	*ret_value = total;
	return true;
}

static void write_units(uint64_t value, const struct unit *units, char *text, size_t size)
{
	const struct unit *best = NULL;

	for (const struct unit *unit = units; unit->name; unit++)
		if (value && value % unit->factor == 0 && (!best || unit->factor > best->factor))
			best = unit;
	snprintf(text, size, "%" PRIu64 "%s", best ? value / best->factor : value, best ? best->name : units[1].name);
}

static int find_word(const char *const *words, const char *text)
{
	for (int i = 0; words[i]; i++)
		if (!strcmp(words[i], text))
			return i;
	return -1;
}

static int add_to_list(struct config *config, char ***list, const char *text)
{
	size_t count = 0;
	char **more;

	while (*list && (*list)[count])
		count++;
	more = arena_array(config->owned, count + 2, sizeof(*more));
	if (!more)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		more[i] = (*list)[i];
	more[count] = arena_string(config->owned, text, strlen(text));
	*list = more;
	return more[count] ? 0 : -ENOMEM;
}

static int refuse(char *error, size_t size, const char *text, const char *wanted)
{
	snprintf(error, size, "\"%s\" is not %s", text, wanted);
	return -EINVAL;
}

static int set_number(void *place, const struct config_option *option, const char *text, char *error, size_t size)
{
	uint64_t value;
	char least[32], most[32];
	char *end;

	if (option->type == TYPE_DURATION && !parse_units(text, durations, &value))
		return refuse(error, size, text, "a duration such as 10s, 5m or 24h");
	if (option->type == TYPE_SIZE && !parse_units(text, sizes, &value))
		return refuse(error, size, text, "a size such as 64MiB");
	if (option->type == TYPE_NUMBER) {
		errno = 0;
		value = strtoull(text, &end, 10);
		if (!isdigit((unsigned char)*text) || *end || errno)
			return refuse(error, size, text, "a whole number");
	}
	if (value < option->least || value > option->most) {
		const struct unit *units = option->type == TYPE_DURATION ? durations : sizes;

		snprintf(least, sizeof(least), "%" PRIu64, option->least);
		snprintf(most, sizeof(most), "%" PRIu64, option->most);
		if (option->type != TYPE_NUMBER) {
			write_units(option->least, units, least, sizeof(least));
			write_units(option->most, units, most, sizeof(most));
		}
		snprintf(error, size, "%s is outside %s to %s", text, least, most);
		return -ERANGE;
	}
	if (option->type == TYPE_NUMBER)
		*(unsigned *)place = (unsigned)value;
	else
		*(uint64_t *)place = value;
	return 0;
}

int config_set(struct config *config, const struct config_option *option, const char *text, char *error, size_t size)
{
	char *place = (char *)config + option->offset;
	int word;

	switch (option->type) {
	case TYPE_STRING:
		*(const char **)place = arena_string(config->owned, text, strlen(text));
		return *(const char **)place ? 0 : -ENOMEM;
	case TYPE_LIST:
		return add_to_list(config, (char ***)place, text);
	case TYPE_FLAG:
		if (strcmp(text, "true") && strcmp(text, "false"))
			return refuse(error, size, text, "true or false");
		*(bool *)place = !strcmp(text, "true");
		return 0;
	case TYPE_LEVEL:
		word = find_word(levels, text);
		if (word < 0)
			return refuse(error, size, text, "one of error, warn, info, debug");
		*(enum log_level *)place = (enum log_level)word;
		return 0;
	case TYPE_FORMAT:
		word = find_word(formats, text);
		if (word < 0)
			return refuse(error, size, text, "one of logfmt, json");
		*(enum log_format *)place = (enum log_format)word;
		return 0;
	case TYPE_NUMBER:
	case TYPE_DURATION:
	case TYPE_SIZE:
		break;
	}
	return set_number(place, option, text, error, size);
}

void config_get(const struct config *config, const struct config_option *option, char *text, size_t size)
{
	const char *place = (const char *)config + option->offset;

	text[0] = '\0';
	switch (option->type) {
	case TYPE_STRING:
	case TYPE_LIST:
		break;
	case TYPE_FLAG:
		snprintf(text, size, "%s", *(const bool *)place ? "true" : "false");
		break;
	case TYPE_NUMBER:
		snprintf(text, size, "%u", *(const unsigned *)place);
		break;
	case TYPE_DURATION:
		write_units(*(const uint64_t *)place, durations, text, size);
		break;
	case TYPE_SIZE:
		write_units(*(const uint64_t *)place, sizes, text, size);
		break;
	case TYPE_LEVEL:
		snprintf(text, size, "%s", levels[*(const enum log_level *)place]);
		break;
	case TYPE_FORMAT:
		snprintf(text, size, "%s", formats[*(const enum log_format *)place]);
		break;
	}
}

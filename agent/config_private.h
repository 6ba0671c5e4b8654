/* SPDX-License-Identifier: Apache-2.0 */
/* The option table and what its readers share: config.c (flags, environment), config_file.c (YAML), config_text.c
 * (help, YAML and Markdown out), config_value.c (one value). */
#ifndef CONFIG_PRIVATE_H
#define CONFIG_PRIVATE_H

#include "config.h"

struct arena;

enum config_type { TYPE_STRING, TYPE_LIST, TYPE_FLAG, TYPE_NUMBER, TYPE_DURATION, TYPE_SIZE, TYPE_LEVEL, TYPE_FORMAT };

enum config_group { GROUP_WEB, GROUP_PROFILE, GROUP_LIMIT, GROUP_GENERAL, GROUP_RECORD, GROUP_SELECT, GROUP_DEBUG };

struct config_option {
	const char *name;     /* "web.listen-address": the flag, the YAML key; WICK_WEB_LISTEN_ADDRESS */
	char letter;          /* 0: none */
	enum config_type type;
	size_t offset;        /* in struct config */
	const char *fallback; /* default as a user would write it, NULL: none */
	uint64_t least, most; /* TYPE_NUMBER, TYPE_DURATION (ns), TYPE_SIZE (bytes) */
	const char *argument; /* "HOST:PORT" for --help, NULL for flags */
	const char *help;
	enum config_group group;
};

#define CONFIG_OPTIONS_LIMIT 64 /* asserted beside the table */

extern const struct config_option config_options[]; /* ends with name NULL */

const struct config_option *config_find(const char *name, size_t length);
/* The known name with the fewest edits; never NULL. */
const char *config_nearest(const char *name);
/* Sets the option from text; a sentence without the option's name in `error`. */
int config_set(struct config *config, const struct config_option *option, const char *text, char *error,
	       size_t error_size);
/* A value that is no string and no list, as a user would write it. */
void config_get(const struct config *config, const struct config_option *option, char *text, size_t size);
/* False for the options of one command, such as --duration of record. */
bool config_is_setting(const struct config_option *option);
/* Options already set by flag or environment are marked in `taken` (by index) and stay. */
int config_read_file(struct config *config, const char *path, const bool *taken, char *error, size_t error_size);
void config_environment_name(const struct config_option *option, char *name, size_t size);

#endif

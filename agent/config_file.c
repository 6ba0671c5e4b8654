/* SPDX-License-Identifier: Apache-2.0 */
/* The YAML file by libyaml's events: nested keys or their dotted form, errors with line and column. */
#include "config_private.h"

#include "base/clean.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#define MAX_NAME 128
#define MAX_DEPTH 8

struct reader {
	struct config *config;
	const char *path;
	const bool *taken;
	yaml_parser_t parser;
	char name[MAX_NAME]; /* the key path so far */
	bool seen[CONFIG_OPTIONS_LIMIT]; /* by index: set in this file */
	char *error;
	size_t error_size;
};

static int complain(struct reader *reader, const yaml_mark_t *mark, const char *text, const char *more)
{
	snprintf(reader->error, reader->error_size, "%s:%zu:%zu: %s%s", reader->path, mark->line + 1, mark->column + 1,
		 text, more);
	return -EINVAL;
}

static int next(struct reader *reader, yaml_event_t *event)
{
	if (yaml_parser_parse(&reader->parser, event))
		return 0;
	return complain(reader, &reader->parser.problem_mark, "not YAML: ",
			reader->parser.problem ? reader->parser.problem : "unreadable");
}

static int set_value(struct reader *reader, const yaml_event_t *event)
{
	const struct config_option *option = config_find(reader->name, strlen(reader->name));
	char why[512] = "no memory";
	int result;

	if (strlen((const char *)event->data.scalar.value) != event->data.scalar.length)
		return complain(reader, &event->start_mark, reader->name, " holds a NUL byte");
	if (reader->taken[option - config_options])
		return 0;
	result = config_set(reader->config, option, (const char *)event->data.scalar.value, why, sizeof(why));
	if (result) {
		char prefix[MAX_NAME + 4];

		snprintf(prefix, sizeof(prefix), "%s: ", reader->name);
		complain(reader, &event->start_mark, prefix, why);
	}
	return result;
}

/* Is it an option, or the beginning of one's dotted name? */
static bool is_known(const char *name, bool *ret_option)
{
	size_t length = strlen(name);

	*ret_option = config_find(name, length) != NULL;
	for (const struct config_option *option = config_options; option->name && !*ret_option; option++)
		if (!strncmp(option->name, name, length) && option->name[length] == '.')
			return true;
	return *ret_option;
}

static int read_list(struct reader *reader)
{
	int result = 0;

	for (bool more = true; more && !result;) {
		yaml_event_t event;

		result = next(reader, &event);
		if (result)
			return result;
		more = event.type != YAML_SEQUENCE_END_EVENT;
		if (more && event.type != YAML_SCALAR_EVENT)
			result = complain(reader, &event.start_mark, "a list holds plain values", "");
		else if (more)
			result = set_value(reader, &event);
		yaml_event_delete(&event);
	}
	return result;
}

static int read_mapping(struct reader *reader, int depth);

static int read_member(struct reader *reader, const yaml_mark_t *key_mark, int depth)
{
	const struct config_option *option;
	yaml_event_t event;
	bool is_option;
	int result;

	if (!is_known(reader->name, &is_option)) {
		char text[2 * MAX_NAME + 64];

		snprintf(text, sizeof(text), "unknown key %s; the nearest is %s", reader->name,
			 config_nearest(reader->name));
		return complain(reader, key_mark, text, "");
	}
	option = is_option ? config_find(reader->name, strlen(reader->name)) : NULL;
	if (option && !config_is_setting(option))
		return complain(reader, key_mark, reader->name, " goes with wick record, it is no setting");
	if (option && reader->seen[option - config_options])
		return complain(reader, key_mark, reader->name, " is set twice");
	if (option)
		reader->seen[option - config_options] = true;
	result = next(reader, &event);
	if (result)
		return result;
	if (event.type == YAML_SCALAR_EVENT && option)
		result = set_value(reader, &event);
	else if (event.type == YAML_SEQUENCE_START_EVENT && option && option->type == TYPE_LIST)
		result = read_list(reader);
	else if (event.type == YAML_MAPPING_START_EVENT && !option && depth < MAX_DEPTH)
		result = read_mapping(reader, depth + 1);
	else
		result = complain(reader, &event.start_mark, reader->name,
				  option ? " takes one value" : " holds further keys, not a value");
	yaml_event_delete(&event);
	return result;
}

static int read_mapping(struct reader *reader, int depth)
{
	size_t prefix = strlen(reader->name);
	int result = 0;

	for (bool more = true; more && !result;) {
		yaml_event_t key;
		yaml_mark_t mark;

		result = next(reader, &key);
		if (result)
			return result;
		mark = key.start_mark;
		more = key.type != YAML_MAPPING_END_EVENT;
		if (more && key.type != YAML_SCALAR_EVENT)
			result = complain(reader, &mark, "a key is a plain name", "");
		else if (more && (size_t)snprintf(reader->name + prefix, MAX_NAME - prefix, "%s%s", prefix ? "." : "",
						  (const char *)key.data.scalar.value) >= MAX_NAME - prefix)
			result = complain(reader, &mark, "the key is too long", "");
		yaml_event_delete(&key);
		if (more && !result)
			result = read_member(reader, &mark, depth);
		reader->name[prefix] = '\0';
	}
	return result;
}

/* One document, or none: an empty file sets nothing. */
static int read_stream(struct reader *reader)
{
	for (size_t documents = 0;;) {
		yaml_event_t event;
		yaml_event_type_t type;
		yaml_mark_t mark;
		int result = next(reader, &event);

		if (result)
			return result;
		type = event.type;
		mark = event.start_mark;
		yaml_event_delete(&event);
		if (type == YAML_STREAM_END_EVENT)
			return 0;
		if (type == YAML_DOCUMENT_START_EVENT && documents++)
			return complain(reader, &mark, "a second document: the file must hold one", "");
		if (type == YAML_MAPPING_START_EVENT)
			result = read_mapping(reader, 0);
		else if (type == YAML_SCALAR_EVENT || type == YAML_SEQUENCE_START_EVENT || type == YAML_ALIAS_EVENT)
			result = complain(reader, &mark, "the file must hold keys and values", "");
		if (result)
			return result;
	}
}

int config_read_file(struct config *config, const char *path, const bool *taken, char *error, size_t error_size)
{
	struct reader reader = { .config = config, .path = path, .taken = taken, .error = error,
				 .error_size = error_size };
	auto_file FILE *file = fopen(path, "re");
	int result;

	if (!file) {
		result = -errno;
		snprintf(error, error_size, "cannot read %s: %s", path, strerror(errno));
		return result;
	}
	if (!yaml_parser_initialize(&reader.parser))
		return -ENOMEM;
	yaml_parser_set_input_file(&reader.parser, file);
	result = read_stream(&reader);
	yaml_parser_delete(&reader.parser);
	return result;
}

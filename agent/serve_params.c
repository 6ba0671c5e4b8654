/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Part of agent/serve: the parameters of a profile request. A parameter nobody knows is refused: a selector with a
 * slip of the pen would otherwise answer for the whole host.
 */
#include "serve_private.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[PARAM_COUNT] = {
	"seconds", "last", "from", "to", "container", "pod", "namespace", "pid", "comm", "cgroup",
	"type", "focus", "ignore", "hide", "format", "by", "value", "debug",
};

struct reader {
	struct serve_query *query;
	struct buf *error;
	unsigned status;
};

static enum MHD_Result take_param(void *context, enum MHD_ValueKind kind, const char *key, size_t key_size,
				  const char *value, size_t value_size)
{
	struct reader *reader = context;
	size_t which = 0;

	(void)kind;
	while (which < PARAM_COUNT && (strlen(names[which]) != key_size || memcmp(names[which], key, key_size)))
		which++;
	if (which == PARAM_COUNT) {
		buf_add_string(reader->error, "Unknown parameter; known are");
		for (size_t i = 0; i < PARAM_DEBUG; i++)
			buf_printf(reader->error, " %s", names[i]);
		buf_add_char(reader->error, '.');
		reader->status = 400;
	} else if (reader->query->params[which]) {
		buf_printf(reader->error, "%s is given twice.", names[which]);
		reader->status = 400;
	} else if (value && value_size) {
		reader->query->params[which] = strndup(value, value_size);
		if (!reader->query->params[which])
			reader->status = 503;
	}
	return reader->status ? MHD_NO : MHD_YES;
}

static void describe(struct serve_query *query)
{
	size_t used = 0, size = sizeof(query->asked);

	used += (size_t)snprintf(query->asked, size, "cpu");
	for (size_t i = 0; i < PARAM_FORMAT && used < size; i++)
		if (query->params[i] && i != PARAM_TYPE)
			used += (size_t)snprintf(query->asked + used, size - used, ", %s=%s", names[i],
						 query->params[i]);
}

unsigned serve_params_read(struct MHD_Connection *connection, struct serve_query *query, struct buf *error)
{
	struct reader reader = { .query = query, .error = error };
	char **params = query->params;

	MHD_get_connection_values_n(connection, MHD_GET_ARGUMENT_KIND, take_param, &reader);
	if (reader.status)
		return reader.status;
	query->selector = (struct query_selector){
		.container = params[PARAM_CONTAINER], .pod = params[PARAM_POD],
		.namespace_ = params[PARAM_NAMESPACE], .pid = params[PARAM_PID], .comm = params[PARAM_COMM],
		.cgroup = params[PARAM_CGROUP], .focus = params[PARAM_FOCUS], .ignore = params[PARAM_IGNORE],
		.hide = params[PARAM_HIDE], .asked = query->asked,
	};
	if (params[PARAM_TYPE] && strcmp(params[PARAM_TYPE], "cpu")) {
		buf_add_string(error, "There is no such profile type; there is cpu.");
		return 404;
	}
	describe(query);
	return 0;
}

void serve_query_done(struct serve_query *query)
{
	for (size_t i = 0; i < PARAM_COUNT; i++)
		free(query->params[i]);
	*query = (struct serve_query){ 0 };
}

static unsigned refuse(struct buf *error, const char *sentence)
{
	buf_add_string(error, sentence);
	return 400;
}

static unsigned read_seconds(struct serve_query *query, uint64_t now_ns, struct buf *error)
{
	const char *text = query->params[PARAM_SECONDS] ? query->params[PARAM_SECONDS] : "30";
	size_t digits = strspn(text, "0123456789");
	long seconds = digits && digits < 6 && !text[digits] ? strtol(text, NULL, 10) : 0;

	if (seconds < 1 || seconds > SERVE_MAX_SECONDS)
		return refuse(error, "seconds must be a whole number from 1 to 300.");
	query->waits = true;
	query->from_ns = now_ns;
	query->to_ns = now_ns + (uint64_t)seconds * NS_PER_S;
	return 0;
}

static unsigned read_from_to(struct serve_query *query, uint64_t now_ns, uint64_t now_wall_ns, struct buf *error)
{
	const char *from_text = query->params[PARAM_FROM], *to_text = query->params[PARAM_TO];
	uint64_t from_wall = 0, to_wall = now_wall_ns, start_wall = now_wall_ns - now_ns;

	if (!from_text)
		return refuse(error, "to needs a from.");
	if (!serve_moment(from_text, now_wall_ns, &from_wall))
		return refuse(error, "from must be an RFC 3339 time, unix seconds, or a duration back such as -15m.");
	if (to_text && !serve_moment(to_text, now_wall_ns, &to_wall))
		return refuse(error, "to must be an RFC 3339 time, unix seconds, or a duration back such as -15m.");
	if (from_wall >= to_wall)
		return refuse(error, "from must lie before to.");
	if (from_wall > now_wall_ns)
		return refuse(error, "from lies in the future.");
	query->from_ns = from_wall > start_wall ? from_wall - start_wall : 0;
	query->to_ns = to_wall > start_wall ? to_wall - start_wall : 0;
	if (query->to_ns > now_ns)
		query->to_ns = now_ns;
	return 0;
}

/* Exactly one window: seconds (the default), last, or from and to. */
unsigned serve_range_read(const struct serve *serve, struct serve_query *query, struct buf *error)
{
	const struct serve_sources *sources = &serve->sources;
	char **params = query->params;
	uint64_t now_ns = clock_monotonic_ns(), last_ns;
	uint64_t now_wall_ns = sources->monotonic_to_wall(sources->context, now_ns);

	if (!!params[PARAM_SECONDS] + !!params[PARAM_LAST] + (params[PARAM_FROM] || params[PARAM_TO]) > 1)
		return refuse(error, "Give one of seconds, last, or from and to.");
	if (params[PARAM_FROM] || params[PARAM_TO])
		return read_from_to(query, now_ns, now_wall_ns, error);
	if (!params[PARAM_LAST])
		return read_seconds(query, now_ns, error);
	if (!serve_duration(params[PARAM_LAST], &last_ns) || !last_ns)
		return refuse(error, "last must be a duration such as 30s, 5m or 1h.");
	query->from_ns = last_ns < now_ns ? now_ns - last_ns : 0;
	query->to_ns = now_ns;
	return 0;
}

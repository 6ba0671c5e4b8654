/* SPDX-License-Identifier: Apache-2.0 */
/* Log lines: levels, both formats, and bytes of tenants that must not reach a terminal or break a line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clean.h"
#include "base/log.h"

#include <fcntl.h>
#include <jansson.h>
#include <string.h>

static char line[4096];

/* What log_write makes of it on standard error. */
#define WRITTEN(...)                                                                                          \
	({                                                                                                    \
		int ends_[2], old_ = dup(STDERR_FILENO);                                                      \
		assert_int_equal(pipe(ends_), 0);                                                             \
		dup2(ends_[1], STDERR_FILENO);                                                                \
		log_write(__VA_ARGS__);                                                                       \
		fflush(stderr);                                                                               \
		dup2(old_, STDERR_FILENO);                                                                    \
		close(old_);                                                                                  \
		close(ends_[1]);                                                                              \
		take_line(ends_[0]);                                                                          \
	})

static const char *take_line(int fd)
{
	ssize_t length = read(fd, line, sizeof(line) - 1);

	line[length > 0 ? length : 0] = '\0';
	close(fd);
	return line;
}

static void levels_below_the_threshold_are_not_written(void **state)
{
	(void)state;
	log_setup(LOG_WARN, LOG_FORMAT_LOGFMT);
	assert_true(log_wants(LOG_ERROR) && log_wants(LOG_WARN));
	assert_false(log_wants(LOG_INFO) || log_wants(LOG_DEBUG));
	assert_string_equal(WRITTEN(LOG_INFO, "not this"), "");
	assert_non_null(strstr(WRITTEN(LOG_WARN, "but this n=%d", 7), " level=warn msg=\"but this n=7\"\n"));
	log_setup(LOG_DEBUG, LOG_FORMAT_LOGFMT);
	assert_non_null(strstr(WRITTEN(LOG_DEBUG, "now"), " level=debug msg=\"now\"\n"));
}

static void a_line_begins_with_its_time(void **state)
{
	int year, month, day, hour, minute, second, milli, length = 0;

	(void)state;
	log_setup(LOG_INFO, LOG_FORMAT_LOGFMT);
	assert_int_equal(sscanf(WRITTEN(LOG_INFO, "x"), "ts=%4d-%2d-%2dT%2d:%2d:%2d.%3dZ level=info%n", &year, &month, &day,
				&hour, &minute, &second, &milli, &length), 7);
	assert_int_equal(length, (int)strlen("ts=2026-01-01T00:00:00.000Z level=info"));
}

static void foreign_bytes_stay_on_their_line(void **state)
{
	static const char foreign[] = "a\nlevel=error \x1b[2J\x07\x7f end";

	(void)state;
	log_setup(LOG_INFO, LOG_FORMAT_LOGFMT);
	WRITTEN(LOG_INFO, "comm=%s quote=%s", foreign, "\"\\");
	assert_non_null(strstr(line, "msg=\"comm=a?0alevel=error ?1b[2J?07?7f end quote=\\\"\\\\\"\n"));
	assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
}

static void json_is_json(void **state)
{
	json_error_t error;
	json_t *parsed;

	(void)state;
	log_setup(LOG_INFO, LOG_FORMAT_JSON);
	parsed = json_loads(WRITTEN(LOG_ERROR, "path=%s", "\"a\\b\"\n\t"), 0, &error);
	assert_non_null(parsed);
	assert_string_equal(json_string_value(json_object_get(parsed, "msg")), "path=\"a\\b\"?0a?09");
	assert_string_equal(json_string_value(json_object_get(parsed, "level")), "error");
	json_decref(parsed);
}

static void a_long_line_is_cut_and_ended(void **state)
{
	static char quotes[3000];

	(void)state;
	memset(quotes, '"', sizeof(quotes) - 1);
	log_setup(LOG_INFO, LOG_FORMAT_LOGFMT);
	WRITTEN(LOG_INFO, "%s", quotes);
	assert_in_range(strlen(line), 1000, 2200);
	assert_string_equal(line + strlen(line) - 3, "\"\"\n"); /* the last of them, escaped, and the end of msg */
	assert_int_equal(line[strlen(line) - 4], '\\');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(levels_below_the_threshold_are_not_written),
		cmocka_unit_test(a_line_begins_with_its_time),
		cmocka_unit_test(foreign_bytes_stay_on_their_line),
		cmocka_unit_test(json_is_json),
		cmocka_unit_test(a_long_line_is_cut_and_ended),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

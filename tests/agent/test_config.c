/* SPDX-License-Identifier: Apache-2.0 */
/* The option table: precedence, units, and errors that name the place and the nearest name. */
#include "config_private.h"
#include "exporter.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char file_path[] = "/tmp/wick-test-config-XXXXXX";
static char error[2048];

#define LOAD(verb, config, environment, ...)                                                                  \
	load((const char *[]){ "wick", __VA_ARGS__, NULL }, environment, verb, config)

static int load(const char **argv, char **environment, enum config_verb *verb, struct config *config)
{
	int argc = 0;

	while (argv[argc])
		argc++;
	return config_load(argc, (char **)argv, environment, verb, config, error, sizeof(error));
}

static void write_file(const char *text)
{
	FILE *file = fopen(file_path, "w");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void defaults_are_those_of_the_table(void **state)
{
	enum config_verb verb;
	struct config config;

	(void)state;
	assert_int_equal(LOAD(&verb, &config, NULL, "run"), 0);
	assert_int_equal(verb, CONFIG_RUN);
	assert_string_equal(config.listen_address, "127.0.0.1:9750");
	assert_int_equal(config.frequency, 99);
	assert_int_equal(config.memory_limit_bytes, 64 << 20);
	assert_int_equal(config.retention_ns / 1000000000, 600);
	assert_false(config.insecure);
	config_done(&config);
}

static void a_flag_beats_environment_beats_file(void **state)
{
	char *environment[] = { "WICK_PROFILE_FREQUENCY=50", "WICK_LOG_LEVEL=warn", "PATH=/bin", NULL };
	enum config_verb verb;
	struct config config;

	(void)state;
	write_file("profile:\n  frequency: 10\nlog.level: debug\nlog.format: json\nweb: {allowed-host: [a, b]}\n");
	assert_int_equal(LOAD(&verb, &config, environment, "--config.file", file_path, "--profile.frequency=20"), 0);
	assert_int_equal(config.frequency, 20);
	assert_int_equal(config.log_level, LOG_WARN);
	assert_int_equal(config.log_format, LOG_FORMAT_JSON);
	assert_string_equal(config.allowed_hosts[0], "a");
	assert_string_equal(config.allowed_hosts[1], "b");
	assert_null(config.allowed_hosts[2]);
	config_done(&config);
}

static void units_are_read_and_written_back(void **state)
{
	enum config_verb verb;
	struct config config;
	char text[4096] = "";
	FILE *out = fmemopen(text, sizeof(text), "w");

	(void)state;
	assert_int_equal(LOAD(&verb, &config, NULL, "print-config", "--storage.retention", "1m30s", "--limit.memory",
			      "1GiB"), 0);
	assert_int_equal(verb, CONFIG_PRINT);
	assert_int_equal(config.retention_ns / 1000000000, 90);
	config_print(&config, out);
	fclose(out);
	assert_non_null(strstr(text, "limit.memory: 1GiB\n"));
	assert_non_null(strstr(text, "storage.retention: 90s\n"));
	config_done(&config);
}

static void what_is_printed_can_be_read_again(void **state)
{
	enum config_verb verb;
	struct config config, again;
	FILE *out = fopen(file_path, "w");

	(void)state;
	assert_int_equal(LOAD(&verb, &config, NULL, "--web.allowed-host", "x.example", "--web.allowed-host", "a, ]b\\\"",
			      "--web.external-prefix", "/a\"b: \n#", "--profile.frequency", "7"), 0);
	config_print(&config, out);
	fclose(out);
	assert_int_equal(LOAD(&verb, &again, NULL, "check-config", file_path), 0);
	assert_int_equal(verb, CONFIG_CHECK);
	assert_int_equal(again.frequency, 7);
	assert_string_equal(again.allowed_hosts[0], "x.example");
	assert_string_equal(again.allowed_hosts[1], "a, ]b\\\"");
	assert_null(again.allowed_hosts[2]);
	assert_string_equal(again.external_prefix, "/a\"b: \n#");
	config_done(&config);
	config_done(&again);
}

static void record_takes_a_command_behind_two_dashes(void **state)
{
	enum config_verb verb;
	struct config config;

	(void)state;
	assert_int_equal(LOAD(&verb, &config, NULL, "record", "-o", "x.pb.gz", "--comm", "ab*", "--", "ls", "-d", "/"), 0);
	assert_int_equal(verb, CONFIG_RECORD);
	assert_int_equal(config.duration_ns, 0);
	assert_string_equal(config.command[0], "ls");
	assert_string_equal(config.command[2], "/");
	assert_string_equal(config.output, "x.pb.gz");
	config_done(&config);
	assert_int_equal(LOAD(&verb, &config, NULL, "record", "-d", "2s"), 0);
	assert_int_equal(config.duration_ns / 1000000000, 2);
	config_done(&config);
}

static const struct {
	const char *arguments[3], *yaml, *expect;
} bad[] = {
	{ { "--profile.frequency", "0" }, NULL, "--profile.frequency: 0 is outside 1 to 2000" },
	{ { "--profile.frequency", "2001" }, NULL, "2001 is outside" },
	{ { "--profile.frequency", "9x" }, NULL, "\"9x\" is not a whole number" },
	{ { "--profile.frequncy", "9" }, NULL, "--profile.frequncy: unknown flag; the nearest is --profile.frequency" },
	{ { "--storage.retention", "10" }, NULL, "\"10\" is not a duration" },
	{ { "--limit.memory", "64MB" }, NULL, "\"64MB\" is not a size" },
	{ { "--log.level", "loud" }, NULL, "one of error, warn, info, debug" },
	{ { "--profile.frequency" }, NULL, "--profile.frequency needs a value" },
	{ { "recrod" }, NULL, "recrod: unknown verb" },
	{ { "run", "extra" }, NULL, "extra: unexpected argument" },
	{ { "check-config", "/nonexistent" }, NULL, "cannot read /nonexistent: No such file" },
	{ { "check-config" }, NULL, "check-config needs a file" },
	{ { NULL }, "profile:\n  frequenzy: 3\n", ":2:3: unknown key profile.frequenzy; the nearest is profile.frequency" },
	{ { NULL }, "profile:\n  frequency: many\n", ":2:14: profile.frequency: \"many\" is not a whole number" },
	{ { NULL }, "profile: 3\n", ":1:10: profile holds further keys" },
	{ { NULL }, "profile.frequency: [1]\n", "takes one value" },
	{ { NULL }, "\tlog: 1\n", "not YAML" },
	{ { NULL }, "- a\n", "must hold keys and values" },
	{ { NULL }, "log.level: info\nlog:\n  level: warn\n", ":3:3: log.level is set twice" },
	{ { NULL }, "comm: x\n", ":1:1: comm goes with wick record" },
	{ { NULL }, "log.level: info\n---\nlog.level: warn\n", ":2:1: a second document" },
	{ { NULL }, "web.external-prefix: \"a\\0b\"\n", "holds a NUL byte" },
	{ { NULL }, "a: &a [*a]\n", "unknown key a" },
	{ { "-x" }, NULL, "-x: unknown flag; see wick --help" },
	{ { "-" }, NULL, "-: unknown flag" },
	{ { "--log.levle=debug" }, NULL, "--log.levle: unknown flag; the nearest is --log.level" },
	{ { "run", "--comm=x" }, NULL, "--comm goes with record" },
	{ { "record", "--" }, NULL, "there must be a COMMAND" },
	{ { "run", "--", }, NULL, "there must be a COMMAND" },
};

static void bad_input_is_told_in_one_sentence(void **state)
{
	enum config_verb verb;
	struct config config;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		const char *argv[] = { "wick", bad[i].arguments[0], bad[i].arguments[1], NULL };

		if (bad[i].yaml) {
			write_file(bad[i].yaml);
			argv[1] = "check-config";
			argv[2] = file_path;
		}
		assert_true(load(argv, NULL, &verb, &config) < 0);
		if (!strstr(error, bad[i].expect))
			fail_msg("case %zu: \"%s\" does not say \"%s\"", i, error, bad[i].expect);
		assert_null(strchr(error, '\n'));
	}
}

static void an_unknown_environment_name_is_refused(void **state)
{
	char *environment[] = { "WICK_PROFILE_FREQ=50", NULL };
	enum config_verb verb;
	struct config config;

	(void)state;
	assert_true(LOAD(&verb, &config, environment, "run") < 0);
	assert_non_null(strstr(error, "WICK_PROFILE_FREQ"));
}

static void a_list_in_the_environment_has_commas(void **state)
{
	char *environment[] = { "WICK_WEB_ALLOWED_HOST=a.example,b.example,", NULL };
	enum config_verb verb;
	struct config config;

	(void)state;
	assert_int_equal(LOAD(&verb, &config, environment, "run"), 0);
	assert_string_equal(config.allowed_hosts[0], "a.example");
	assert_string_equal(config.allowed_hosts[1], "b.example");
	assert_null(config.allowed_hosts[2]);
	config_done(&config);
}

/* Every option is a row: help, the file's keys and the environment follow. */
static void help_names_every_option_and_output(void **state)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	(void)state;
	config_help(out);
	fclose(out);
	for (const struct config_option *option = config_options; option->name; option++) {
		char flag[80];

		snprintf(flag, sizeof(flag), "--%s ", option->name);
		if (!strstr(text, flag) || !strstr(text, option->help))
			fail_msg("--help lacks %s", flag);
	}
	for (const struct exporter *const *at = exporters; *at; at++)
		if (!strstr(text, (*at)->help))
			fail_msg("--help lacks the format %s", (*at)->name);
	free(text);
}

static void what_kubernetes_tells_of_services_is_no_option(void **state)
{
	char *links[] = { "WICK_SERVICE_HOST=10.0.0.1", "WICK_SERVICE_PORT_HTTP=9750", "WICK_PORT=tcp://10.0.0.1:9750",
			  "WICK_PORT_9750_TCP_ADDR=10.0.0.1", "WICK_WEB_PORT=tcp://10.0.0.2:80",
			  "WICK_PROFILE_FREQUENCY=50", NULL };
	char *slip[] = { "WICK_PORTS=1", NULL };
	enum config_verb verb;
	struct config config;

	(void)state;
	assert_int_equal(LOAD(&verb, &config, links, "run"), 0);
	assert_int_equal(config.frequency, 50);
	config_done(&config);
	assert_true(LOAD(&verb, &config, slip, "run") < 0);
}

static void the_readme_has_the_table(void **state)
{
	FILE *readme = fopen("README.md", "r"), *out;
	char *table = NULL, text[65536];
	size_t size = 0, length;

	(void)state;
	if (!readme)
		skip(); /* not run from the top of the tree */
	length = fread(text, 1, sizeof(text) - 1, readme);
	text[length] = '\0';
	fclose(readme);
	out = open_memstream(&table, &size);
	config_markdown(out);
	fclose(out);
	if (!strstr(text, table))
		fail_msg("README.md lacks this table:\n%s", table);
	free(table);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_are_those_of_the_table),
		cmocka_unit_test(a_flag_beats_environment_beats_file),
		cmocka_unit_test(units_are_read_and_written_back),
		cmocka_unit_test(what_is_printed_can_be_read_again),
		cmocka_unit_test(record_takes_a_command_behind_two_dashes),
		cmocka_unit_test(bad_input_is_told_in_one_sentence),
		cmocka_unit_test(an_unknown_environment_name_is_refused),
		cmocka_unit_test(a_list_in_the_environment_has_commas),
		cmocka_unit_test(help_names_every_option_and_output),
		cmocka_unit_test(what_kubernetes_tells_of_services_is_no_option),
		cmocka_unit_test(the_readme_has_the_table),
	};
	int fd = mkstemp(file_path), result;

	if (fd < 0)
		return 1;
	close(fd);
	result = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(file_path);
	return result;
}

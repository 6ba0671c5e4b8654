/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arguments, environment and file become one const struct config. Owns the option table: everything a user may set
 * is a row there, and the flags, WICK_… names, YAML keys, --help and the README's table follow from it.
 */
#include "config_private.h"

#include "abi/sample.h"
#include "base/arena.h"
#include "base/clock.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define AT(field) offsetof(struct config, field)
#define MIB (1ULL << 20)

const struct config_option config_options[] = {
	{ "web.listen-address", 0, TYPE_STRING, AT(listen_address), "127.0.0.1:9750", 0, 0, "ADDRESS",
	  "where HTTP is served: HOST:PORT, [::1]:PORT or unix:/path", GROUP_WEB },
	{ "web.insecure", 0, TYPE_FLAG, AT(insecure), "false", 0, 0, NULL,
	  "allow a non-loopback address although nobody has to log in", GROUP_WEB },
	{ "web.allowed-host", 0, TYPE_LIST, AT(allowed_hosts), NULL, 0, 0, "NAME",
	  "a further name accepted in Host; may be repeated (default: loopback and own addresses)", GROUP_WEB },
	{ "web.external-prefix", 0, TYPE_STRING, AT(external_prefix), "", 0, 0, "PATH",
	  "path below which everything is served", GROUP_WEB },
	{ "profile.frequency", 0, TYPE_NUMBER, AT(frequency), "99", 1, 2000, "HZ",
	  "samples a second on each CPU", GROUP_PROFILE },
	{ "storage.retention", 0, TYPE_DURATION, AT(retention_ns), "10m", NS_PER_S, 8760 * 3600 * NS_PER_S, "DURATION",
	  "what is kept; in memory, so 10m at most for now", GROUP_PROFILE },
	{ "limit.memory", 0, TYPE_SIZE, AT(memory_limit_bytes), "64MiB", 16 * MIB, 65536 * MIB, "SIZE",
	  "ceiling of the unwind rows (half of it) and the stored samples (a quarter)", GROUP_LIMIT },
	{ "limit.symbolizer-memory", 0, TYPE_SIZE, AT(symbolizer_memory_bytes), "256MiB", 64 * MIB, 65536 * MIB, "SIZE",
	  "ceiling of each symbolizer; past it frames keep their address and a reason", GROUP_LIMIT },
	{ "config.file", 0, TYPE_STRING, AT(config_file), NULL, 0, 0, "FILE", "YAML file with these names as keys",
	  GROUP_GENERAL },
	{ "log.level", 0, TYPE_LEVEL, AT(log_level), "info", 0, 0, "LEVEL", "error, warn, info or debug", GROUP_GENERAL },
	{ "log.format", 0, TYPE_FORMAT, AT(log_format), "logfmt", 0, 0, "FORMAT", "logfmt or json", GROUP_GENERAL },
	{ "duration", 'd', TYPE_DURATION, AT(duration_ns), NULL, NS_PER_MS, 24 * 3600 * NS_PER_S, "DURATION",
	  "how long to record (default 10s; a COMMAND to its exit)", GROUP_RECORD },
	{ "output", 'o', TYPE_STRING, AT(output), NULL, 0, 0, "FILE",
	  "file to write, - for standard output (default wick.pb.gz, or wick. and the format's suffix)", GROUP_RECORD },
	{ "format", 0, TYPE_STRING, AT(format), "pprof", 0, 0, "FORMAT", "one of the output formats", GROUP_RECORD },
	{ "threads", 0, TYPE_FLAG, AT(threads), "false", 0, 0, NULL, "keep threads apart, with their ids", GROUP_RECORD },
	{ "container", 0, TYPE_STRING, AT(container), NULL, 0, 0, "GLOB", "only this container", GROUP_SELECT },
	{ "pod", 0, TYPE_STRING, AT(pod), NULL, 0, 0, "GLOB", "only this pod", GROUP_SELECT },
	{ "namespace", 0, TYPE_STRING, AT(namespace_), NULL, 0, 0, "GLOB", "only this namespace", GROUP_SELECT },
	{ "pid", 0, TYPE_STRING, AT(pid), NULL, 0, 0, "PID", "only this process", GROUP_SELECT },
	{ "comm", 0, TYPE_STRING, AT(comm), NULL, 0, 0, "GLOB", "only processes of this name", GROUP_SELECT },
	{ "cgroup", 0, TYPE_STRING, AT(cgroup), NULL, 0, 0, "GLOB", "only this cgroup path", GROUP_SELECT },
	{ "debug.sample-blocks", 0, TYPE_NUMBER, AT(sample_blocks), "0", 0, SAMPLE_SHARED_BLOCKS, "N",
	  "blocks of 64 KiB that CPUs share for the samples of a second, 0: by frequency and CPUs", GROUP_DEBUG },
	{ "debug.row-chunks", 0, TYPE_NUMBER, AT(row_chunks), "0", 0, 64, "N",
	  "ceiling of the unwind rows in MiB, 0: half of limit.memory", GROUP_DEBUG },
	{ "debug.allow-freezing-kernel", 0, TYPE_FLAG, AT(allow_freezing_kernel), "false", 0, 0, NULL,
	  "run on a kernel that can freeze when stacks are read (6.1 to 6.1.35, 6.2, 6.3 to 6.3.9)", GROUP_DEBUG },
	{ "debug.referee-interval", 0, TYPE_NUMBER, AT(referee_interval), "500", 0, 1U << 30, "N",
	  "one sample in N is also unwound by libunwind, to see how often both agree; 0: none", GROUP_DEBUG },
	{ "debug.keep-stacks", 0, TYPE_STRING, AT(keep_stacks), NULL, 0, 0, "DIR",
	  "existing directory of the agent's user for the last 32 stacks that libunwind reads otherwise, with their memory, "
	  "for wick replay", GROUP_DEBUG },
	{ 0 },
};

_Static_assert(sizeof(config_options) / sizeof(*config_options) <= CONFIG_OPTIONS_LIMIT, "room for the table");

static const struct {
	const char *name;
	enum config_verb verb;
} verbs[] = {
	{ "run", CONFIG_RUN },	   { "record", CONFIG_RECORD },	  { "check-config", CONFIG_CHECK },
	{ "print-config", CONFIG_PRINT }, { "version", CONFIG_VERSION }, { "help", CONFIG_HELP },
	{ "replay", CONFIG_REPLAY },
};

/* What of an argument an error repeats. */
static void shorten(const char *argument, char shown[80])
{
	size_t length = strcspn(argument, "=");

	snprintf(shown, 80, "%.*s", (int)(length < 70 ? length : 70), argument);
}

const struct config_option *config_find(const char *name, size_t length)
{
	for (const struct config_option *option = config_options; option->name; option++)
		if (strlen(option->name) == length && !strncmp(option->name, name, length))
			return option;
	return NULL;
}

/* Levenshtein's distance, one row at a time. */
static size_t edits(const char *a, const char *b)
{
	size_t length = strlen(b), costs[65];

	if (length > 64)
		return SIZE_MAX;
	for (size_t j = 0; j <= length; j++)
		costs[j] = j;
	for (size_t i = 0; a[i]; i++) {
		size_t corner = costs[0];

		costs[0] = i + 1;
		for (size_t j = 0; j < length; j++) {
			size_t change = corner + (a[i] != b[j]), least = costs[j] + 1;

			corner = costs[j + 1];
			least = costs[j + 1] + 1 < least ? costs[j + 1] + 1 : least;
			costs[j + 1] = change < least ? change : least;
		}
	}
	return costs[length];
}

const char *config_nearest(const char *name)
{
	const struct config_option *best = config_options;

	for (const struct config_option *option = config_options; option->name; option++)
		if (edits(name, option->name) < edits(name, best->name))
			best = option;
	return best->name;
}

void config_environment_name(const struct config_option *option, char *name, size_t size)
{
	size_t used = (size_t)snprintf(name, size, "WICK_");

	for (const char *at = option->name; *at && used + 1 < size; at++)
		name[used++] = isalnum((unsigned char)*at) ? (char)toupper((unsigned char)*at) : '_';
	name[used] = '\0';
}

static int set_named(struct config *config, const struct config_option *option, const char *shown, const char *text,
		     char *error, size_t size)
{
	char why[512] = "no memory";
	int result = config_set(config, option, text, why, sizeof(why));

	if (result)
		snprintf(error, size, "%s: %s", shown, why);
	return result;
}

/* One flag, at argv[*at]: --name=value, --name value, --name (flags), -d value. Moves *at past what it used. */
static int read_flag(struct config *config, int argc, char **argv, int *at, bool *taken, char *error, size_t size)
{
	const char *flag = argv[*at], *name = flag + 2, *value = NULL;
	const struct config_option *option = config_options;
	char shown[80];
	size_t length;

	shorten(flag, shown);
	if (flag[1] != '-') {
		while (option->name && (!option->letter || option->letter != flag[1]))
			option++;
		option = option->name ? option : NULL;
		value = flag[1] && flag[2] ? flag + 2 : NULL;
	} else {
		length = strcspn(name, "=");
		option = config_find(name, length);
		value = name[length] ? name + length + 1 : NULL;
	}
	if (!option && flag[1] == '-')
		snprintf(error, size, "%s: unknown flag; the nearest is --%s", shown, config_nearest(shown + 2));
	else if (!option)
		snprintf(error, size, "%s: unknown flag; see wick --help", shown);
	if (!option)
		return -EINVAL;
	if (!value && option->type == TYPE_FLAG)
		value = "true";
	if (!value && *at + 1 < argc)
		value = argv[++*at];
	if (!value) {
		snprintf(error, size, "%s needs a value: --%s %s", shown, option->name, option->argument);
		return -EINVAL;
	}
	++*at;
	taken[option - config_options] = true;
	return set_named(config, option, shown, value, error, size);
}

static int read_arguments(struct config *config, int argc, char **argv, enum config_verb *ret_verb, bool *taken,
			  char *error, size_t size)
{
	bool verb_seen = false;
	int result = 0;

	for (int at = 1; at < argc && !result;) {
		if (!strcmp(argv[at], "--help") || !strcmp(argv[at], "-h")) {
			*ret_verb = CONFIG_HELP;
			return 0;
		}
		if (!strcmp(argv[at], "--version")) {
			*ret_verb = CONFIG_VERSION;
			return 0;
		}
		if (!strcmp(argv[at], "--")) {
			config->command = argv + at + 1;
			break;
		}
		if (argv[at][0] == '-') {
			result = read_flag(config, argc, argv, &at, taken, error, size);
			continue;
		}
		if (verb_seen && *ret_verb == CONFIG_CHECK && !config->config_file) {
			result = set_named(config, config_find("config.file", 11), "check-config", argv[at++], error, size);
			continue;
		}
		if (verb_seen && *ret_verb == CONFIG_REPLAY && !config->replay_file) {
			config->replay_file = argv[at++];
			continue;
		}
		*ret_verb = CONFIG_HELP;
		for (size_t i = 0; !verb_seen && i < sizeof(verbs) / sizeof(*verbs); i++)
			if (!strcmp(verbs[i].name, argv[at])) {
				*ret_verb = verbs[i].verb;
				verb_seen = true;
				goto next;
			}
		snprintf(error, size, "%s: %s; see wick --help", argv[at],
			 verb_seen ? "unexpected argument (a COMMAND goes behind --)" : "unknown verb");
		return -EINVAL;
next:
		at++;
	}
	return result;
}

/* In the environment the values of a list stand between commas. */
static int set_list(struct config *config, const struct config_option *option, const char *shown, const char *text,
		    char *error, size_t size)
{
	int result = 0;

	while (*text && !result) {
		size_t length = strcspn(text, ",");
		char *value = arena_string(config->owned, text, length);

		if (!value)
			return -ENOMEM;
		if (length)
			result = set_named(config, option, shown, value, error, size);
		text += length + (text[length] == ',');
	}
	return result;
}

/*
 * Kubernetes (and docker --link) tell every container of the services beside it: one called wick, or wick-web, as
 * WICK_SERVICE_HOST, WICK_PORT_9750_TCP_ADDR, WICK_WEB_PORT and the like.
 */
static bool is_service_link(const char *name)
{
	const char *port = strstr(name, "_PORT");

	return strstr(name, "_SERVICE_HOST") || (port && (!port[5] || port[5] == '_'));
}

static int read_environment(struct config *config, char **environment, bool *taken, char *error, size_t size)
{
	for (char **at = environment; at && *at; at++) {
		size_t length = strcspn(*at, "=");
		const struct config_option *found = NULL;
		char name[80], shown[80];
		int result;

		if (strncmp(*at, "WICK_", 5) || !(*at)[length] || !strncmp(*at, "WICK_TEST_", 10))
			continue;
		shorten(*at, shown);
		for (const struct config_option *option = config_options; option->name && !found; option++) {
			config_environment_name(option, name, sizeof(name));
			found = !strcmp(name, shown) ? option : NULL;
		}
		if (!found && is_service_link(shown))
			continue;
		if (!found) {
			snprintf(error, size, "%s: no option has this environment name", shown);
			return -EINVAL;
		}
		if (taken[found - config_options])
			continue;
		taken[found - config_options] = true;
		result = found->type == TYPE_LIST ?
				 set_list(config, found, shown, *at + length + 1, error, size) :
				 set_named(config, found, shown, *at + length + 1, error, size);
		if (result)
			return result;
	}
	return 0;
}

static int check_together(struct config *config, enum config_verb verb, const bool *flags, char *error, size_t size)
{
	for (const struct config_option *option = config_options; option->name; option++)
		if (flags[option - config_options] && !config_is_setting(option) && verb != CONFIG_RECORD) {
			snprintf(error, size, "--%s goes with record: wick record --%s", option->name, option->name);
			return -EINVAL;
		}
	if (verb == CONFIG_CHECK && !config->config_file) {
		snprintf(error, size, "check-config needs a file: wick check-config FILE");
		return -EINVAL;
	}
	if (verb == CONFIG_REPLAY && !config->replay_file) {
		snprintf(error, size, "replay needs a file: wick replay FILE");
		return -EINVAL;
	}
	if (config->command && !config->command[0]) {
		snprintf(error, size, "behind -- there must be a COMMAND: wick record -- COMMAND ...");
		return -EINVAL;
	}
	if (config->command && verb != CONFIG_RECORD) {
		snprintf(error, size, "a COMMAND behind -- goes with record: wick record -- %s", config->command[0]);
		return -EINVAL;
	}
	if (!config->duration_ns && !config->command)
		config->duration_ns = 10 * NS_PER_S;
	return 0;
}

int config_load(int argc, char **argv, char **environment, enum config_verb *ret_verb, struct config *ret_config,
		char *error, size_t error_size)
{
	bool taken[CONFIG_OPTIONS_LIMIT] = { false }, flags[CONFIG_OPTIONS_LIMIT];
	struct config config = { .owned = arena_new(16 * MIB) };
	enum config_verb verb = CONFIG_RUN;
	int result = config.owned ? 0 : -ENOMEM;

	error[0] = '\0';
	for (const struct config_option *option = config_options; option->name && !result; option++)
		if (option->fallback)
			result = set_named(&config, option, option->name, option->fallback, error, error_size);
	if (!result)
		result = read_arguments(&config, argc, argv, &verb, taken, error, error_size);
	if (!result && verb != CONFIG_HELP && verb != CONFIG_VERSION) {
		memcpy(flags, taken, sizeof(flags));
		result = read_environment(&config, environment, taken, error, error_size);
		if (!result && config.config_file)
			result = config_read_file(&config, config.config_file, taken, error, error_size);
		if (!result)
			result = check_together(&config, verb, flags, error, error_size);
	}
	if (result) {
		config_done(&config);
		return result;
	}
	*ret_config = config;
	*ret_verb = verb;
	return 0;
}

void config_done(struct config *config)
{
	arena_free(config->owned);
	*config = (struct config){ 0 };
}

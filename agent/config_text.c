/* SPDX-License-Identifier: Apache-2.0 */
/* The option table as people read it: --help, the YAML of print-config, the README's table. */
#include "config_private.h"

#include "collector.h"
#include "exporter.h"

#include <string.h>

static const char *const headings[] = {
	[GROUP_WEB] = "HTTP",
	[GROUP_PROFILE] = "Profiles",
	[GROUP_LIMIT] = "Limits",
	[GROUP_GENERAL] = "General",
	[GROUP_RECORD] = "wick record",
	[GROUP_SELECT] = "SELECTOR",
	[GROUP_DEBUG] = "For trouble",
};

static void help_option(const struct config_option *option, FILE *out)
{
	char left[64];

	if (option->letter)
		snprintf(left, sizeof(left), "-%c, --%s %s", option->letter, option->name, option->argument);
	else
		snprintf(left, sizeof(left), "--%s %s", option->name, option->argument ? option->argument : "");
	fprintf(out, "  %-36s %s", left, option->help);
	if (option->fallback && *option->fallback && strcmp(option->fallback, "false") && strcmp(option->fallback, "0"))
		fprintf(out, " (default %s)", option->fallback);
	fputc('\n', out);
}

static void help_kinds(FILE *out)
{
	fputs("\nOutput formats (format=, --format):\n", out);
	for (const struct exporter *const *at = exporters; *at; at++)
		if ((*at)->encode)
			fprintf(out, "  %-36s %s%s%s\n", (*at)->name, (*at)->help, (*at)->route ? "; at " : "",
				(*at)->route ? (*at)->route : "");
	fputs("\nMetrics, at /metrics:\n", out);
	for (const struct exporter *const *at = exporters; *at; at++)
		if ((*at)->encode_metrics)
			fprintf(out, "  %-36s %s\n", (*at)->name, (*at)->help);
	for (const struct collector *const *at = collectors; *at; at++)
		fprintf(out, "  %-36s %s\n", (*at)->name, (*at)->help);
}

void config_help(FILE *out)
{
	fputs("wick: a continuous profiler and metrics exporter for Linux hosts\n\n"
	      "  wick [run] [OPTIONS]                  the agent\n"
	      "  wick record [-d 10s] [-o FILE] [SELECTOR] [-- COMMAND ...]\n"
	      "                                        one profile of the host, or of a command from exec to exit\n"
	      "  wick check-config FILE                is the file right?\n"
	      "  wick print-config                     every setting in force, as YAML\n"
	      "  wick replay FILE                      a kept stack, walked again, beside what libunwind says\n"
	      "  wick version\n",
	      out);
	for (size_t group = 0; group < sizeof(headings) / sizeof(*headings); group++) {
		fprintf(out, "\n%s:\n", headings[group]);
		for (const struct config_option *option = config_options; option->name; option++)
			if (option->group == group)
				help_option(option, out);
	}
	help_kinds(out);
	fputs("\nAn option may also be set as WICK_WEB_LISTEN_ADDRESS and so on, and in the YAML file by its name.\n"
	      "Precedence: flag, environment, file, default.\n",
	      out);
}

bool config_is_setting(const struct config_option *option)
{
	return option->group != GROUP_RECORD && option->group != GROUP_SELECT;
}

/* A double-quoted YAML scalar: what cannot stand in one as it is becomes an escape. */
static void print_quoted(const char *text, FILE *out)
{
	fputc('"', out);
	for (; text && *text; text++) {
		if (*text == '"' || *text == '\\')
			fprintf(out, "\\%c", *text);
		else if ((unsigned char)*text < ' ' || *text == 0x7f)
			fprintf(out, "\\x%02x", (unsigned char)*text);
		else
			fputc(*text, out);
	}
	fputc('"', out);
}

static void print_value(const struct config *config, const struct config_option *option, FILE *out)
{
	const char *place = (const char *)config + option->offset;
	char text[64];

	if (option->type == TYPE_STRING) {
		print_quoted(*(const char *const *)place, out);
	} else if (option->type == TYPE_LIST) {
		char *const *list = *(char *const *const *)place;

		fputc('[', out);
		for (size_t i = 0; list && list[i]; i++) {
			fputs(i ? ", " : "", out);
			print_quoted(list[i], out);
		}
		fputc(']', out);
	} else {
		config_get(config, option, text, sizeof(text));
		fputs(text, out);
	}
}

void config_print(const struct config *config, FILE *out)
{
	for (const struct config_option *option = config_options; option->name; option++) {
		if (!config_is_setting(option) || !strcmp(option->name, "config.file"))
			continue;
		fprintf(out, "%s: ", option->name);
		print_value(config, option, out);
		fputc('\n', out);
	}
}

void config_markdown(FILE *out)
{
	char name[80];

	fputs("| option | environment | default | meaning |\n|---|---|---|---|\n", out);
	for (const struct config_option *option = config_options; option->name; option++) {
		config_environment_name(option, name, sizeof(name));
		fprintf(out, "| `--%s` | `%s` | %s%s%s | %s |\n", option->name, name,
			option->fallback && *option->fallback ? "`" : "",
			option->fallback && *option->fallback ? option->fallback : "–",
			option->fallback && *option->fallback ? "`" : "", option->help);
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A profile as the table of `pprof -top`: functions by what was measured in themselves (flat) and below them
 * (cum, once a stack however often they recur), under lines that say what was asked.
 */
#include "exporter.h"

#include "base/buf.h"
#include "base/clean.h"
#include "base/intern.h"
#include "profile.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_ROWS 500

struct row {
	const char *name;
	uint64_t flat, cum;
	size_t last_sample; /* index + 1 of the sample that was last added to cum */
};

struct table {
	const struct profile *profile;
	uint32_t *row_of; /* by function index */
	struct row *rows;
	size_t row_count;
	uint64_t total, factor;
	bool time; /* the values are nanoseconds */
};

/* Functions of one name are one row, as in pprof. */
static int make_rows(struct table *table)
{
	const struct profile *profile = table->profile;
	struct intern *names = intern_new(0);
	int status = 0;

	table->row_of = calloc(profile->function_count + 1, sizeof(*table->row_of));
	table->rows = calloc(profile->function_count + 1, sizeof(*table->rows));
	if (!names || !table->row_of || !table->rows)
		status = -ENOMEM;
	for (size_t i = 0; i < profile->function_count && !status; i++) {
		const char *name = *profile->functions[i].name ? profile->functions[i].name : "[unknown]";
		uint32_t id = intern_add(names, name, strlen(name));

		if (id == UINT32_MAX) {
			status = -ENOMEM;
			break;
		}
		table->row_of[i] = id - 1;
		table->rows[id - 1].name = name;
		if (id > table->row_count)
			table->row_count = id;
	}
	intern_free(names);
	return status;
}

static void count_sample(struct table *table, size_t index)
{
	const struct profile *profile = table->profile;
	const struct profile_sample *sample = &profile->samples[index];
	bool leaf = true;

	table->total += sample->count;
	for (uint32_t i = 0; i < sample->depth; i++) {
		uint32_t at = profile->stack_locations[sample->first_location + i];
		const struct profile_location *location = &profile->locations[at];

		for (uint32_t j = 0; j < location->lines; j++) {
			struct row *row = &table->rows[table->row_of[profile->lines[location->first_line + j].function]];

			if (leaf)
				row->flat += sample->count;
			leaf = false;
			if (row->last_sample != index + 1)
				row->cum += sample->count;
			row->last_sample = index + 1;
		}
	}
}

static int compare_rows(const void *left, const void *right)
{
	const struct row *a = left, *b = right;

	if (a->flat != b->flat)
		return a->flat < b->flat ? 1 : -1;
	if (a->cum != b->cum)
		return a->cum < b->cum ? 1 : -1;
	return strcmp(a->name, b->name);
}

static const char *show(const struct table *table, uint64_t count, char *text, size_t size)
{
	uint64_t value = count * table->factor;

	if (!table->time)
		snprintf(text, size, "%" PRIu64, value);
	else if (value >= 1000000000)
		snprintf(text, size, "%.2fs", (double)value / 1e9);
	else
		snprintf(text, size, "%.2fms", (double)value / 1e6);
	return text;
}

static double percent(const struct table *table, uint64_t count)
{
	return table->total ? 100.0 * (double)count / (double)table->total : 0;
}

static void add_text(struct buf *out, const char *text)
{
	for (; *text; text++)
		buf_add_char(out, *text == '\n' || *text == '\r' ? ' ' : *text);
}

static void write_head(const struct table *table, const struct exporter_request *request, struct buf *out)
{
	const struct profile *profile = table->profile;
	time_t seconds = (time_t)(profile->time_ns / 1000000000);
	char total[32], stamp[32] = "-";
	double duration = (double)profile->duration_ns / 1e9;
	struct tm broken;

	add_text(out, request->title && *request->title ? request->title : profile->comment);
	if (profile->time_ns && gmtime_r(&seconds, &broken))
		strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%SZ", &broken);
	buf_printf(out, "\nType: %s\nTime: %s\n", table->time ? profile->types[1].name : profile->types[0].name, stamp);
	buf_printf(out, "Duration: %.2fs, Total = %s", duration, show(table, table->total, total, sizeof(total)));
	if (table->time && duration > 0)
		buf_printf(out, " (%.2f%% of one CPU)", (double)(table->total * table->factor) / 1e7 / duration);
	buf_printf(out, "\n%10s %6s %6s %10s %6s  %s\n", "flat", "flat%", "sum%", "cum", "cum%", "function");
}

static void write_rows(const struct table *table, struct buf *out)
{
	size_t count = 0, rest = 0;
	uint64_t sum = 0;

	while (count < table->row_count && count < MAX_ROWS && table->rows[count].cum)
		count++;
	while (count + rest < table->row_count && table->rows[count + rest].cum) /* those without a sample come last */
		rest++;
	for (size_t i = 0; i < count; i++) {
		const struct row *row = &table->rows[i];
		char flat[32], cum[32];

		sum += row->flat;
		buf_printf(out, "%10s %5.2f%% %5.2f%% %10s %5.2f%%  ", show(table, row->flat, flat, sizeof(flat)),
			   percent(table, row->flat), percent(table, sum), show(table, row->cum, cum, sizeof(cum)),
			   percent(table, row->cum));
		add_text(out, row->name);
		buf_add_char(out, '\n');
	}
	if (rest)
		buf_printf(out, "(%zu more functions)\n", rest);
}

static int choose_value(struct table *table, const char *value, struct buf *error)
{
	const struct profile_type *types = table->profile->types;

	table->factor = 1;
	if (value && !strcmp(value, types[0].name))
		return 0;
	if (value && *value && strcmp(value, types[1].name)) {
		buf_printf(error, "value must be %s or %s.", types[0].name, types[1].name);
		return -EINVAL;
	}
	table->factor = table->profile->period;
	table->time = !strcmp(types[1].unit, "nanoseconds");
	return 0;
}

static int encode(const struct profile *profile, const struct exporter_request *request, struct buf *out)
{
	struct table table = { .profile = profile };
	int status = choose_value(&table, request->value, out);

	if (!status)
		status = make_rows(&table);
	if (!status) {
		for (size_t i = 0; i < profile->sample_count; i++)
			if (profile->samples[i].count)
				count_sample(&table, i);
		qsort(table.rows, table.row_count, sizeof(*table.rows), compare_rows);
		write_head(&table, request, out);
		write_rows(&table, out);
		status = out->failed ? -ENOMEM : 0;
	}
	free(table.row_of);
	free(table.rows);
	return status;
}

const struct exporter text_exporter = {
	.name = "text",
	.help = "table of functions like pprof -top",
	.mime = "text/plain; charset=utf-8",
	.file_suffix = "txt",
	.encode = encode,
};

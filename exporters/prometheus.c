/* SPDX-License-Identifier: Apache-2.0 */
/* Exporter "prometheus": a metric set as Prometheus's text format 0.0.4. Takes a set, gives bytes, owns nothing. */
#include "base/buf.h"
#include "exporter.h"
#include "metric.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Line breaks and backslashes are escaped everywhere, quotes only where they would end the value. */
static void add_escaped(struct buf *out, const char *text, bool quoted)
{
	for (; *text; text++) {
		if (*text == '\n')
			buf_add_string(out, "\\n");
		else if (*text == '\\' || (quoted && *text == '"'))
			buf_printf(out, "\\%c", *text);
		else
			buf_add_char(out, *text);
	}
}

/* The fewest digits that read back as the same double; 17 always do. */
static void add_double(struct buf *out, double value)
{
	char text[40];

	if (isnan(value) || isinf(value)) {
		buf_add_string(out, isnan(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf");
		return;
	}
	for (int digits = 15; digits <= 17; digits++) {
		snprintf(text, sizeof(text), "%.*g", digits, value);
		if (strtod(text, NULL) == value)
			break;
	}
	buf_add_string(out, text);
}

/* A series: name, suffix and labels, of a bucket with its bound. */
static void add_series(struct buf *out, const char *name, const char *suffix, const struct metric_sample *sample,
		       const double *bound)
{
	buf_printf(out, "%s%s", name, suffix);
	for (size_t i = 0; i < sample->label_count; i++) {
		buf_printf(out, "%c%s=\"", i ? ',' : '{', sample->labels[i].name);
		add_escaped(out, sample->labels[i].value, true);
		buf_add_char(out, '"');
	}
	if (bound) {
		buf_add_string(out, sample->label_count ? ",le=\"" : "{le=\"");
		add_double(out, *bound);
		buf_add_char(out, '"');
	}
	buf_add_string(out, sample->label_count || bound ? "} " : " ");
}

static void add_sample(struct buf *out, const char *name, const struct metric_sample *sample)
{
	add_series(out, name, "", sample, NULL);
	if (sample->is_integer)
		buf_printf(out, "%" PRIu64, sample->integer);
	else
		add_double(out, sample->value);
	buf_add_char(out, '\n');
}

static void add_histogram(struct buf *out, const char *name, const struct metric_sample *sample)
{
	const struct metric_histogram *histogram = sample->histogram;
	const double no_bound = INFINITY;

	for (size_t i = 0; i < histogram->bucket_count; i++) {
		add_series(out, name, "_bucket", sample, &histogram->bounds[i]);
		buf_printf(out, "%" PRIu64 "\n", histogram->counts[i]);
	}
	add_series(out, name, "_bucket", sample, &no_bound);
	buf_printf(out, "%" PRIu64 "\n", histogram->count);
	add_series(out, name, "_sum", sample, NULL);
	add_double(out, histogram->sum);
	buf_add_char(out, '\n');
	add_series(out, name, "_count", sample, NULL);
	buf_printf(out, "%" PRIu64 "\n", histogram->count);
}

static int encode_metrics(const struct metric_set *set, struct buf *out)
{
	static const char *const types[] = { [METRIC_COUNTER] = "counter", [METRIC_GAUGE] = "gauge",
					     [METRIC_HISTOGRAM] = "histogram" };

	for (size_t i = 0; i < set->family_count; i++) {
		const struct metric_family *family = &set->families[i];

		if (!family->sample_count)
			continue;
		buf_printf(out, "# HELP %s ", family->name);
		add_escaped(out, family->help, false);
		buf_printf(out, "\n# TYPE %s %s\n", family->name, types[family->type]);
		for (size_t j = 0; j < family->sample_count; j++)
			(family->type == METRIC_HISTOGRAM ? add_histogram : add_sample)(out, family->name,
											&family->samples[j]);
	}
	return out->failed ? -ENOMEM : 0;
}

const struct exporter prometheus_exporter = {
	.name = "prometheus",
	.help = "metrics in Prometheus's text format",
	.mime = "text/plain; version=0.0.4; charset=utf-8",
	.file_suffix = "prom",
	.route = "/metrics",
	.encode_metrics = encode_metrics,
};

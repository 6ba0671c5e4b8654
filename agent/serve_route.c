/* SPDX-License-Identifier: Apache-2.0 */
/* Part of agent/serve: which path is answered by what. Profiles become jobs; all else is made here and now. */
#include "serve_private.h"

#include "base/file.h"
#include "metric.h"
#include "query_build.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define MAX_CMDLINE_BYTES 65536

static void answer_text(struct serve_answer *answer, const char *text)
{
	answer->status = 200;
	answer->mime = "text/plain; charset=utf-8";
	buf_add_string(&answer->body, text);
}

static void answer_healthy(struct serve *serve, struct serve_answer *answer)
{
	(void)serve;
	answer_text(answer, "healthy\n");
}

static void answer_ready(struct serve *serve, struct serve_answer *answer)
{
	if (serve->sources.ready(serve->sources.context)) {
		answer_text(answer, "ready\n");
		return;
	}
	serve_error(answer, 503, "Not ready yet: sampling has not begun.");
	answer->retry_after_s = 1;
}

static void answer_symbol(struct serve *serve, struct serve_answer *answer)
{
	(void)serve;
	answer_text(answer, "num_symbols: 0\n"); /* profiles carry their names */
}

static void answer_cmdline(struct serve *serve, struct serve_answer *answer)
{
	(void)serve;
	answer_text(answer, "");
	if (file_read(AT_FDCWD, "/proc/self/cmdline", MAX_CMDLINE_BYTES, &answer->body) < 0)
		serve_error(answer, 503, "The command line could not be read.");
	else if (answer->body.length && !answer->body.data[answer->body.length - 1])
		answer->body.length--; /* joined by NUL, not ended by it */
}

static void answer_style(struct serve *serve, struct serve_answer *answer)
{
	(void)serve;
	answer_text(answer, "body{font:15px/1.5 sans-serif;margin:2em;max-width:80em}table{border-collapse:collapse}"
			    "th,td{padding:.2em .8em;text-align:left;border-bottom:1px solid #ddd}"
			    ".number{text-align:right}.gone{color:#888}code{background:#f4f4f4;padding:.1em .3em}\n");
	answer->mime = "text/css; charset=utf-8";
}

static const struct route {
	const char *path;
	void (*answer)(struct serve *serve, struct serve_answer *answer);
} routes[] = {
	{ "/", serve_page },
	{ "/style.css", answer_style },
	{ "/status", serve_status },
	{ "/api/v1/containers", serve_containers },
	{ "/debug/pprof", serve_pprof_index },
	{ "/debug/pprof/", serve_pprof_index },
	{ "/debug/pprof/cmdline", answer_cmdline },
	{ "/debug/pprof/symbol", answer_symbol },
	{ "/-/healthy", answer_healthy },
	{ "/healthz", answer_healthy },
	{ "/-/ready", answer_ready },
	{ "/readyz", answer_ready },
};

static void answer_metrics(struct serve *serve, struct MHD_Connection *connection, const struct exporter *exporter,
			   struct serve_answer *answer)
{
	struct metric_set *set = serve->sources.metrics(serve->sources.context);

	answer->status = 200;
	answer->mime = exporter->mime;
	answer->gzip_varies = true;
	if (!set || exporter->encode_metrics(set, &answer->body))
		serve_error(answer, 503, "The metrics could not be made: memory ran out.");
	else if (serve_accepts_gzip(connection))
		answer->gzipped = !serve_gzip(&answer->body);
	metric_set_free(set);
}

static const struct exporter *exporter_at(const char *path)
{
	for (const struct exporter *const *at = exporters; *at; at++)
		if ((*at)->route && !strcmp((*at)->route, path))
			return *at;
	return NULL;
}

/* The exporter of format=, or the answer's error. */
static const struct exporter *read_format(const char *format, struct serve_answer *answer)
{
	const struct exporter *exporter = exporter_find(format ? format : "pprof");

	if (exporter && exporter->encode)
		return exporter;
	serve_error(answer, 400, "There is no such format; there are");
	for (const struct exporter *const *at = exporters; *at; at++)
		if ((*at)->encode)
			buf_printf(&answer->body, " %s", (*at)->name);
	buf_add_char(&answer->body, '.');
	return NULL;
}

static const char *disposition_of(const struct exporter *exporter)
{
	if (!exporter->attachment)
		return NULL;
	return !strcmp(exporter->file_suffix, "pb.gz") ? "attachment; filename=\"profile.pb.gz\"" :
							 "attachment; filename=\"profile\"";
}

/* exporter NULL: by format= */
static bool make_job(struct serve *serve, struct MHD_Connection *connection, const struct exporter *exporter,
		     struct serve_job *job)
{
	struct serve_query *query = &job->query;
	struct serve_answer *answer = &job->answer;
	struct query_filter filter;
	char error[256];
	unsigned status;

	status = serve_params_read(connection, query, &answer->body);
	if (!status)
		status = serve_range_read(serve, query, &answer->body);
	answer->status = status;
	if (status)
		return false;
	query->exporter = exporter ? exporter : read_format(query->params[PARAM_FORMAT], answer);
	if (!query->exporter)
		return false;
	if (query_filter_init(&filter, &query->selector, error, sizeof(error))) {
		serve_error(answer, 400, "%s.", error);
		return false;
	}
	query_filter_done(&filter);
	if (query->params[PARAM_CONTAINER] && !serve_knows_container(serve, query->params[PARAM_CONTAINER])) {
		serve_error(answer, 404, "There is no such container; /api/v1/containers lists them.");
		return false;
	}
	answer->disposition = disposition_of(query->exporter);
	return true;
}

static enum MHD_Result route_profile(struct serve *serve, struct MHD_Connection *connection,
				     const struct exporter *exporter, bool head, void **con_cls)
{
	struct serve_job *job = calloc(1, sizeof(*job));
	enum MHD_Result result;

	if (!job)
		return MHD_NO;
	job->connection = connection;
	if (make_job(serve, connection, exporter, job)) {
		if (head) {
			result = serve_send_head(connection, job->query.exporter->mime);
			serve_job_free(job);
			return result;
		}
		*con_cls = job; /* before it may be resumed */
		if (serve_job_submit(serve, job, &job->answer))
			return MHD_YES;
		*con_cls = NULL;
	}
	result = serve_send(connection, &job->answer);
	serve_job_free(job);
	return result;
}

enum MHD_Result serve_route(struct serve *serve, struct MHD_Connection *connection, const char *path, bool head,
			    void **con_cls)
{
	struct serve_answer answer = { 0 };
	const struct exporter *exporter = exporter_at(path);

	if (!strcmp(path, "/debug/pprof/profile"))
		return route_profile(serve, connection, exporter_find("pprof"), head, con_cls);
	if (!strcmp(path, "/api/v1/query"))
		return route_profile(serve, connection, NULL, head, con_cls);
	if (exporter && exporter->encode)
		return route_profile(serve, connection, exporter, head, con_cls);
	if (exporter)
		answer_metrics(serve, connection, exporter, &answer);
	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++)
		if (!exporter && !strcmp(path, routes[i].path)) {
			routes[i].answer(serve, &answer);
			return serve_send(connection, &answer);
		}
	if (!exporter)
		serve_error(&answer, 404, !strncmp(path, "/debug/pprof/", 13) ?
			    "There is no such profile type; /debug/pprof/ lists them." :
			    "There is nothing at this path; / links to what there is.");
	return serve_send(connection, &answer);
}

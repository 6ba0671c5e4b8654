/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Part of agent/serve: who was there, as a plain page and as JSON, and the index of /debug/pprof/. Names in them
 * are tenants' bytes: each is escaped for where it stands.
 */
#include "serve_private.h"

#include "base/clean.h"
#include "base/clock.h"
#include "base/hmap.h"
#include "metric.h"
#include "query_build.h"

#include <ctype.h>
#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_PAGE_ROWS 500
#define CPU_FAMILY "wick_container_cpu_seconds_total"

struct row {
	struct cgroup_name name;
	double cpu_seconds;
};

struct cpu_slot { /* two hashes of (namespace, pod, container) */
	uint64_t key[2];
	double seconds;
};

static void hash_identity(const char *namespace_, const char *pod, const char *container, uint64_t key[2])
{
	uint64_t parts[4] = { hmap_hash(namespace_, strlen(namespace_)), hmap_hash(pod, strlen(pod)),
			      hmap_hash(container, strlen(container)), 0 };

	key[0] = hmap_hash(parts, sizeof(parts));
	parts[3] = 1;
	key[1] = hmap_hash(parts, sizeof(parts));
}

static const char *label_of(const struct metric_sample *sample, const char *name)
{
	for (size_t i = 0; i < sample->label_count; i++)
		if (!strcmp(sample->labels[i].name, name))
			return sample->labels[i].value;
	return "";
}

/* The accounts reach this side as metric families only; user and system are summed. */
static void sum_cpu(const struct metric_set *set, struct hmap *cpu)
{
	for (size_t i = 0; i < set->family_count; i++) {
		const struct metric_family *family = &set->families[i];

		for (size_t j = 0; !strcmp(family->name, CPU_FAMILY) && j < family->sample_count; j++) {
			const struct metric_sample *sample = &family->samples[j];
			struct cpu_slot *slot;
			uint64_t key[2];

			hash_identity(label_of(sample, "namespace"), label_of(sample, "pod"),
				      label_of(sample, "container"), key);
			slot = hmap_insert(cpu, key, NULL);
			if (slot)
				slot->seconds += sample->is_integer ? (double)sample->integer : sample->value;
		}
	}
}

static int compare_rows(const void *left, const void *right)
{
	const struct row *a = left, *b = right;

	if (a->name.gone != b->name.gone)
		return a->name.gone ? 1 : -1;
	if (a->cpu_seconds != b->cpu_seconds)
		return a->cpu_seconds < b->cpu_seconds ? 1 : -1;
	return strcmp(a->name.container, b->name.container);
}

/* The living first, by CPU time. NULL: no memory. Freed by the caller. */
static struct row *list_containers(struct serve *serve, size_t *ret_count)
{
	const struct serve_sources *sources = &serve->sources;
	size_t count = cgroup_container_count(sources->cgroups), used = 0;
	struct metric_set *set = sources->metrics(sources->context);
	struct row *rows = calloc(count + 1, sizeof(*rows));
	struct hmap cpu;

	hmap_init(&cpu, 16, sizeof(struct cpu_slot), 4 * CGROUP_LIMIT);
	if (set)
		sum_cpu(set, &cpu);
	for (size_t i = 0; rows && i < count; i++) {
		struct row *row = &rows[used];
		const struct cpu_slot *slot;
		uint64_t key[2];

		cgroup_get_name(sources->cgroups, (uint32_t)i, &row->name);
		if (!*row->name.container)
			continue;
		hash_identity(row->name.namespace_, row->name.pod, row->name.container, key);
		slot = hmap_find(&cpu, key);
		row->cpu_seconds = slot && isfinite(slot->seconds) ? slot->seconds : 0;
		used++;
	}
	hmap_done(&cpu);
	metric_set_free(set);
	if (rows)
		qsort(rows, used, sizeof(*rows), compare_rows);
	*ret_count = used;
	return rows;
}

bool serve_knows_container(struct serve *serve, const char *glob)
{
	size_t count = cgroup_container_count(serve->sources.cgroups);
	auto_buf struct buf clean = { 0 };
	struct cgroup_name name;

	for (size_t i = 0; i < count; i++) {
		cgroup_get_name(serve->sources.cgroups, (uint32_t)i, &name);
		buf_clear(&clean);
		query_clean_to(&clean, name.container);
		if (clean.length && !fnmatch(glob, clean.data, 0))
			return true;
	}
	return false;
}

static void add_html(struct buf *out, const char *text)
{
	auto_buf struct buf clean = { 0 };

	query_clean_to(&clean, text);
	for (size_t i = 0; i < clean.length; i++) {
		switch (clean.data[i]) {
		case '&': buf_add_string(out, "&amp;"); break;
		case '<': buf_add_string(out, "&lt;"); break;
		case '>': buf_add_string(out, "&gt;"); break;
		case '"': buf_add_string(out, "&quot;"); break;
		case '\'': buf_add_string(out, "&#39;"); break;
		default: buf_add_char(out, clean.data[i]);
		}
	}
}

/* A container's name as the value of `container=`: that is a glob, so its own special characters are quoted. */
static void add_url_glob(struct buf *out, const char *text)
{
	auto_buf struct buf clean = { 0 };

	query_clean_to(&clean, text);
	for (size_t i = 0; i < clean.length; i++) {
		unsigned char byte = (unsigned char)clean.data[i];

		if (strchr("*?[\\", byte))
			buf_add_string(out, "%5C");
		if (isalnum(byte) || strchr("-._~/", byte))
			buf_add_char(out, (char)byte);
		else
			buf_printf(out, "%%%02X", byte);
	}
}

static void add_json(struct buf *out, const char *key, const char *text)
{
	auto_buf struct buf clean = { 0 };

	query_clean_to(&clean, text); /* no control characters are left */
	buf_printf(out, "\"%s\":\"", key);
	for (size_t i = 0; i < clean.length; i++) {
		if (strchr("\"\\", clean.data[i]))
			buf_add_char(out, '\\');
		buf_add_char(out, clean.data[i]);
	}
	buf_add_string(out, "\",");
}

void serve_containers(struct serve *serve, struct serve_answer *answer)
{
	struct buf *out = &answer->body;
	size_t count = 0;
	auto_free struct row *rows = list_containers(serve, &count);

	buf_add_char(out, '[');
	for (size_t i = 0; rows && i < count; i++) {
		const struct cgroup_name *name = &rows[i].name;

		buf_add_string(out, i ? ",\n{" : "{");
		add_json(out, "container", name->container);
		add_json(out, "namespace", name->namespace_);
		add_json(out, "pod", name->pod);
		add_json(out, "cgroup", name->cgroup);
		add_json(out, "runtime", name->runtime);
		buf_printf(out, "\"first_seen\":%.3f,\"last_seen\":%.3f,\"cpu_seconds\":%.6f}", name->first_seen,
			   name->last_seen, rows[i].cpu_seconds);
	}
	buf_add_string(out, "]\n");
	answer->status = 200;
	answer->mime = "application/json";
	if (!rows)
		serve_error(answer, 503, "There is not enough memory for this answer.");
}

static void add_link(struct serve *serve, struct buf *out, const char *format, const char *container)
{
	buf_printf(out, "<a href=\"%s/api/v1/query?last=60s&amp;format=%s&amp;container=", serve->prefix, format);
	add_url_glob(out, container);
	buf_printf(out, "\">%s</a> ", format);
}

static void add_rows(struct serve *serve, struct buf *out)
{
	size_t count = 0;
	auto_free struct row *rows = list_containers(serve, &count);

	buf_add_string(out, "<table>\n<tr><th>container<th>pod<th>namespace<th>runtime<th>CPU seconds"
			    "<th>profile of the last minute\n");
	for (size_t i = 0; rows && i < count && i < MAX_PAGE_ROWS; i++) {
		const struct cgroup_name *name = &rows[i].name;

		buf_printf(out, "<tr%s><td>", name->gone ? " class=\"gone\"" : "");
		add_html(out, name->container);
		buf_add_string(out, "<td>");
		add_html(out, name->pod);
		buf_add_string(out, "<td>");
		add_html(out, name->namespace_);
		buf_add_string(out, "<td>");
		add_html(out, name->runtime);
		buf_printf(out, "<td class=\"number\">%.2f<td>", rows[i].cpu_seconds);
		add_link(serve, out, "pprof", name->container);
		add_link(serve, out, "folded", name->container);
		add_link(serve, out, "text", name->container);
		buf_add_char(out, '\n');
	}
	buf_add_string(out, "</table>\n");
	if (count > MAX_PAGE_ROWS)
		buf_printf(out, "<p>%zu more are in <a href=\"%s/api/v1/containers\">the list</a>.</p>\n",
			   count - MAX_PAGE_ROWS, serve->prefix);
}

static void open_page(struct serve *serve, struct serve_answer *answer, const char *title)
{
	answer->status = 200;
	answer->mime = "text/html; charset=utf-8";
	buf_printf(&answer->body, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>%s</title>\n"
				  "<link rel=\"stylesheet\" href=\"%s/style.css\"></head><body>\n<h1>%s</h1>\n",
		   title, serve->prefix, title);
}

/* The agent's address as commands name it; a Unix socket has none for go tool pprof. */
static void add_base(struct serve *serve, struct buf *out)
{
	char url[512];

	serve_url(serve, url, sizeof(url));
	url[strlen(url) - (url[strlen(url) - 1] == '/')] = '\0';
	add_html(out, url);
}

void serve_page(struct serve *serve, struct serve_answer *answer)
{
	struct buf *out = &answer->body;

	open_page(serve, answer, "wick");
	buf_add_string(out, "<p>This host's processes, profiled all the time. To look at the last minute as a flame "
			    "graph, run <code>go tool pprof -http=: '");
	add_base(serve, out);
	buf_add_string(out, "/debug/pprof/profile?last=60s'</code> and add <code>&amp;container=NAME</code> for one "
			    "container.");
	buf_printf(out, " There are also <a href=\"%s/metrics\">metrics</a> for Prometheus and "
			"<a href=\"%s/debug/pprof/\">the profiles</a> with commands to copy.</p>\n",
		   serve->prefix, serve->prefix);
	add_rows(serve, out);
	buf_add_string(out, "</body></html>\n");
}

static void add_command(struct serve *serve, struct buf *out, const char *says, const char *before,
			const char *after)
{
	buf_printf(out, "<dt>%s<dd><code>%s'", says, before);
	add_base(serve, out);
	buf_printf(out, "/debug/pprof/%s'</code>\n", after);
}

void serve_pprof_index(struct serve *serve, struct serve_answer *answer)
{
	struct buf *out = &answer->body;

	open_page(serve, answer, "/debug/pprof/");
	buf_printf(out, "<p>One profile type runs: <a href=\"%s/debug/pprof/profile?last=60s\">profile</a>, the CPU "
			"time of all processes.</p>\n<dl>\n", serve->prefix);
	add_command(serve, out, "the last minute, as a flame graph", "go tool pprof -http=: ", "profile?last=60s");
	add_command(serve, out, "the next 30 seconds", "go tool pprof ", "profile?seconds=30");
	add_command(serve, out, "by container", "go tool pprof -top -tagroot=container ", "profile?last=60s");
	add_command(serve, out, "one container", "go tool pprof -top ", "profile?last=60s&amp;container=NAME");
	add_command(serve, out, "a past range", "go tool pprof -top ", "profile?from=-10m&amp;to=-5m");
	buf_add_string(out, "</dl>\n<p>Parameters: seconds (1 to 300), last, from and to; container, pod, namespace, "
			    "comm and cgroup (shell globs), pid; focus, ignore and hide (regular expressions on "
			    "function names).</p>\n");
	add_rows(serve, out);
	buf_add_string(out, "</body></html>\n");
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a file in exporters/ must fill in. exporters/NAME.c defines `const struct exporter NAME_exporter`; the
 * table is generated from the folder. An exporter is a pure function to bytes: exactly one of encode and
 * encode_metrics is set. It appears as format=NAME of /api/v1/query, on `route` if it has one, as
 * `wick record --format NAME`, and in --help.
 */
#ifndef EXPORTER_H
#define EXPORTER_H

#include <stdbool.h>
#include <stddef.h>

struct buf;
struct metric_set;
struct profile;

struct exporter_request {  /* query parameters an exporter may look at; all may be NULL */
	const char *by;    /* leading labels of folded, comma separated, default "comm" */
	const char *value; /* sample type, default the last */
	const char *title; /* what was asked, one line */
};

struct exporter {
	const char *name;  /* format= */
	const char *help;  /* one line, lower case */
	const char *mime;  /* Content-Type */
	const char *file_suffix; /* "pb.gz" */
	const char *route; /* an own path, or NULL; profile exporters then take the query's parameters */
	bool attachment;   /* Content-Disposition: attachment */
	/* Append to `out`. 0 or negative errno; -EINVAL with a sentence in `out` for a bad request. */
	int (*encode)(const struct profile *profile, const struct exporter_request *request, struct buf *out);
	int (*encode_metrics)(const struct metric_set *set, struct buf *out);
};

extern const struct exporter *const exporters[]; /* generated, ends with NULL */
const struct exporter *exporter_find(const char *name); /* generated beside it, NULL: none */

#endif

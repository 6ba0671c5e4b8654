/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request of agent/serve and its answer, without the server around them: parameters, times, headers. Times in
 * a query are monotonic; a URL's are wall clock.
 */
#ifndef SERVE_REQUEST_H
#define SERVE_REQUEST_H

#include "serve.h"

#include "base/buf.h"
#include "exporter.h"
#include "query.h"

#include <microhttpd.h>

#define SERVE_MAX_SECONDS 300

enum serve_param {
	PARAM_SECONDS, PARAM_LAST, PARAM_FROM, PARAM_TO, PARAM_CONTAINER, PARAM_POD, PARAM_NAMESPACE, PARAM_PID,
	PARAM_COMM, PARAM_CGROUP, PARAM_TYPE, PARAM_FOCUS, PARAM_IGNORE, PARAM_HIDE, PARAM_FORMAT, PARAM_BY,
	PARAM_VALUE, PARAM_DEBUG, PARAM_COUNT
};

struct serve_answer {
	unsigned status;
	struct buf body; /* of an error: its sentence */
	const char *mime, *disposition;
	char range[96];  /* X-Wick-Range, or empty */
	unsigned retry_after_s;
	bool close, gzipped, gzip_varies;
};

struct serve_query { /* what a profile request asked */
	char *params[PARAM_COUNT]; /* owned; NULL or not empty */
	const struct exporter *exporter;
	struct query_selector selector;
	uint64_t from_ns, to_ns;   /* monotonic, half open */
	bool waits;                /* to_ns lies in the future: seconds= */
	char asked[512];
};

/* serve_params.c: 0 or a status with the sentence in `error`. */
unsigned serve_params_read(struct MHD_Connection *connection, struct serve_query *query, struct buf *error);
unsigned serve_range_read(const struct serve *serve, struct serve_query *query, struct buf *error);
void serve_query_done(struct serve_query *query);

/* serve_time.c */
bool serve_duration(const char *text, uint64_t *ret_ns);
bool serve_moment(const char *text, uint64_t now_wall_ns, uint64_t *ret_wall_ns);
void serve_show_time(uint64_t wall_ns, char *text, size_t size);

/* serve_answer.c */
void serve_error(struct serve_answer *answer, unsigned status, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
enum MHD_Result serve_send(struct MHD_Connection *connection, struct serve_answer *answer); /* takes the body */
enum MHD_Result serve_send_head(struct MHD_Connection *connection, const char *mime);
bool serve_accepts_gzip(struct MHD_Connection *connection);
int serve_gzip(struct buf *body);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of agent/serve share. A profile request becomes a job: its connection is suspended, the job waits
 * for its seconds (if it asked for some), then for a worker, is answered there, and resumes the connection. One
 * lock guards connections and jobs; no function of libmicrohttpd is called with it held.
 */
#ifndef SERVE_PRIVATE_H
#define SERVE_PRIVATE_H

#include "serve.h"

#include "base/buf.h"
#include "exporter.h"
#include "query.h"

#include <microhttpd.h>
#include <pthread.h>

#define SERVE_MAX_CONNECTIONS 64
#define SERVE_MAX_WAITERS 16 /* seconds= requests whose time is not up */
#define SERVE_MAX_QUEUE 32   /* jobs before the workers */
#define SERVE_WORKERS 2
#define SERVE_HEADER_S 10 /* for a connection's first request, */
#define SERVE_IDLE_S 60   /* for a later one on the same connection, */
#define SERVE_ANSWER_S 30 /* and for an answer, beyond the seconds it asked for */
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

enum serve_state { JOB_WAITING, JOB_QUEUED, JOB_RUNNING, JOB_DONE };

struct serve_job {
	struct serve_job *next; /* in the queue */
	struct MHD_Connection *connection;
	struct serve_query query;
	struct serve_answer answer;
	enum serve_state state;
	bool cancelled; /* nobody is there to read the answer */
};

struct serve_connection {
	struct serve_connection *next;
	struct MHD_Connection *connection;
	int fd;
	uint64_t deadline_ns;
	bool busy; /* a request came that is not answered yet */
	struct serve_job *job; /* not yet resumed, or NULL */
};

struct serve_address {
	char host[256], path[108]; /* path: a Unix socket */
	unsigned short port;
	bool ipv6, is_unix, loopback;
};

struct serve {
	struct serve_sources sources;
	struct serve_address address;
	char **allowed_hosts; /* owned, ends with NULL */
	char *prefix;         /* "" or "/x", no slash at its end */
	struct MHD_Daemon *daemon;
	pthread_t workers[SERVE_WORKERS], watch;
	unsigned worker_count;
	bool watching;
	int wake_fd;

	pthread_mutex_t lock;
	pthread_cond_t work, idle; /* a job came; a job or connection went */
	struct serve_connection *connections;
	struct serve_job *queue, **queue_end;
	size_t connection_count, waiting, queued;
	uint64_t refused, newest_ns; /* newest_ns: end of the newest slice */
	bool stopping, quit;
};

/* serve_listen.c: a listening socket; error has a sentence. */
int serve_listen(const struct serve_opts *opts, struct serve_address *ret_address, int *ret_fd, char *error,
		 size_t error_size);

/* serve_rules.c: may this request be looked at? false: answer is filled. */
bool serve_allowed(struct serve *serve, struct MHD_Connection *connection, const char *method, bool bad_uri,
		   struct serve_answer *answer);
bool serve_host_allowed(const struct serve *serve, const char *host);

/* serve_params.c: 0 or a status with the sentence in `error`. */
unsigned serve_params_read(struct MHD_Connection *connection, struct serve_query *query, struct buf *error);
unsigned serve_range_read(const struct serve *serve, struct serve_query *query, struct buf *error);
void serve_query_done(struct serve_query *query);

/* serve_time.c */
bool serve_duration(const char *text, uint64_t *ret_ns);
bool serve_moment(const char *text, uint64_t now_wall_ns, uint64_t *ret_wall_ns);
void serve_show_time(uint64_t wall_ns, char *text, size_t size);

/* serve_route.c */
enum MHD_Result serve_route(struct serve *serve, struct MHD_Connection *connection, const char *path, bool head,
			    void **con_cls);

/* serve_answer.c */
void serve_error(struct serve_answer *answer, unsigned status, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
enum MHD_Result serve_send(struct MHD_Connection *connection, struct serve_answer *answer); /* takes the body */
enum MHD_Result serve_send_head(struct MHD_Connection *connection, const char *mime);
bool serve_accepts_gzip(struct MHD_Connection *connection);
int serve_gzip(struct buf *body);

/* serve_work.c */
int serve_work_start(struct serve *serve);
void serve_work_stop(struct serve *serve);
/* Suspends the connection and takes the job over; false: full, the connection goes on and answer is filled. */
bool serve_job_submit(struct serve *serve, struct serve_job *job, struct serve_answer *answer);
void serve_job_free(struct serve_job *job);
void serve_wake(struct serve *serve);

/* serve_query.c: on a worker. */
void serve_query_run(struct serve *serve, struct serve_job *job);

/* serve_pages.c: on the http thread. */
void serve_page(struct serve *serve, struct serve_answer *answer);
void serve_pprof_index(struct serve *serve, struct serve_answer *answer);
void serve_containers(struct serve *serve, struct serve_answer *answer);
bool serve_knows_container(struct serve *serve, const char *glob);

#endif

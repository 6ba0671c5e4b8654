/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of agent/serve share. A profile request becomes a job: its connection is suspended, the job waits
 * for its seconds (if it asked for some), then for a worker, is answered there, and resumes the connection. One
 * lock guards connections and jobs; no function of libmicrohttpd is called with it held.
 */
#ifndef SERVE_PRIVATE_H
#define SERVE_PRIVATE_H

#include "serve_request.h"

#include <pthread.h>

#define SERVE_MAX_CONNECTIONS 64
#define SERVE_SPARE_CONNECTIONS 8 /* of them kept free of those that do not ask */
#define SERVE_MAX_WAITERS 16 /* seconds= requests whose time is not up */
#define SERVE_MAX_QUEUE 32   /* jobs before the workers */
#define SERVE_WORKERS 2
#define SERVE_HEADER_S 10 /* for a connection's first request, */
#define SERVE_IDLE_S 60   /* for a later one on the same connection, */
#define SERVE_ANSWER_S 30 /* and for an answer, beyond the seconds it asked for */

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

/* serve_route.c */
enum MHD_Result serve_route(struct serve *serve, struct MHD_Connection *connection, const char *path, bool head,
			    void **con_cls);

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

/* serve_status.c: how well stacks are unwound; on the http thread. */
void serve_status(struct serve *serve, struct serve_answer *answer);

#endif

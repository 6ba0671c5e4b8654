/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stage "serve": takes stored slices and names, gives answers over HTTP. Owns the listening socket, the http
 * thread (libmicrohttpd's), two query workers and the watch. A request goes through the rules (serve_rules), the
 * routes (serve_route), and if it wants a profile through a job (serve_work, serve_query).
 */
#include "serve_private.h"

#include "base/clock.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONNECTION_MEMORY 32768

/* What a request's context is before it is a job: fresh, with a path that was cut by a NUL, or past the rules. */
static char fresh_uri, bad_uri, allowed;

static bool is_mark(const void *context)
{
	return !context || context == &fresh_uri || context == &bad_uri || context == &allowed;
}

/* libmicrohttpd decodes %00 in place, and the path then ends there for everybody who looks. */
static void *see_uri(void *context, const char *uri, struct MHD_Connection *connection)
{
	(void)context;
	(void)connection;
	return strstr(uri, "%00") || *uri != '/' ? &bad_uri : &fresh_uri;
}

static void set_busy(struct serve *serve, struct MHD_Connection *connection, bool busy)
{
	uint64_t seconds = busy ? SERVE_ANSWER_S : SERVE_IDLE_S;

	pthread_mutex_lock(&serve->lock);
	for (struct serve_connection *at = serve->connections; at; at = at->next)
		if (at->connection == connection) {
			at->busy = busy;
			at->deadline_ns = clock_monotonic_ns() + seconds * NS_PER_S;
		}
	pthread_cond_signal(&serve->idle);
	pthread_mutex_unlock(&serve->lock);
	serve_wake(serve); /* the watch may sleep until a later one */
}

/*
 * With the lock held. Whoever reaches the port could hold every connection without ever asking: near the limit the
 * one that has been silent longest goes, at the watch's next look.
 */
static void make_room(struct serve *serve)
{
	struct serve_connection *silent = NULL;

	if (serve->connection_count < SERVE_MAX_CONNECTIONS - SERVE_SPARE_CONNECTIONS)
		return;
	for (struct serve_connection *at = serve->connections; at; at = at->next)
		if (!at->busy && at->deadline_ns && at->deadline_ns != UINT64_MAX &&
		    (!silent || at->deadline_ns < silent->deadline_ns))
			silent = at;
	if (silent)
		silent->deadline_ns = 0;
}

static void see_connection(void *context, struct MHD_Connection *connection, void **socket_context,
			   enum MHD_ConnectionNotificationCode code)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct serve *serve = context;
	struct serve_connection *own;

	(void)socket_context;
	pthread_mutex_lock(&serve->lock);
	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		make_room(serve);
		own = calloc(1, sizeof(*own));
		if (own) {
			*own = (struct serve_connection){ .next = serve->connections, .connection = connection,
							  .fd = info->connect_fd };
			own->deadline_ns = clock_monotonic_ns() + SERVE_HEADER_S * NS_PER_S;
			serve->connections = own;
			serve->connection_count++;
		}
	} else {
		for (struct serve_connection **at = &serve->connections; *at; at = &(*at)->next)
			if ((*at)->connection == connection) {
				own = *at;
				*at = own->next;
				free(own);
				serve->connection_count--;
				break;
			}
	}
	pthread_cond_signal(&serve->idle);
	pthread_mutex_unlock(&serve->lock);
	serve_wake(serve);
}

static void see_completed(void *context, struct MHD_Connection *connection, void **con_cls,
			  enum MHD_RequestTerminationCode code)
{
	(void)code;
	if (!is_mark(*con_cls))
		serve_job_free(*con_cls);
	*con_cls = NULL;
	set_busy(context, connection, false);
}

/* "/x/metrics" -> "/metrics"; NULL: not below the prefix. */
static const char *below_prefix(const struct serve *serve, const char *url)
{
	size_t length = strlen(serve->prefix);

	if (strncmp(url, serve->prefix, length) || (url[length] && url[length] != '/'))
		return NULL;
	return url[length] ? url + length : "/";
}

static enum MHD_Result answer_job(struct serve *serve, struct MHD_Connection *connection, struct serve_job *job,
				  void **con_cls)
{
	bool cancelled;
	enum MHD_Result result;

	pthread_mutex_lock(&serve->lock);
	cancelled = job->cancelled;
	pthread_mutex_unlock(&serve->lock);
	if (cancelled)
		return MHD_NO;
	result = serve_send(connection, &job->answer);
	*con_cls = NULL;
	serve_job_free(job);
	return result;
}

static enum MHD_Result handle(void *context, struct MHD_Connection *connection, const char *url, const char *method,
			      const char *version, const char *upload, size_t *upload_size, void **con_cls)
{
	struct serve_answer answer = { 0 };
	struct serve *serve = context;
	const char *path;

	(void)version;
	(void)upload;
	if (*upload_size)
		return MHD_NO;
	if (!is_mark(*con_cls))
		return answer_job(serve, connection, *con_cls, con_cls);
	if (*con_cls != &allowed) {
		set_busy(serve, connection, true);
		if (!serve_allowed(serve, connection, method, *con_cls != &fresh_uri, &answer))
			return serve_send(connection, &answer);
		*con_cls = &allowed; /* an answer queued at the first call would close the connection */
		return MHD_YES;
	}
	path = below_prefix(serve, url);
	if (path)
		return serve_route(serve, connection, path, !strcmp(method, "HEAD"), con_cls);
	serve_error(&answer, 404, "Everything is served below %s/.", serve->prefix);
	return serve_send(connection, &answer);
}

static void see_slice(void *context, uint64_t to_ns)
{
	struct serve *serve = context;

	pthread_mutex_lock(&serve->lock);
	if (to_ns > serve->newest_ns)
		serve->newest_ns = to_ns;
	pthread_mutex_unlock(&serve->lock);
	serve_wake(serve);
}

static int copy_opts(struct serve *serve, const struct serve_opts *opts)
{
	const char *prefix = opts->external_prefix ? opts->external_prefix : "";
	size_t count = 0, length = strlen(prefix);

	while (length && prefix[length - 1] == '/')
		length--;
	if (asprintf(&serve->prefix, "%s%.*s", length && *prefix != '/' ? "/" : "", (int)length, prefix) < 0) {
		serve->prefix = NULL;
		return -ENOMEM;
	}
	while (opts->allowed_hosts && opts->allowed_hosts[count])
		count++;
	serve->allowed_hosts = calloc(count + 1, sizeof(*serve->allowed_hosts));
	for (size_t i = 0; serve->allowed_hosts && i < count; i++) {
		serve->allowed_hosts[i] = strdup(opts->allowed_hosts[i]);
		if (!serve->allowed_hosts[i])
			return -ENOMEM;
	}
	return serve->allowed_hosts ? 0 : -ENOMEM;
}

static struct MHD_Daemon *start_daemon(struct serve *serve, int fd)
{
	return MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME |
					(serve->address.ipv6 ? MHD_USE_IPv6 : MHD_NO_FLAG),
				0, NULL, NULL, handle, serve, MHD_OPTION_LISTEN_SOCKET, fd,
				MHD_OPTION_CONNECTION_LIMIT, (unsigned)SERVE_MAX_CONNECTIONS,
				MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
				MHD_OPTION_NOTIFY_CONNECTION, see_connection, serve,
				MHD_OPTION_NOTIFY_COMPLETED, see_completed, serve,
				MHD_OPTION_URI_LOG_CALLBACK, see_uri, serve, MHD_OPTION_END);
}

/* All signals go to the main thread. */
static int start_threads(struct serve *serve, int fd)
{
	sigset_t all, before;
	int status;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	status = serve_work_start(serve);
	if (!status) {
		serve->daemon = start_daemon(serve, fd);
		if (!serve->daemon)
			status = -EIO;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return status;
}

int serve_start(const struct serve_opts *opts, const struct serve_sources *sources, struct serve **ret_serve,
		char *error, size_t error_size)
{
	struct serve *serve = calloc(1, sizeof(*serve));
	int fd, status;

	if (!serve) {
		snprintf(error, error_size, "cannot serve: out of memory");
		return -ENOMEM;
	}
	serve->sources = *sources;
	serve->wake_fd = -1;
	serve->queue_end = &serve->queue;
	pthread_mutex_init(&serve->lock, NULL);
	pthread_cond_init(&serve->work, NULL);
	pthread_cond_init(&serve->idle, NULL);
	status = copy_opts(serve, opts);
	if (status) {
		snprintf(error, error_size, "cannot serve: out of memory");
		serve_stop(serve);
		return status;
	}
	status = serve_listen(opts, &serve->address, &fd, error, error_size);
	if (!status && (status = start_threads(serve, fd))) {
		snprintf(error, error_size, "cannot serve: the threads could not be started: %s", strerror(-status));
		close(fd);
	}
	if (status) {
		serve_stop(serve);
		return status;
	}
	store_on_add(sources->store, see_slice, serve);
	*ret_serve = serve;
	return 0;
}

void serve_stop(struct serve *serve)
{
	if (!serve)
		return;
	store_on_add(serve->sources.store, NULL, serve);
	serve_work_stop(serve);
	if (serve->daemon)
		MHD_stop_daemon(serve->daemon); /* closes the listening socket */
	if (serve->daemon && serve->address.is_unix)
		unlink(serve->address.path);
	if (serve->wake_fd >= 0)
		close(serve->wake_fd);
	for (char **at = serve->allowed_hosts; at && *at; at++)
		free(*at);
	free(serve->allowed_hosts);
	free(serve->prefix);
	pthread_mutex_destroy(&serve->lock);
	pthread_cond_destroy(&serve->work);
	pthread_cond_destroy(&serve->idle);
	free(serve);
}

void serve_get_stats(struct serve *serve, uint64_t *ret_connections, uint64_t *ret_refused)
{
	pthread_mutex_lock(&serve->lock);
	*ret_connections = serve->connection_count;
	*ret_refused = serve->refused;
	pthread_mutex_unlock(&serve->lock);
}

void serve_url(const struct serve *serve, char *url, size_t size)
{
	const struct serve_address *address = &serve->address;
	bool any = !strcmp(address->host, "0.0.0.0") || !strcmp(address->host, "::");

	if (address->is_unix)
		snprintf(url, size, "unix:%s", address->path);
	else if (address->ipv6)
		snprintf(url, size, "http://[%s]:%u%s/", any ? "::1" : address->host, address->port, serve->prefix);
	else
		snprintf(url, size, "http://%s:%u%s/", any ? "127.0.0.1" : address->host, address->port, serve->prefix);
}

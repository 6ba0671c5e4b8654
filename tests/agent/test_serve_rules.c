/* SPDX-License-Identifier: Apache-2.0 */
/* What serve refuses, and what it shows of hostile names: odd requests, foreign Hosts, addresses, pages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "serve_host.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/un.h>

static const struct serve_opts plain = { .listen_address = "127.0.0.1:0" };

static int set_up(void **state)
{
	(void)state;
	return host_start(&plain);
}

static int tear_down(void **state)
{
	(void)state;
	host_stop();
	return 0;
}

static int raw(const char *bytes, size_t length)
{
	int fd = client_open();

	client_send(fd, bytes, length);
	return client_read(fd);
}

static int from_host(const char *path, const char *name)
{
	char request[1024];

	snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, name);
	return raw(request, strlen(request));
}

static void foreign_host_is_refused_everywhere(void **state)
{
	static const char *const paths[] = { "/", "/metrics", "/-/healthy", "/debug/pprof/profile?seconds=1",
					     "/api/v1/containers", "/nothing" };
	static const char *const foreign[] = {
		"evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "evil.example:9750", "8.8.8.8", "",
		"[::2]", "[2001:db8::1]:80", "localhost:80:80", "localhost@evil", "[::1", "0x7f.1", "[localhost]",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		assert_int_equal(from_host(paths[i], "evil.example"), 403);
	for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++)
		if (from_host("/-/healthy", foreign[i]) != 403)
			fail_msg("Host \"%s\": %d", foreign[i], reply.status);
	assert_non_null(strstr(reply.body, "--web.allowed-host"));
}

static void own_names_are_served(void **state)
{
	static const char *const own[] = { "localhost", "LOCALHOST:9750", "127.0.0.1", "127.8.9.1:1", "[::1]:9750",
					   "[::1]" };

	(void)state;
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		if (from_host("/-/healthy", own[i]) != 200)
			fail_msg("Host \"%s\": %d", own[i], reply.status);
}

static void allowed_host_is_served(void **state)
{
	static const char *const names[] = { "wick.example", NULL };
	struct serve_opts opts = plain;

	(void)state;
	host_stop();
	opts.allowed_hosts = names;
	assert_int_equal(host_start(&opts), 0);
	assert_int_equal(from_host("/-/healthy", "Wick.Example:80"), 200);
	assert_int_equal(from_host("/-/healthy", "wick.example.com"), 403);
}

static size_t count_answers(void)
{
	size_t count = 0;

	for (const char *at = reply.bytes; (at = strstr(at, "HTTP/1.1 ")); at += 9)
		count++;
	return count;
}

static void odd_requests_end_their_connection(void **state)
{
#define GET "GET /-/healthy HTTP/1.1\r\n"
#define ONE(status, bytes) { status, bytes, sizeof(bytes) - 1 }
	static const struct { int status; const char *bytes; size_t length; } cases[] = {
		ONE(400, GET "\r\n"),
		ONE(400, "GET /-/healthy HTTP/1.0\r\n\r\n"),
		ONE(400, GET "Host: localhost\r\nHost: localhost\r\n\r\n"),
		ONE(400, GET "Host: localhost\r\nHost: evil.example\r\n\r\n"),
		ONE(400, GET "Host : localhost\r\n\r\n"),
		ONE(400, GET "Host: localhost\r\nX-A: b\x01" "c\r\n\r\n"),
		ONE(400, GET "Host: localhost\r\nContent-Length: 5\r\n\r\nhello" GET "Host: localhost\r\n\r\n"),
		ONE(400, GET "Host: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
		ONE(400, GET "Host: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
			 GET "Host: localhost\r\n\r\n"),
		ONE(400, "GET /metrics%00/x HTTP/1.1\r\nHost: localhost\r\n\r\n"),
		ONE(400, "GET /%00%2e%2e/ HTTP/1.1\r\nHost: localhost\r\n\r\n"),
		ONE(400, "GET /api/v1/query?last=5s&comm=a%00b HTTP/1.1\r\nHost: localhost\r\n\r\n"),
		ONE(400, "GET http://localhost/-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n"),
		ONE(405, "POST /-/healthy HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc"),
		ONE(405, "DELETE /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n"),
		ONE(405, "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n"),
		ONE(405, "CONNECT evil:80 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (raw(cases[i].bytes, cases[i].length) != cases[i].status || count_answers() != 1)
			fail_msg("case %zu: %d, %zu answers", i, reply.status, count_answers());
		if (reply.status == 405)
			assert_string_equal(client_header("Allow"), "GET, HEAD");
	}
}

static void huge_requests_are_refused(void **state)
{
	static char big[60000];
	int fd = client_open();

	(void)state;
	memset(big, 'a', sizeof(big));
	client_send(fd, "GET /", 5);
	client_send(fd, big, sizeof(big));
	client_send(fd, " HTTP/1.1\r\nHost: localhost\r\n\r\n", 31);
	assert_in_range(client_read(fd), 0, 499);
	assert_int_not_equal(reply.status, 200);
	fd = client_open();
	client_send(fd, GET "Host: localhost\r\nX: ", strlen(GET) + 20);
	client_send(fd, big, sizeof(big));
	client_send(fd, "\r\n\r\n", 4);
	assert_int_not_equal(client_read(fd), 200);
	assert_int_equal(client_get("/-/healthy"), 200);
}

static void head_has_no_body(void **state)
{
	static const char *const paths[] = { "/", "/metrics", "/debug/pprof/profile?seconds=300" };

	(void)state;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(client_read(client_ask("HEAD", paths[i], "")), 200);
		assert_int_equal(reply.body_length, 0);
	}
	assert_int_equal(client_read(client_ask("HEAD", "/debug/pprof/profile?seconds=0", "")), 400);
}

#define ID "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"

static void names_are_escaped_where_they_stand(void **state)
{
	(void)state;
	fixture_cgroup(&host.fixture, 103, "/yard/<script>alert(\"1\")&*\x1b[2J\xff/docker-" ID ".scope");
	assert_int_equal(client_get("/"), 200);
	assert_null(strstr(reply.body, "<script"));
	assert_null(strchr(reply.body, '\x1b'));
	assert_null(strchr(reply.body, '\xff'));
	assert_non_null(strstr(reply.body, "%3Cscript%3E"));
	assert_non_null(strstr(reply.body, "1.75")); /* CPU seconds of both modes */
	assert_non_null(strstr(reply.body, "go tool pprof -http=: "));
	assert_int_equal(client_get("/debug/pprof/"), 200);
	assert_null(strstr(reply.body, "<script"));
	assert_int_equal(client_get("/api/v1/containers"), 200);
	assert_string_equal(client_header("Content-Type"), "application/json");
	assert_non_null(strstr(reply.body, "/yard/<script>alert(\\\"1\\\")&*\xef\xbf\xbd[2J\xef\xbf\xbd/docker-"));
	assert_non_null(strstr(reply.body, "\"cpu_seconds\":1.750000}"));
}

static void links_select_what_they_name(void **state)
{
	char path[512];
	const char *at;

	(void)state;
	host_add_second(clock_monotonic_ns() - 2 * NS_PER_S);
	assert_int_equal(client_get("/"), 200);
	at = strstr(reply.body, "/api/v1/query?last=60s&amp;format=folded&amp;container=");
	assert_non_null(at);
	snprintf(path, sizeof(path), "/api/v1/query?last=60s&format=folded&container=%.*s",
		 (int)strcspn(strstr(at, "container=") + 10, "\""), strstr(at, "container=") + 10);
	assert_int_equal(client_get(path), 200);
	assert_non_null(strstr(reply.body, "nginx;main")); /* the busiest is first */
	assert_null(strstr(reply.body, "postgres"));
}

static void go_conventions_hold(void **state)
{
	(void)state;
	assert_int_equal(client_get("/debug/pprof/symbol"), 200);
	assert_string_equal(reply.body, "num_symbols: 0\n");
	assert_int_equal(client_get("/debug/pprof/cmdline"), 200);
	assert_non_null(strstr(reply.body, "test_serve_rules"));
}

static void prefix_is_before_everything(void **state)
{
	struct serve_opts opts = plain;
	char url[256];

	(void)state;
	host_stop();
	opts.external_prefix = "/host/wick/";
	assert_int_equal(host_start(&opts), 0);
	serve_url(host.serve, url, sizeof(url));
	assert_non_null(strstr(url, "/host/wick/"));
	assert_int_equal(client_get("/host/wick/-/healthy"), 200);
	assert_int_equal(client_get("/host/wick"), 200);
	assert_non_null(strstr(reply.body, "\"/host/wick/metrics\""));
	assert_int_equal(client_get("/-/healthy"), 404);
	assert_int_equal(client_get("/host/wicked"), 404);
}

static int try_start(const char *address, bool insecure)
{
	struct serve_opts opts = { .listen_address = address, .insecure = insecure };
	struct serve *second = NULL;
	struct serve_sources sources = { .store = host.store };
	int status = serve_start(&opts, &sources, &second, host.error, sizeof(host.error));

	serve_stop(second);
	return status;
}

static void bad_addresses_get_a_sentence(void **state)
{
	static const char *const bad[] = { "", "9750", "localhost", "127.0.0.1:99999", "127.0.0.1:", "[::1]", "::1:80",
					   "example.com:80", "unix:relative", "[127.0.0.1]:1" };
	char taken[64];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(try_start(bad[i], true), -EINVAL);
		assert_non_null(strstr(host.error, "cannot listen"));
	}
	assert_int_equal(try_start("0.0.0.0:0", false), -EACCES);
	assert_non_null(strstr(host.error, "--web.insecure"));
	assert_int_equal(try_start(":0", false), -EACCES);
	assert_int_equal(try_start("[::]:0", false), -EACCES);
	assert_int_equal(try_start("0.0.0.0:0", true), 0);
	if (!access("/proc/net/if_inet6", R_OK)) {
		assert_int_equal(try_start("[::1]:0", false), 0);
		assert_int_equal(try_start("[::]:0", true), 0);
	}
	snprintf(taken, sizeof(taken), "127.0.0.1:%u", client_port);
	assert_int_equal(try_start(taken, false), -EADDRINUSE);
	assert_non_null(strstr(host.error, "--web.listen-address"));
}

static int ask_unix(const char *path)
{
	static const char request[] = GET "Host: localhost\r\nConnection: close\r\n\r\n";
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(to.sun_path, sizeof(to.sun_path), "%s", path);
	if (connect(fd, (void *)&to, sizeof(to))) {
		close(fd);
		return -1;
	}
	client_send(fd, request, strlen(request));
	return client_read(fd);
}

static void unix_socket_is_served(void **state)
{
	char path[128], address[140];
	struct serve_opts opts = { .listen_address = address };
	struct sockaddr_un stale = { .sun_family = AF_UNIX };
	struct stat info;
	int fd;

	(void)state;
	host_stop();
	snprintf(path, sizeof(path), "/tmp/wick-test-%d.sock", getpid());
	snprintf(address, sizeof(address), "unix:%s", path);
	memcpy(stale.sun_path, path, strlen(path) + 1); /* what a killed agent leaves */
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (void *)&stale, sizeof(stale)), 0);
	close(fd);
	assert_int_equal(host_start(&opts), 0);
	assert_int_equal(stat(path, &info), 0);
	assert_int_equal(info.st_mode & 07777, 0660);
	assert_int_equal(ask_unix(path), 200);
	assert_int_equal(try_start(address, false), -EADDRINUSE); /* somebody listens */
	assert_int_equal(ask_unix(path), 200);
	serve_stop(host.serve);
	host.serve = NULL;
	assert_int_equal(stat(path, &info), -1);
	fd = open(path, O_CREAT | O_WRONLY, 0600); /* not a socket: it stays */
	close(fd);
	assert_int_equal(try_start(address, false), -EADDRINUSE);
	assert_int_equal(unlink(path), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		TEST(foreign_host_is_refused_everywhere),
		TEST(own_names_are_served),
		TEST(allowed_host_is_served),
		TEST(odd_requests_end_their_connection),
		TEST(huge_requests_are_refused),
		TEST(head_has_no_body),
		TEST(names_are_escaped_where_they_stand),
		TEST(links_select_what_they_name),
		TEST(go_conventions_hold),
		TEST(prefix_is_before_everything),
		TEST(bad_addresses_get_a_sentence),
		TEST(unix_socket_is_served),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

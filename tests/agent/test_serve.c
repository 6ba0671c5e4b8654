/* SPDX-License-Identifier: Apache-2.0 */
/* Answers over real loopback sockets: paths, parameters, ranges, waiters, clients that hang up, the agent's end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "serve_host.h"

#include <pthread.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <zlib.h>

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

/* Slices of the seconds [now - from, now - to). */
static void add_past(uint64_t from_s, uint64_t to_s)
{
	uint64_t now_ns = clock_monotonic_ns();

	for (uint64_t s = from_s; s > to_s; s--)
		host_add_second(now_ns - s * NS_PER_S);
}

static void answers_are_marked(void **state)
{
	(void)state;
	assert_int_equal(client_get("/-/healthy"), 200);
	assert_string_equal(client_header("X-Content-Type-Options"), "nosniff");
	assert_non_null(strstr(client_header("Content-Security-Policy"), "default-src 'none'"));
	assert_null(client_header("X-Go-Pprof"));
	assert_int_equal(client_get("/nothing"), 404);
	assert_string_equal(client_header("X-Go-Pprof"), "1");
	assert_string_equal(client_header("Content-Type"), "text/plain; charset=utf-8");
	assert_string_equal(client_header("X-Content-Type-Options"), "nosniff");
}

static void status_lists_places(void **state)
{
	const struct referee_verdict right = { REFEREE_AGREE, 7, true }, wrong = { REFEREE_DISAGREE, 2, false };

	(void)state;
	for (int i = 0; i < 3; i++)
		tally_verdict(host.tally, i ? &right : &wrong);
	tally_binary(host.tally, TALLY_BINARY, "/bin/\x1b[31m<right>", &right);
	tally_binary(host.tally, TALLY_BINARY, "/bin/wrong", &wrong);
	tally_place(host.tally, TALLY_UNFINISHED, &(struct tally_place){ "/lib/cut", 0x1234, REASON_NO_RULE, 55, 0 });
	tally_place(host.tally, TALLY_PARTED, &(struct tally_place){ "/bin/wrong", 0xabc, REASON_NONE, 1, 0 });
	assert_int_equal(client_get("/status"), 200);
	assert_string_equal(client_header("Content-Type"), "text/plain; charset=utf-8");
	assert_non_null(strstr(reply.body, "3, of which 2 agree and 2 reach the root"));
	assert_non_null(strstr(reply.body, "         0          1          0  /bin/wrong\n"));
	assert_non_null(strstr(reply.body, "        55  no_unwind_rule    0x1234              /lib/cut\n"));
	assert_non_null(strstr(reply.body, "         1  none              0xabc               /bin/wrong\n"));
	assert_true(strstr(reply.body, "/bin/wrong") < strstr(reply.body, "right>")); /* what is wrong comes first */
	assert_null(strchr(reply.body, 0x1b));
}

static void ready_follows_the_agent(void **state)
{
	static const char *const paths[] = { "/-/ready", "/readyz" };

	(void)state;
	for (int i = 0; i < 2; i++) {
		host.ready = false;
		assert_int_equal(client_get(paths[i]), 503);
		assert_non_null(client_header("Retry-After"));
		host.ready = true;
		assert_int_equal(client_get(paths[i]), 200);
	}
	assert_int_equal(client_get("/healthz"), 200);
}

static void folded_is_what_was_stored(void **state)
{
	(void)state;
	add_past(10, 5);
	assert_int_equal(client_get("/api/v1/query?last=60s&format=folded&value=samples"), 200);
	assert_string_equal(reply.body, "nginx;main;outer;inner_[i] 100\n"
					"nginx;main;write;ksys_write_[k] 50\n"
					"postgres;[truncated: no unwind rule];libc.so.6+0x4567 100\n");
	assert_int_equal(client_get("/api/v1/query?last=60s&format=folded&comm=post*&by=comm,pid"), 200);
	assert_string_equal(reply.body, "postgres;200;[truncated: no unwind rule];libc.so.6+0x4567 1000000000\n");
	assert_int_equal(client_get("/api/v1/query?last=60s&format=text&focus=^write$"), 200);
	assert_non_null(strstr(reply.body, "cpu, last=60s, focus=^write$\n"));
	assert_non_null(strstr(reply.body, "ksys_write\n"));
	assert_null(strstr(reply.body, "inner"));
}

static void profile_is_gzip_for_pprof(void **state)
{
	static const char *const paths[] = { "/debug/pprof/profile?last=60s", "/api/v1/query?last=60s" };

	(void)state;
	add_past(3, 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(client_get(paths[i]), 200);
		assert_memory_equal(reply.body, "\x1f\x8b", 2);
		assert_string_equal(client_header("Content-Type"), "application/octet-stream");
		assert_non_null(strstr(client_header("Content-Disposition"), "attachment"));
		assert_null(client_header("Content-Encoding"));
	}
}

static void bad_parameters_get_a_sentence(void **state)
{
	static const struct { int status; const char *query; } cases[] = {
		{ 400, "seconds=0" }, { 400, "seconds=301" }, { 400, "seconds=x" }, { 400, "seconds=-1" },
		{ 400, "seconds=1&last=5s" }, { 400, "last=5" }, { 400, "last=0s" }, { 400, "last=5parsecs" },
		{ 400, "last=99999999999999999999s" }, { 400, "to=-5m" }, { 400, "from=-5m&to=-10m" },
		{ 400, "from=tomorrow" }, { 400, "from=2026-02-30T00:00:00Z" }, { 400, "from=33333333333" },
		{ 400, "from=9999999999" }, { 400, "last=5s&last=6s" }, { 400, "last=5s&contaner=x" },
		{ 400, "last=5s&focus=(" }, { 400, "last=5s&hide=a{9999}{9999}" }, { 400, "last=5s&pid=abc" },
		{ 400, "last=5s&format=nonsense" }, { 400, "last=5s&format=prometheus" },
		{ 400, "last=5s&format=folded&by=shoe" }, { 400, "last=5s&format=folded&value=shoes" },
		{ 400, "last=5s&format=text&value=shoes" }, { 404, "last=5s&type=off_cpu" },
		{ 404, "last=5s&container=nosuch" }, { 200, "last=5s&type=cpu&container=" },
	};

	(void)state;
	add_past(5, 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char path[256];

		snprintf(path, sizeof(path), "/api/v1/query?%s", cases[i].query);
		if (client_get(path) != cases[i].status)
			fail_msg("%s: %d instead of %d: %s", cases[i].query, reply.status, cases[i].status, reply.body);
		if (cases[i].status >= 400) {
			assert_true(reply.body_length > 15);
			assert_string_equal(client_header("X-Go-Pprof"), "1");
		}
	}
	assert_int_equal(client_get("/debug/pprof/heap?seconds=1"), 404);
	assert_int_equal(client_get("/debug/pprof/trace"), 404);
}

static void show_wall(uint64_t wall_ns, const char *zone, int zone_s, char *text, size_t size)
{
	time_t seconds = (time_t)(wall_ns / NS_PER_S) + zone_s;
	struct tm broken;

	gmtime_r(&seconds, &broken);
	strftime(text, size, "%Y-%m-%dT%H:%M:%S", &broken);
	strncat(text, zone, size - strlen(text) - 1);
}

static void ranges_name_what_is_covered(void **state)
{
	char from[64], path[256];

	(void)state;
	add_past(60, 40);
	add_past(20, 10);
	assert_int_equal(client_get("/api/v1/query?from=-10m&to=-5m"), 410);
	assert_int_equal(client_get("/api/v1/query?from=-10m&to=-45500ms&format=folded&value=samples&pid=200"), 200);
	assert_string_equal(reply.body, "postgres;[truncated: no unwind rule];libc.so.6+0x4567 300\n");
	assert_non_null(client_header("X-Wick-Range"));
	assert_int_equal(strlen(client_header("X-Wick-Range")), 2 * strlen("2026-11-27T01:00:00.000Z") + 1);
	/* a gap in kept time: a valid profile without samples */
	assert_int_equal(client_get("/api/v1/query?from=-35s&to=-25s&format=folded"), 200);
	assert_int_equal(reply.body_length, 0);
	assert_int_equal(client_get("/api/v1/query?from=-35s&to=-25s"), 200);
	assert_true(reply.body_length > 20);
	/* an unescaped + is a blank by the rules of queries */
	show_wall(clock_wall_ns() - 30 * NS_PER_S, "+02:00", 7200, from, sizeof(from));
	snprintf(path, sizeof(path), "/api/v1/query?from=%s&format=folded&value=samples&pid=200", from);
	assert_int_equal(client_get(path), 200);
	assert_string_equal(reply.body, "postgres;[truncated: no unwind rule];libc.so.6+0x4567 200\n");
	snprintf(path, sizeof(path), "/api/v1/query?from=%llu&format=folded&value=samples&pid=200",
		 (unsigned long long)(clock_wall_ns() / NS_PER_S - 30));
	assert_int_equal(client_get(path), 200);
	assert_string_equal(reply.body, "postgres;[truncated: no unwind rule];libc.so.6+0x4567 200\n");
}

static void adjacent_ranges_share_no_slice(void **state)
{
	unsigned long long first, second, both, now_s = clock_wall_ns() / NS_PER_S;
	static const struct { unsigned from, to; } parts[] = { { 30, 20 }, { 20, 10 }, { 30, 10 } };
	unsigned long long *results[] = { &first, &second, &both };

	(void)state;
	add_past(40, 5);
	for (int i = 0; i < 3; i++) {
		char path[256];

		snprintf(path, sizeof(path), "/api/v1/query?from=%llu.5&to=%llu.5&format=folded&value=samples&pid=200",
			 now_s - parts[i].from, now_s - parts[i].to);
		assert_int_equal(client_get(path), 200);
		*results[i] = strtoull(strrchr(reply.body, ' '), NULL, 10);
	}
	assert_int_equal(first, 200);
	assert_int_equal(first + second, both);
}

static void *read_one(void *context)
{
	struct reply *own = malloc(sizeof(*own));

	client_read_to(*(int *)context, own);
	return own;
}

static void ten_clients_wait_for_their_own_seconds(void **state)
{
	uint64_t start_ns = clock_monotonic_ns(), answered_ns;
	pthread_t threads[10];
	int fds[10];

	(void)state;
	host_add_second(start_ns - 3 * NS_PER_S); /* before: belongs to nobody */
	for (int i = 0; i < 10; i++) {
		fds[i] = client_ask("GET", "/api/v1/query?seconds=2&format=folded&value=samples&pid=200", "");
		pthread_create(&threads[i], NULL, read_one, &fds[i]);
	}
	/* All are waiting before the first slice begins. */
	for (uint64_t connections = 0, refused; connections < 10; usleep(1000))
		serve_get_stats(host.serve, &connections, &refused);
	usleep(50000);
	start_ns = clock_monotonic_ns();
	for (uint64_t s = 0; s < 3; s++) {
		uint64_t end_ns = start_ns + (s + 1) * NS_PER_S, now_ns = clock_monotonic_ns();

		if (end_ns > now_ns)
			usleep((useconds_t)((end_ns - now_ns) / 1000));
		host_add_second(start_ns + s * NS_PER_S);
	}
	for (int i = 0; i < 10; i++) {
		struct reply *own;

		pthread_join(threads[i], (void **)&own);
		assert_int_equal(own->status, 200);
		assert_string_equal(own->body, "postgres;[truncated: no unwind rule];libc.so.6+0x4567 40\n");
		free(own);
	}
	answered_ns = clock_monotonic_ns();
	assert_in_range(answered_ns - start_ns, 2 * NS_PER_S, 4 * NS_PER_S);
}

static bool is_accepted(int fd)
{
	struct pollfd waits = { .fd = fd, .events = POLLIN };

	return poll(&waits, 1, 100) == 0; /* a refusal comes at once, a waiter hears nothing */
}

/* More connections than are taken, none of which asks: one that does is answered all the same. */
static void the_silent_keep_nobody_out(void **state)
{
	int silent[70];
	uint64_t begin_ns;

	(void)state;
	for (size_t i = 0; i < sizeof(silent) / sizeof(*silent); i++)
		silent[i] = client_open();
	begin_ns = clock_monotonic_ns();
	assert_int_equal(client_get("/healthz"), 200);
	assert_true(clock_monotonic_ns() - begin_ns < 5 * NS_PER_S);
	for (size_t i = 0; i < sizeof(silent) / sizeof(*silent); i++)
		close(silent[i]);
}

static void hang_up_frees_its_slot(void **state)
{
	int fds[16], extra;
	uint64_t start_ns, connections, refused;

	(void)state;
	for (int i = 0; i < 16; i++) {
		fds[i] = client_ask("GET", "/debug/pprof/profile?seconds=300", "");
		assert_true(is_accepted(fds[i]));
	}
	assert_int_equal(client_get("/debug/pprof/profile?seconds=300"), 503);
	assert_non_null(client_header("Retry-After"));
	assert_int_equal(client_get("/-/healthy"), 200);
	close(fds[3]);
	start_ns = clock_monotonic_ns();
	do {
		extra = client_ask("GET", "/debug/pprof/profile?seconds=300", "");
		if (is_accepted(extra))
			break;
		close(extra);
	} while (clock_monotonic_ns() - start_ns < 2 * NS_PER_S);
	assert_true(clock_monotonic_ns() - start_ns < NS_PER_S);
	close(extra);
	for (int i = 0; i < 16; i++)
		if (i != 3)
			close(fds[i]);
	start_ns = clock_monotonic_ns();
	do
		serve_get_stats(host.serve, &connections, &refused);
	while (connections && clock_monotonic_ns() - start_ns < NS_PER_S);
	assert_int_equal(connections, 0);
	assert_true(refused >= 1);
}

static void busy_workers_leave_the_rest_fast(void **state)
{
	int fds[8];

	(void)state;
	add_past(3, 0);
	names_frame(host.fixture.names, 2, 0x9999, true, true); /* nobody names it: each query waits its 2 s */
	for (int i = 0; i < 8; i++)
		fds[i] = client_ask("GET", "/debug/pprof/profile?last=10s", "");
	for (int i = 0; i < 20; i++) {
		uint64_t start_ns = clock_monotonic_ns();

		assert_int_equal(client_get(i % 2 ? "/metrics" : "/-/healthy"), 200);
		assert_true(clock_monotonic_ns() - start_ns < 200 * NS_PER_MS);
	}
	for (int i = 0; i < 8; i++)
		close(fds[i]);
}

static void metrics_are_compressed_on_demand(void **state)
{
	unsigned char plain_bytes[65536];
	z_stream zip = { .next_out = plain_bytes, .avail_out = sizeof(plain_bytes) };

	(void)state;
	assert_int_equal(client_get("/metrics"), 200);
	assert_null(client_header("Content-Encoding"));
	assert_non_null(strstr(reply.body, "wick_container_cpu_seconds_total{"));
	assert_int_equal(client_read(client_ask("GET", "/metrics", "Accept-Encoding: br, gzip;q=0\r\n")), 200);
	assert_null(client_header("Content-Encoding"));
	assert_int_equal(client_read(client_ask("GET", "/metrics", "Accept-Encoding: deflate, gzip;q=0.8\r\n")), 200);
	assert_string_equal(client_header("Content-Encoding"), "gzip");
	assert_int_equal(inflateInit2(&zip, 15 + 16), Z_OK);
	zip.next_in = (unsigned char *)reply.body;
	zip.avail_in = (unsigned)reply.body_length;
	assert_int_equal(inflate(&zip, Z_FINISH), Z_STREAM_END);
	inflateEnd(&zip);
	assert_non_null(memmem(plain_bytes, zip.total_out, "wick_container_cpu_seconds_total{", 33));
}

static void stop_answers_those_who_wait(void **state)
{
	uint64_t start_ns;
	int fd;

	(void)state;
	fd = client_ask("GET", "/api/v1/query?seconds=300&format=folded&value=samples&pid=200", "");
	assert_true(is_accepted(fd));
	host_add_second(clock_monotonic_ns());
	start_ns = clock_monotonic_ns();
	serve_stop(host.serve);
	host.serve = NULL;
	assert_true(clock_monotonic_ns() - start_ns < NS_PER_S);
	assert_int_equal(client_read(fd), 200);
	assert_string_equal(reply.body, "postgres;[truncated: no unwind rule];libc.so.6+0x4567 20\n");
}

static void silent_connection_is_closed(void **state)
{
	uint64_t start_ns = clock_monotonic_ns();
	int fd = client_open();

	(void)state;
	client_send(fd, "GET / HTTP/1.1\r\nHost: localhost\r\nX: ", 36);
	for (int i = 0; i < 5; i++) { /* a byte now and then must not keep it open */
		usleep(500000);
		client_send(fd, "x", 1);
	}
	assert_int_equal(client_read(fd), 0);
	assert_in_range(clock_monotonic_ns() - start_ns, 9 * NS_PER_S, 12 * NS_PER_S);
}

static void go_reads_the_live_url(void **state)
{
	char command[512], line[512];
	bool found = false;
	FILE *pipe;

	(void)state;
	if (access("/usr/local/go/bin/go", X_OK) && access("/usr/bin/go", X_OK)) {
		print_message("no go here to read pprof with\n");
		skip();
	}
	add_past(5, 0);
	snprintf(command, sizeof(command),
		 "PATH=$PATH:/usr/local/go/bin PPROF_TMPDIR=/tmp go tool pprof -top -tagroot=container "
		 "'http://127.0.0.1:%u/debug/pprof/profile?last=60s' 2>&1", client_port);
	pipe = popen(command, "r");
	while (fgets(line, sizeof(line), pipe))
		found |= strstr(line, host.fixture.web_name) != NULL;
	assert_int_equal(pclose(pipe), 0);
	assert_true(found);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		TEST(answers_are_marked),
		TEST(status_lists_places),
		TEST(ready_follows_the_agent),
		TEST(folded_is_what_was_stored),
		TEST(profile_is_gzip_for_pprof),
		TEST(bad_parameters_get_a_sentence),
		TEST(ranges_name_what_is_covered),
		TEST(adjacent_ranges_share_no_slice),
		TEST(ten_clients_wait_for_their_own_seconds),
		TEST(the_silent_keep_nobody_out),
		TEST(hang_up_frees_its_slot),
		TEST(busy_workers_leave_the_rest_fast),
		TEST(metrics_are_compressed_on_demand),
		TEST(stop_answers_those_who_wait),
		TEST(silent_connection_is_closed),
		TEST(go_reads_the_live_url),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

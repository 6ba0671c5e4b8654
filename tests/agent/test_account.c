/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPU time per cgroup on this kernel, against the kernel's own accounts (cpuacct on v1, cpu.stat on v2): short
 * processes, moved ones, moved threads, the sum over the machine; and a forged name. Needs root and BPF.
 */
#include "abi/account.h"
#include "cgroup.h"
#include "loader.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define C "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define SPAN 64 /* containers that may be born between two calls */

/*
 * At the root, a unit's name makes a container of a cgroup without any file. A container made again goes on from
 * its old sum, so every test has its own; and two runs of this program at once must not meet.
 */
enum group { SHORT, FROM, TO, FROM2, TO2, GONE, REAL, FORGED, YARD, DOCKER, GROUPS };
static char groups[GROUPS][128];

static void name_groups(void)
{
	static const char *const formats[GROUPS] = {
		[SHORT] = "wick-test-short-%d.service", [FROM] = "wick-test-from-%d.service",
		[TO] = "wick-test-to-%d.service",       [FROM2] = "wick-test-from2-%d.service",
		[TO2] = "wick-test-to2-%d.service",     [GONE] = "wick-test-gone-%d.service",
		[REAL] = "docker/" C,                   [FORGED] = "wick-test-yard-%d/docker-" C ".scope",
		[YARD] = "wick-test-yard-%d",           [DOCKER] = "docker",
	};

	for (size_t i = 0; i < GROUPS; i++)
		snprintf(groups[i], sizeof(groups[i]), formats[i], (int)getpid());
}

static struct host {
	enum cgroup_source source;
	char mount[256], root[64];
	struct loader *loader;
	struct cgroup_table *table;
	struct ring_buffer *events;
	const char *reason; /* why nothing of this can run here */
} host;

/* ---- cgroups: in the hierarchy that names tasks, and in the one that accounts them ------------------------- */

static const char *account_mount(void)
{
	return host.source == CGROUP_SOURCE_V2 ? host.mount : "/sys/fs/cgroup/cpuacct";
}

static void in_both(const char *group, void (*act)(const char *path))
{
	char path[1600];

	snprintf(path, sizeof(path), "%s/%s", host.mount, group);
	act(path);
	snprintf(path, sizeof(path), "%s/%s", account_mount(), group);
	act(path);
}

static void make(const char *path)
{
	if (mkdir(path, 0755) && errno != EEXIST)
		fail_msg("%s: %s", path, strerror(errno));
}

static void drop(const char *path)
{
	/* a task that was just waited for may still be leaving */
	for (unsigned tries = 0; rmdir(path) && errno == EBUSY && tries < 30; tries++)
		usleep(10000);
}

static void leave_nothing(void)
{
	for (size_t i = 0; i < GROUPS; i++)
		in_both(groups[i], drop);
}

static void enter(const char *path)
{
	char file[1700];
	FILE *procs;

	snprintf(file, sizeof(file), "%s/cgroup.procs", path);
	procs = fopen(file, "w");
	if (!procs || fputs("0", procs) < 0 || fclose(procs))
		_exit(9);
}

static double kernel_seconds(const char *group)
{
	char path[512], line[128];
	unsigned long long value = 0;
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s/%s", account_mount(), group,
		 host.source == CGROUP_SOURCE_V2 ? "cpu.stat" : "cpuacct.usage");
	file = fopen(path, "r");
	assert_non_null(file);
	assert_non_null(fgets(line, sizeof(line), file));
	fclose(file);
	if (host.source == CGROUP_SOURCE_V2)
		return sscanf(line, "usage_usec %llu", &value) == 1 ? (double)value / 1e6 : -1;
	return sscanf(line, "%llu", &value) == 1 ? (double)value / 1e9 : -1;
}

static uint64_t id_of(const char *group)
{
	char path[512];
	struct stat status;

	snprintf(path, sizeof(path), "%s/%s", host.mount, group);
	assert_int_equal(stat(path, &status), 0);
	return status.st_ino;
}

/* ---- what the agent says ----------------------------------------------------------------------------------- */

static struct view_container *read_views(size_t *ret_count)
{
	size_t count = cgroup_container_count(host.table) + SPAN;
	struct view_container *views = calloc(count, sizeof(*views));

	assert_int_equal(loader_account_tasks(host.loader), 0);
	ring_buffer__consume(host.events); /* after it: time of a cgroup that nobody told of is held back */
	assert_int_equal(cgroup_account(host.table, loader_map_fd(host.loader, LOADER_ACCOUNT_CPU), views, count), 0);
	*ret_count = count;
	return views;
}

static double seconds(const struct view_container *view)
{
	return (double)(view->user_ns + view->system_ns) / 1e9;
}

static double agent_seconds(const char *group)
{
	size_t count;
	struct view_container *views = read_views(&count);
	double value = seconds(&views[cgroup_container(host.table, id_of(group))]);

	free(views);
	return value;
}

/* A task's last piece is banked when the kernel frees it, some time after it was waited for. */
static void assert_agrees(const char *group, double tolerance, double slack)
{
	double want = kernel_seconds(group), have = 0;

	for (unsigned tries = 0; tries < 100; tries++) {
		have = agent_seconds(group);
		want = kernel_seconds(group);
		if (have > want * (1 - tolerance) - slack && have < want * (1 + tolerance) + slack)
			return;
		usleep(20000);
	}
	fail_msg("%s: agent %.6f s, kernel %.6f s", group, have, want);
}

static int take_event(void *context, void *data, size_t size)
{
	assert_true(!context && size >= sizeof(struct event_cgroup));
	cgroup_table_event(host.table, data);
	return 0;
}

/* ---- work ------------------------------------------------------------------------------------------------- */

static void burn(clockid_t clock, double how_long)
{
	struct timespec from, now;

	clock_gettime(clock, &from);
	do {
		for (volatile unsigned i = 0; i < 2000; i++)
			;
		getppid();
		clock_gettime(clock, &now);
	} while ((double)(now.tv_sec - from.tv_sec) + (double)(now.tv_nsec - from.tv_nsec) / 1e9 < how_long);
}

/* `visit`: the iterator runs meanwhile, more often than for any scraper: that must count nothing twice. */
static void run(void (*work)(void), bool visit)
{
	pid_t child = fork(), ended;
	int status;

	if (!child) {
		work();
		_exit(0);
	}
	while (!(ended = waitpid(child, &status, visit ? WNOHANG : 0))) {
		assert_int_equal(loader_account_tasks(host.loader), 0);
		usleep(20000);
	}
	assert_true(ended == child && !status);
}

static void many_short(void)
{
	in_both(groups[SHORT], enter);
	for (unsigned i = 0; i < 400; i++) {
		if (!fork()) {
			burn(CLOCK_PROCESS_CPUTIME_ID, 0.002);
			_exit(0);
		}
		if (i % 2)
			wait(NULL);
	}
	while (wait(NULL) > 0)
		;
}

static void moved(void)
{
	in_both(groups[FROM], enter);
	burn(CLOCK_PROCESS_CPUTIME_ID, 0.3);
	in_both(groups[TO], enter);
	burn(CLOCK_PROCESS_CPUTIME_ID, 0.15);
}

static void *burn_thread(void *context)
{
	burn(CLOCK_THREAD_CPUTIME_ID, *(const double *)context);
	return NULL;
}

static void moved_threads(void)
{
	static double how_long = 0.6;
	pthread_t thread;

	in_both(groups[FROM2], enter);
	pthread_create(&thread, NULL, burn_thread, &how_long);
	burn(CLOCK_THREAD_CPUTIME_ID, 0.4);
	in_both(groups[TO2], enter);
	burn(CLOCK_THREAD_CPUTIME_ID, 0.2);
	pthread_join(thread, NULL);
}

/* ---- tests ------------------------------------------------------------------------------------------------ */

#define need_host()                                                                                           \
	do {                                                                                                  \
		if (host.reason) {                                                                            \
			print_message("%s\n", host.reason);                                                   \
			skip();                                                                               \
		}                                                                                             \
	} while (0)

static void test_short_processes(void **state)
{
	(void)state;
	need_host();
	in_both(groups[SHORT], make);
	run(many_short, false);
	assert_true(kernel_seconds(groups[SHORT]) > 0.75);
	assert_agrees(groups[SHORT], 0.01, 0);
	in_both(groups[SHORT], drop);
}

static void test_moved(void **state)
{
	(void)state;
	need_host();
	in_both(groups[FROM], make);
	in_both(groups[TO], make);
	run(moved, true);
	assert_true(kernel_seconds(groups[FROM]) > 0.29 && kernel_seconds(groups[TO]) > 0.14);
	assert_agrees(groups[FROM], 0.02, 0.02); /* slack: the hierarchies are entered one after the other */
	assert_agrees(groups[TO], 0.02, 0.02);
	in_both(groups[FROM], drop);
	in_both(groups[TO], drop);
}

/* The kernel tells a move for the leader alone; the other thread's time is parted, so the bound is wider. */
static void test_moved_threads(void **state)
{
	(void)state;
	need_host();
	in_both(groups[FROM2], make);
	in_both(groups[TO2], make);
	run(moved_threads, true);
	assert_true(kernel_seconds(groups[FROM2]) > 0.39);
	assert_agrees(groups[FROM2], 0.1, 0.02);
	assert_agrees(groups[TO2], 0.2, 0.02);
	in_both(groups[FROM2], drop);
	in_both(groups[TO2], drop);
}

static double all_seconds(void)
{
	size_t count;
	struct view_container *views = read_views(&count);
	double sum = 0;

	for (size_t i = 0; i < count; i++)
		sum += seconds(&views[i]);
	free(views);
	return sum;
}

struct reading { /* the agent's, between two of the kernel's */
	double before, agent, after;
};

/* The root of v2 has no precise figure (its cpu.stat is made of ticks): there, what this process ran. */
static double machine_seconds(void)
{
	struct timespec now;

	if (host.source != CGROUP_SOURCE_V2)
		return kernel_seconds("");
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static struct reading read_machine(void)
{
	struct reading reading = { .before = machine_seconds() };

	reading.agent = all_seconds();
	reading.after = machine_seconds();
	return reading;
}

/* _host included, the containers add up to the machine. */
static void test_machine(void **state)
{
	struct reading from, to;
	double least, most, agent;

	(void)state;
	need_host();
	from = read_machine();
	burn(CLOCK_MONOTONIC, 2);
	to = read_machine();
	agent = to.agent - from.agent;
	least = to.before - from.after;
	most = host.source == CGROUP_SOURCE_V2 ? 1e9 : to.after - from.before;
	if (agent < least * 0.98 - 0.02 || agent > most * 1.02 + 0.02)
		fail_msg("agent %.6f s, kernel %.6f to %.6f s", agent, least, most);
}

static void only_burn(void)
{
	in_both(groups[FORGED], enter);
	burn(CLOCK_PROCESS_CPUTIME_ID, 0.2);
}

/* A neighbour's id in a place where Docker did not put it: no name, and none of the time. */
static void test_forged(void **state)
{
	struct cgroup_name name;

	(void)state;
	need_host();
	in_both(groups[DOCKER], make);
	in_both(groups[REAL], make);
	in_both(groups[YARD], make);
	in_both(groups[FORGED], make);
	run(only_burn, true);
	assert_agrees(groups[FORGED], 0.02, 0.02);
	assert_true(agent_seconds(groups[REAL]) == 0);
	cgroup_get_name(host.table, cgroup_container(host.table, id_of(groups[REAL])), &name);
	assert_string_equal(name.container, "neighbour");
	cgroup_get_name(host.table, cgroup_container(host.table, id_of(groups[FORGED])), &name);
	assert_int_equal(*name.container, '/');
	assert_string_equal(name.container + 1, groups[FORGED]);
	leave_nothing();
}

static void burn_in_gone(void)
{
	in_both(groups[GONE], enter);
	burn(CLOCK_PROCESS_CPUTIME_ID, 0.1);
}

/* The time of a container that is gone stands still, and one made again at the same place goes on from it. */
static void test_gone(void **state)
{
	uint32_t container;
	struct cgroup_name name;
	size_t count;
	double frozen;

	(void)state;
	need_host();
	in_both(groups[GONE], make);
	run(burn_in_gone, true);
	assert_agrees(groups[GONE], 0.02, 0.02);
	frozen = agent_seconds(groups[GONE]);
	container = cgroup_container(host.table, id_of(groups[GONE]));
	in_both(groups[GONE], drop);
	free(read_views(&count)); /* takes the event too */
	cgroup_get_name(host.table, container, &name);
	assert_true(name.gone);
	assert_string_equal(name.container, groups[GONE]);
	in_both(groups[GONE], make);
	assert_true(agent_seconds(groups[GONE]) >= frozen);
	assert_int_equal(cgroup_container(host.table, id_of(groups[GONE])), container);
	in_both(groups[GONE], drop);
}

/* ---- the host --------------------------------------------------------------------------------------------- */

static void put_file(const char *folder, const char *name, const char *text)
{
	char path[512];
	FILE *file;

	snprintf(path, sizeof(path), "mkdir -p %s", folder);
	assert_int_equal(system(path), 0);
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static int set_up(void **state)
{
	char error[256];
	struct cgroup_opts opts = { .root = host.root };
	struct loader_opts loader = { .frequency = 99, .cpus = (unsigned)sysconf(_SC_NPROCESSORS_ONLN) };
	char folder[256];

	(void)state;
	if (getuid()) {
		host.reason = "needs root";
		return 0;
	}
	if (cgroup_choose(&host.source, host.mount, sizeof(host.mount)))
		host.reason = "no cgroup hierarchy is mounted";
	else if (host.source != CGROUP_SOURCE_V2 && access("/sys/fs/cgroup/cpuacct/cpuacct.usage", R_OK))
		host.reason = "no cpuacct hierarchy to compare with";
	else if (access("/sys/kernel/btf/vmlinux", R_OK))
		host.reason = "the kernel has no BTF";
	if (host.reason)
		return 0;
	loader.cgroup_source = host.source;
	if (loader_open(&loader, &host.loader, error, sizeof(error)))
		fail_msg("%s", error);
	name_groups();
	strcpy(host.root, "/tmp/wick-account-XXXXXX");
	assert_non_null(mkdtemp(host.root));
	snprintf(folder, sizeof(folder), "%s/var/lib/docker/containers/" C, host.root);
	put_file(folder, "hostconfig.json", "{\"CgroupParent\":\"\"}");
	put_file(folder, "config.v2.json", "{\"ID\":\"" C "\",\"Name\":\"/neighbour\",\"Config\":{}}");
	host.table = cgroup_table_new(host.source, host.mount, &opts);
	assert_non_null(host.table);
	assert_int_equal(cgroup_table_scan(host.table), 0);
	host.events = ring_buffer__new(loader_map_fd(host.loader, LOADER_EVENTS), take_event, NULL, NULL);
	assert_non_null(host.events);
	assert_int_equal(loader_account_tasks(host.loader), 0);
	return 0;
}

static int tear_down(void **state)
{
	char command[128];

	(void)state;
	if (host.reason)
		return 0;
	leave_nothing();
	ring_buffer__free(host.events);
	cgroup_table_free(host.table);
	loader_close(host.loader);
	snprintf(command, sizeof(command), "rm -rf %s", host.root);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_short_processes), cmocka_unit_test(test_moved),
		cmocka_unit_test(test_moved_threads),   cmocka_unit_test(test_machine),
		cmocka_unit_test(test_forged),          cmocka_unit_test(test_gone),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}

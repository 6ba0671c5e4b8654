/* SPDX-License-Identifier: Apache-2.0 */
/* Noun "cgroup": names, births and deaths in a host made of plain directories below /tmp. */
#include "cgroup_private.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define C "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define D "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"

/* ---- a host of plain directories ------------------------------------------------------------------------- */

struct host {
	char root[64], mount[80];
	struct cgroup_opts opts;
	struct cgroup_table *table;
};

static void make_folders(const char *path)
{
	char part[2048];

	for (size_t end = 1; path[end - 1]; end++) {
		if (path[end] && path[end] != '/')
			continue;
		snprintf(part, sizeof(part), "%.*s", (int)end, path);
		mkdir(part, 0755);
	}
}

static void put_file(const struct host *host, const char *path, const char *text)
{
	char whole[1024], folder[1024];
	FILE *file;

	snprintf(whole, sizeof(whole), "%s/%s", host->root, path);
	snprintf(folder, sizeof(folder), "%.*s", (int)(strrchr(whole, '/') - whole), whole);
	make_folders(folder);
	file = fopen(whole, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static uint64_t put_cgroup(const struct host *host, const char *path)
{
	char whole[2048];
	struct stat status;

	snprintf(whole, sizeof(whole), "%s%s", host->mount, path);
	make_folders(whole);
	assert_int_equal(stat(whole, &status), 0);
	return status.st_ino;
}

static void drop_cgroup(const struct host *host, const char *path)
{
	char whole[1024];

	snprintf(whole, sizeof(whole), "%s%s", host->mount, path);
	assert_int_equal(rmdir(whole), 0);
}

static int set_up(void **state)
{
	struct host *host = calloc(1, sizeof(*host));

	strcpy(host->root, "/tmp/wick-cgroup-XXXXXX");
	if (!mkdtemp(host->root))
		return -1;
	chmod(host->root, 0755);
	snprintf(host->mount, sizeof(host->mount), "%s/cg", host->root);
	mkdir(host->mount, 0755);
	host->opts = (struct cgroup_opts){ .mount = host->mount, .root = host->root };
	host->table = cgroup_table_new(CGROUP_SOURCE_V2, "/nonexistent", &host->opts);
	*state = host;
	return host->table ? 0 : -1;
}

static int tear_down(void **state)
{
	struct host *host = *state;
	char command[128];

	cgroup_table_free(host->table);
	snprintf(command, sizeof(command), "rm -rf %s", host->root);
	free(host);
	return system(command);
}

static struct cgroup_name name_of(const struct host *host, uint64_t id)
{
	struct cgroup_name name;

	cgroup_get_name(host->table, cgroup_container(host->table, id), &name);
	return name;
}

#define need_root()                                                                                           \
	do {                                                                                                  \
		if (getuid()) {                                                                               \
			print_message("needs root: files must belong to it\n");                               \
			skip();                                                                               \
		}                                                                                             \
	} while (0)

static void put_docker(const struct host *host, const char *id, const char *name, const char *parent)
{
	char path[256], text[512];

	snprintf(path, sizeof(path), "var/lib/docker/containers/%s/hostconfig.json", id);
	snprintf(text, sizeof(text), "{\"CgroupParent\":\"%s\"}", parent);
	put_file(host, path, text);
	snprintf(path, sizeof(path), "var/lib/docker/containers/%s/config.v2.json", id);
	snprintf(text, sizeof(text), "{\"ID\":\"%s\",\"Name\":\"/%s\",\"Config\":{\"Image\":\"nginx:1\",\"Labels\":{}}}",
		 id, name);
	put_file(host, path, text);
}

static void test_docker(void **state)
{
	struct host *host = *state;
	uint64_t id = put_cgroup(host, "/docker/" C), child = put_cgroup(host, "/docker/" C "/inner");
	uint64_t slice = put_cgroup(host, "/a.slice/a-b.slice/docker-" D ".scope");

	need_root();
	put_docker(host, C, "web", "");
	put_docker(host, D, "db", "a-b.slice");
	assert_int_equal(cgroup_table_scan(host->table), 0);
	assert_string_equal(name_of(host, id).container, "web");
	assert_string_equal(name_of(host, id).image, "nginx:1");
	assert_string_equal(name_of(host, id).id, C);
	assert_string_equal(name_of(host, id).runtime, "docker");
	assert_string_equal(name_of(host, id).cgroup, "/docker/" C);
	assert_string_equal(name_of(host, slice).container, "db");
	assert_int_equal(cgroup_container(host->table, child), cgroup_container(host->table, id));
	assert_string_equal(name_of(host, 1).container, "_host");
	assert_string_equal(name_of(host, put_cgroup(host, "/docker")).container, "_host");
}

static void test_late_file(void **state)
{
	struct host *host = *state;
	uint64_t id = put_cgroup(host, "/docker/" C);
	uint32_t container;

	need_root();
	cgroup_table_scan(host->table);
	assert_string_equal(name_of(host, id).container, "/docker/" C);
	assert_string_equal(name_of(host, id).id, "");
	container = cgroup_container(host->table, id);
	put_docker(host, C, "late", "");
	host->table->slots[container].next_try_ns = 0; /* its second has passed */
	cgroup_table_tick(host->table);
	assert_string_equal(name_of(host, id).container, "late");
	assert_int_equal(cgroup_container(host->table, id), container);
}

static void test_forged(void **state)
{
	struct host *host = *state;
	uint64_t real = put_cgroup(host, "/system.slice/docker-" C ".scope");
	uint64_t elsewhere = put_cgroup(host, "/tenant/docker-" C ".scope");
	uint64_t inside = put_cgroup(host, "/system.slice/ci.service/docker-" C ".scope");
	uint64_t user = put_cgroup(host, "/user.slice/user-1000.slice/user@1000.service/app.slice/docker-" C ".scope");
	uint64_t delegated = put_cgroup(host, "/yard/docker-" D ".scope");
	uint64_t unit = put_cgroup(host, "/yard.slice/ssh.service");
	char path[256];

	need_root();
	put_file(host, "etc/passwd", "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n");
	put_docker(host, C, "web", "");
	put_docker(host, D, "db", "/yard");
	snprintf(path, sizeof(path), "%s/yard", host->mount);
	assert_int_equal(chown(path, 1000, 1000), 0);
	snprintf(path, sizeof(path), "%s/yard.slice", host->mount);
	assert_int_equal(chown(path, 1000, 1000), 0);
	cgroup_table_scan(host->table);
	assert_string_equal(name_of(host, real).container, "web");
	assert_string_equal(name_of(host, elsewhere).container, "/tenant/docker-" C ".scope");
	assert_string_equal(name_of(host, inside).container, "ci.service");
	assert_string_equal(name_of(host, user).container,
			    "/user.slice/user-1000.slice/user@1000.service/app.slice/docker-" C ".scope");
	assert_string_equal(name_of(host, delegated).container, "/yard/docker-" D ".scope");
	assert_string_equal(name_of(host, unit).container, "/yard.slice/ssh.service");
}

static void test_foreign_file(void **state)
{
	struct host *host = *state;
	uint64_t id = put_cgroup(host, "/docker/" C);
	char path[256];

	need_root();
	put_docker(host, C, "web", "");
	snprintf(path, sizeof(path), "%s/var/lib/docker/containers/" C "/config.v2.json", host->root);
	assert_int_equal(chown(path, 1000, 1000), 0);
	cgroup_table_scan(host->table);
	assert_string_equal(name_of(host, id).container, "/docker/" C);
}

static void test_rootless(void **state)
{
	static const char *const path = "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-" C ".scope";
	struct host *host = *state;
	uint64_t id = put_cgroup(host, path);
	char command[256];

	need_root();
	put_file(host, "etc/passwd", "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n");
	put_file(host, "home/ann/.local/share/docker/containers/" C "/hostconfig.json", "{\"CgroupParent\":\"\"}");
	put_file(host, "home/ann/.local/share/docker/containers/" C "/config.v2.json",
		 "{\"ID\":\"" C "\",\"Name\":\"/mine\",\"Config\":{\"Image\":\"x\"}}");
	snprintf(command, sizeof(command), "chown -R 1000:1000 %s/home/ann %s/user.slice/user-1000.slice/user@1000.service",
		 host->root, host->mount);
	assert_int_equal(system(command), 0);
	cgroup_table_scan(host->table);
	assert_string_equal(name_of(host, id).container, "mine");
}

static void test_kubernetes(void **state)
{
	static const char pod[] = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podab_cd.slice";
	struct host *host = *state;
	uint64_t containerd, crio, logs;
	char path[512], target[512];

	need_root();
	snprintf(path, sizeof(path), "%s/cri-containerd-%s.scope", pod, C);
	containerd = put_cgroup(host, path);
	put_file(host, "run/containerd/io.containerd.runtime.v2.task/k8s.io/" C "/config.json",
		 "{\"annotations\":{\"io.kubernetes.cri.container-type\":\"container\","
		 "\"io.kubernetes.cri.container-name\":\"app\",\"io.kubernetes.cri.sandbox-name\":\"shop-0\","
		 "\"io.kubernetes.cri.sandbox-namespace\":\"prod\",\"io.kubernetes.cri.image-name\":\"shop:2\"},"
		 "\"linux\":{\"cgroupsPath\":\"kubepods-burstable-podab_cd.slice:cri-containerd:" C "\"}}");
	snprintf(path, sizeof(path), "%s/crio-%s.scope", pod, D);
	crio = put_cgroup(host, path);
	put_file(host, "run/containers/storage/overlay-containers/" D "/userdata/config.json",
		 "{\"annotations\":{\"io.kubernetes.cri-o.ContainerType\":\"sandbox\","
		 "\"io.kubernetes.pod.name\":\"shop-1\",\"io.kubernetes.pod.namespace\":\"prod\"},"
		 "\"linux\":{\"cgroupsPath\":\"kubepods-burstable-podab_cd.slice:crio:" D "\"}}");
	snprintf(path, sizeof(path), "%s/var/log/containers", host->root);
	make_folders(path);
	logs = put_cgroup(host, "/kubepods/podab-cd/" D);
	snprintf(path, sizeof(path), "%s/var/log/containers/shop-2_prod_side-car-%s.log", host->root, D);
	snprintf(target, sizeof(target), "/var/log/pods/prod_shop-2_ab-cd/side-car/0.log");
	assert_int_equal(symlink(target, path), 0);
	cgroup_table_scan(host->table);
	assert_string_equal(name_of(host, containerd).container, "app");
	assert_string_equal(name_of(host, containerd).pod, "shop-0");
	assert_string_equal(name_of(host, containerd).namespace_, "prod");
	assert_string_equal(name_of(host, containerd).image, "shop:2");
	assert_string_equal(name_of(host, crio).container, "POD");
	assert_string_equal(name_of(host, crio).pod, "shop-1");
	assert_string_equal(name_of(host, logs).container, "side-car");
	assert_string_equal(name_of(host, logs).pod, "shop-2");
}

static void test_podman_lxc_unit(void **state)
{
	struct host *host = *state;
	uint64_t podman = put_cgroup(host, "/machine.slice/libpod-" C ".scope/container");
	uint64_t lxc = put_cgroup(host, "/lxc.payload.box"), unit = put_cgroup(host, "/system.slice/ssh.service");
	uint64_t machine = put_cgroup(host, "/machine.slice/machine-box\\x2d1.scope");

	need_root();
	put_file(host, "run/containers/storage/overlay-containers/" C "/userdata/config.json",
		 "{\"annotations\":{},\"linux\":{\"cgroupsPath\":\"machine.slice:libpod:" C "\"}}");
	put_file(host, "var/lib/containers/storage/overlay-containers/containers.json",
		 "[{\"id\":\"" D "\",\"names\":[\"other\"]},{\"id\":\"" C "\",\"names\":[\"quay\"]}]");
	put_file(host, "var/lib/lxc/box/config", "");
	put_file(host, "run/systemd/machines/box-1", "");
	cgroup_table_scan(host->table);
	assert_string_equal(name_of(host, podman).container, "quay");
	assert_string_equal(name_of(host, podman).runtime, "podman");
	assert_string_equal(name_of(host, lxc).container, "box");
	assert_string_equal(name_of(host, unit).container, "ssh.service");
	assert_string_equal(name_of(host, unit).runtime, "systemd");
	assert_string_equal(name_of(host, machine).container, "box-1");
}

static void test_bad_files(void **state)
{
	static const char *const texts[] = { "", "{", "[]", "null", "{\"ID\":1,\"Name\":[]}", "{\"ID\":\"" C "\"}",
					     "{\"ID\":\"" D "\",\"Name\":\"/x\"}", "{\"Name\":\"/x\",\"Name\":\"/y\"}" };
	struct host *host = *state;
	uint64_t id = put_cgroup(host, "/docker/" C);

	need_root();
	put_docker(host, C, "web", "");
	cgroup_table_scan(host->table);
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		struct cgroup_vouched vouched;
		struct cgroup_parsed parsed;

		assert_true(cgroup_parse("/docker/" C, &parsed));
		put_file(host, "var/lib/docker/containers/" C "/config.v2.json", texts[i]);
		assert_true(cgroup_files_vouch(host->root, "/docker/" C, &parsed, 0, &vouched) < 0);
	}
	assert_string_equal(name_of(host, id).container, "web");
}

static void send(struct host *host, uint32_t kind, uint64_t id, const char *path)
{
	struct event_cgroup event = { .kind = kind, .id = id, .path_bytes = (uint32_t)strlen(path) };

	snprintf(event.path, sizeof(event.path), "%.*s", EVENT_PATH_BYTES - 1, path);
	cgroup_table_event(host->table, &event);
}

static void test_events(void **state)
{
	struct host *host = *state;
	uint64_t id = put_cgroup(host, "/docker/" C);
	uint32_t container;

	need_root();
	put_docker(host, C, "brief", "");
	send(host, EVENT_CGROUP_MADE, id, "/docker/" C);
	send(host, EVENT_CGROUP_MADE, id + 1000, "/docker/" C "/child");
	container = cgroup_container(host->table, id);
	assert_string_equal(name_of(host, id).container, "brief");
	assert_int_equal(cgroup_container(host->table, id + 1000), container);
	send(host, EVENT_CGROUP_GONE, id + 1000, "/docker/" C "/child");
	assert_false(name_of(host, id).gone);
	drop_cgroup(host, "/docker/" C);
	send(host, EVENT_CGROUP_GONE, id, "/docker/" C);
	assert_true(name_of(host, id).gone);
	assert_string_equal(name_of(host, id).container, "brief");
	/* made again while the tombstone stands: the same container */
	id = put_cgroup(host, "/docker/" C);
	send(host, EVENT_CGROUP_MADE, id + 2000, "/docker/" C);
	assert_int_equal(cgroup_container(host->table, id + 2000), container);
	assert_false(name_of(host, id + 2000).gone);
}

/* The place is no longer trusted when the cgroup is made again: the name must not stay. */
static void test_trust_is_asked_again(void **state)
{
	struct host *host = *state;
	uint64_t id = put_cgroup(host, "/yard/" C);
	char path[256];

	need_root();
	put_docker(host, C, "web", "/yard");
	send(host, EVENT_CGROUP_MADE, id, "/yard/" C);
	assert_string_equal(name_of(host, id).container, "web");
	send(host, EVENT_CGROUP_GONE, id, "/yard/" C);
	snprintf(path, sizeof(path), "%s/yard", host->mount);
	assert_int_equal(chown(path, 1000, 1000), 0);
	send(host, EVENT_CGROUP_MADE, id + 1000, "/yard/" C);
	assert_string_equal(name_of(host, id + 1000).container, "/yard/" C);
}

/* A path too long for a record is found by the scan. */
static void test_long_path(void **state)
{
	struct host *host = *state;
	char path[1024] = "/system.slice/long.service", *end = path + strlen(path);
	uint64_t id;

	need_root();
	cgroup_table_scan(host->table);
	while (strlen(path) < EVENT_PATH_BYTES + 50)
		end = stpcpy(end, "/0123456789012345678901234567890123456789");
	id = put_cgroup(host, path);
	send(host, EVENT_CGROUP_MADE, id, path);
	assert_int_equal(cgroup_container(host->table, id), CGROUP_HOST);
	cgroup_table_tick(host->table);
	assert_string_equal(name_of(host, id).container, "long.service");
}

static void *keep_reading(void *context)
{
	struct host *host = context;
	struct cgroup_name name;
	size_t bytes = 0;

	for (unsigned round = 0; round < 2000; round++)
		for (uint32_t i = 0; i < cgroup_container_count(host->table); i += 37) {
			cgroup_get_name(host->table, i, &name);
			bytes += strlen(name.container) + strlen(name.cgroup);
			cgroup_container(host->table, 1000 + i);
		}
	return (void *)bytes;
}

/* Readers on other threads while containers come, go and get names; for the thread sanitizer. */
static void test_readers(void **state)
{
	struct host *host = *state;
	pthread_t threads[2];
	char path[64];
	void *bytes;

	for (size_t i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, keep_reading, host), 0);
	for (unsigned i = 0; i < 500; i++) {
		snprintf(path, sizeof(path), "/system.slice/u%u.service", i);
		send(host, EVENT_CGROUP_MADE, 1000 + i, path);
		if (i % 3 == 0)
			send(host, EVENT_CGROUP_GONE, 1000 + i, path);
	}
	for (size_t i = 0; i < 2; i++) {
		pthread_join(threads[i], &bytes);
		assert_non_null(bytes);
	}
	assert_int_equal(cgroup_container_count(host->table), 501);
}

static void test_scan_finds_the_gone(void **state)
{
	struct host *host = *state;
	uint64_t id = put_cgroup(host, "/system.slice/a.service");

	need_root();
	cgroup_table_scan(host->table);
	assert_false(name_of(host, id).gone);
	drop_cgroup(host, "/system.slice/a.service");
	cgroup_table_scan(host->table);
	assert_true(name_of(host, id).gone);
}

static void test_tombstone(void **state)
{
	struct host *host = *state;
	uint64_t id = put_cgroup(host, "/docker/" C), next = put_cgroup(host, "/docker/" D);
	uint32_t old, new;

	need_root();
	put_docker(host, C, "web", "");
	cgroup_table_scan(host->table);
	old = cgroup_container(host->table, id);
	host->table->slots[old].user_ns = 7;
	drop_cgroup(host, "/docker/" C);
	put_docker(host, D, "web", "");
	new = cgroup_container(host->table, next);
	cgroup_settle(host->table, new);
	assert_string_equal(name_of(host, next).container, "web");
	host->table->next_scan_ns = 0;
	cgroup_table_tick(host->table);
	assert_true(host->table->slots[old].gone);
	assert_false(host->table->slots[old].retired);
	host->table->slots[old].gone_ns -= (CGROUP_TOMBSTONE_S + 1) * 1000000000ULL;
	cgroup_table_tick(host->table);
	assert_true(host->table->slots[old].retired);
	assert_int_equal(host->table->slots[new].user_ns, 7); /* the series `web` does not fall */
}

static void test_limit(void **state)
{
	struct host *host = *state;
	char path[64];

	for (unsigned i = 0; i < CGROUP_LIMIT + 100; i++) {
		snprintf(path, sizeof(path), "/system.slice/u%u.service", i);
		pthread_mutex_lock(&host->table->lock);
		cgroup_add(host->table, 1000000 + i, path, true);
		pthread_mutex_unlock(&host->table->lock);
	}
	assert_int_equal(cgroup_container_count(host->table), CGROUP_LIMIT);
	assert_true(cgroup_refused(host->table) >= 100);
	assert_int_equal(cgroup_container(host->table, 1000000 + CGROUP_LIMIT + 50), CGROUP_HOST);
}

#define host_test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		host_test(test_docker),            host_test(test_late_file),
		host_test(test_forged),            host_test(test_foreign_file),
		host_test(test_rootless),          host_test(test_kubernetes),
		host_test(test_podman_lxc_unit),   host_test(test_bad_files),
		host_test(test_events),            host_test(test_scan_finds_the_gone),
		host_test(test_trust_is_asked_again), host_test(test_long_path), host_test(test_readers),
		host_test(test_tombstone),         host_test(test_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Noun "cgroup", the pure parts: every known path layout, hostile paths, where runtimes put things, which hierarchy. */
#include "cgroup_place.h"
#include "cgroup_private.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define C "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define D "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"

static void expand(const char *from, char *to)
{
	while (*from) {
		if (!strncmp(from, "{C}", 3) || !strncmp(from, "{D}", 3)) {
			to = stpcpy(to, from[1] == 'C' ? C : D);
			from += 3;
		} else {
			*to++ = *from++;
		}
	}
	*to = '\0';
}

static const char *next_field(char **line)
{
	char *field = strsep(line, "|"), *end;

	if (!field)
		return "";
	field += strspn(field, " ");
	end = field + strlen(field);
	while (end > field && (end[-1] == ' ' || end[-1] == '\n'))
		*--end = '\0';
	return field;
}

static void test_paths(void **state)
{
	FILE *file = fopen("tests/data/cgroup/paths.txt", "r");
	char raw[1024], line[2048];
	unsigned vectors = 0;

	(void)state;
	assert_non_null(file);
	while (fgets(raw, sizeof(raw), file)) {
		struct cgroup_parsed parsed;
		const char *path, *runtime;
		char *rest = line;
		bool found;

		if (*raw == '#' || *raw == '\n')
			continue;
		expand(raw, line);
		path = next_field(&rest);
		runtime = next_field(&rest);
		found = cgroup_parse(path, &parsed);
		if (found != !!strcmp(runtime, "none"))
			fail_msg("%s: %s", path, found ? parsed.runtime : "no container");
		vectors++;
		if (!found)
			continue;
		assert_string_equal(parsed.runtime, runtime);
		assert_string_equal(parsed.id, next_field(&rest));
		assert_string_equal(parsed.pod_uid, next_field(&rest));
		assert_string_equal(parsed.unit, next_field(&rest));
	}
	fclose(file);
	assert_true(vectors >= 60);
}

static void test_choose(void **state)
{
	static const struct {
		const char *mountinfo, *mount;
		enum cgroup_source source;
	} hosts[] = {
		{ "24 1 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n", "/sys/fs/cgroup", CGROUP_SOURCE_V2 },
		{ "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
		  "35 31 0:32 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n"
		  "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
		  "/sys/fs/cgroup/memory", CGROUP_SOURCE_MEMORY },
		{ "33 31 0:30 / /sys/fs/cgroup/cpuacct rw - cgroup cgroup rw,cpuacct\n"
		  "39 31 0:36 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n",
		  "/sys/fs/cgroup/pids", CGROUP_SOURCE_PIDS },
		{ "38 31 0:35 / /cg\\040roups/io rw - cgroup cgroup rw,blkio\n", "/cg roups/io", CGROUP_SOURCE_IO },
		{ "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
		  "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
		  "/sys/fs/cgroup/unified", CGROUP_SOURCE_V2 },
		{ "52 1 0:22 /../../.. /host/cgroup rw - cgroup2 cgroup2 rw\n", "/host/cgroup", CGROUP_SOURCE_V2 },
		{ "50 1 0:22 /docker/x /etc/hosts rw - cgroup2 cgroup2 rw\n"
		  "51 1 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "/sys/fs/cgroup", CGROUP_SOURCE_V2 },
	};
	enum cgroup_source source;
	char mount[256];

	(void)state;
	for (size_t i = 0; i < sizeof(hosts) / sizeof(*hosts); i++) {
		assert_int_equal(cgroup_choose_from(hosts[i].mountinfo, &source, mount, sizeof(mount)), 0);
		assert_string_equal(mount, hosts[i].mount);
		assert_int_equal(source, hosts[i].source);
	}
	assert_int_equal(cgroup_choose_from("1 1 8:1 / / rw - ext4 /dev/sda rw,memory\n", &source, mount, 256), -2);
}

static void test_places(void **state)
{
	static const char pod[] = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podab.slice";
	static const char manager[] = "/user.slice/user-7.slice/user@7.service";
	char path[512];

	(void)state;
	assert_true(cgroup_place_docker("/docker/x", "", "x", 0));
	assert_true(cgroup_place_docker("/system.slice/docker-x.scope", "", "x", 0));
	assert_true(cgroup_place_docker("/blue/x", "/blue", "x", 0));
	assert_true(cgroup_place_docker("/blue/x", "blue", "x", 0));
	assert_true(cgroup_place_docker("/a.slice/a-b.slice/docker-x.scope", "a-b.slice", "x", 0));
	assert_true(cgroup_place_docker("/docker-x.scope", "-.slice", "x", 0));
	assert_false(cgroup_place_docker("/docker/x", "/blue", "x", 0));
	assert_false(cgroup_place_docker("/docker/y", "", "x", 0));
	assert_false(cgroup_place_docker("/docker/x", "", "x", 7));
	assert_false(cgroup_place_docker("/a-b.slice/docker-x.scope", "a-b.slice", "x", 0));
	snprintf(path, sizeof(path), "%s/user.slice/docker-x.scope", manager);
	assert_true(cgroup_place_docker(path, "", "x", 7));
	assert_false(cgroup_place_docker(path, "", "x", 0));
	snprintf(path, sizeof(path), "%s/cri-containerd-x.scope", pod);
	assert_true(cgroup_place_oci(path, "kubepods-burstable-podab.slice:cri-containerd:x", 0));
	assert_false(cgroup_place_oci(path, "kubepods-burstable-podab.slice:cri-containerd:y", 0));
	assert_false(cgroup_place_oci(path, "kubepods-burstable-podab.slice:cri-containerd:x", 7));
	assert_true(cgroup_place_oci("/system.slice/containerd.service/k.slice:cri-containerd:x",
				     "k.slice:cri-containerd:x", 0));
	assert_true(cgroup_place_oci("/system.slice/x.scope", "::x", 0));
	assert_true(cgroup_place_oci("/kubepods/podab/x", "/kubepods/podab/x", 0));
	assert_true(cgroup_place_oci("/default/x", "default/x", 0));
	assert_false(cgroup_place_oci("/x", "x:y:z", 0));
	assert_false(cgroup_place_oci("/", "", 0));
	snprintf(path, sizeof(path), "%s/user.slice/libpod-x.scope", manager);
	assert_true(cgroup_place_oci(path, "user.slice:libpod:x", 7));
}

/* Nothing here may crash, read past the end or take long; run under the address sanitizer too. */
static void test_hostile_paths(void **state)
{
	static const char *const pieces[] = { "/", "//", "..", "docker-", C, D, ".scope", ".service", ".slice", "*",
					      "%C", "%N", "**", "user.slice/user-1.slice/user@1.service", "libpod-",
					      ":cri-containerd:", "kubepods", "pod", "lxc.payload.", "\xff", "a" };
	struct cgroup_parsed parsed;
	char *path = malloc(70000);
	size_t length;

	(void)state;
	srand(1);
	for (unsigned round = 0; round < 20000; round++) {
		char *end = path;

		for (int left = rand() % 12; left >= 0; left--)
			end = stpcpy(end, pieces[(size_t)rand() % (sizeof(pieces) / sizeof(*pieces))]);
		if (cgroup_parse_prefix(path, &parsed, &length)) {
			assert_in_range(length, 1, strlen(path));
			assert_non_null(parsed.runtime);
			assert_true(*parsed.id || *parsed.unit);
		}
	}
	memset(path, 'a', 69999);
	path[69999] = '\0';
	assert_false(cgroup_parse(path, &parsed));
	for (size_t i = 0; i < 69999; i += 2)
		path[i] = '/';
	assert_false(cgroup_parse(path, &parsed));
	assert_false(cgroup_parse("", &parsed));
	free(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_choose),
		cmocka_unit_test(test_places),
		cmocka_unit_test(test_hostile_paths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

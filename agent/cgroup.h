/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Noun "cgroup": which container, pod or unit a cgroup id is. Identity is (hierarchy, id); one hierarchy is
 * chosen at start. Fed by a walk of the cgroup file system and by EVENT_CGROUP_* records. Any thread may read.
 */
#ifndef CGROUP_H
#define CGROUP_H

#include "abi/knobs.h"
#include "abi/process.h"
#include "collector.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CGROUP_LIMIT 16384
#define CGROUP_TOMBSTONE_S 300 /* a container made again at the same path meanwhile keeps its index */
#define CGROUP_HOST 0 /* index of _host */

struct cgroup_table;

struct cgroup_name { /* valid as long as the table; "" where absent */
	const char *container, *pod, *namespace_, *id, *image, *runtime, *cgroup;
	double first_seen, last_seen; /* wall clock seconds */
	bool gone;
};

struct cgroup_opts {      /* for tests; zeroed means the real host */
	const char *mount;    /* instead of the mount point of the chosen hierarchy */
	const char *root;     /* prefix of /var/lib/docker, /var/log/pods, /run … */
};

/* Which hierarchy names tasks on this host: memory, cpu, pids, io on v1 and hybrid, else v2. Its mount point. */
int cgroup_choose(enum cgroup_source *ret_source, char *ret_mount, size_t mount_size);
struct cgroup_table *cgroup_table_new(enum cgroup_source source, const char *mount, const struct cgroup_opts *opts);
void cgroup_table_free(struct cgroup_table *table); /* accepts NULL */
int cgroup_table_scan(struct cgroup_table *table);
void cgroup_table_event(struct cgroup_table *table, const struct event_cgroup *event);
void cgroup_table_tick(struct cgroup_table *table); /* names that came late, tombstones */
/* The container's index for window_labels.container; CGROUP_HOST for what is no container. */
uint32_t cgroup_container(struct cgroup_table *table, uint64_t cgroup_id);
void cgroup_get_name(struct cgroup_table *table, uint32_t container, struct cgroup_name *ret_name);
size_t cgroup_container_count(struct cgroup_table *table); /* indexes 0..count-1 */
uint64_t cgroup_refused(struct cgroup_table *table); /* cgroups past CGROUP_LIMIT: they count as _host */
/*
 * CPU per container from the `account_cpu` map; fills in views[index] whole. Frozen when gone; an index whose
 * tombstone is over (old windows may still name it) gets container NULL.
 */
int cgroup_account(struct cgroup_table *table, int account_cpu_fd, struct view_container *views, size_t count);

/* The path parser, pure. What a cgroup path says, before any file vouched for it. */
struct cgroup_parsed {
	const char *runtime; /* "docker" "containerd" "crio" "podman" "lxc" "nspawn" "systemd" … , NULL: no container */
	char id[128];        /* container id or name */
	char pod_uid[64];
	char unit[256];      /* systemd unit */
};
bool cgroup_parse(const char *path, struct cgroup_parsed *ret_parsed);

#endif

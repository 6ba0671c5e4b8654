/* SPDX-License-Identifier: Apache-2.0 */
/* Does a runtime put a container at this cgroup path? Pure. `owner`: whose runtime it is, 0 for the system's. */
#ifndef CGROUP_PLACE_H
#define CGROUP_PLACE_H

#include "base/buf.h"

#include <stdbool.h>
#include <sys/types.h>

/* parent: HostConfig's CgroupParent, "" where none was given. */
bool cgroup_place_docker(const char *path, const char *parent, const char *id, uid_t owner);
/* cgroups_path: linux.cgroupsPath of an OCI bundle, "slice:prefix:name" or a path. */
bool cgroup_place_oci(const char *path, const char *cgroups_path, uid_t owner);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of noun "cgroup", shared by its files: cgroup.c (table, events, names), cgroup_scan.c (the cgroup file
 * system), cgroup_parse.c (what a path says), cgroup_files.c (who vouches for it), cgroup_account.c (CPU time).
 */
#ifndef CGROUP_PRIVATE_H
#define CGROUP_PRIVATE_H

#include "base/hmap.h"
#include "cgroup.h"

#include <pthread.h>
#include <sys/types.h>

#define CGROUP_PATH_BYTES 4096
#define CGROUP_REUSE_S 1200 /* a slot's name outlives every window that refers to it */
#define CGROUP_FOLD_S 30    /* a zombie may be freed, and so charged, some time after its cgroup went */
#define CGROUP_HOLD_S 3     /* for the event of an id that the sums know first */
#define CGROUP_SCAN_S 60
#define CGROUP_TRIES 10     /* for its files, at 1, 2, 4 … 64 s */

struct cgroup_strings { /* one block; readers may hold pointers into older ones until the slot is used again */
	struct cgroup_strings *older;
	const char *container, *pod, *namespace_, *id, *image, *runtime, *cgroup;
	char bytes[];
};

struct cgroup_slot { /* a container, a unit, or _host */
	struct cgroup_strings *strings; /* NULL: never used */
	uid_t owner;          /* whose files may vouch for it */
	bool trusted;         /* nobody but the owner and root could have made the cgroup */
	bool vouched;         /* has the name its files give it */
	bool gone, retired;   /* retired: the tombstone is over, only old windows still ask for the name */
	unsigned tries;       /* to find its files */
	uint64_t next_try_ns; /* CLOCK_MONOTONIC, UINT64_MAX: settled */
	uint64_t gone_ns;     /* CLOCK_MONOTONIC */
	double first_seen, last_seen, start; /* wall clock; start 0: it is older than the agent */
	uint32_t living;      /* cgroups of it that exist */
	uint64_t user_ns, system_ns; /* of its cgroups that are no longer in the map */
};

struct cgroup_node { /* a cgroup directory, dead or alive */
	uint64_t id; /* key */
	uint32_t container;
	uint32_t scan; /* number of the scan that saw it last */
	bool gone, held; /* held: an id nobody told us of yet, met at gone_ns; counted for nobody */
	uint64_t gone_ns;
	uint64_t user_ns, system_ns; /* as last read from account_cpu */
};

struct cgroup_place { /* path of a living container's own cgroup -> slot, by hash; the string decides */
	uint64_t hash; /* key */
	uint32_t container;
};

struct cgroup_vouched { /* "" where the files say nothing */
	char container[256], pod[256], namespace_[256], image[512], runtime[32];
};

struct cgroup_table {
	pthread_mutex_t lock; /* over everything below */
	int mount_fd;
	char *root; /* prefix of the runtimes' files */
	struct hmap nodes, places;
	struct cgroup_slot *slots;
	size_t slot_count, slot_capacity;
	uint32_t scan;
	uint64_t next_scan_ns; /* a repair; earlier where something unknown was met */
	uint64_t last_scan_ns, scan_pause_ns; /* between scans for unknown ids; grows while they find nothing */
	int account_fd; /* once known: dead cgroups are taken out of the map */
	uint64_t refused; /* cgroups past the limit; their time is _host's */
};

/* cgroup_parse.c. ret_length: of the path up to and with the container's own cgroup. */
bool cgroup_parse_prefix(const char *path, struct cgroup_parsed *ret_parsed, size_t *ret_length);

/* cgroup.c and its parts; with the lock held, but for cgroup_settle */
struct cgroup_node *cgroup_add(struct cgroup_table *table, uint64_t id, const char *path, bool born);
void cgroup_remove(struct cgroup_table *table, struct cgroup_node *node, uint64_t now_ns);
int cgroup_scan_locked(struct cgroup_table *table);
/* Moves what dead cgroups ran into their containers and empties their entries in the map. */
void cgroup_fold(struct cgroup_table *table, uint64_t now_ns);
/* cgroup_slot.c */
uint32_t cgroup_slot_find(struct cgroup_table *table, const char *path, size_t length); /* CGROUP_HOST: none */
uint32_t cgroup_slot_new(struct cgroup_table *table, const char *path, size_t length);
/* vouched NULL: the path is the name again. */
int cgroup_slot_rename(struct cgroup_slot *slot, const char *path, const char *id,
		       const struct cgroup_vouched *vouched);
void cgroup_slot_retire(struct cgroup_table *table, uint32_t container);
/* Looks for the files of one container, or of all that are due; takes the lock itself, not over the reading. */
void cgroup_settle(struct cgroup_table *table, uint32_t container);
void cgroup_settle_due(struct cgroup_table *table);

/* cgroup_scan.c: cgroup_choose over the text of a mountinfo file. */
int cgroup_choose_from(const char *mountinfo, enum cgroup_source *ret_source, char *ret_mount, size_t mount_size);

/* cgroup_files.c */
/*
 * What the runtime's files say about the container whose own cgroup is `path`. -ENOENT: no file speaks of it
 * (yet); -EPERM: the files belong to somebody else, or put the container into another place.
 */
int cgroup_files_vouch(const char *root, const char *path, const struct cgroup_parsed *parsed, uid_t owner,
		       struct cgroup_vouched *ret_vouched);

#endif

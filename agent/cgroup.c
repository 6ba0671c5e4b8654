/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Noun "cgroup", the table: cgroup ids to containers. Takes the scan of the cgroup file system and the kernel's
 * EVENT_CGROUP_* records, gives indexes and names. Owns its strings; one lock, never held over a file of a
 * runtime.
 */
#include "cgroup_private.h"

#include "base/clean.h"
#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int name_host(struct cgroup_table *table)
{
	struct cgroup_vouched host = { .container = "_host" };
	struct cgroup_slot *slot;

	table->slots = calloc(64, sizeof(*table->slots));
	if (!table->slots)
		return -ENOMEM;
	table->slot_capacity = 64;
	table->slot_count = 1;
	slot = &table->slots[CGROUP_HOST];
	slot->first_seen = (double)clock_wall_ns() / 1e9;
	slot->next_try_ns = UINT64_MAX;
	return cgroup_slot_rename(slot, "/", "", &host);
}

struct cgroup_table *cgroup_table_new(enum cgroup_source source, const char *mount, const struct cgroup_opts *opts)
{
	struct cgroup_table *table = calloc(1, sizeof(*table));

	(void)source; /* the ids come from the mount and the events, both of the chosen hierarchy */
	if (!table)
		return NULL;
	pthread_mutex_init(&table->lock, NULL);
	hmap_init(&table->nodes, sizeof(uint64_t), sizeof(struct cgroup_node), CGROUP_LIMIT);
	hmap_init(&table->places, sizeof(uint64_t), sizeof(struct cgroup_place), CGROUP_LIMIT);
	table->account_fd = -1;
	table->scan_pause_ns = NS_PER_S;
	table->mount_fd = open(opts && opts->mount ? opts->mount : mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	table->root = strdup(opts && opts->root ? opts->root : "");
	if (table->mount_fd < 0 || !table->root || name_host(table)) {
		cgroup_table_free(table);
		return NULL;
	}
	return table;
}

void cgroup_table_free(struct cgroup_table *table)
{
	if (!table)
		return;
	for (size_t i = 0; i < table->slot_count; i++) {
		struct cgroup_strings *strings = table->slots[i].strings, *older;

		for (; strings; strings = older) {
			older = strings->older;
			free(strings);
		}
	}
	if (table->mount_fd >= 0)
		close(table->mount_fd);
	free(table->slots);
	free(table->root);
	hmap_done(&table->nodes);
	hmap_done(&table->places);
	pthread_mutex_destroy(&table->lock);
	free(table);
}

/* The user below whose service manager the cgroup lies; 0: the system's. */
static uid_t find_owner(const char *path)
{
	unsigned slice, manager;
	int end = 0;

	if (sscanf(path, "/user.slice/user-%u.slice/user@%u.service/%n", &slice, &manager, &end) == 2 && end &&
	    slice == manager)
		return slice;
	return 0;
}

/* Could only root, or the owner, make a cgroup here? Every directory above has to be theirs. */
static bool is_trusted(const struct cgroup_table *table, const char *path, size_t length, uid_t owner)
{
	char above[CGROUP_PATH_BYTES];
	struct stat status;

	if (length >= sizeof(above) || fstat(table->mount_fd, &status) || status.st_uid)
		return false;
	for (size_t end = 1; end < length; end++) {
		if (path[end] != '/')
			continue;
		memcpy(above, path + 1, end - 1);
		above[end - 1] = '\0';
		if (fstatat(table->mount_fd, above, &status, AT_SYMLINK_NOFOLLOW) ||
		    (status.st_uid && status.st_uid != owner))
			return false;
	}
	return true;
}

/* The container that the path's outermost match names, made if it is new. */
static uint32_t find_container(struct cgroup_table *table, const char *path, bool born)
{
	struct cgroup_parsed parsed;
	struct cgroup_slot *slot;
	uint32_t container;
	size_t length;

	if (!cgroup_parse_prefix(path, &parsed, &length))
		return CGROUP_HOST;
	container = cgroup_slot_find(table, path, length);
	if (container != CGROUP_HOST && !table->slots[container].gone)
		return container;
	if (container == CGROUP_HOST)
		container = cgroup_slot_new(table, path, length);
	if (container == CGROUP_HOST) {
		table->refused++;
		return CGROUP_HOST;
	}
	slot = &table->slots[container];
	slot->gone = false;
	slot->start = born ? (double)clock_wall_ns() / 1e9 : 0;
	slot->owner = find_owner(path);
	slot->trusted = is_trusted(table, path, length, slot->owner);
	slot->tries = 0;
	slot->next_try_ns = clock_monotonic_ns();
	return container;
}

struct cgroup_node *cgroup_add(struct cgroup_table *table, uint64_t id, const char *path, bool born)
{
	bool made;
	struct cgroup_node *node = hmap_insert(&table->nodes, &id, &made);

	if (!node) {
		table->refused++;
		return NULL;
	}
	node->scan = table->scan;
	if (!made && !node->held)
		return node;
	node->held = false;
	node->container = find_container(table, path, born);
	table->slots[node->container].living++;
	return node;
}

void cgroup_remove(struct cgroup_table *table, struct cgroup_node *node, uint64_t now_ns)
{
	struct cgroup_slot *slot = &table->slots[node->container];

	if (node->gone || node->held)
		return;
	node->gone = true;
	node->gone_ns = now_ns;
	slot->living--;
	if (slot->living || node->container == CGROUP_HOST)
		return;
	slot->gone = true;
	slot->gone_ns = now_ns;
	slot->last_seen = (double)clock_wall_ns() / 1e9;
}

void cgroup_table_event(struct cgroup_table *table, const struct event_cgroup *event)
{
	char path[EVENT_PATH_BYTES];
	struct cgroup_node *node;
	uint32_t fresh = CGROUP_HOST;

	snprintf(path, sizeof(path), "%.*s", EVENT_PATH_BYTES - 1, event->path);
	pthread_mutex_lock(&table->lock);
	if (event->kind == EVENT_CGROUP_GONE) {
		node = hmap_find(&table->nodes, &event->id);
		if (node)
			cgroup_remove(table, node, clock_monotonic_ns());
	} else if (event->kind == EVENT_CGROUP_MADE && strlen(path) >= EVENT_PATH_BYTES - 1) {
		table->next_scan_ns = 0; /* cut: the scan finds the whole path */
	} else if (event->kind == EVENT_CGROUP_MADE && *path == '/') {
		node = cgroup_add(table, event->id, path, true);
		if (node && table->slots[node->container].next_try_ns != UINT64_MAX)
			fresh = node->container;
	}
	pthread_mutex_unlock(&table->lock);
	if (fresh != CGROUP_HOST)
		cgroup_settle(table, fresh);
}

int cgroup_table_scan(struct cgroup_table *table)
{
	int result;

	pthread_mutex_lock(&table->lock);
	result = cgroup_scan_locked(table);
	pthread_mutex_unlock(&table->lock);
	cgroup_settle_due(table);
	return result;
}

void cgroup_table_tick(struct cgroup_table *table)
{
	uint64_t now_ns = clock_monotonic_ns();

	pthread_mutex_lock(&table->lock);
	if (now_ns >= table->next_scan_ns)
		cgroup_scan_locked(table); /* a failing scan leaves the table as it is; the next one tries again */
	now_ns = clock_monotonic_ns(); /* no earlier than what the scan noted */
	cgroup_fold(table, now_ns);
	for (uint32_t i = 1; i < table->slot_count; i++) {
		const struct cgroup_slot *slot = &table->slots[i];

		if (slot->strings && slot->gone && !slot->retired &&
		    now_ns - slot->gone_ns > CGROUP_TOMBSTONE_S * NS_PER_S)
			cgroup_slot_retire(table, i);
	}
	pthread_mutex_unlock(&table->lock);
	cgroup_settle_due(table);
}

uint32_t cgroup_container(struct cgroup_table *table, uint64_t cgroup_id)
{
	const struct cgroup_node *node;
	uint32_t container = CGROUP_HOST;

	pthread_mutex_lock(&table->lock);
	node = hmap_find(&table->nodes, &cgroup_id);
	if (node)
		container = node->container;
	else if (cgroup_id && table->next_scan_ns > table->last_scan_ns + table->scan_pause_ns)
		table->next_scan_ns = table->last_scan_ns + table->scan_pause_ns;
	pthread_mutex_unlock(&table->lock);
	return container;
}

void cgroup_get_name(struct cgroup_table *table, uint32_t container, struct cgroup_name *ret_name)
{
	const struct cgroup_slot *slot;
	const struct cgroup_strings *strings;

	pthread_mutex_lock(&table->lock);
	if (container >= table->slot_count || !table->slots[container].strings)
		container = CGROUP_HOST;
	slot = &table->slots[container];
	strings = slot->strings;
	*ret_name = (struct cgroup_name){
		.container = strings->container, .pod = strings->pod, .namespace_ = strings->namespace_,
		.id = strings->id, .image = strings->image, .runtime = strings->runtime, .cgroup = strings->cgroup,
		.first_seen = slot->first_seen, .gone = slot->gone,
		.last_seen = slot->gone ? slot->last_seen : (double)clock_wall_ns() / 1e9,
	};
	pthread_mutex_unlock(&table->lock);
}

size_t cgroup_container_count(struct cgroup_table *table)
{
	size_t count;

	pthread_mutex_lock(&table->lock);
	count = table->slot_count;
	pthread_mutex_unlock(&table->lock);
	return count;
}

uint64_t cgroup_refused(struct cgroup_table *table)
{
	uint64_t refused;

	pthread_mutex_lock(&table->lock);
	refused = table->refused;
	pthread_mutex_unlock(&table->lock);
	return refused;
}

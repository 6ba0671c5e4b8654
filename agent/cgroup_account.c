/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Noun "cgroup", CPU time: the kernel's sums per cgroup, added up per container. Sums only grow: what a dead
 * cgroup ran stays with its container, and time of an unknown cgroup is _host's for good.
 */
#include "cgroup_private.h"

#include "abi/account.h"
#include "base/clock.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>

#define BATCH 1024

void cgroup_fold(struct cgroup_table *table, uint64_t now_ns)
{
	struct cgroup_node *node;

	for (size_t at = 0; (node = hmap_next(&table->nodes, &at));) {
		struct cgroup_slot *slot = &table->slots[node->container];
		struct account_cpu last = { 0 };

		if (!node->gone || now_ns - node->gone_ns < CGROUP_FOLD_S * NS_PER_S)
			continue;
		if (table->account_fd >= 0 &&
		    !bpf_map_lookup_and_delete_elem(table->account_fd, &node->id, &last)) {
			node->user_ns = last.user_ns > node->user_ns ? last.user_ns : node->user_ns;
			node->system_ns = last.system_ns > node->system_ns ? last.system_ns : node->system_ns;
		}
		slot->user_ns += node->user_ns;
		slot->system_ns += node->system_ns;
		hmap_remove(&table->nodes, &node->id);
	}
}

/*
 * An id nobody told us of: its event may be on the way, or the scan finds it. Until then its time is shown
 * nowhere, as it could not be taken from _host again. What stays unknown came and went unseen.
 */
static struct cgroup_node *hold_unknown(struct cgroup_table *table, uint64_t id, uint64_t now_ns)
{
	struct cgroup_node *node;

	if (id && now_ns - table->last_scan_ns > table->scan_pause_ns) {
		cgroup_scan_locked(table);
		node = hmap_find(&table->nodes, &id);
		if (node)
			return node;
	}
	node = hmap_insert(&table->nodes, &id, NULL); /* zeroed, so _host's */
	if (node && id) {
		node->held = true;
		node->gone_ns = now_ns;
	}
	return node;
}

static void read_sum(struct cgroup_table *table, uint64_t id, const struct account_cpu *sum, uint64_t now_ns)
{
	struct cgroup_node *node = hmap_find(&table->nodes, &id);

	if (!node)
		node = hold_unknown(table, id, now_ns);
	if (!node)
		return;
	if (node->held && now_ns - node->gone_ns > CGROUP_HOLD_S * NS_PER_S) {
		node->held = false;
		node->gone = true;
	}
	if (sum->user_ns > node->user_ns)
		node->user_ns = sum->user_ns;
	if (sum->system_ns > node->system_ns)
		node->system_ns = sum->system_ns;
}

static int read_sums(struct cgroup_table *table, uint64_t now_ns)
{
	uint64_t *ids = malloc(BATCH * sizeof(*ids));
	struct account_cpu *sums = malloc(BATCH * sizeof(*sums));
	uint32_t place = 0, count;
	void *from = NULL;
	int error = ids && sums ? 0 : -ENOMEM;

	while (!error) {
		count = BATCH;
		error = bpf_map_lookup_batch(table->account_fd, from, &place, ids, sums, &count, NULL);
		if (error && error != -ENOENT)
			break;
		for (uint32_t i = 0; i < count; i++)
			read_sum(table, ids[i], &sums[i], now_ns);
		from = &place;
	}
	free(ids);
	free(sums);
	return error == -ENOENT ? 0 : error;
}

static void fill_view(const struct cgroup_slot *slot, struct view_container *ret_view)
{
	const struct cgroup_strings *strings = slot->strings;

	*ret_view = (struct view_container){ 0 };
	if (!strings || slot->retired)
		return;
	*ret_view = (struct view_container){
		.namespace_ = strings->namespace_, .pod = strings->pod, .container = strings->container,
		.id = strings->id, .image = strings->image, .runtime = strings->runtime, .cgroup = strings->cgroup,
		.user_ns = slot->user_ns, .system_ns = slot->system_ns, .start_seconds = slot->start,
		.gone = slot->gone,
	};
}

int cgroup_account(struct cgroup_table *table, int account_cpu_fd, struct view_container *views, size_t count)
{
	const struct cgroup_node *node;
	int error;

	pthread_mutex_lock(&table->lock);
	table->account_fd = account_cpu_fd;
	error = read_sums(table, clock_monotonic_ns());
	for (size_t i = 0; i < count; i++) {
		views[i] = (struct view_container){ 0 };
		if (i < table->slot_count)
			fill_view(&table->slots[i], &views[i]);
	}
	for (size_t at = 0; (node = hmap_next(&table->nodes, &at));)
		if (!node->held && node->container < count) {
			views[node->container].user_ns += node->user_ns;
			views[node->container].system_ns += node->system_ns;
		}
	pthread_mutex_unlock(&table->lock);
	return error;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Part of agent/query: who ran. Takes a window's label ids, gives rows of strings; each container's once. */
#include "query_build.h"

#include <errno.h>

struct container { /* an entry of `containers`: its strings, cleaned */
	uint32_t container;
	const char *name, *pod, *namespace_, *cgroup;
};

struct label_slot {
	struct window_labels labels; /* the key, with root 0 */
	uint32_t index;
};

static const struct container *find_container(struct query_build *build, uint32_t id)
{
	struct cgroup_name name;
	struct container *entry;
	bool is_new;

	entry = hmap_insert(&build->containers, &id, &is_new);
	if (!entry || !is_new)
		return entry && entry->cgroup ? entry : NULL;
	cgroup_get_name(build->cgroups, id, &name);
	entry->name = query_clean(build->arena, name.container);
	entry->pod = query_clean(build->arena, name.pod);
	entry->namespace_ = query_clean(build->arena, name.namespace_);
	entry->cgroup = query_clean(build->arena, name.cgroup);
	return entry->name && entry->pod && entry->namespace_ && entry->cgroup ? entry : NULL;
}

static int fill_labels(struct query_build *build, const struct window_labels *from, struct profile_labels *labels)
{
	const struct container *container = find_container(build, from->container);

	if (!container)
		return -ENOMEM;
	*labels = (struct profile_labels){
		.container = container->name,
		.pod = container->pod,
		.namespace_ = container->namespace_,
		.cgroup = container->cgroup,
		.comm = query_clean(build->arena, names_get_string(build->names, from->comm)),
		.thread = query_clean(build->arena, names_get_string(build->names, from->thread)),
		.pid = from->pid,
		.tid = from->tid,
	};
	return labels->comm && labels->thread ? 0 : -ENOMEM;
}

int query_labels_add(struct query_build *build, const struct window_labels *from, uint32_t *ret_labels)
{
	uint32_t root = build->filter.selector->root;
	struct window_labels key = *from;
	struct profile_labels labels;
	struct label_slot *slot;
	bool is_new;

	if (root && from->root != root) {
		*ret_labels = UINT32_MAX;
		return 0;
	}
	key.root = 0;
	slot = hmap_insert(&build->label_slots, &key, &is_new);
	if (!slot)
		return -ENOMEM;
	if (is_new) {
		if (fill_labels(build, from, &labels))
			return -ENOMEM;
		slot->index = UINT32_MAX;
		if (query_filter_labels(&build->filter, &labels)) {
			slot->index = (uint32_t)build->labels.count;
			if (!query_push(build, &build->labels, &labels))
				return -ENOMEM;
		}
	}
	*ret_labels = slot->index;
	return 0;
}

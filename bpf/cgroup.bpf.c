/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Kernel side of "cgroup": births and deaths in the hierarchy that names tasks, over the `events` ring
 * (abi/process.h), so that a container is named while its files are sure to exist.
 */
#include "abi/process.h"

#include "cgroup_id.h"

/*
 * Records of abi/process.h. Written here, read by the pipeline. Full: the record is dropped and counted in
 * events_lost; agent/cgroup's periodic scan repairs what was missed.
 */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} events SEC(".maps");

__u64 events_lost = 0;

static __always_inline void emit(struct cgroup *cgroup, const char *path, __u32 kind)
{
	struct event_cgroup *event;
	long length;

	if (!cgroup_is_chosen(cgroup))
		return;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		__sync_fetch_and_add(&events_lost, 1);
		return;
	}
	event->kind = kind;
	event->id = cgroup->kn->id;
	event->time_ns = bpf_ktime_get_ns();
	length = bpf_probe_read_kernel_str(event->path, sizeof(event->path), path);
	if (length < 1) {
		event->path[0] = '\0';
		length = 1;
	}
	event->path_bytes = (__u32)length - 1;
	bpf_ringbuf_submit(event, 0);
}

SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(cgroup_made, struct cgroup *cgroup, const char *path)
{
	emit(cgroup, path, EVENT_CGROUP_MADE);
	return 0;
}

/* rmdir, not release: memory charges can keep a removed cgroup from being released for hours. */
SEC("tp_btf/cgroup_rmdir")
int BPF_PROG(cgroup_gone, struct cgroup *cgroup, const char *path)
{
	emit(cgroup, path, EVENT_CGROUP_GONE);
	return 0;
}

char cgroup_license[] SEC("license") = "Dual BSD/GPL";

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Part of the pipeline: copies of stacks go to "snapshot", which finishes them, to "referee", which judges or helps,
 * or to both; and every drained sample passes by the two.
 */
#include "pipeline_private.h"
#include "referee_keep.h"

#include <errno.h>

static uint32_t find_slowly(void *referee, uint64_t id, const uint64_t **ret_frames, enum reason *ret_reason)
{
	return referee_finished(referee, id, ret_frames, ret_reason);
}

static int take_copy(void *context, void *data, size_t size)
{
	struct pipeline *pipeline = context;
	const struct snapshot *copy = data;
	bool whole = snapshot_is_whole(data, size), judged = whole && copy->flags & SNAPSHOT_REFEREE;
	const struct process *process;

	if (!judged)
		(void)snapshot_receive(pipeline->snapshots, data, size);
	if (!pipeline->referee || !whole || !(judged || copy->reason == REASON_UNSUPPORTED_RULE))
		return 0;
	process = process_find(pipeline->processes, copy->tgid, copy->time_ns);
	if (process)
		referee_receive(pipeline->referee, copy, process);
	return 0;
}

int pipeline_copies_open(struct pipeline *pipeline)
{
	struct snapshot_rules rules = pipeline_rules(pipeline);

	pipeline->snapshots = snapshot_new(pipeline->processes, &rules);
	if (!pipeline->snapshots)
		return -ENOMEM;
	return ring_buffer__add(pipeline->events, loader_map_fd(pipeline->loader, LOADER_SNAPSHOTS), take_copy, pipeline) ?:
	       ring_buffer__add(pipeline->events, loader_map_fd(pipeline->loader, LOADER_WANTED), publish_receive,
				pipeline->publish);
}

int pipeline_referee_open(struct pipeline *pipeline, const struct config *config, char *error, size_t error_size)
{
	struct referee_opts opts = { .resolve = pipeline->resolve, .wake_fd = pipeline->news_fd,
				     .interval = config->referee_interval, .keep_fd = -1 };
	int result = config->keep_stacks ? keep_open(config->keep_stacks, error, error_size) : 0;

	if (result < 0)
		return result;
	if (config->keep_stacks)
		opts.keep_fd = pipeline->keep_fd = result;
	result = referee_new(&opts, &pipeline->referee);
	if (!result)
		snapshot_set_slow(pipeline->snapshots, find_slowly, pipeline->referee);
	return result;
}

bool pipeline_copies_await(struct pipeline *pipeline, uint64_t to_ns)
{
	return snapshot_awaits_images(pipeline->snapshots, to_ns) || referee_awaits(pipeline->referee, to_ns);
}

enum reason pipeline_take_sample(void *context, const struct drain_sample *drained)
{
	struct pipeline *pipeline = context;
	struct drain_sample sample = *drained;

	snapshot_finish(pipeline->snapshots, &sample);
	referee_observe(pipeline->referee, &sample, pipeline->processes);
	return aggregate_take(pipeline->aggregate, &sample);
}

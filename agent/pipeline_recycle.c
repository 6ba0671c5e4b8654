/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables that would fill up for good: when the table of frames is past its half, or that of images past a quarter,
 * what no kept window and no process speaks of is given back. A window keeps its names for as long as it is kept itself.
 */
#include "pipeline_private.h"

#include "base/clock.h"

#define AGAIN_NS (10 * NS_PER_S)  /* reading every window takes a while */
#define LATER_NS (60 * NS_PER_S)  /* when there was next to nothing to give back */
#define WAIT_MS 50                /* for queries to end */
#define WORTH_FRAMES 4096
#define WORTH_IMAGES 1024
#define IMAGES_A_TURN 16384 /* resolve's queue holds more */

static void keep_window(struct names *names, const struct window *window)
{
	names_recycle_keep(names, window->frames, window->frame_count);
	for (uint32_t at = 0; at < window->label_count; at++) {
		names_recycle_keep_string(names, window->labels[at].comm);
		names_recycle_keep_string(names, window->labels[at].thread);
	}
}

static size_t recycle_frames(struct pipeline *pipeline)
{
	struct window **windows;
	int count = store_range(pipeline->store, 0, UINT64_MAX, &windows);
	size_t freed = 0;

	if (count < 0)
		return 0;
	if (!names_recycle_begin(pipeline->names)) {
		for (int at = 0; at < count; at++)
			keep_window(pipeline->names, windows[at]);
		freed = names_recycle_end(pipeline->names, WAIT_MS);
	}
	store_release(windows, (size_t)count);
	return freed;
}

/* The last to speak of an image are its frames; resolve then forgets it, and its number is free. */
static size_t recycle_images(struct pipeline *pipeline)
{
	struct process_image *image;
	size_t at = 0, count = 0;

	while (count < IMAGES_A_TURN && (image = process_image_unused(pipeline->processes, &at))) {
		struct resolve_image_request request = { .image = image->id, .forget = true };

		if (names_image_frames(pipeline->names, image->id) || resolve_image(pipeline->resolve, &request))
			continue;
		if (image->has_table)
			publish_drop_image(pipeline->publish, image->dir);
		image->has_table = false;
		process_image_leave(pipeline->processes, image);
		count++;
	}
	return count;
}

void pipeline_recycle(struct pipeline *pipeline, uint64_t now_ns)
{
	bool crowded = process_image_is_filling(pipeline->processes);
	size_t images = crowded ? recycle_images(pipeline) : 0;

	if (now_ns < pipeline->recycle_after_ns ||
	    !(names_is_filling(pipeline->names) || (crowded && images < WORTH_IMAGES)))
		return;
	if (recycle_frames(pipeline) > WORTH_FRAMES)
		pipeline->recycle_after_ns = now_ns + AGAIN_NS;
	else
		pipeline->recycle_after_ns = now_ns + LATER_NS;
}

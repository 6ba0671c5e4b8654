/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of resolve share: an agent's end with names, and callbacks that can be waited for. */
#ifndef RESOLVE_FIXTURE_H
#define RESOLVE_FIXTURE_H

#include "base/clean.h"
#include "base/clock.h"
#include "resolve_callbacks.h"
#include "resolve_open.h"
#include "resolve_spawn.h"

#include <stdio.h>
#include <string.h>

static inline struct fixture *fixture_new(int parent_socket)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	struct resolve_callbacks callbacks = { .image_done = on_image_done, .pages_done = on_pages_done,
					       .image_checked = on_image_checked,
					       .image_forgotten = on_image_forgotten, .context = fixture };

	pthread_mutex_init(&fixture->lock, NULL);
	pthread_cond_init(&fixture->changed, NULL);
	fixture->names = names_new();
	spawn_without_exec(true);
	if (parent_socket < 0)
		parent_socket = resolve_spawn_parent(256 << 20, &fixture->parent_pid);
	if (parent_socket < 0 || resolve_new(parent_socket, fixture->names, &callbacks, &fixture->resolve))
		return NULL;
	return fixture;
}

static inline void fixture_free(struct fixture *fixture)
{
	resolve_free(fixture->resolve);
	names_free(fixture->names);
	free(fixture);
}

static inline const char *frame_name(struct fixture *fixture, uint32_t id)
{
	struct names_frame frame;

	names_get_frame(fixture->names, id, &frame);
	return frame.line_count ? names_get_string(fixture->names, frame.lines[frame.line_count - 1].name) : "";
}

static inline enum symbol_source frame_source(struct fixture *fixture, uint32_t id)
{
	struct names_frame frame;

	names_get_frame(fixture->names, id, &frame);
	return frame.state == NAMES_DONE ? frame.source : SYMBOL_SOURCE_COUNT;
}

static inline bool wait_names(struct fixture *fixture)
{
	resolve_names(fixture->resolve);
	return names_wait(fixture->names, WAIT_S * 1000);
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A profile as folded stacks, one line a distinct stack, sorted: `labels…;frames… count`, root first. Reads what
 * FlameGraph's scripts, speedscope and their like take; `_[k]` `_[i]` `_[j]` mark kernel, inlined and JIT frames.
 */
#include "exporter.h"

#include "base/buf.h"
#include "base/clean.h"
#include "base/intern.h"
#include "profile.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TEXT_BYTES (64U << 20) /* of all lines together */

enum by { BY_CONTAINER, BY_POD, BY_NAMESPACE, BY_COMM, BY_PID, BY_COUNT };
static const char *const by_names[BY_COUNT] = { "container", "pod", "namespace", "comm", "pid" };

struct folded {
	const struct profile *profile;
	enum by by[BY_COUNT];
	size_t by_count;
	struct intern *lines;
	uint64_t *counts; /* by number of the line */
	size_t capacity;
};

/* A name must not pretend to be two frames, or two lines. */
static void add_name(struct buf *line, const char *name)
{
	for (; *name; name++)
		buf_add_char(line, *name == ';' ? ':' : *name == '\n' || *name == '\r' ? ' ' : *name);
}

static void add_location(const struct profile *profile, const struct profile_location *location, struct buf *line)
{
	for (uint32_t i = location->lines; i-- > 0;) { /* the last is the outermost */
		const struct profile_line *at = &profile->lines[location->first_line + i];
		const char *name = profile->functions[at->function].name;

		buf_add_char(line, ';');
		add_name(line, name);
		if (location->kind == PROFILE_FRAME_KERNEL)
			buf_add_string(line, "_[k]");
		else if (location->kind == PROFILE_FRAME_JIT)
			buf_add_string(line, "_[j]");
		else if (i + 1 < location->lines)
			buf_add_string(line, "_[i]");
	}
}

static void add_labels(const struct folded *folded, const struct profile_labels *labels, struct buf *line)
{
	for (size_t i = 0; i < folded->by_count; i++) {
		const char *text[] = { labels->container, labels->pod, labels->namespace_, labels->comm };

		if (i)
			buf_add_char(line, ';');
		if (folded->by[i] == BY_PID)
			buf_printf(line, "%" PRIu32, labels->pid);
		else
			add_name(line, *text[folded->by[i]] ? text[folded->by[i]] : "-");
	}
}

static int parse_by(struct folded *folded, const char *text, struct buf *error)
{
	bool seen[BY_COUNT] = { false };

	while (text && *text) {
		size_t length = strcspn(text, ","), which = 0;

		while (which < BY_COUNT && (strlen(by_names[which]) != length || memcmp(by_names[which], text, length)))
			which++;
		if (which == BY_COUNT || seen[which]) {
			buf_add_string(error, "by takes a list of container, pod, namespace, comm and pid, each once.");
			return -EINVAL;
		}
		seen[which] = true;
		folded->by[folded->by_count++] = (enum by)which;
		text += length + (text[length] == ',');
	}
	if (!folded->by_count)
		folded->by[folded->by_count++] = BY_COMM;
	return 0;
}

/* What one count is worth in the value that was asked for. */
static int parse_value(const struct profile *profile, const char *value, uint64_t *ret_factor, struct buf *error)
{
	if (!value || !*value || !strcmp(value, profile->types[1].name)) {
		*ret_factor = profile->period;
		return 0;
	}
	if (!strcmp(value, profile->types[0].name)) {
		*ret_factor = 1;
		return 0;
	}
	buf_printf(error, "value must be %s or %s.", profile->types[0].name, profile->types[1].name);
	return -EINVAL;
}

static int count_line(struct folded *folded, const struct buf *line, uint64_t count)
{
	uint32_t id;

	if (line->failed)
		return -ENOMEM;
	id = intern_add(folded->lines, line->data, line->length);
	if (id == UINT32_MAX)
		return -EFBIG;
	if (id >= folded->capacity) {
		size_t capacity = folded->capacity ? 2 * folded->capacity : 256;
		uint64_t *counts = realloc(folded->counts, capacity * sizeof(*counts));

		if (!counts)
			return -ENOMEM;
		memset(counts + folded->capacity, 0, (capacity - folded->capacity) * sizeof(*counts));
		folded->counts = counts;
		folded->capacity = capacity;
	}
	folded->counts[id] += count;
	return 0;
}

static int collect(struct folded *folded)
{
	const struct profile *profile = folded->profile;
	auto_buf struct buf line = { 0 };
	int status = 0;

	for (size_t i = 0; i < profile->sample_count && !status; i++) {
		const struct profile_sample *sample = &profile->samples[i];

		if (!sample->count)
			continue;
		buf_clear(&line);
		add_labels(folded, &profile->labels[sample->labels], &line);
		for (uint32_t j = sample->depth; j-- > 0;)
			add_location(profile, &profile->locations[profile->stack_locations[sample->first_location + j]],
				     &line);
		status = count_line(folded, &line, sample->count);
	}
	return status;
}

static int compare_ids(const void *left, const void *right, void *lines)
{
	return strcmp(intern_get(lines, *(const uint32_t *)left), intern_get(lines, *(const uint32_t *)right));
}

static int write_lines(struct folded *folded, uint64_t factor, struct buf *out)
{
	size_t count = intern_count(folded->lines) - 1; /* number 0 is the empty string */
	auto_free uint32_t *ids = calloc(count + 1, sizeof(*ids));

	if (!ids)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++)
		ids[i] = i + 1;
	qsort_r(ids, count, sizeof(*ids), compare_ids, folded->lines);
	for (size_t i = 0; i < count; i++)
		buf_printf(out, "%s %" PRIu64 "\n", intern_get(folded->lines, ids[i]),
			   folded->counts[ids[i]] * factor);
	return out->failed ? -ENOMEM : 0;
}

static int encode(const struct profile *profile, const struct exporter_request *request, struct buf *out)
{
	struct folded folded = { .profile = profile };
	uint64_t factor = 1;
	int status = parse_by(&folded, request->by, out);

	if (!status)
		status = parse_value(profile, request->value, &factor, out);
	if (status)
		return status;
	folded.lines = intern_new(MAX_TEXT_BYTES);
	status = folded.lines ? collect(&folded) : -ENOMEM;
	if (!status)
		status = write_lines(&folded, factor, out);
	intern_free(folded.lines);
	free(folded.counts);
	return status;
}

const struct exporter folded_exporter = {
	.name = "folded",
	.help = "one line a stack, for flame graph scripts",
	.mime = "text/plain; charset=utf-8",
	.file_suffix = "folded",
	.encode = encode,
};

/* SPDX-License-Identifier: Apache-2.0 */
/* A small profile with every kind of frame, for the tests of exporters. */
#ifndef SAMPLE_PROFILE_H
#define SAMPLE_PROFILE_H

#include "base/buf.h"
#include "exporter.h"
#include "profile.h"

#define NONE UINT32_MAX

static struct profile_mapping sample_mappings[] = {
	{ "/usr/bin/web", "c0ffee", false }, { "[kernel.kallsyms]", "", true }, { "//anon", "", false },
};
static struct profile_function sample_functions[] = {
	{ "main", "main", "/src/main.c", 5 },           { "outer(int)", "_Z5outeri", "/src/web.cc", 10 },
	{ "inner", "inner", "/src/web.cc", 30 },        { "ksys_write", "ksys_write", "", 0 },
	{ "evil;name\n", "evil", "", 0 },               { "[truncated: no unwind rule]", "", "", 0 },
	{ "jitted", "jitted", "", 0 },
};
static struct profile_line sample_lines[] = {
	{ 0, 7 }, { 2, 33 }, { 1, 12 }, { 3, 0 }, { 4, 0 }, { 5, 0 }, { 6, 0 },
};
static struct profile_location sample_locations[] = {
	{ 0, 0, 1, 0x1000, PROFILE_FRAME_USER },   /* main */
	{ 0, 1, 2, 0x2000, PROFILE_FRAME_USER },   /* inner inlined into outer */
	{ 1, 3, 1, 0xffffffff81000123, PROFILE_FRAME_KERNEL },
	{ 0, 4, 1, 0x3000, PROFILE_FRAME_USER },   /* a hostile name */
	{ NONE, 5, 1, 0, PROFILE_FRAME_NOTE },
	{ 2, 6, 1, 0x7f0000001000, PROFILE_FRAME_JIT },
};
static struct profile_labels sample_labels[] = {
	{ "web-1", "web-pod", "prod", "nginx", "", "/kube/web", 100, 0 },
	{ "web-1", "web-pod", "prod", "nginx", "worker", "/kube/web", 101, 102 },
	{ "_host", "", "", "cron", "", "/", 0, 0 },
};
static uint32_t sample_stacks[] = { 1, 0, 2, 1, 0, 3, 4, 5, 0, 0, 0 };
static struct profile_sample sample_samples[] = {
	{ 0, 0, 2, 30 }, /* inner outer main */
	{ 1, 0, 2, 10 }, /* the same of another thread */
	{ 0, 2, 3, 20 }, /* ksys_write inner outer main */
	{ 2, 5, 2, 5 },  /* evil, truncated */
	{ 2, 7, 2, 3 },  /* jitted main */
	{ 0, 9, 2, 2 },  /* main main: recursion */
	{ 2, 0, 1, 0 },  /* nothing */
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
static struct profile sample_profile = {
	.types = { { "samples", "count" }, { "cpu", "nanoseconds" } },
	.period_type = { "cpu", "nanoseconds" },
	.period = 10000000,
	.time_ns = 1764205200000000000, /* 2025-11-27T01:00:00Z */
	.duration_ns = 2000000000,
	.comment = "cpu, last=2s",
	.mapping_count = COUNT(sample_mappings), .function_count = COUNT(sample_functions),
	.line_count = COUNT(sample_lines), .location_count = COUNT(sample_locations),
	.label_count = COUNT(sample_labels), .sample_count = COUNT(sample_samples),
	.stack_location_count = COUNT(sample_stacks),
	.mappings = sample_mappings, .functions = sample_functions, .lines = sample_lines,
	.locations = sample_locations, .labels = sample_labels, .samples = sample_samples,
	.stack_locations = sample_stacks,
};

static struct profile empty_profile = {
	.types = { { "samples", "count" }, { "cpu", "nanoseconds" } },
	.period_type = { "cpu", "nanoseconds" },
	.period = 10000000,
	.comment = "nothing",
};

#endif

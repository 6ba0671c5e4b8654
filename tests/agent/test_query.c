/* SPDX-License-Identifier: Apache-2.0 */
/* The query: merging, selectors, focus/ignore/hide, names that come late, hostile names and patterns. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fixture.h"
#include "profile.h"
#include "query.h"

static struct fixture fixture;
static char error[256];

static int set_up(void **state)
{
	(void)state;
	fixture_init(&fixture);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	fixture_done(&fixture);
	return 0;
}

static int ask(const struct query_selector *selector, size_t seconds, struct profile **ret_profile)
{
	struct window *slices[8] = { NULL };
	int status;

	for (size_t i = 0; i < seconds; i++)
		slices[i] = fixture_second(&fixture, (1000 + i) * NS_PER_S);
	status = query_profile(slices, seconds, selector, fixture.names, fixture.cgroups, ret_profile, error,
			       sizeof(error));
	for (size_t i = 0; i < seconds; i++)
		window_unref(slices[i]);
	return status;
}

static struct profile *get(const struct query_selector *selector, size_t seconds)
{
	struct profile *profile = NULL;

	assert_int_equal(ask(selector, seconds, &profile), 0);
	return profile;
}

static uint64_t total(const struct profile *profile)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < profile->sample_count; i++)
		sum += profile->samples[i].count;
	return sum;
}

/* The sample's functions, leaf first, inlined ones before their caller, joined by blanks. */
static const char *stack_text(const struct profile *profile, size_t sample)
{
	static char text[1024];
	const struct profile_sample *at = &profile->samples[sample];

	*text = '\0';
	for (uint32_t i = 0; i < at->depth; i++) {
		const struct profile_location *location =
			&profile->locations[profile->stack_locations[at->first_location + i]];

		for (uint32_t j = 0; j < location->lines; j++) {
			uint32_t function = profile->lines[location->first_line + j].function;

			snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", *text ? " " : "",
				 profile->functions[function].name);
		}
	}
	return text;
}

static void slices_are_merged(void **state)
{
	struct profile *profile = get(&(struct query_selector){ .asked = "all" }, 3);

	(void)state;
	assert_int_equal(profile->sample_count, 3);
	assert_int_equal(profile->label_count, 2);
	assert_int_equal(total(profile), 150);
	assert_int_equal(profile->samples[0].count, 60);
	assert_string_equal(stack_text(profile, 0), "inner outer main");
	assert_string_equal(stack_text(profile, 1), "ksys_write write main");
	assert_string_equal(stack_text(profile, 2), "libc.so.6+0x4567 [truncated: no unwind rule]");
	assert_int_equal(profile->duration_ns, 3 * NS_PER_S);
	assert_int_equal(profile->period, FIXTURE_MS * NS_PER_MS);
	assert_string_equal(profile->comment, "all");
	assert_string_equal(profile->types[1].name, "cpu");
	profile_free(profile);
}

static void locations_say_where(void **state)
{
	struct profile *profile = get(&(struct query_selector){ 0 }, 1);
	const struct profile_location *leaf, *root, *kernel, *note;

	(void)state;
	leaf = &profile->locations[profile->stack_locations[profile->samples[0].first_location]];
	root = &profile->locations[profile->stack_locations[profile->samples[0].first_location + 1]];
	kernel = &profile->locations[profile->stack_locations[profile->samples[1].first_location]];
	note = &profile->locations[profile->stack_locations[profile->samples[2].first_location + 1]];
	assert_int_equal(leaf->address, 0x2100); /* interrupted there */
	assert_int_equal(root->address, 0x1000); /* a return address: inside the call */
	assert_int_equal(leaf->mapping, root->mapping);
	assert_string_equal(profile->mappings[leaf->mapping].file, "/usr/bin/web");
	assert_string_equal(profile->mappings[leaf->mapping].build_id, "c0ffee");
	assert_int_equal(profile->lines[leaf->first_line].line, 17);
	assert_int_equal(profile->lines[leaf->first_line + 1].line, 42);
	assert_int_equal(kernel->kind, PROFILE_FRAME_KERNEL);
	assert_true(profile->mappings[kernel->mapping].kernel);
	assert_string_equal(profile->mappings[kernel->mapping].file, "[kernel.kallsyms]");
	assert_int_equal(note->kind, PROFILE_FRAME_NOTE);
	assert_int_equal(note->mapping, UINT32_MAX);
	profile_free(profile);
}

static void main_binary_leads_even_if_met_late(void **state)
{
	struct fixture_slice slice = { 0 };
	struct window_labels who = { .container = fixture.web, .comm = fixture.nginx, .pid = 1 };
	struct window *window;
	struct profile *profile = NULL;
	struct query_selector all = { 0 };

	(void)state;
	fixture_sample(&slice, who, FRAMES(fixture.kernel, fixture.libc), 5);
	fixture_sample(&slice, who, FRAMES(fixture.inner, fixture.libc), 6);
	window = fixture_close(&slice, NS_PER_S, 2 * NS_PER_S);
	assert_int_equal(query_profile(&window, 1, &all, fixture.names, fixture.cgroups, &profile, error,
				       sizeof(error)), 0);
	window_unref(window);
	assert_string_equal(profile->mappings[0].file, "/usr/bin/web");
	assert_string_equal(stack_text(profile, 0), "ksys_write write");
	for (size_t i = 0; i < profile->location_count; i++)
		if (profile->locations[i].kind == PROFILE_FRAME_KERNEL)
			assert_true(profile->mappings[profile->locations[i].mapping].kernel);
		else
			assert_false(profile->mappings[profile->locations[i].mapping].kernel);
	profile_free(profile);
}

static void labels_name_who_ran(void **state)
{
	struct profile *profile = get(&(struct query_selector){ 0 }, 1);
	const struct profile_labels *web = &profile->labels[profile->samples[0].labels];
	const struct profile_labels *db = &profile->labels[profile->samples[2].labels];

	(void)state;
	assert_string_equal(web->container, fixture.web_name);
	assert_string_equal(web->comm, "nginx");
	assert_string_equal(web->thread, "");
	assert_int_equal(web->pid, 100);
	assert_string_equal(db->container, fixture.db_name);
	assert_string_equal(db->thread, "worker");
	profile_free(profile);
}

static void selectors_are_globs(void **state)
{
	struct { struct query_selector selector; uint64_t total; } cases[] = {
		{ { .comm = "ngin*" }, 30 },
		{ { .comm = "ngin" }, 0 },
		{ { .pid = "200" }, 20 },
		{ { .pid = "20" }, 0 },
		{ { .container = fixture.web_name }, 30 },
		{ { .container = "*" }, 50 },
		{ { .container = fixture.db_name, .comm = "nginx" }, 0 },
		{ { .pod = "x" }, 0 },
		{ { .cgroup = "*bbbb*" }, 20 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct profile *profile = get(&cases[i].selector, 1);

		assert_int_equal(total(profile), cases[i].total);
		profile_free(profile);
	}
}

static void regexes_work_as_in_pprof(void **state)
{
	struct { struct query_selector selector; uint64_t total; const char *first; } cases[] = {
		{ { .focus = "^write$" }, 10, "ksys_write write main" },
		{ { .focus = "outer" }, 20, "inner outer main" }, /* also the one inlined into */
		{ { .ignore = "write" }, 40, "inner outer main" },
		{ { .hide = "^(inner|main)$" }, 50, "outer" },
		{ { .hide = "." }, 0, NULL },
		{ { .focus = "inner", .hide = "inner" }, 20, "outer main" },
		{ { .focus = "truncated" }, 20, "libc.so.6+0x4567 [truncated: no unwind rule]" },
		{ { .focus = "libc.so.6\\+0x" }, 20, "libc.so.6+0x4567 [truncated: no unwind rule]" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct profile *profile = get(&cases[i].selector, 1);

		assert_int_equal(total(profile), cases[i].total);
		if (cases[i].first)
			assert_string_equal(stack_text(profile, 0), cases[i].first);
		profile_free(profile);
	}
}

static void bad_patterns_are_refused(void **state)
{
	char longest[400];
	const struct query_selector cases[] = {
		{ .focus = "(" }, { .ignore = "a{1,30000}{1,30000}" }, { .hide = "(a)\\1" }, { .focus = longest },
		{ .comm = "*a*a*a*a*a*a*b" }, { .container = longest }, { .pid = "1x" }, { .pid = "" },
		{ .focus = "((((((((((((((((((((((((((((((((((((((((a" },
	};

	(void)state;
	memset(longest, 'a', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct profile *profile = NULL;

		*error = '\0';
		assert_int_equal(ask(&cases[i], 1, &profile), -22);
		assert_null(profile);
		assert_true(strlen(error) > 10);
	}
}

/* An automaton of 2^40 states over names that walk through many of them. */
static void costly_regex_ends_in_time(void **state)
{
	struct fixture_slice slice = { 0 };
	char regex[256] = "[ab]*a", name[1001];
	struct query_selector selector = { .focus = regex };
	struct window_labels who = { 0 };
	uint32_t frames[9] = { [8] = UINT32_MAX };
	struct profile *profile = NULL;
	struct window *window;

	(void)state;
	for (int i = 0; i < 40; i++)
		strcat(regex, "[ab]");
	strcat(regex, "c");
	for (unsigned i = 0; i < 8 * 16; i++) {
		uint32_t frame = names_frame(fixture.names, 2, 0x10000 + i, true, true);

		frames[i % 8] = frame;
		for (size_t j = 0; j < sizeof(name) - 1; j++)
			name[j] = "ab"[rand() % 2];
		name[sizeof(name) - 1] = '\0';
		fixture_lines(&fixture, frame, SYMBOL_DYNSYM, name, NULL);
		if (i % 8 == 7)
			fixture_sample(&slice, who, frames, 1);
	}
	window = fixture_close(&slice, NS_PER_S, 2 * NS_PER_S);
	assert_int_equal(query_profile(&window, 1, &selector, fixture.names, fixture.cgroups, &profile, error, 256), -22);
	window_unref(window);
	assert_non_null(strstr(error, "too long"));
}

static void late_name_reaches_old_slice(void **state)
{
	struct window *slice = fixture_second(&fixture, 5 * NS_PER_S);
	const struct query_selector db = { .pid = "200" };
	struct profile *before = NULL, *after = NULL;

	(void)state;
	assert_int_equal(query_profile(&slice, 1, &db, fixture.names, fixture.cgroups, &before, error, 256), 0);
	fixture_lines(&fixture, fixture.bare, SYMBOL_DYNSYM, "qsort", NULL);
	assert_int_equal(query_profile(&slice, 1, &db, fixture.names, fixture.cgroups, &after, error, 256), 0);
	assert_string_equal(stack_text(before, 0), "libc.so.6+0x4567 [truncated: no unwind rule]");
	assert_string_equal(stack_text(after, 0), "qsort [truncated: no unwind rule]");
	window_unref(slice);
	profile_free(before);
	profile_free(after);
}

static void text_is_made_valid(void **state)
{
	struct fixture_slice slice = { 0 };
	struct window_labels who = { .comm = names_string(fixture.names, "a\xff\x1b[31m\n\xc2\x9b\xed\xa0\x80z\xc3\xa4") };
	struct query_selector all = { .asked = "x\ny" };
	struct profile *profile = NULL;
	struct window *window;

	(void)state;
	fixture_lines(&fixture, fixture.bare, SYMBOL_DYNSYM, "f\xe2\x82", NULL);
	fixture_sample(&slice, who, FRAMES(fixture.bare), 1);
	window = fixture_close(&slice, NS_PER_S, 2 * NS_PER_S);
	assert_int_equal(query_profile(&window, 1, &all, fixture.names, fixture.cgroups, &profile, error, 256), 0);
	window_unref(window);
#define BAD "\xef\xbf\xbd"
	assert_string_equal(profile->labels[0].comm, "a" BAD BAD "[31m" BAD BAD BAD BAD BAD BAD "z\xc3\xa4");
	assert_string_equal(stack_text(profile, 0), "f" BAD BAD);
	assert_string_equal(profile->comment, "x" BAD "y");
	profile_free(profile);
}

static void only_descendants_of_the_root(void **state)
{
	struct fixture_slice slice = { 0 };
	struct window_labels mine = { .comm = fixture.nginx, .pid = 7, .root = 7 };
	struct window_labels child = { .comm = fixture.nginx, .pid = 8, .root = 7 };
	struct window_labels other = { .comm = fixture.nginx, .pid = 9 };
	struct query_selector selector = { .root = 7 };
	struct profile *profile = NULL;
	struct window *window;

	(void)state;
	fixture_sample(&slice, mine, FRAMES(fixture.main_), 1);
	fixture_sample(&slice, child, FRAMES(fixture.main_), 2);
	fixture_sample(&slice, other, FRAMES(fixture.main_), 4);
	window = fixture_close(&slice, NS_PER_S, 2 * NS_PER_S);
	assert_int_equal(query_profile(&window, 1, &selector, fixture.names, fixture.cgroups, &profile, error, 256), 0);
	window_unref(window);
	assert_int_equal(total(profile), 3);
	assert_int_equal(profile->stack_location_count, 1); /* one stack for both */
	profile_free(profile);
}

static void periods_may_differ(void **state)
{
	struct window *slices[2] = { fixture_second(&fixture, NS_PER_S), fixture_second(&fixture, 2 * NS_PER_S) };
	struct query_selector all = { 0 };
	struct profile *profile = NULL;

	(void)state;
	slices[1]->period_ns *= 2; /* half the rate: each count is worth two */
	assert_int_equal(query_profile(slices, 2, &all, fixture.names, fixture.cgroups, &profile, error, 256), 0);
	assert_int_equal(total(profile), 150);
	window_unref(slices[0]);
	window_unref(slices[1]);
	profile_free(profile);
}

static void nothing_is_a_valid_profile(void **state)
{
	struct profile *profile = get(&(struct query_selector){ 0 }, 0);

	(void)state;
	assert_int_equal(profile->sample_count, 0);
	assert_int_equal(profile->duration_ns, 0);
	assert_non_null(profile->samples);
	profile_free(profile);
	profile_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		TEST(slices_are_merged),
		TEST(locations_say_where),
		TEST(main_binary_leads_even_if_met_late),
		TEST(labels_name_who_ran),
		TEST(selectors_are_globs),
		TEST(regexes_work_as_in_pprof),
		TEST(bad_patterns_are_refused),
		TEST(costly_regex_ends_in_time),
		TEST(late_name_reaches_old_slice),
		TEST(text_is_made_valid),
		TEST(only_descendants_of_the_root),
		TEST(periods_may_differ),
		TEST(nothing_is_a_valid_profile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Part of agent/query: who and what is wanted. Patterns come from the network, and glibc's matchers can be made
 * to burn time and memory: so their length, stars and nesting are bounded, counted repeats and back references
 * refused. A compiled expression caches an automaton that grows with what it reads (measured: 43 KB and 0.9 ms a
 * byte for a bad one of 200 bytes), so it is made anew now and then, and all matching of a query has a budget.
 */
#include "query_build.h"

#include "base/clock.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#define MAX_PATTERN_BYTES 256
#define MAX_STARS 6     /* fnmatch tries every place for each */
#define MAX_NESTING 16  /* regcomp recurses */
#define MAX_NAME_BYTES 1024   /* of a function's name are looked at */
#define MAX_CACHED_BYTES 2048 /* read by one compiled expression */
#define BUDGET_NS (3 * NS_PER_S)

static int refuse(char *error, size_t size, const char *what, const char *why)
{
	snprintf(error, size, "%s: %s", what, why);
	return -EINVAL;
}

static int check_glob(const char *what, const char *glob, char *error, size_t size)
{
	size_t stars = 0;

	if (!glob)
		return 0;
	if (strlen(glob) > MAX_PATTERN_BYTES)
		return refuse(error, size, what, "the pattern is longer than 256 bytes");
	for (const char *at = glob; *at; at++)
		stars += *at == '*';
	return stars > MAX_STARS ? refuse(error, size, what, "the pattern has more than six stars") : 0;
}

static int check_regex(const char *what, const char *text, char *error, size_t size)
{
	size_t depth = 0;

	if (strlen(text) > MAX_PATTERN_BYTES)
		return refuse(error, size, what, "the expression is longer than 256 bytes");
	for (const char *at = text; *at; at++) {
		if (*at == '\\' && at[1]) {
			if (*++at >= '1' && *at <= '9')
				return refuse(error, size, what, "back references are not supported");
		} else if (*at == '{') {
			return refuse(error, size, what, "counted repeats are not supported, write \\{ for a brace");
		} else if (*at == '(' && ++depth > MAX_NESTING) {
			return refuse(error, size, what, "the expression is nested too deep");
		} else if (*at == ')' && depth) {
			depth--;
		}
	}
	return 0;
}

static int compile(const char *what, const char *text, struct query_regex *regex, char *error, size_t size)
{
	char why[128];
	int status;

	if (!text || !*text)
		return 0;
	status = check_regex(what, text, error, size);
	if (status)
		return status;
	status = regcomp(&regex->compiled, text, REG_EXTENDED | REG_NOSUB);
	if (status) {
		regerror(status, &regex->compiled, why, sizeof(why));
		return refuse(error, size, what, why);
	}
	regex->text = text;
	return 0;
}

static int check_pid(const char *pid, char *error, size_t size)
{
	size_t digits = pid ? strspn(pid, "0123456789") : 1;

	if (!digits || digits > 10 || (pid && pid[digits]))
		return refuse(error, size, "pid", "must be a decimal number");
	return 0;
}

int query_filter_init(struct query_filter *filter, const struct query_selector *selector, char *error, size_t size)
{
	int status;

	*filter = (struct query_filter){ .selector = selector };
	if ((status = check_glob("container", selector->container, error, size)) ||
	    (status = check_glob("pod", selector->pod, error, size)) ||
	    (status = check_glob("namespace", selector->namespace_, error, size)) ||
	    (status = check_glob("comm", selector->comm, error, size)) ||
	    (status = check_glob("cgroup", selector->cgroup, error, size)) ||
	    (status = check_pid(selector->pid, error, size)) ||
	    (status = compile("focus", selector->focus, &filter->focus, error, size)) ||
	    (status = compile("ignore", selector->ignore, &filter->ignore, error, size)) ||
	    (status = compile("hide", selector->hide, &filter->hide, error, size)))
		query_filter_done(filter);
	return status;
}

static void regex_done(struct query_regex *regex)
{
	if (regex->text)
		regfree(&regex->compiled);
	regex->text = NULL;
}

void query_filter_done(struct query_filter *filter)
{
	regex_done(&filter->focus);
	regex_done(&filter->ignore);
	regex_done(&filter->hide);
}

/* *ret_failed: there was no memory to make the expression anew. */
static bool matches(struct query_regex *regex, const char *name, size_t length, bool *ret_failed)
{
	regmatch_t range = { .rm_so = 0, .rm_eo = (regoff_t)length };

	if (!regex->text)
		return false;
	regex->matched_bytes += length;
	if (regex->matched_bytes > MAX_CACHED_BYTES) {
		regfree(&regex->compiled);
		regex->matched_bytes = length;
		if (regcomp(&regex->compiled, regex->text, REG_EXTENDED | REG_NOSUB)) {
			regex->text = NULL;
			*ret_failed = true;
			return false;
		}
	}
	return !regexec(&regex->compiled, name, 1, &range, REG_STARTEND);
}

uint32_t query_filter_marks(struct query_filter *filter, const char *name)
{
	size_t length = strnlen(name, MAX_NAME_BYTES);
	uint64_t start_ns;
	uint32_t marks = 0;

	if (filter->exhausted || (!filter->focus.text && !filter->ignore.text && !filter->hide.text))
		return 0;
	start_ns = clock_monotonic_ns();
	if (matches(&filter->focus, name, length, &filter->exhausted))
		marks |= QUERY_FOCUS;
	if (matches(&filter->ignore, name, length, &filter->exhausted))
		marks |= QUERY_IGNORE;
	if (matches(&filter->hide, name, length, &filter->exhausted))
		marks |= QUERY_HIDE;
	filter->spent_ns += clock_monotonic_ns() - start_ns;
	filter->exhausted |= filter->spent_ns > BUDGET_NS;
	return marks;
}

static bool fits(const char *glob, const char *text)
{
	return !glob || !*glob || !fnmatch(glob, text, 0);
}

bool query_filter_labels(const struct query_filter *filter, const struct profile_labels *labels)
{
	const struct query_selector *selector = filter->selector;
	char pid[16];

	snprintf(pid, sizeof(pid), "%u", labels->pid);
	return fits(selector->container, labels->container) && fits(selector->pod, labels->pod) &&
	       fits(selector->namespace_, labels->namespace_) && fits(selector->comm, labels->comm) &&
	       fits(selector->cgroup, labels->cgroup) && (!selector->pid || !strcmp(selector->pid, pid));
}

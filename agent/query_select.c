/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Part of agent/query: who and what is wanted. Patterns come from the network, and glibc's matchers can be made
 * to burn time and memory: so their length, stars and counted repeats are bounded, and back references refused.
 */
#include "query_build.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#define MAX_PATTERN_BYTES 256
#define MAX_STARS 6     /* fnmatch tries every place for each */
#define MAX_NESTING 16  /* regcomp recurses */

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
			return refuse(error, size, what, "the expression has too many groups");
		}
	}
	return 0;
}

static int compile(const char *what, const char *text, regex_t *regex, bool *ret_has, char *error, size_t size)
{
	char why[128];
	int status;

	if (!text || !*text)
		return 0;
	status = check_regex(what, text, error, size);
	if (status)
		return status;
	status = regcomp(regex, text, REG_EXTENDED | REG_NOSUB);
	if (status) {
		regerror(status, regex, why, sizeof(why));
		return refuse(error, size, what, why);
	}
	*ret_has = true;
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
	    (status = compile("focus", selector->focus, &filter->focus, &filter->has_focus, error, size)) ||
	    (status = compile("ignore", selector->ignore, &filter->ignore, &filter->has_ignore, error, size)) ||
	    (status = compile("hide", selector->hide, &filter->hide, &filter->has_hide, error, size)))
		query_filter_done(filter);
	return status;
}

void query_filter_done(struct query_filter *filter)
{
	if (filter->has_focus)
		regfree(&filter->focus);
	if (filter->has_ignore)
		regfree(&filter->ignore);
	if (filter->has_hide)
		regfree(&filter->hide);
	filter->has_focus = filter->has_ignore = filter->has_hide = false;
}

uint32_t query_filter_marks(const struct query_filter *filter, const char *name)
{
	uint32_t marks = 0;

	if (filter->has_focus && !regexec(&filter->focus, name, 0, NULL, 0))
		marks |= QUERY_FOCUS;
	if (filter->has_ignore && !regexec(&filter->ignore, name, 0, NULL, 0))
		marks |= QUERY_IGNORE;
	if (filter->has_hide && !regexec(&filter->hide, name, 0, NULL, 0))
		marks |= QUERY_HIDE;
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

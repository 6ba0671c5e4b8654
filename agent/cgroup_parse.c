/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Noun "cgroup", what a path says. A table of the layouts that runtimes use, tried from the outermost component
 * inwards: who can make a cgroup inside a container or a unit cannot make it look like something else.
 */
#include "cgroup_private.h"

#include "base/clean.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define ID_HEX 64

enum { ANYWHERE = 0, AT_ROOT = 1, IN_SLICES = 2 }; /* IN_SLICES: all components before it are slices, or none are */

/*
 * A pattern matches whole components: `*` any bytes, `**` any number of components (one at least), %C a
 * container id of 64 hex digits, %N a name. %C and %N become the id. No runtime: known to be no container, such
 * as the process that watches over one.
 */
static const struct layout {
	int where;
	const char *pattern, *runtime;
} layouts[] = {
	/* rootless, below the user's own service manager: before the unit user@N.service, which is further out */
	{ AT_ROOT, "user.slice/user-*.slice/user@*.service/**/docker-%C.scope", "docker" },
	{ AT_ROOT, "user.slice/user-*.slice/user@*.service/**/libpod-%C.scope", "podman" },
	{ AT_ROOT, "user.slice/user-*.slice/user@*.service/**/nerdctl-%C.scope", "containerd" },
	/* containerd told to use systemd's names with a runc that makes cgroups itself: inside its own unit */
	{ IN_SLICES, "containerd.service/*:cri-containerd:%C", "containerd" },
	{ ANYWHERE, "*:cri-containerd:%C", "containerd" },
	{ ANYWHERE, "cri-containerd-%C.scope", "containerd" },
	{ ANYWHERE, "crio-conmon-*", NULL },
	{ ANYWHERE, "crio-%C.scope", "crio" },
	{ ANYWHERE, "crio-%C", "crio" },
	{ ANYWHERE, "docker-%C.scope", "docker" },
	{ ANYWHERE, "libpod-conmon-*", NULL },
	{ ANYWHERE, "libpod-%C.scope", "podman" },
	{ ANYWHERE, "libpod-%C", "podman" },
	{ ANYWHERE, "nerdctl-%C.scope", "containerd" },
	{ AT_ROOT, "kubepods/pod*/%C", "containerd" },
	{ AT_ROOT, "kubepods/*/pod*/%C", "containerd" },
	{ ANYWHERE, "%C", "docker" }, /* /docker/C, /ecs/TASK/C, /C, and any --cgroup-parent */
	{ AT_ROOT, "default/%N", "containerd" }, /* ctr */
	{ AT_ROOT, "lxc/%N", "lxc" },
	{ AT_ROOT, "lxc.payload.%N", "lxc" },
	{ AT_ROOT, "lxc.monitor.*", NULL },
	{ AT_ROOT, "machine.slice/systemd-nspawn@%N.service", "nspawn" },
	{ AT_ROOT, "machine.slice/machine-%N.scope", "nspawn" },
	{ AT_ROOT, "nomad.slice/*.slice/%N.scope", "nomad" },
	{ AT_ROOT, "init", "talos" },
	{ AT_ROOT, "system/%N", "talos" },
	{ AT_ROOT, "podruntime/%N", "talos" },
	{ IN_SLICES, "*.service", "systemd" },
	{ IN_SLICES, "*.scope", "systemd" },
	{ IN_SLICES, "*.mount", "systemd" },
	{ IN_SLICES, "*.socket", "systemd" },
	{ IN_SLICES, "*.swap", "systemd" },
};

struct span {
	const char *at;
	size_t length;
};

static size_t component_length(const char *path)
{
	return strcspn(path, "/");
}

static bool is_hex_id(const char *text, size_t length)
{
	if (length < ID_HEX)
		return false;
	for (size_t i = 0; i < ID_HEX; i++)
		if (!isdigit((unsigned char)text[i]) && !(text[i] >= 'a' && text[i] <= 'f'))
			return false;
	return true;
}

/* One component; patterns hold two wildcards at most, so the tries stay few. */
static bool match_component(struct span pattern, struct span text, struct span *ret_id)
{
	struct span rest = { pattern.at + 2, pattern.length - 2 };

	if (!pattern.length)
		return !text.length;
	if (*pattern.at == '%' && pattern.at[1] == 'C') {
		struct span after = { text.at + ID_HEX, text.length - ID_HEX };

		if (!is_hex_id(text.at, text.length) || !match_component(rest, after, ret_id))
			return false;
		*ret_id = (struct span){ text.at, ID_HEX };
		return true;
	}
	if (*pattern.at == '%' || *pattern.at == '*') {
		size_t shortest = *pattern.at == '%';

		if (*pattern.at == '*')
			rest = (struct span){ pattern.at + 1, pattern.length - 1 };
		for (size_t length = text.length + 1; length-- > shortest;) {
			struct span after = { text.at + length, text.length - length };

			if (!match_component(rest, after, ret_id))
				continue;
			if (*pattern.at == '%')
				*ret_id = (struct span){ text.at, length };
			return true;
		}
		return false;
	}
	if (!text.length || *text.at != *pattern.at)
		return false;
	rest = (struct span){ pattern.at + 1, pattern.length - 1 };
	return match_component(rest, (struct span){ text.at + 1, text.length - 1 }, ret_id);
}

/* The path's first components; NULL or where the match ends. Neither begins with a slash. */
static const char *match_path(const char *pattern, const char *path, struct span *ret_id)
{
	struct span want = { pattern, component_length(pattern) }, have = { path, component_length(path) };
	bool last = !pattern[want.length];

	if (!have.length)
		return NULL;
	if (want.length == 2 && !strncmp(pattern, "**", 2)) {
		while (path[have.length]) {
			const char *end;

			path += have.length + 1;
			end = match_path(pattern + 3, path, ret_id);
			if (end)
				return end;
			have.length = component_length(path);
		}
		return NULL;
	}
	if (!match_component(want, have, ret_id))
		return NULL;
	if (last)
		return path + have.length;
	return path[have.length] ? match_path(pattern + want.length + 1, path + have.length + 1, ret_id) : NULL;
}

static bool is_slice(struct span component)
{
	static const char suffix[] = ".slice";
	size_t length = sizeof(suffix) - 1;

	return component.length > length &&
	       !memcmp(component.at + component.length - length, suffix, length);
}

static void copy_span(struct span span, char *to, size_t size)
{
	snprintf(to, size, "%.*s", (int)span.length, span.at);
}

/* The directory of a pod, by cgroupfs (first) and by systemd, which writes the dashes of the uid as '_'. */
static const char *const pod_patterns[] = {
	"pod%N", "kubepods-pod%N.slice", "kubepods-*-pod%N.slice", "kubepods-*-pod%N.slice:*",
};

static void find_pod(const char *path, const char *end, struct cgroup_parsed *parsed)
{
	for (const char *at = path; at < end; at += component_length(at) + 1) {
		struct span component = { at, component_length(at) }, uid = { NULL, 0 };

		for (size_t i = 0; i < array_size(pod_patterns); i++) {
			struct span pattern = { pod_patterns[i], strlen(pod_patterns[i]) };

			if (!i && strncmp(path, "kubepods/", strlen("kubepods/")))
				continue; /* "podruntime" is Talos's */
			if (!match_component(pattern, component, &uid))
				continue;
			copy_span(uid, parsed->pod_uid, sizeof(parsed->pod_uid));
			for (char *byte = parsed->pod_uid; *byte; byte++)
				*byte = *byte == '_' ? '-' : *byte;
			return;
		}
	}
}

static bool fits(const struct layout *layout, size_t index, bool in_slices)
{
	if (layout->where == AT_ROOT)
		return index == 0;
	return layout->where == ANYWHERE || in_slices;
}

static void fill(const struct layout *layout, const char *path, struct span whole, struct span id,
		 struct cgroup_parsed *parsed)
{
	parsed->runtime = layout->runtime;
	if (!id.at)
		id = whole;
	if (layout->runtime && !strcmp(layout->runtime, "systemd"))
		copy_span(whole, parsed->unit, sizeof(parsed->unit));
	else
		copy_span(id, parsed->id, sizeof(parsed->id));
	find_pod(path, whole.at + whole.length, parsed);
}

bool cgroup_parse_prefix(const char *path, struct cgroup_parsed *ret_parsed, size_t *ret_length)
{
	struct cgroup_parsed parsed = { 0 };
	const char *start = path + (*path == '/'), *end;
	bool in_slices = true;
	size_t index = 0;

	for (const char *at = start; *at; index++) {
		struct span component = { at, component_length(at) };

		for (const struct layout *layout = layouts; layout < layouts + array_size(layouts); layout++) {
			struct span id = { NULL, 0 };

			if (!fits(layout, index, in_slices))
				continue;
			end = match_path(layout->pattern, at, &id);
			if (!end)
				continue;
			if (!layout->runtime)
				return false;
			fill(layout, start, (struct span){ at, (size_t)(end - at) }, id, &parsed);
			*ret_parsed = parsed;
			*ret_length = (size_t)(end - path);
			return true;
		}
		in_slices = in_slices && is_slice(component);
		at += component.length;
		at += *at == '/';
	}
	return false;
}

bool cgroup_parse(const char *path, struct cgroup_parsed *ret_parsed)
{
	size_t length;

	return cgroup_parse_prefix(path, ret_parsed, &length);
}

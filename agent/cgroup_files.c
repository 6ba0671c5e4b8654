/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Noun "cgroup", who vouches. A cgroup's path is only a claim; a name comes from a file of the runtime that
 * belongs to root, or to the user whose slice holds the cgroup, and that puts the container where it is.
 */
#include "cgroup_private.h"

#include "base/clean.h"
#include "base/file.h"
#include "cgroup_place.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <linux/openat2.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define JSON_LIMIT (1U << 20)
#define LINK_LIMIT 65536 /* entries of /var/log/containers looked at */

struct claim { /* what is to be vouched for, and by whom */
	int root;
	const char *path;
	const struct cgroup_parsed *parsed;
	uid_t owner;
	char share[280]; /* "var/lib", or ".local/share" in the owner's home */
	struct cgroup_vouched *out;
};

static void free_json(json_t **json)
{
	json_decref(*json);
}
#define auto_json __attribute__((cleanup(free_json)))

static void copy(char *to, size_t size, const char *from)
{
	snprintf(to, size, "%s", from ? from : "");
}
#define put(field, string) copy(claim->out->field, sizeof(claim->out->field), string)

static const char *text(const json_t *object, const char *key)
{
	const char *string = json_string_value(json_object_get(object, key));

	return string && *string ? string : NULL;
}

static __attribute__((format(printf, 3, 4))) int read_json(const struct claim *claim, json_t **ret_json,
							   const char *format, ...)
{
	auto_buf struct buf bytes = { 0 };
	auto_fd int fd = -1;
	char path[1024];
	struct stat status;
	va_list values;
	json_t *json;
	int length, error;

	va_start(values, format);
	length = vsnprintf(path, sizeof(path), format, values);
	va_end(values);
	if (length < 0 || (size_t)length >= sizeof(path))
		return -ENAMETOOLONG;
	fd = file_open_in_root(claim->root, path);
	if (fd < 0)
		return fd == -ENOTDIR ? -ENOENT : fd;
	if (fstat(fd, &status))
		return -errno;
	if (status.st_uid != claim->owner)
		return -EPERM;
	error = file_read_fd(fd, JSON_LIMIT, &bytes);
	if (error)
		return error;
	json = json_loadb(bytes.data, bytes.length, JSON_REJECT_DUPLICATES, NULL);
	if (!json)
		return -EBADMSG; /* half written, perhaps */
	*ret_json = json;
	return 0;
}

/* Where runtimes put containers that nobody gave a place. */
static bool is_usual_place(const char *path)
{
	static const char *const places[] = { "/kubepods", "/system.slice/", "/machine.slice/" };

	for (size_t i = 0; i < array_size(places); i++)
		if (!strncmp(path, places[i], strlen(places[i])))
			return true;
	return false;
}

/* A bundle is named by its id; the place it gives has to be this one. */
static bool bundle_fits(const struct claim *claim, const json_t *bundle)
{
	const char *place = text(json_object_get(bundle, "linux"), "cgroupsPath");

	return place ? cgroup_place_oci(claim->path, place, claim->owner) : is_usual_place(claim->path);
}

static const char *const containerd_states[] = { "run/containerd", "run/k3s/containerd",
						 "run/docker/containerd/daemon" };

/* The bundle containerd made for this id in one of its namespaces. */
static int read_bundle(const struct claim *claim, const char *namespace_, json_t **ret_bundle)
{
	int error = -ENOENT;

	if (claim->owner)
		return read_json(claim, ret_bundle, "run/user/%u/containerd/io.containerd.runtime.v2.task/%s/%s/config.json",
				 claim->owner, namespace_, claim->parsed->id);
	for (size_t i = 0; i < array_size(containerd_states) && error == -ENOENT; i++)
		error = read_json(claim, ret_bundle, "%s/io.containerd.runtime.v2.task/%s/%s/config.json",
				  containerd_states[i], namespace_, claim->parsed->id);
	return error;
}

static bool docker_fits(const struct claim *claim, const char *base)
{
	auto_json json_t *host = NULL;
	auto_json json_t *bundle = NULL;
	const char *parent;
	int error = read_json(claim, &host, "%s/containers/%s/hostconfig.json", base, claim->parsed->id);

	parent = error ? NULL : text(host, "CgroupParent");
	if ((!error || error == -ENOENT) &&
	    cgroup_place_docker(claim->path, parent ? parent : "", claim->parsed->id, claim->owner))
		return true;
	/* the daemon's own --cgroup-parent shows in the bundle alone */
	return !read_bundle(claim, "moby", &bundle) && bundle_fits(claim, bundle);
}

static int vouch_docker(const struct claim *claim)
{
	auto_json json_t *json = NULL;
	const json_t *config, *labels;
	const char *name, *container;
	char base[300];
	int error;

	snprintf(base, sizeof(base), "%s/docker", claim->share);
	error = read_json(claim, &json, "%s/containers/%s/config.v2.json", base, claim->parsed->id);
	if (error)
		return error;
	if (!docker_fits(claim, base))
		return -EPERM;
	name = text(json, "Name");
	if (!name || !text(json, "ID") || strcmp(text(json, "ID"), claim->parsed->id))
		return -EBADMSG;
	config = json_object_get(json, "Config");
	labels = json_object_get(config, "Labels");
	container = text(labels, "io.kubernetes.container.name");
	put(container, container ? container : name + (*name == '/'));
	put(pod, text(labels, "io.kubernetes.pod.name"));
	put(namespace_, text(labels, "io.kubernetes.pod.namespace"));
	put(image, text(config, "Image"));
	put(runtime, "docker");
	return 0;
}

static int vouch_containerd(const struct claim *claim)
{
	static const char *const namespaces[] = { "k8s.io", "default" };
	auto_json json_t *bundle = NULL;
	const json_t *notes;
	const char *container, *type;
	int error = -ENOENT;

	for (size_t i = 0; i < array_size(namespaces) && error == -ENOENT; i++)
		error = read_bundle(claim, namespaces[i], &bundle);
	if (error)
		return error;
	if (!bundle_fits(claim, bundle))
		return -EPERM;
	notes = json_object_get(bundle, "annotations");
	type = text(notes, "io.kubernetes.cri.container-type");
	container = text(notes, "io.kubernetes.cri.container-name");
	if (!container)
		container = type && !strcmp(type, "sandbox") ? "POD" : text(notes, "nerdctl/name");
	put(container, container ? container : claim->parsed->id);
	put(pod, text(notes, "io.kubernetes.cri.sandbox-name"));
	put(namespace_, text(notes, "io.kubernetes.cri.sandbox-namespace"));
	put(image, text(notes, "io.kubernetes.cri.image-name"));
	put(runtime, "containerd");
	return 0;
}

/* Podman keeps names in the storage library's list; the bundle does not carry them. */
static bool find_stored(const struct claim *claim, const char *storage, const char *list, char *ret_name,
			size_t size)
{
	auto_json json_t *json = NULL;
	const json_t *entry;
	size_t index;

	if (read_json(claim, &json, "%s/overlay-containers/%s", storage, list))
		return false;
	json_array_foreach(json, index, entry) {
		const char *id = text(entry, "id");
		const char *name = json_string_value(json_array_get(json_object_get(entry, "names"), 0));

		if (!id || strcmp(id, claim->parsed->id) || !name)
			continue;
		copy(ret_name, size, name);
		return true;
	}
	return false;
}

static int vouch_storage(const struct claim *claim)
{
	auto_json json_t *bundle = NULL;
	char run[300], storage[300], name[256] = "";
	const json_t *notes;
	const char *type, *container;
	int error;

	snprintf(run, sizeof(run), "run/containers/storage");
	if (claim->owner)
		snprintf(run, sizeof(run), "run/user/%u/containers", claim->owner);
	snprintf(storage, sizeof(storage), "%s/containers/storage", claim->share);
	error = read_json(claim, &bundle, "%s/overlay-containers/%s/userdata/config.json", run, claim->parsed->id);
	if (error)
		return error;
	if (!bundle_fits(claim, bundle))
		return -EPERM;
	notes = json_object_get(bundle, "annotations");
	type = text(notes, "io.kubernetes.cri-o.ContainerType");
	container = text(notes, "io.kubernetes.container.name");
	if (!container && type && !strcmp(type, "sandbox"))
		container = "POD";
	if (!container && (find_stored(claim, storage, "containers.json", name, sizeof(name)) ||
			   find_stored(claim, storage, "volatile-containers.json", name, sizeof(name))))
		container = name;
	put(container, container ? container : claim->parsed->id);
	put(pod, text(notes, "io.kubernetes.pod.name"));
	put(namespace_, text(notes, "io.kubernetes.pod.namespace"));
	put(image, text(notes, "io.kubernetes.cri-o.ImageName"));
	put(runtime, claim->parsed->runtime);
	return 0;
}

static int open_folder(const struct claim *claim, const char *path, DIR **ret_folder)
{
	struct open_how how = { .flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
				.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };
	auto_fd int fd = (int)syscall(SYS_openat2, claim->root, path, &how, sizeof(how));
	struct stat status;
	DIR *folder;

	if (fd < 0 || fstat(fd, &status))
		return -errno;
	if (status.st_uid != claim->owner)
		return -EPERM;
	folder = fdopendir(fd);
	if (!folder)
		return -errno;
	steal_fd(&fd);
	*ret_folder = folder;
	return 0;
}

/* A link POD_NAMESPACE_CONTAINER-ID.log to /var/log/pods/NAMESPACE_POD_UID/CONTAINER/N.log. */
static bool read_log_link(const struct claim *claim, int folder, const char *entry)
{
	char target[512], want[320], pod[256], namespace_[256], container[256];
	struct stat status;
	ssize_t length;

	if (sscanf(entry, "%255[^_]_%255[^_]_%255[^_]", pod, namespace_, container) != 3 ||
	    strlen(container) <= strlen(claim->parsed->id) + strlen("-.log"))
		return false;
	container[strlen(container) - strlen(claim->parsed->id) - strlen("-.log")] = '\0';
	length = readlinkat(folder, entry, target, sizeof(target) - 1);
	if (length <= 0 || fstatat(folder, entry, &status, AT_SYMLINK_NOFOLLOW) || status.st_uid != claim->owner)
		return false;
	target[length] = '\0';
	snprintf(want, sizeof(want), "_%s/%s/", claim->parsed->pod_uid, container);
	if (!strstr(target, want)) /* the pod of the path and the pod of the log are one */
		return false;
	put(container, container);
	put(pod, pod);
	put(namespace_, namespace_);
	put(runtime, claim->parsed->runtime);
	return true;
}

static int vouch_kubelet(const struct claim *claim)
{
	auto_dir DIR *folder = NULL;
	const struct dirent *entry;
	char suffix[160];
	int error;

	if (!*claim->parsed->pod_uid || strncmp(claim->path, "/kubepods", strlen("/kubepods")))
		return -ENOENT;
	error = open_folder(claim, "var/log/containers", &folder);
	if (error)
		return error;
	snprintf(suffix, sizeof(suffix), "-%s.log", claim->parsed->id);
	for (unsigned seen = 0; seen < LINK_LIMIT && (entry = readdir(folder)); seen++) {
		size_t length = strlen(entry->d_name);

		if (length > strlen(suffix) && !strcmp(entry->d_name + length - strlen(suffix), suffix) &&
		    read_log_link(claim, dirfd(folder), entry->d_name))
			return 0;
	}
	return -ENOENT;
}

/* A name that needs no reading: that root keeps something under it in the runtime's folder is enough. */
static int vouch_by_presence(const struct claim *claim, const char *const *folders, const char *name)
{
	for (; *folders; folders++) {
		struct open_how how = { .flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
					.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };
		char path[512];
		struct stat status;
		auto_fd int fd = -1;

		snprintf(path, sizeof(path), *folders, name);
		fd = (int)syscall(SYS_openat2, claim->root, path, &how, sizeof(how));
		if (fd < 0 || fstat(fd, &status))
			continue;
		if (status.st_uid != claim->owner)
			return -EPERM;
		put(container, name);
		put(runtime, claim->parsed->runtime);
		return 0;
	}
	return -ENOENT;
}

static int vouch_lxc(const struct claim *claim)
{
	static const char *const folders[] = { "var/lib/lxc/%s/config", "var/lib/incus/containers/%s",
					       "var/snap/lxd/common/lxd/containers/%s",
					       "var/lib/lxd/containers/%s", NULL };

	return vouch_by_presence(claim, folders, claim->parsed->id);
}

/* systemd writes a dash inside a name as \x2d; the machine's own file has it plain. */
static int vouch_nspawn(const struct claim *claim)
{
	static const char *const folders[] = { "run/systemd/machines/%s", NULL };
	char name[sizeof(claim->parsed->id)], *to = name;

	for (const char *from = claim->parsed->id; *from; to++) {
		bool dash = !strncmp(from, "\\x2d", 4);

		*to = dash ? '-' : *from;
		from += dash ? 4 : 1;
	}
	*to = '\0';
	return vouch_by_presence(claim, folders, name);
}

static const struct source {
	const char *runtime; /* as the path claims */
	int (*vouch)(const struct claim *claim);
} sources[] = {
	{ "docker", vouch_docker },         { "containerd", vouch_containerd }, { "containerd", vouch_docker },
	{ "crio", vouch_storage },          { "podman", vouch_storage },        { "containerd", vouch_kubelet },
	{ "crio", vouch_kubelet },          { "docker", vouch_kubelet },        { "lxc", vouch_lxc },
	{ "nspawn", vouch_nspawn },
};

/* Where the owner keeps what is his; the passwd file alone, as a name service could make us wait. */
static int find_share(struct claim *claim)
{
	auto_fd int fd = -1;
	auto_file FILE *file = NULL;
	const struct passwd *user;

	snprintf(claim->share, sizeof(claim->share), "var/lib");
	if (!claim->owner)
		return 0;
	fd = file_open_in_root(claim->root, "etc/passwd");
	if (fd < 0)
		return fd;
	file = fdopen(fd, "r");
	if (!file)
		return -errno;
	steal_fd(&fd);
	while ((user = fgetpwent(file)))
		if (user->pw_uid == claim->owner) {
			snprintf(claim->share, sizeof(claim->share), "%s/.local/share", user->pw_dir);
			return 0;
		}
	return -ENOENT;
}

/* An id becomes part of a file's path: nothing that could lead elsewhere. */
static bool is_plain_name(const char *id)
{
	return *id && *id != '.' && !strchr(id, '/') && !strchr(id, '%');
}

int cgroup_files_vouch(const char *root, const char *path, const struct cgroup_parsed *parsed, uid_t owner,
		       struct cgroup_vouched *ret_vouched)
{
	struct cgroup_vouched vouched = { 0 };
	auto_fd int root_fd = open(root && *root ? root : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct claim claim = { .root = root_fd, .path = path, .parsed = parsed, .owner = owner, .out = &vouched };
	int error, result = -ENOENT;

	if (root_fd < 0)
		return -errno;
	if (!parsed->runtime || !is_plain_name(parsed->id))
		return -EINVAL;
	error = find_share(&claim);
	if (error)
		return error;
	for (size_t i = 0; i < array_size(sources); i++) {
		if (strcmp(sources[i].runtime, parsed->runtime))
			continue;
		error = sources[i].vouch(&claim);
		if (!error) {
			*ret_vouched = vouched;
			return 0;
		}
		if (error != -ENOENT)
			result = error;
	}
	return result;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which files are mapped executable. An image is an inode (device, number, generation); /proc tells no
 * generation, so one that is 0 matches any. Memory without a file shares one image for each kind.
 */
#include "base/clock.h"
#include "names.h"
#include "process_images.h"

#include <stdlib.h>
#include <string.h>

#define PATH_LIMIT 4096

struct file_slot { /* key: device and inode number */
	uint32_t major, minor;
	uint64_t inode;
	struct image_entry *first;
};
struct special_slot {
	char name[16];
	struct image_entry *entry;
};

/* "jit-PID.dump", the PID as the process itself sees it. */
static bool is_jitdump(const char *path)
{
	const char *slash = strrchr(path, '/'), *at = slash ? slash + 1 : path;

	if (!slash || strncmp(at, "jit-", 4) || at[4] < '0' || at[4] > '9')
		return false;
	at += 4;
	return !strcmp(at + strspn(at, "0123456789"), ".dump");
}

static bool grow_images(struct process_table *table)
{
	size_t capacity = table->image_capacity ? 2 * table->image_capacity : 64;
	struct image_entry **images = realloc(table->images, capacity * sizeof(struct image_entry *));
	uint32_t *spare;

	if (images)
		table->images = images;
	spare = images ? realloc(table->spare_images, capacity * sizeof(*spare)) : NULL;
	if (!spare)
		return false;
	table->spare_images = spare;
	table->image_capacity = capacity;
	return true;
}

static struct image_entry *image_add(struct process_table *table, const struct sideband_file *file, const char *path)
{
	size_t length = strnlen(path, PATH_LIMIT);
	struct image_entry *entry;
	uint32_t index;

	if (!table->spare_count && table->image_count == table->image_capacity && !grow_images(table))
		return NULL;
	entry = calloc(1, sizeof(*entry));
	if (entry)
		entry->image.path = strndup(path, length);
	if (!entry || !entry->image.path) {
		free(entry);
		return NULL;
	}
	entry->image.file = *file;
	entry->image.jitdump = is_jitdump(entry->image.path);
	index = table->spare_count ? table->spare_images[--table->spare_count] : (uint32_t)table->image_count++;
	entry->image.id = NAMES_FIRST_IMAGE + index;
	table->images[index] = entry;
	table->image_path_bytes += length;
	return entry;
}

/* Without those of generated code, which have a limit of their own. */
static size_t count_files(const struct process_table *table)
{
	return table->image_count - table->spare_count - table->jit_count;
}

/* One image stands for all files past the limit: they have no rows and no names. */
static struct image_entry *image_overflow(struct process_table *table)
{
	struct sideband_file none = { 0 };

	table->stats.refused_images++;
	if (!table->image_overflow) {
		table->image_overflow = image_add(table, &none, "[too many files]");
		if (table->image_overflow) {
			table->image_overflow->image.state = PROCESS_IMAGE_FAILED;
			table->image_overflow->image.overflow = true;
		}
	}
	return table->image_overflow;
}

/* The kind of memory without a file behind it that a path names, NULL: it is a file. */
static const char *special_name(const struct sideband_file *file, const char *path)
{
	static const char *const kinds[] = { "[vdso]", "[heap]", "[stack]", "[uprobes]" };

	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		if (!file->inode && !strcmp(path, kinds[i]))
			return kinds[i];
	/* Shared memory without a name has an inode of the kernel's own tmpfs. */
	if (!file->inode || !strncmp(path, "/SYSV", 5) || !strcmp(path, "/dev/zero") ||
	    !strcmp(path, "/dev/zero (deleted)") || !strncmp(path, "anon_inode:", 11) ||
	    !strncmp(path, "[anon", 5))
		return "//anon";
	return NULL;
}

static struct image_entry *special_image(struct process_table *table, const char *name)
{
	struct sideband_file none = { 0 };
	struct special_slot key = { 0 }, *slot;

	if (!table->specials.entry_bytes)
		hmap_init(&table->specials, sizeof(key.name), sizeof(key), 0);
	strncpy(key.name, name, sizeof(key.name) - 1);
	slot = hmap_insert(&table->specials, key.name, NULL);
	if (!slot)
		return NULL;
	if (!slot->entry) {
		slot->entry = image_add(table, &none, name);
		if (slot->entry) {
			slot->entry->image.vdso = !strcmp(name, "[vdso]");
			slot->entry->image.anonymous = !slot->entry->image.vdso;
		}
	}
	return slot->entry;
}

/* The image with this generation; where one side is 0 the newest, which then learns its generation. */
static struct image_entry *match_generation(struct image_entry *first, uint64_t generation)
{
	for (struct image_entry *at = first; at; at = at->other)
		if (at->image.file.generation == generation && !at->superseded)
			return at;
	if (!generation)
		return first;
	for (struct image_entry *at = first; at; at = at->other) {
		if (!at->image.file.generation && !at->superseded) {
			at->image.file.generation = generation;
			return at;
		}
	}
	return NULL;
}

static struct image_entry *file_image(struct process_table *table, const struct sideband_file *file, const char *path)
{
	static const char deleted[] = " (deleted)";
	struct file_slot key = { file->major, file->minor, file->inode, NULL }, *slot;
	size_t length = strnlen(path, PATH_LIMIT), tail = sizeof(deleted) - 1;
	struct image_entry *entry;
	char plain[PATH_LIMIT + 1];

	if (!table->files.entry_bytes)
		hmap_init(&table->files, offsetof(struct file_slot, first), sizeof(key), PROCESS_IMAGE_LIMIT);
	slot = hmap_find(&table->files, &key);
	entry = slot ? match_generation(slot->first, file->generation) : NULL;
	if (entry)
		return entry;
	if (count_files(table) >= PROCESS_IMAGE_LIMIT ||
	    table->image_path_bytes + length > PROCESS_IMAGE_PATH_BYTES)
		return image_overflow(table);
	slot = hmap_insert(&table->files, &key, NULL);
	if (!slot)
		return image_overflow(table);
	memcpy(plain, path, length);
	plain[length] = '\0';
	if (length > tail && !strcmp(plain + length - tail, deleted))
		plain[length - tail] = '\0'; /* d_path's note on an unlinked file is no part of its name */
	entry = image_add(table, file, plain);
	if (entry) {
		entry->other = slot->first;
		slot->first = entry;
	} else if (!slot->first) {
		hmap_remove(&table->files, &key);
	}
	return entry;
}

struct process_image *process_image_for(struct process_table *table, const struct sideband_file *file,
					const char *path)
{
	const char *special = special_name(file, path);
	struct image_entry *entry = special ? special_image(table, special) : file_image(table, file, path);

	return entry ? &entry->image : NULL;
}

/* In front of the old one, which keeps what was met of it. */
struct process_image *process_image_succeed(struct process_table *table, struct process_image *old)
{
	struct image_entry *entry, *before = (struct image_entry *)old;
	struct file_slot key = { old->file.major, old->file.minor, old->file.inode, NULL }, *slot;

	if (count_files(table) >= PROCESS_IMAGE_LIMIT)
		entry = image_overflow(table);
	else
		entry = image_add(table, &old->file, old->path);
	slot = hmap_find(&table->files, &key);
	if (!entry || !slot)
		return NULL;
	before->superseded = true;
	if (entry != table->image_overflow) {
		entry->other = slot->first;
		slot->first = entry;
	}
	return &entry->image;
}

struct process_image *process_image_known(struct process_table *table, const struct sideband_file *file)
{
	struct file_slot key = { file->major, file->minor, file->inode, NULL }, *slot;
	struct image_entry *entry;

	if (!file->inode) {
		entry = special_image(table, "//anon");
	} else {
		slot = hmap_find(&table->files, &key);
		entry = slot ? match_generation(slot->first, file->generation) : NULL;
	}
	return entry ? &entry->image : NULL;
}

bool process_image_asks_again(const struct process_table *table, const struct image_entry *entry, uint64_t now_ns)
{
	return entry->image.state == PROCESS_IMAGE_FAILED && !entry->image.anonymous &&
	       entry != table->image_overflow && now_ns >= entry->again_ns;
}

void process_image_tell(struct process_table *table, const struct process *process,
			const struct process_mapping *mapping, uint64_t now_ns)
{
	struct process_image *image = mapping->image;
	struct image_entry *entry = (struct image_entry *)image;

	if (process_image_asks_again(table, entry, now_ns))
		image->state = PROCESS_IMAGE_NEW;
	if (image->state != PROCESS_IMAGE_NEW)
		return;
	entry->again_ns = now_ns + (NS_PER_S << (entry->asked < 6 ? entry->asked : 6)); /* 1 s to about a minute */
	entry->asked++;
	table->callbacks.image_new(table->callbacks.context, image, process->pid, mapping->start, mapping->end);
	if (image->anonymous && image->state == PROCESS_IMAGE_NEW)
		image->state = PROCESS_IMAGE_FAILED; /* nothing to ask for: told once, so that it gets its name */
}

static struct process_image *jit_add(struct process_table *table, struct process *process)
{
	struct sideband_file none = { 0 };
	struct image_entry *entry;

	if (table->jit_count >= PROCESS_JIT_LIMIT || !(entry = image_add(table, &none, "[jit]"))) {
		table->stats.refused_jits++;
		return NULL;
	}
	table->jit_count++;
	entry->image.jit = entry->image.anonymous = true;
	if (process->until_ns != UINT64_MAX)
		atomic_store(&entry->image.ended,
			     ((struct process_entry *)process)->died ? PROCESS_EXITED : PROCESS_REPLACED);
	process->jit = &entry->image;
	process->jit->refs++;
	return process->jit;
}

struct process_image *process_jit_image(struct process_table *table, struct process *process,
					struct process_image *anonymous)
{
	struct process_image *jit = process->jit;

	if (strcmp(anonymous->path, "//anon"))
		return anonymous; /* [uprobes] is the kernel's, and code on a stack or heap no compiler's */
	if (jit && jit->dump_start == process->dump_start)
		return jit;
	if (!jit && !(jit = jit_add(table, process)))
		return anonymous;
	jit->dump_start = process->dump_start;
	jit->dump_end = process->dump_end;
	table->callbacks.image_new(table->callbacks.context, jit, process->pid, 0, 0);
	return jit;
}

struct process_image *process_image_get(struct process_table *table, uint32_t id)
{
	size_t index = id - (size_t)NAMES_FIRST_IMAGE;

	return id >= NAMES_FIRST_IMAGE && index < table->image_count && table->images[index] ?
		       &table->images[index]->image : NULL;
}

bool process_image_is_filling(const struct process_table *table)
{
	return count_files(table) > PROCESS_IMAGE_LIMIT / 4 || table->jit_count > PROCESS_JIT_LIMIT / 4 ||
	       table->image_path_bytes > PROCESS_IMAGE_PATH_BYTES / 4;
}

/* Kinds of memory stay, they are a handful; so does what somebody is looking at. */
struct process_image *process_image_unused(struct process_table *table, size_t *at)
{
	while (*at < table->image_count) {
		struct image_entry *entry = table->images[(*at)++];
		bool kind = entry && !entry->image.file.inode && !entry->image.jit;

		if (entry && !kind && !entry->image.leaving && !entry->image.refs && !entry->image.doubted &&
		    !entry->check_ns)
			return &entry->image;
	}
	return NULL;
}

static void unlink_file(struct process_table *table, struct image_entry *entry)
{
	struct file_slot key = { entry->image.file.major, entry->image.file.minor, entry->image.file.inode, NULL };
	struct file_slot *slot = hmap_find(&table->files, &key);
	struct image_entry **link = slot ? &slot->first : NULL;

	while (link && *link && *link != entry)
		link = &(*link)->other;
	if (link && *link)
		*link = entry->other;
	if (slot && !slot->first)
		hmap_remove(&table->files, &key);
}

void process_image_leave(struct process_table *table, struct process_image *image)
{
	struct image_entry *entry = (struct image_entry *)image;

	image->leaving = true;
	atomic_store(&image->ended, PROCESS_EXITED);
	if (!image->jit)
		unlink_file(table, entry);
}

void process_image_free(struct process_table *table, struct process_image *image)
{
	struct image_entry *entry = (struct image_entry *)image;
	uint32_t index = image->id - NAMES_FIRST_IMAGE;

	if (!image->leaving)
		return;
	table->jit_count -= image->jit;
	table->image_path_bytes -= strlen(image->path);
	table->images[index] = NULL;
	table->spare_images[table->spare_count++] = index;
	free(image->path);
	free(entry);
}

struct process_image *process_image_idle(struct process_table *table, uint64_t now_ns, uint64_t least_ns)
{
	struct image_entry *oldest = NULL;

	for (size_t i = 0; i < table->image_count; i++) {
		struct image_entry *entry = table->images[i];

		if (!entry)
			continue;
		if (entry->image.users || !entry->image.has_table)
			entry->idle_ns = 0;
		else if (!entry->idle_ns)
			entry->idle_ns = now_ns;
		if (entry->idle_ns && now_ns - entry->idle_ns >= least_ns &&
		    (!oldest || entry->idle_ns < oldest->idle_ns))
			oldest = entry;
	}
	return oldest ? &oldest->image : NULL;
}

void process_image_ready(struct process_table *table, struct process_image *image)
{
	((struct image_entry *)image)->ready = true;
	table->images_ready = true;
}

void process_image_done(struct process_table *table)
{
	for (size_t i = 0; i < table->image_count; i++) {
		if (table->images[i])
			free(table->images[i]->image.path);
		free(table->images[i]);
	}
	free(table->images);
	free(table->spare_images);
	hmap_done(&table->files);
	hmap_done(&table->specials);
}

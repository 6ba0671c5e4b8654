/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What /proc knows: processes older than the agent, those whose birth went unseen, and the repair after lost
 * records. Reads maps line by line through one buffer, so that neither long paths nor many mappings cost memory.
 */
#include "base/buf.h"
#include "base/clean.h"
#include "base/clock.h"
#include "base/file.h"
#include "process_images.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define BUFFER_BYTES 65536 /* of a seq_file at a time; a longer line is skipped */
#define MAPS_BYTES (64U << 20)
#define KERNEL_THREAD 0x00200000U /* PF_KTHREAD, field "flags" of stat */
#define READS_A_TICK 64

struct found { /* a process as /proc shows it */
	uint64_t known_ns;
	uint32_t parent;
	int threads;
	char state, comm[16];
	bool kernel_thread;
	struct process_mapping *mappings;
	size_t count, capacity;
};

static bool parse_number(char **at, int base, char end, uint64_t *ret_number)
{
	char *stop;

	if (!((**at >= '0' && **at <= '9') || (base == 16 && **at >= 'a' && **at <= 'f')))
		return false; /* strtoull would take blanks and signs */
	errno = 0;
	*ret_number = strtoull(*at, &stop, base);
	if (errno || *stop != end)
		return false;
	*at = stop + 1;
	return true;
}

/* seq_path writes a newline as \012; no other byte is escaped, so nothing else is undone. */
static void unescape(char *path)
{
	char *to = path;

	for (; *path; path++) {
		if (!strncmp(path, "\\012", 4)) {
			*to++ = '\n';
			path += 3;
		} else {
			*to++ = *path;
		}
	}
	*to = '\0';
}

bool process_parse_maps_line(char *line, struct maps_line *ret_line)
{
	struct maps_line found = { 0 };
	uint64_t major, minor;
	char *at = line, *stop;

	if (!parse_number(&at, 16, '-', &found.start) || !parse_number(&at, 16, ' ', &found.end))
		return false;
	if (strnlen(at, 5) < 5 || at[4] != ' ')
		return false;
	found.executable = at[2] == 'x';
	at += 5;
	if (!parse_number(&at, 16, ' ', &found.offset) || !parse_number(&at, 16, ':', &major) ||
	    !parse_number(&at, 16, ' ', &minor) || found.start >= found.end || (major | minor) > UINT32_MAX)
		return false;
	stop = at + strspn(at, "0123456789");
	if (stop == at || (*stop && *stop != ' ') || stop - at > 20)
		return false;
	found.inode = strtoull(at, NULL, 10);
	found.major = (uint32_t)major;
	found.minor = (uint32_t)minor;
	stop += strspn(stop, " ");
	unescape(stop);
	found.path = stop;
	*ret_line = found;
	return true;
}

static bool take_line(struct process_table *table, struct found *found, char *text)
{
	struct maps_line line;
	struct sideband_file file;
	struct process_mapping *mappings;

	if (!process_parse_maps_line(text, &line) || !line.executable || line.end > PROCESS_USER_END)
		return true;
	if (found->count == PROCESS_MAPPING_LIMIT) {
		table->stats.refused_mappings++;
		return true;
	}
	if (found->count == found->capacity) {
		size_t capacity = found->capacity ? 2 * found->capacity : 32;

		mappings = realloc(found->mappings, capacity * sizeof(*mappings));
		if (!mappings)
			return false;
		found->mappings = mappings;
		found->capacity = capacity;
	}
	file = (struct sideband_file){ line.major, line.minor, line.inode, 0 };
	found->mappings[found->count] = (struct process_mapping){
		line.start, line.end, line.offset, process_image_for(table, &file, line.path), found->known_ns };
	if (!found->mappings[found->count].image)
		return false;
	found->count++;
	return true;
}

/* Hands complete lines on; what is left of the buffer moves to its front. A line as long as it is dropped. */
static bool take_lines(struct process_table *table, struct found *found, size_t *length, bool *skipping)
{
	char *at = table->scan_buffer, *end = at + *length, *newline;

	while ((newline = memchr(at, '\n', (size_t)(end - at)))) {
		*newline = '\0';
		if (!*skipping && !take_line(table, found, at))
			return false;
		*skipping = false;
		at = newline + 1;
	}
	*length = (size_t)(end - at);
	if (*length == BUFFER_BYTES) {
		*skipping = true;
		*length = 0;
	}
	memmove(table->scan_buffer, at, *length);
	return true;
}

static int read_maps(struct process_table *table, int directory, const char *name, struct found *found)
{
	auto_fd int fd = openat(directory, name, O_RDONLY | O_CLOEXEC);
	size_t length = 0, total = 0;
	bool skipping = false;

	if (fd < 0)
		return -errno;
	if (!table->scan_buffer)
		table->scan_buffer = malloc(BUFFER_BYTES);
	if (!table->scan_buffer)
		return -ENOMEM;
	for (;;) {
		ssize_t got = read(fd, table->scan_buffer + length, BUFFER_BYTES - length);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (!got || total > MAPS_BYTES)
			return 0;
		total += (size_t)got;
		length += (size_t)got;
		if (!take_lines(table, found, &length, &skipping))
			return -ENOMEM;
	}
}

/* pid (comm) state ppid … flags (9th) … num_threads (20th); comm may hold anything, so the last ')' counts. */
static int read_stat(int directory, struct found *found)
{
	auto_buf struct buf text = { 0 };
	int err = file_read(directory, "stat", 65536, &text);
	unsigned parent, flags;
	char *at;

	if (err)
		return err;
	at = strrchr(text.data, ')');
	if (!at || sscanf(at + 1, " %c %u %*d %*d %*d %*d %u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %d",
			  &found->state, &parent, &flags, &found->threads) != 4)
		return -EINVAL;
	found->parent = parent;
	found->kernel_thread = flags & KERNEL_THREAD;
	return 0;
}

static void read_comm(int directory, struct found *found)
{
	auto_buf struct buf text = { 0 };

	if (file_read(directory, "comm", 4096, &text) || !text.length)
		return;
	if (text.data[text.length - 1] == '\n')
		text.data[text.length - 1] = '\0';
	memcpy(found->comm, text.data, strnlen(text.data, sizeof(found->comm) - 1));
}

/* The leader is gone and has no memory any more; any other thread shows the same mappings. */
static void read_maps_of_thread(struct process_table *table, int directory, uint32_t pid, struct found *found)
{
	auto_fd int tasks = openat(directory, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	auto_dir DIR *dir = tasks < 0 ? NULL : fdopendir(tasks);
	struct dirent *item;
	char name[32];

	if (!dir)
		return;
	steal_fd(&tasks);
	while (!found->count && (item = readdir(dir))) {
		unsigned long tid = strtoul(item->d_name, NULL, 10);

		if (!tid || tid == pid)
			continue;
		snprintf(name, sizeof(name), "%lu/maps", tid);
		read_maps(table, dirfd(dir), name, found);
	}
}

static int read_process(struct process_table *table, uint32_t pid, struct found *ret_found)
{
	struct found found = { .known_ns = clock_monotonic_ns() };
	char path[32];
	int err;

	snprintf(path, sizeof(path), "/proc/%u", pid);
	auto_fd int directory = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (directory < 0)
		return -errno;
	err = read_stat(directory, &found);
	if (err)
		return err;
	if (found.state == 'X' || (found.state == 'Z' && found.threads <= 1))
		return -ESRCH;
	read_comm(directory, &found);
	if (found.state == 'Z')
		read_maps_of_thread(table, directory, pid, &found);
	else if (!found.kernel_thread)
		err = read_maps(table, directory, "maps", &found);
	if (err) {
		free(found.mappings);
		return err;
	}
	*ret_found = found;
	return 0;
}

static void inherit_root(struct process_table *table, struct process_entry *entry)
{
	const struct process_entry *parent = process_entry_newest(table, entry->process.parent);

	if (!entry->process.root && parent)
		entry->process.root = parent->process.root;
}

static void fill_entry(struct process_table *table, struct process_entry *entry, const struct found *found)
{
	entry->process.known_ns = found->known_ns;
	entry->process.parent = found->parent;
	entry->process.kernel_thread = found->kernel_thread;
	entry->threads = found->threads;
	entry->scanned = true;
	if (found->state == 'Z') {
		entry->leader_gone = true;
		process_queue_pid(table, &table->leaderless, entry->process.pid);
	}
	process_entry_comm(entry, found->comm);
	inherit_root(table, entry);
	for (size_t i = 0; i < found->count; i++)
		process_mapping_insert(table, entry, &found->mappings[i]);
	process_entry_mark(table, entry);
}

static bool same_program(const struct process_entry *entry, const struct found *found)
{
	const struct process *process = &entry->process;

	if (process->mapping_count != found->count || strcmp(process->comm, found->comm))
		return false;
	for (size_t i = 0; i < found->count; i++) {
		const struct process_mapping *a = &process->mappings[i], *b = &found->mappings[i];

		if (a->start != b->start || a->end != b->end || a->image != b->image)
			return false;
	}
	return true;
}

/*
 * Makes the table agree with /proc. What differs becomes a new generation, since nobody knows what was missed:
 * mappings, or a whole exec.
 */
static void refresh(struct process_table *table, uint32_t pid)
{
	struct process_entry *entry = process_entry_newest(table, pid);
	struct found found;
	int err = read_process(table, pid, &found);

	if (entry && !process_entry_alive(entry))
		entry = NULL;
	if (err == -ESRCH || err == -ENOENT) {
		if (entry)
			process_entry_end(table, entry, clock_monotonic_ns(), true);
		return;
	}
	if (err)
		return;
	if (entry && same_program(entry, &found)) {
		free(found.mappings);
		return;
	}
	if (entry && (entry->process.mapping_count || found.kernel_thread))
		entry = process_entry_succeed(table, entry, found.known_ns);
	else if (!entry)
		entry = process_entry_add(table, pid, found.known_ns);
	if (entry)
		fill_entry(table, entry, &found);
	free(found.mappings);
}

static int for_each_pid(struct process_table *table, bool known_too)
{
	auto_dir DIR *proc = opendir("/proc");
	struct dirent *item;

	if (!proc)
		return -errno;
	while ((item = readdir(proc))) {
		char *end;
		unsigned long pid = strtoul(item->d_name, &end, 10);
		struct process_entry *entry;

		if (!pid || *end || pid > UINT32_MAX)
			continue;
		entry = process_entry_newest(table, (uint32_t)pid);
		if (!known_too && entry && process_entry_alive(entry))
			continue;
		refresh(table, (uint32_t)pid);
	}
	return 0;
}

int process_table_scan(struct process_table *table)
{
	return for_each_pid(table, false);
}

/* Processes whose EXIT was lost are no longer in /proc; each is asked for by its number. */
static void repair(struct process_table *table)
{
	struct { uint32_t pid, pad; struct process_entry *newest; } *slot;
	uint32_t *pids = calloc(table->pids.count + 1, sizeof(*pids));
	size_t count = 0;

	table->stats.repairs++;
	if (!pids)
		return;
	for (size_t at = 0; (slot = hmap_next(&table->pids, &at));)
		if (process_entry_alive(slot->newest))
			pids[count++] = slot->pid;
	for (size_t i = 0; i < count; i++)
		refresh(table, pids[i]);
	free(pids);
	for_each_pid(table, false);
}

/* Only the last thread's exit ends a process; the count of threads may be too high where /proc gave it. */
static void look_at_leaderless(struct process_table *table)
{
	struct pid_queue queue = table->leaderless;

	table->leaderless.count = 0;
	for (size_t i = 0; i < queue.count; i++) {
		struct process_entry *entry = process_entry_newest(table, queue.pids[i]);
		struct found found = { 0 };
		char path[32];

		if (!entry || !process_entry_alive(entry) || !entry->leader_gone)
			continue;
		snprintf(path, sizeof(path), "/proc/%u", queue.pids[i]);
		auto_fd int directory = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (directory < 0 || read_stat(directory, &found) || found.threads <= 1)
			process_entry_end(table, entry, clock_monotonic_ns(), true);
		else
			process_queue_pid(table, &table->leaderless, queue.pids[i]);
	}
}

bool process_table_unread(const struct process_table *table)
{
	return table->unread.count;
}

void process_scan_tick(struct process_table *table, uint64_t now_ns)
{
	size_t count = table->unread.count < READS_A_TICK ? table->unread.count : READS_A_TICK;

	for (size_t i = 0; i < count; i++)
		refresh(table, table->unread.pids[i]);
	table->unread.count -= count;
	memmove(table->unread.pids, table->unread.pids + count, table->unread.count * sizeof(*table->unread.pids));
	if (now_ns >= table->leaderless_after_ns && table->leaderless.count) {
		table->leaderless_after_ns = now_ns + PROCESS_REPAIR_NS;
		look_at_leaderless(table);
	}
	if (table->repair_wanted && now_ns >= table->repair_after_ns) {
		uint64_t begin = clock_monotonic_ns();

		table->repair_wanted = false;
		repair(table);
		/* At most one a second, and no more than a twentieth of the time on hosts with many processes. */
		table->repair_after_ns = now_ns + PROCESS_REPAIR_NS + 20 * (clock_monotonic_ns() - begin);
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loads the kernel side: takes sizes and settings, gives descriptors of maps and of the sampling program. Owns
 * the skeleton, the links of its tracepoints and the task iterator. What this kernel lacks is left out with a
 * warning; only the sampling program must load.
 */
#include "loader.h"

#include "base/clean.h"
#include "base/log.h"
#include "loader_private.h"

/* bpftool's code mixes signs. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wsign-conversion"
#include "wick.skel.h"
#pragma GCC diagnostic pop

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/utsname.h>

#define MAX_OBJECTS 48 /* programs or maps of ours */
#define VERIFIER_LOG_BYTES (1 << 20)
#define SNAPSHOT_RING_BYTES (512U << 10) /* for up to 4 CPUs: 20 copies of 24 KiB; half full, it wakes the reader */

struct loader {
	struct wick *skeleton;
	struct bpf_link *links[MAX_OBJECTS];
	struct bpf_link *account_link;
	size_t link_count, program_count, map_count;
	struct view_program programs[MAX_OBJECTS];
	struct view_map maps[MAX_OBJECTS];
};

static const char *const map_names[LOADER_MAP_COUNT] = {
	[LOADER_BLOCKS] = "blocks", [LOADER_GRACE] = "grace",
	[LOADER_COUNTERS] = "counters", [LOADER_PROCESSES] = "processes", [LOADER_MAPPINGS] = "mappings",
	[LOADER_DIRECTORY] = "directory", [LOADER_ROWS] = "rows", [LOADER_ESCAPES] = "escapes",
	[LOADER_EVENTS] = "events", [LOADER_ACCOUNT_CPU] = "account_cpu",
	[LOADER_SNAPSHOTS] = "snapshots", [LOADER_WANTED] = "wanted", [LOADER_EXECS] = "execs",
};

/* libbpf's own lines: for whoever debugs. */
static int print_libbpf(enum libbpf_print_level level, const char *format, va_list arguments)
{
	char line[1024];

	(void)level;
	if (!log_wants(LOG_DEBUG))
		return 0;
	vsnprintf(line, sizeof(line), format, arguments);
	line[strcspn(line, "\n")] = '\0';
	log_debug("libbpf: %s", line);
	return 0;
}

/*
 * Under lockdown=confidentiality libbpf 1.1 finds bpf_probe_read_kernel refused, concludes that the kernel knows
 * only the old bpf_probe_read and rewrites bpf_probe_read_user to that too, which is refused as well. Reading
 * user memory is allowed, so its number is put back; the sampler makes no other such call.
 */
static int keep_user_reads(struct bpf_program *program, struct bpf_prog_load_opts *opts, long cookie)
{
	size_t count = bpf_program__insn_cnt(program);
	auto_free struct bpf_insn *code = calloc(count, sizeof(*code));

	(void)opts, (void)cookie;
	if (!code)
		return -ENOMEM;
	memcpy(code, bpf_program__insns(program), count * sizeof(*code));
	for (size_t i = 0; i < count; i++)
		if (code[i].code == (BPF_JMP | BPF_CALL) && !code[i].src_reg && code[i].imm == BPF_FUNC_probe_read)
			code[i].imm = BPF_FUNC_probe_read_user;
	return bpf_program__set_insns(program, code, count);
}

static int setup_libbpf(void)
{
	LIBBPF_OPTS(libbpf_prog_handler_opts, opts, .prog_prepare_load_fn = keep_user_reads);
	static int handler;

	libbpf_set_print(print_libbpf);
	if (handler <= 0)
		handler = libbpf_register_prog_handler("perf_event", BPF_PROG_TYPE_PERF_EVENT, 0, &opts);
	return handler < 0 ? handler : 0;
}

static bool is_sampler(const struct bpf_program *program)
{
	return bpf_program__type(program) == BPF_PROG_TYPE_PERF_EVENT;
}

static unsigned at_least(uint64_t value, unsigned low, unsigned high)
{
	return value < low ? low : value > high ? high : (unsigned)value;
}

static unsigned ring_bytes(unsigned cpus)
{
	unsigned ring = SNAPSHOT_RING_BYTES;

	while (ring < cpus * SNAPSHOT_RING_BYTES / 4 && ring < 16 * SNAPSHOT_RING_BYTES)
		ring *= 2;
	return ring;
}

/* Shared room in a set for 4 KiB a sample of a second, ten times the usual, since stacks may be deep and the agent late. */
static unsigned count_shared(const struct loader_opts *opts, unsigned cpus)
{
	return opts->sample_blocks ? opts->sample_blocks :
				     at_least((uint64_t)opts->frequency * cpus * 4096 / SAMPLE_BLOCK_BYTES, 28, 2048);
}

static int set_sizes(struct wick *skeleton, const struct loader_opts *opts)
{
	unsigned cpus = opts->cpus ? opts->cpus : 1;
	unsigned own = cpus < SAMPLE_OWN_BLOCKS ? cpus : SAMPLE_OWN_BLOCKS, shared = count_shared(opts, cpus);
	int error;

	_Static_assert(SAMPLE_SETS * (SAMPLE_OWN_BLOCKS + SAMPLE_SHARED_BLOCKS) <= 1 << 16, "bits in walk.recent");
	skeleton->data->knobs.cgroup_source = opts->cgroup_source;
	skeleton->data->knobs.referee_interval = opts->referee_interval;
	skeleton->data->knobs.own_blocks = own;
	skeleton->data->knobs.shared_blocks = shared;
	error = bpf_map__set_max_entries(skeleton->maps.blocks, SAMPLE_SETS * (own + shared));
	return error ?: bpf_map__set_max_entries(skeleton->maps.snapshots, ring_bytes(opts->cpus));
}

/* Loads with the programs whose bit is not in `without`; a verifier's words go to `words`. */
static int load_without(const struct loader_opts *opts, uint64_t without, char *words, struct wick **ret_skeleton)
{
	struct wick *skeleton = wick__open();
	struct bpf_program *program;
	unsigned index = 0;
	int error;

	if (!skeleton)
		return -errno;
	error = set_sizes(skeleton, opts);
	bpf_object__for_each_program(program, skeleton->obj) {
		if (without >> index++ & 1)
			bpf_program__set_autoload(program, false);
		if (words && is_sampler(program))
			bpf_program__set_log_buf(program, words, VERIFIER_LOG_BYTES);
	}
	error = error ?: wick__load(skeleton);
	if (error) {
		wick__destroy(skeleton);
		return error;
	}
	*ret_skeleton = skeleton;
	return 0;
}

/* Which of the programs beside the sampler does this kernel refuse? Each is tried alone. */
static uint64_t find_refused(const struct loader_opts *opts)
{
	struct wick *skeleton = wick__open();
	struct bpf_program *program;
	uint64_t refused = 0;
	unsigned index = 0;

	if (!skeleton)
		return 0;
	bpf_object__for_each_program(program, skeleton->obj) {
		uint64_t bit = 1ULL << index++;
		struct wick *tried;
		int error;

		if (is_sampler(program))
			continue;
		error = load_without(opts, ~bit, NULL, &tried);
		if (!error) {
			wick__destroy(tried);
			continue;
		}
		refused |= bit;
		log_warn("the kernel refused a tracing program; what it feeds is missing program=%s error=\"%s\"",
			 bpf_program__name(program), strerror(-error));
	}
	wick__destroy(skeleton);
	return refused;
}

/* The verifier's last word: the line before its statistics. */
static void find_complaint(const char *words, const char **ret_line, int *ret_length)
{
	const char *line = words, *last = words;

	while (*line && strncmp(line, "processed ", strlen("processed "))) {
		last = line;
		line += strcspn(line, "\n");
		line += *line == '\n';
	}
	*ret_line = last;
	*ret_length = (int)strcspn(last, "\n");
}

static int explain_load(int result, const char *words, char *error, size_t error_size)
{
	const char *line;
	int length;

	if (words && *words) {
		log_debug("verifier: %s", words);
		find_complaint(words, &line, &length);
		snprintf(error, error_size, "the kernel's verifier refused the sampling program: %.*s (%s)", length,
			 line, strerror(-result));
	} else if (result == -EPERM || result == -EACCES) {
		snprintf(error, error_size,
			 "loading BPF programs was refused: wick needs root, or CAP_BPF and CAP_PERFMON");
	} else {
		snprintf(error, error_size, "the kernel side did not load: %s", strerror(-result));
	}
	return result;
}

static int load(const struct loader_opts *opts, struct wick **ret_skeleton, char *error, size_t error_size)
{
	auto_free char *words = NULL;
	uint64_t refused;
	int result = load_without(opts, 0, NULL, ret_skeleton);

	if (!result)
		return 0;
	if (result == -EPERM)
		return explain_load(result, NULL, error, error_size);
	refused = find_refused(opts);
	if (refused && !load_without(opts, refused, NULL, ret_skeleton))
		return 0;
	words = calloc(1, VERIFIER_LOG_BYTES);
	result = load_without(opts, refused, words, ret_skeleton);
	return result ? explain_load(result, words, error, error_size) : 0;
}

static void attach(struct loader *loader)
{
	struct bpf_program *program;

	bpf_object__for_each_program(program, loader->skeleton->obj) {
		struct bpf_link *link;

		if (is_sampler(program) || bpf_program__fd(program) < 0 || loader->link_count >= MAX_OBJECTS)
			continue;
		link = bpf_program__attach(program);
		if (!link) {
			log_warn("a tracing program did not attach; what it feeds is missing program=%s error=\"%s\"",
				 bpf_program__name(program), strerror(errno));
			continue;
		}
		loader->links[loader->link_count++] = link;
		if (!strcmp(bpf_program__name(program), "account_task"))
			loader->account_link = link;
	}
}

/* BTF opens with its magic number (Documentation/bpf/btf.rst); a file without it helps nobody. */
static bool has_type_information(void)
{
	auto_fd int fd = open("/sys/kernel/btf/vmlinux", O_RDONLY | O_CLOEXEC);
	uint16_t magic = 0;

	return fd >= 0 && read(fd, &magic, sizeof(magic)) == sizeof(magic) && magic == 0xeb9f;
}

static int check_kernel(const struct loader_opts *opts, char *error, size_t error_size)
{
	struct utsname name;

	if (!has_type_information()) {
		snprintf(error, error_size,
			 "the kernel has no type information at /sys/kernel/btf/vmlinux (CONFIG_DEBUG_INFO_BTF)");
		return -EOPNOTSUPP;
	}
	if (uname(&name))
		return -errno;
	/* Debian's release names an ABI ("6.1.0-28-amd64"); its version tells which kernel it really is. */
	if (opts->allow_freezing_kernel ||
	    !loader_kernel_freezes(strstr(name.version, "Debian ") ? name.version : name.release))
		return 0;
	snprintf(error, error_size,
		 "kernel %s can freeze the host when user stacks are read (mended in 6.1.36 and 6.3.10); "
		 "update it, or insist with --debug.allow-freezing-kernel",
		 name.release);
	return -EOPNOTSUPP;
}

int loader_open(const struct loader_opts *opts, struct loader **ret_loader, char *error, size_t error_size)
{
	struct loader *loader;
	int result = check_kernel(opts, error, error_size);

	if (result)
		return result;
	result = setup_libbpf();
	if (result)
		return result;
	loader = calloc(1, sizeof(*loader));
	if (!loader)
		return -ENOMEM;
	result = load(opts, &loader->skeleton, error, error_size);
	if (result) {
		loader_close(loader);
		return result;
	}
	attach(loader);
	*ret_loader = loader;
	return 0;
}

void loader_close(struct loader *loader)
{
	if (!loader)
		return;
	for (size_t i = 0; i < loader->link_count; i++)
		bpf_link__destroy(loader->links[i]);
	wick__destroy(loader->skeleton);
	free(loader);
}

int loader_map_fd(const struct loader *loader, enum loader_map map)
{
	const struct bpf_map *found = bpf_object__find_map_by_name(loader->skeleton->obj, map_names[map]);

	return found ? bpf_map__fd(found) : -1;
}

int loader_sample_fd(const struct loader *loader)
{
	return bpf_program__fd(loader->skeleton->progs.sample);
}

int loader_account_tasks(struct loader *loader)
{
	char bytes[4096];
	auto_fd int fd = -1;
	ssize_t got;

	if (!loader->account_link)
		return -EOPNOTSUPP;
	fd = bpf_iter_create(bpf_link__fd(loader->account_link));
	if (fd < 0)
		return -errno;
	do {
		got = read(fd, bytes, sizeof(bytes));
	} while (got > 0 || (got < 0 && (errno == EINTR || errno == EAGAIN)));
	return got < 0 ? -errno : 0;
}

size_t loader_programs(struct loader *loader, const struct view_program **ret_programs)
{
	struct bpf_program *program;

	loader->program_count = 0;
	bpf_object__for_each_program(program, loader->skeleton->obj) {
		struct view_program *view = &loader->programs[loader->program_count];
		struct bpf_prog_info info = { 0 };
		uint32_t bytes = sizeof(info);

		if (loader->program_count == MAX_OBJECTS || bpf_program__fd(program) < 0 ||
		    bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &bytes))
			continue;
		view->name = bpf_program__name(program);
		view->run_ns = info.run_time_ns;
		view->run_count = info.run_cnt;
		view->verified = info.verified_insns;
		loader->program_count++;
	}
	*ret_programs = loader->programs;
	return loader->program_count;
}

uint64_t loader_events_lost(const struct loader *loader)
{
	return __atomic_load_n(&loader->skeleton->bss->events_lost, __ATOMIC_RELAXED); /* the map's memory */
}

void loader_forget_rules(struct loader *loader)
{
	__atomic_add_fetch(&loader->skeleton->data->knobs.rules_epoch, 1, __ATOMIC_RELEASE);
}

void loader_forget_process(struct loader *loader, uint32_t tgid)
{
	__atomic_add_fetch(&loader->skeleton->data->knobs.process_epochs[tgid % KNOB_PROCESS_EPOCHS], 1, __ATOMIC_RELEASE);
}

uint32_t loader_next_turn(struct loader *loader)
{
	return __atomic_fetch_add(&loader->skeleton->data->knobs.turn, 1, __ATOMIC_SEQ_CST);
}

unsigned loader_used_blocks(struct loader *loader, uint32_t turn, uint32_t *ret_numbers)
{
	struct knobs *knobs = &loader->skeleton->data->knobs;
	uint32_t set = turn % SAMPLE_SETS, first = set * (knobs->own_blocks + knobs->shared_blocks);
	unsigned count = 0, shared = __atomic_exchange_n(&knobs->blocks_taken[set], 0, __ATOMIC_SEQ_CST);

	for (uint32_t own = 0; own < knobs->own_blocks; own++)
		if (loader->skeleton->bss->own_turns[set][own] == turn)
			ret_numbers[count++] = first + own;
	for (uint32_t at = 0; at < shared && at < knobs->shared_blocks; at++)
		ret_numbers[count++] = first + knobs->own_blocks + at;
	return count;
}

unsigned loader_blocks(const struct loader *loader)
{
	return loader->skeleton->data->knobs.own_blocks + loader->skeleton->data->knobs.shared_blocks;
}

void loader_wake_after(struct loader *loader, uint64_t at_ns)
{
	__atomic_store_n(&loader->skeleton->bss->copies_wake_ns, at_ns, __ATOMIC_RELAXED);
}

size_t loader_maps(struct loader *loader, const struct view_map **ret_maps)
{
	struct bpf_map *map;

	loader->map_count = 0;
	bpf_object__for_each_map(map, loader->skeleton->obj) {
		struct view_map *view = &loader->maps[loader->map_count];

		if (loader->map_count == MAX_OBJECTS || bpf_map__fd(map) < 0)
			continue;
		view->name = bpf_map__name(map);
		view->bytes = loader_map_bytes(bpf_map__fd(map));
		loader->map_count++;
	}
	*ret_maps = loader->maps;
	return loader->map_count;
}

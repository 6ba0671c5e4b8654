/* SPDX-License-Identifier: Apache-2.0 */
/* The referee's unwinder: this very process's stack, a signal's, tables of every kind, and hostile files. */
#include "referee_fixture.h"
#include "stack_replay.h"
#include "symbolizer/referee_keep.h"
#include "symbolizer/referee_unwind.h"
#include "toolchain.h"

#include "abi/sample.h"
#include "base/buf.h"
#include "base/file.h"

#include <dlfcn.h>
#include <signal.h>
#include <stdint.h>

#define DAMAGES 300

struct bench {
	struct own_space own;
	struct space space;
	struct own_copy copy;
	uint64_t frames[REFEREE_MAX_FRAMES];
	uint32_t depth, certain;
	enum reason reason;
};

int main(void);

static struct bench *bench; /* a signal handler has no context */

static int setup(void **state)
{
	int fd;

	(void)state;
	bench = calloc(1, sizeof(*bench));
	own_space_read(&bench->own);
	fd = own_space_memfd(&bench->own);
	if (fd < 0 || space_read(&bench->space, fd))
		return -1;
	for (uint32_t i = 0; i < bench->own.fd_count; i++)
		space_set_image(&bench->space, i, bench->own.fds[i]);
	return close(fd);
}

static int teardown(void **state)
{
	(void)state;
	space_done(&bench->space);
	own_space_close(&bench->own);
	free(bench);
	return 0;
}

static void unwind(void)
{
	struct referee_path path;

	referee_unwind(&bench->space, &bench->copy.head, bench->copy.stack, bench->frames, &path);
	bench->depth = path.depth;
	bench->certain = path.certain;
	bench->reason = path.reason;
}

static __attribute__((noinline)) int dive(int depth)
{
	volatile char room[64];

	memset((void *)room, depth, sizeof(room));
	if (depth)
		return dive(depth - 1) + room[3];
	own_copy_take(&bench->copy);
	return room[5];
}

/* The leaf's pc differs: backtrace and the copy are two places in one function. */
static void assert_truth(uint32_t from)
{
	for (uint32_t i = from; i < bench->depth; i++)
		assert_int_equal(bench->frames[i] & ~SAMPLE_FRAME_EXACT, (uintptr_t)bench->copy.truth[i]);
}

static void own_stack(void **state)
{
	(void)state;
	dive(7);
	unwind();
	assert_int_equal(bench->reason, REASON_NONE);
	assert_int_equal(bench->depth, bench->copy.truth_count);
	assert_int_equal(bench->certain, bench->depth + 1);
	assert_true(bench->depth > 9);
	assert_true(bench->frames[0] & SAMPLE_FRAME_EXACT);
	assert_false(bench->frames[1] & SAMPLE_FRAME_EXACT);
	assert_truth(1);
}

static void on_signal(int number)
{
	(void)number;
	dive(2);
}

static void signal_stack(void **state)
{
	int exact = 0;

	(void)state;
	signal(SIGUSR1, on_signal);
	raise(SIGUSR1);
	unwind();
	assert_int_equal(bench->reason, REASON_NONE);
	assert_int_equal(bench->depth, bench->copy.truth_count);
	assert_truth(1);
	for (uint32_t i = 1; i < bench->depth; i++)
		exact += bench->frames[i] >> 63;
	assert_int_equal(exact, 1); /* what the signal interrupted */
}

static void copy_ends(void **state)
{
	(void)state;
	dive(60);
	bench->copy.head.bytes = bench->copy.head.near_bytes = 2048;
	unwind();
	assert_int_equal(bench->reason, REASON_COPY_END);
	assert_true(bench->depth > 5 && bench->depth < 60);
	assert_truth(1);
	bench->copy.head.bytes = bench->copy.head.near_bytes = 0;
	unwind();
	assert_int_equal(bench->depth, 1);
}

static uintptr_t room_at;

static __attribute__((noinline)) int dive_below_room(void)
{
	volatile char room[4096];

	memset((void *)room, 1, sizeof(room));
	room_at = (uintptr_t)room;
	return dive(3) + room[7];
}

/* Takes out what no frame needs: the stack then lies in two places. */
static void take_in_two(void)
{
	struct snapshot *copy = &bench->copy.head;
	uint8_t *stack = bench->copy.stack;

	dive_below_room();
	copy->near_bytes = (uint32_t)(room_at - copy->from);
	copy->far = room_at + 4096;
	assert_true(copy->bytes > copy->near_bytes + 4096);
	copy->bytes -= 4096;
	memmove(stack + copy->near_bytes, stack + copy->near_bytes + 4096, copy->bytes - copy->near_bytes);
}

static void goes_on_elsewhere(void **state)
{
	(void)state;
	take_in_two();
	unwind();
	assert_int_equal(bench->reason, REASON_NONE);
	assert_int_equal(bench->depth, bench->copy.truth_count);
	assert_truth(1);
	bench->copy.head.bytes = bench->copy.head.near_bytes;
	unwind();
	assert_int_equal(bench->reason, REASON_COPY_END);
	assert_in_range(bench->depth, 5, 6);
	assert_truth(1);
}

/* A page that could not be read is zeros in the copy: no return address, and no root. Here it is the one where the
 * frame with the room ends, or the next. */
static void what_was_not_there_ends(void **state)
{
	struct snapshot *copy = &bench->copy.head;
	uint64_t page;

	(void)state;
	dive_below_room();
	page = (room_at + 4096) / SNAPSHOT_PIECE * SNAPSHOT_PIECE;
	for (int i = 0; i < 2; i++, page += SNAPSHOT_PIECE) {
		uint64_t end = copy->from + copy->bytes;

		assert_true(page > copy->from);
		if (page < end)
			memset(bench->copy.stack + (page - copy->from), 0,
			       end - page < SNAPSHOT_PIECE ? end - page : SNAPSHOT_PIECE);
		copy->holes |= 1U << snapshot_page(copy, page);
	}
	unwind();
	assert_int_equal(bench->reason, REASON_COPY_END);
	assert_in_range(bench->depth, 5, 6);
	assert_truth(1);
	copy->holes = 0;
}

static void unknown_places(void **state)
{
	struct referee_mapping *mapping;

	(void)state;
	dive(3);
	for (size_t i = 0; i < bench->space.mapping_count; i++) {
		mapping = &bench->space.mappings[i];
		if (bench->copy.head.pc >= mapping->start && bench->copy.head.pc < mapping->end)
			mapping->image = 50; /* never handed over */
	}
	unwind();
	assert_int_equal(bench->depth, 1);
	assert_int_equal(bench->reason, REASON_NO_TABLE);
	bench->copy.head.pc = 0x1000;
	unwind();
	assert_int_equal(bench->depth, 1);
	assert_int_equal(bench->reason, REASON_NO_MAPPING);
}

/* ---- libraries made here, each with a function that calls back ------------------------------------------- */

static const char library[] = "int through(int (*call)(int), int depth)\n"
			      "{\n"
			      "	volatile int room[40] = { depth };\n"
			      "	return call(3) + room[0];\n"
			      "}\n";

static int (*load(const char *name, const char *text, const char *compile))(int (*)(int), int)
{
	char path[256];
	void *handle;

	write_file("through.c", text);
	assert_int_equal(run("%s -shared -fPIC -o %s through.c", compile, name), 0);
	snprintf(path, sizeof(path), "%s/%s", toolchain_folder, name);
	handle = dlopen(path, RTLD_NOW);
	assert_non_null(handle);
	return (int (*)(int (*)(int), int))dlsym(handle, "through");
}

/* How many frames lie in the library that holds `function`. */
static int frames_in(const void *function)
{
	int count = 0;

	for (uint32_t i = 0; i < bench->depth; i++) {
		Dl_info frame, wanted;

		if (dladdr((void *)(uintptr_t)(bench->frames[i] & ~SAMPLE_FRAME_EXACT), &frame) &&
		    dladdr(function, &wanted) && frame.dli_fbase == wanted.dli_fbase)
			count++;
	}
	return count;
}

static void unwind_through(int (*through)(int (*)(int), int), int no_truth)
{
	setup(NULL);
	bench->copy.no_truth = no_truth;
	through(dive, 1);
	unwind();
}

static void tables_of_every_kind(void **state)
{
	static const char *const compilers[] = {
		"gcc -O1",
		"gcc -O1 -Wl,--no-eh-frame-hdr",
		"gcc -O1 -g -fno-asynchronous-unwind-tables -fno-exceptions",
		"gcc -O1 -g -gz -gdwarf-5 -fno-asynchronous-unwind-tables -fno-exceptions",
	};

	need("gcc");
	for (size_t i = 0; i < sizeof(compilers) / sizeof(compilers[0]); i++) {
		char name[16];
		int (*through)(int (*)(int), int);

		snprintf(name, sizeof(name), "kind%zu.so", i);
		through = load(name, library, compilers[i]);
		unwind_through(through, 0);
		assert_int_equal(bench->reason, REASON_NONE);
		assert_int_equal(frames_in((void *)through), 1);
		teardown(state);
	}
}

/* Without any a frame pointer leads on, but nobody is certain of it; a register that is none leads nowhere. */
static void no_table(void **state)
{
	static const char *const compilers[] = {
		"gcc -O1 -fno-omit-frame-pointer -fno-asynchronous-unwind-tables -fno-exceptions",
		"gcc -O1 -ffixed-rbp -fomit-frame-pointer -fno-asynchronous-unwind-tables -fno-exceptions",
	};

	need("gcc");
	for (size_t i = 0; i < sizeof(compilers) / sizeof(compilers[0]); i++) {
		char name[16];
		int (*through)(int (*)(int), int);
		uint32_t at = 0;

		snprintf(name, sizeof(name), "none%zu.so", i);
		through = load(name, library, compilers[i]);
		unwind_through(through, 1);
		assert_int_equal(frames_in((void *)through), 1);
		while (bench->frames[at] - (uintptr_t)through > 256)
			at++;
		assert_int_equal(bench->certain, at + 1);
		if (!i) {
			assert_int_equal(bench->reason, REASON_NONE);
			assert_true(frames_in((void *)(uintptr_t)main) > (int)at + 1);
		}
		teardown(state);
	}
}

/* The CFA is an expression that jumps back to its own start. */
static void endless_expression(void **state)
{
	char text[1024];
	double begin;

	need("gcc");
	snprintf(text, sizeof(text), "%s", library);
	snprintf(strchr(text, '{'), 512, "{\n	__asm__ volatile(\".cfi_escape 0x0f, 0x03, 0x2f, 0xfd, 0xff\");\n"
					 "	volatile int room[40] = { depth };\n	return call(3) + room[0];\n}\n");
	begin = now_s();
	unwind_through(load("endless.so", text, "gcc -O1"), 1);
	assert_int_equal(bench->reason, REASON_TIME);
	assert_true(bench->depth >= 5);
	assert_true(now_s() - begin < 10);
	teardown(state);
}

/* Bytes of the library's .eh_frame and its table are others: whatever comes out, it ends, within its bounds. */
static void damaged_tables(void **state)
{
	const struct image_section *section;
	int (*through)(int (*)(int), int);
	struct space_image *image = NULL;
	const uint8_t *bytes;
	struct image *pristine;
	uint32_t seed = 1;
	size_t size;

	need("gcc");
	through = load("damaged.so", library, "gcc -O1");
	unwind_through(through, 0);
	assert_int_equal(bench->reason, REASON_NONE);
	pristine = open_image("damaged.so");
	section = image_find(pristine, ".eh_frame");
	assert_non_null(section);
	for (uint32_t i = 0; i < bench->own.fd_count; i++) {
		Dl_info info;

		dladdr((void *)through, &info);
		if ((uintptr_t)info.dli_fbase <= bench->space.mappings[i].start &&
		    bench->space.mappings[i].start < (uintptr_t)info.dli_fbase + 65536)
			image = &bench->space.images[bench->space.mappings[i].image];
	}
	assert_non_null(image);
	for (int round = 0; round < DAMAGES; round++) {
		int fd = memfd_create("damaged", MFD_CLOEXEC);

		assert_int_equal(image_bytes(pristine, section, &bytes, &size), 0);
		bytes -= section->offset;
		assert_true(write(fd, bytes, 16384) > 8192);
		for (int i = 0; i < 4; i++) {
			uint8_t byte = (uint8_t)((seed = seed * 1664525 + 1013904223) >> 24);

			assert_int_equal(pwrite(fd, &byte, 1, (off_t)(section->offset - 64 + (seed >> 8) % (size + 64))), 1);
		}
		image_close(image->image);
		image->image = NULL;
		if (image_open(fd, &image->image))
			image->image = NULL;
		close(fd);
		unwind();
		assert_true(bench->depth >= 1 && bench->depth <= REFEREE_MAX_FRAMES);
	}
	image_close(pristine);
	teardown(state);
}

/* ---- what is kept of a stack ---------------------------------------------------------------------------- */

static void kept_stack_replays(void **state)
{
	static struct referee_keep wanted = { .title = "a test" };
	static struct stack_replay replay;
	struct referee_stack stack;
	struct stack_case *again;
	auto_buf struct buf text = { 0 };
	char path[40];
	uint32_t line;
	int fd = memfd_create("kept", MFD_CLOEXEC);

	(void)state;
	take_in_two();
	unwind();
	stack = (struct referee_stack){ &bench->copy.head, bench->copy.stack, bench->frames, bench->depth, bench->reason };
	for (uint32_t i = 0; i < bench->own.fd_count; i++)
		snprintf(wanted.names[i], sizeof(wanted.names[i]), "image %u", i);
	memcpy(wanted.walked, bench->frames, bench->depth * sizeof(bench->frames[0]));
	assert_int_equal(referee_keep(&bench->space, &stack, &wanted, bench->depth, fd), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	assert_int_equal(file_read(AT_FDCWD, path, STACK_CASE_MAX_BYTES, &text), 0);
	close(fd);
	assert_int_equal(stack_case_read(text.data, text.length, &again, &line), 0);
	assert_string_equal(again->title, "a test");
	assert_int_equal(again->frame_count, bench->depth);
	assert_int_equal(again->memory_count, 2);
	assert_int_equal(stack_replay_run(again, &replay), 0);
	assert_int_equal(stack_replay_compare(again, &replay), -1);
	stack_case_free(again);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(own_stack, setup, teardown),
		cmocka_unit_test_setup_teardown(signal_stack, setup, teardown),
		cmocka_unit_test_setup_teardown(copy_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(goes_on_elsewhere, setup, teardown),
		cmocka_unit_test_setup_teardown(what_was_not_there_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(unknown_places, setup, teardown),
		cmocka_unit_test_setup_teardown(kept_stack_replays, setup, teardown),
		cmocka_unit_test(tables_of_every_kind),
		cmocka_unit_test(no_table),
		cmocka_unit_test(endless_expression),
		cmocka_unit_test(damaged_tables),
	};

	return cmocka_run_group_tests(tests, toolchain_setup, toolchain_teardown);
}

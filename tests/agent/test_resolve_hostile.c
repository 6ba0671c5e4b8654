/* SPDX-License-Identifier: Apache-2.0 */
/* What resolve does when a child lies or dies, a debug link leads astray, or a file system never answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "own_mapping.h"
#include "resolve_fixture.h"
#include "symbolizer/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define FRAMES 3

enum lie { /* what the false child answers */
	LIE_DIES_AT_DESCRIBE, LIE_SHORT, LIE_OTHER_ID, LIE_OTHER_OP, LIE_SEGMENTS, LIE_BUILD_ID, LIE_DEBUGLINK, LIE_LONG,
	LIE_UNTERMINATED_LINK, LIE_DIES_AT_NAMES, LIE_STRING_OUTSIDE, LIE_NO_NUL, LIE_ADDRESS_OUTSIDE, LIE_TWICE,
	LIE_LINES_OUTSIDE, LIE_SOURCE, LIE_EMPTY_MORE, LIE_ONE_MISSING, LIE_LENGTH, LIE_COUNT
};

struct liar {
	int control;
	enum lie lie;
	pthread_t thread;
};

static void send_bytes(int socket, const void *bytes, size_t size)
{
	if (send(socket, bytes, size, MSG_NOSIGNAL) < 0)
		return; /* resolve has seen enough */
}

static void lie_describe(int socket, int image_fd, const struct symbolizer_request *request, enum lie lie)
{
	struct symbolizer_image image = { 0 };
	struct image *opened;
	char longer[sizeof(image) + 8] = { 0 };

	assert_int_equal(image_open(image_fd, &opened), 0);
	image_describe(opened, &image);
	image_close(opened);
	image.reply = (struct symbolizer_reply){ .op = request->op, .id = request->id };
	image.has_dwarf = 1;
	if (lie == LIE_OTHER_ID)
		image.reply.id++;
	if (lie == LIE_OTHER_OP)
		image.reply.op = SYMBOLIZER_NAMES;
	if (lie == LIE_SEGMENTS)
		image.segment_count = 1000;
	if (lie == LIE_BUILD_ID)
		image.build_id_bytes = 65;
	if (lie == LIE_DEBUGLINK)
		strcpy(image.debuglink, "../../../etc/shadow");
	if (lie == LIE_UNTERMINATED_LINK)
		memset(image.debuglink, 'a', sizeof(image.debuglink));
	memcpy(longer, &image, sizeof(image));
	send_bytes(socket, longer, lie == LIE_SHORT ? 10 : lie == LIE_LONG ? sizeof(longer) : sizeof(image));
}

static void lie_names(int socket, const struct symbolizer_request *request, enum lie lie)
{
	struct {
		struct symbolizer_names head;
		struct symbolizer_frame frames[FRAMES];
		struct symbolizer_line lines[FRAMES];
		char strings[8];
	} packet = { .head = { .reply = { .op = SYMBOLIZER_NAMES, .id = request->id }, .frames = FRAMES,
			       .lines = FRAMES, .string_bytes = 8 }, .strings = "\0lie" };

	for (uint32_t at = 0; at < FRAMES; at++) {
		packet.frames[at] = (struct symbolizer_frame){ .address = at, .first_line = at, .lines = 1,
							       .source = SYMBOL_SYMTAB };
		packet.lines[at].name = 1;
	}
	switch (lie) {
	case LIE_STRING_OUTSIDE: packet.lines[2].file = 8; break;
	case LIE_NO_NUL: packet.strings[7] = 'x'; break;
	case LIE_ADDRESS_OUTSIDE: packet.frames[2].address = FRAMES; break;
	case LIE_TWICE: packet.frames[2].address = 1; break;
	case LIE_LINES_OUTSIDE: packet.frames[2].lines = 2; break;
	case LIE_SOURCE: packet.frames[2].source = SYMBOL_SOURCE_COUNT; break;
	case LIE_EMPTY_MORE: packet.head.reply.more = 1; packet.head.frames = 0; break;
	case LIE_ONE_MISSING: packet.head.frames = 0; packet.head.lines = 0; break;
	case LIE_LENGTH: packet.head.lines = 4000; break;
	default: break;
	}
	if (lie == LIE_EMPTY_MORE || lie == LIE_ONE_MISSING) {
		packet.head.lines = 0;
		packet.head.string_bytes = 0;
		send_bytes(socket, &packet.head, sizeof(packet.head));
		return;
	}
	send_bytes(socket, &packet, sizeof(packet));
}

struct lying_child {
	int image_fd, socket;
	enum lie lie;
};

static void serve_lies(int socket, int image_fd, enum lie lie)
{
	struct {
		struct symbolizer_request head;
		uint64_t addresses[SYMBOLIZER_MAX_ADDRESSES];
	} request;
	struct symbolizer_table table = { 0 };

	while (recv(socket, &request, sizeof(request), 0) >= (ssize_t)sizeof(request.head)) {
		switch (request.head.op) {
		case SYMBOLIZER_DESCRIBE:
			if (lie == LIE_DIES_AT_DESCRIBE)
				return;
			lie_describe(socket, image_fd, &request.head, lie);
			break;
		case SYMBOLIZER_TABLE:
			table.reply = (struct symbolizer_reply){ request.head.op, request.head.id, -ENODATA, 0 };
			send_bytes(socket, &table, sizeof(table));
			break;
		default:
			if (lie == LIE_DIES_AT_NAMES)
				return;
			lie_names(socket, &request.head, lie);
		}
	}
}

/* Lives until it has lied. */
static void *run_child(void *argument)
{
	struct lying_child *child = argument;

	serve_lies(child->socket, child->image_fd, child->lie);
	close(child->image_fd);
	close(child->socket);
	free(child);
	return NULL;
}

static void *run_liar(void *argument)
{
	struct liar *liar = argument;

	for (;;) {
		struct symbolizer_request request;
		union {
			struct cmsghdr header;
			char bytes[CMSG_SPACE(2 * sizeof(int))];
		} ancillary;
		struct iovec part = { &request, sizeof(request) };
		struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &ancillary,
					  .msg_controllen = sizeof(ancillary) };
		struct lying_child *child;
		pthread_t thread;

		if (recvmsg(liar->control, &message, MSG_CMSG_CLOEXEC) <= 0)
			return NULL;
		child = calloc(1, sizeof(*child));
		assert_non_null(child);
		memcpy(&child->image_fd, CMSG_DATA(&ancillary.header), 2 * sizeof(int));
		child->lie = liar->lie;
		assert_int_equal(pthread_create(&thread, NULL, run_child, child), 0);
		pthread_detach(thread);
	}
}

__attribute__((noinline)) int wick_hostile_landmark(int value)
{
	return value * 5 + 2;
}

static void check_lie(enum lie lie)
{
	struct liar liar = { .lie = lie };
	struct resolve_image_request request = { .image = 2 };
	struct resolve_stats stats;
	struct fixture *fixture;
	uint64_t offset = 0;
	char path[4096];
	uint32_t ids[FRAMES];
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	liar.control = pair[1];
	fixture = fixture_new(pair[0]);
	assert_non_null(fixture);
	assert_int_equal(pthread_create(&liar.thread, NULL, run_liar, &liar), 0);
	assert_true(find_mapping((void *)wick_hostile_landmark, &request, path, &offset));
	assert_int_equal(resolve_image(fixture->resolve, &request), 0);
	assert_true(wait_image(fixture, 2, 1));
	for (uint32_t at = 0; at < FRAMES; at++)
		ids[at] = names_frame(fixture->names, 2, 0x1000 + at, true, true);
	if (!wait_names(fixture))
		fail_msg("lie %d: names never came", lie);
	/* A packet is believed up to where it lies, so the last frame is the one to look at. */
	if (frame_source(fixture, ids[0]) != SYMBOL_DIED && frame_source(fixture, ids[FRAMES - 1]) != SYMBOL_DIED)
		fail_msg("lie %d: believed", lie);
	resolve_get_stats(fixture->resolve, &stats);
	assert_int_equal(stats.deaths, 2);
	assert_int_equal(stats.quarantined, 1);
	fixture_free(fixture);
	pthread_join(liar.thread, NULL);
	close(pair[1]);
}

static void test_lies_are_not_believed(void **state)
{
	(void)state;
	for (int lie = 0; lie < LIE_COUNT; lie++)
		check_lie((enum lie)lie);
}

/* The same child without a lie is believed: what the test above sees is the lie. */
static void test_truth_is_believed(void **state)
{
	struct liar liar = { .lie = LIE_COUNT };
	struct resolve_image_request request = { .image = 2 };
	struct fixture *fixture;
	uint64_t offset = 0;
	char path[4096];
	int pair[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	liar.control = pair[1];
	fixture = fixture_new(pair[0]);
	assert_int_equal(pthread_create(&liar.thread, NULL, run_liar, &liar), 0);
	assert_true(find_mapping((void *)wick_hostile_landmark, &request, path, &offset));
	assert_int_equal(resolve_image(fixture->resolve, &request), 0);
	for (uint32_t at = 0; at < FRAMES; at++)
		names_frame(fixture->names, 2, 0x1000 + at, true, true);
	assert_true(wait_names(fixture));
	assert_string_equal(frame_name(fixture, 1), "lie");
	fixture_free(fixture);
	pthread_join(liar.thread, NULL);
	close(pair[1]);
}

struct folder {
	struct fixture *fixture;
	char path[64];
};

static int setup(void **state)
{
	static struct folder folder;

	strcpy(folder.path, "/tmp/wick-hostile-XXXXXX");
	folder.fixture = fixture_new(-1);
	*state = &folder;
	return folder.fixture && mkdtemp(folder.path) ? 0 : -1;
}

static int teardown(void **state)
{
	struct folder *folder = *state;
	char command[128];

	fixture_free(folder->fixture);
	snprintf(command, sizeof(command), "rm -rf %s", folder->path);
	return system(command);
}

/* %s in the command is the folder, and so is the working directory. */
static void shell(const struct folder *folder, const char *command)
{
	char text[1024];

	snprintf(text, sizeof(text), "cd %s && self=/proc/%d/exe && { %s; }", folder->path, getpid(), command);
	assert_int_equal(system(text), 0);
}

/* The landmark's name in the file `name` of the folder. */
static uint32_t ask_landmark(const struct folder *folder, uint32_t image, const char *name)
{
	struct resolve_image_request request = { .image = image };
	char path[4096], own_path[4096];
	uint64_t offset = 0;

	assert_true(find_mapping((void *)wick_hostile_landmark, &request, own_path, &offset));
	snprintf(path, sizeof(path), "%s/%s", folder->path, name);
	request = (struct resolve_image_request){ .image = image, .pid = (uint32_t)getpid(), .start = 0x1000,
						  .end = 0x2000, .path = path };
	assert_int_equal(resolve_image(folder->fixture->resolve, &request), 0);
	return names_frame(folder->fixture->names, image, offset, true, false);
}

static void test_debug_file_by_link(void **state)
{
	struct folder *folder = *state;
	uint32_t beside, below, other;

	shell(folder, "cp $self a && objcopy --only-keep-debug a a.debug && objcopy --strip-all a && "
		      "cp a b && cp a c && cp a.debug b.debug && objcopy --add-gnu-debuglink=a.debug a && "
		      "objcopy --add-gnu-debuglink=b.debug b && mkdir .debug && mv b.debug .debug && "
		      "cp /bin/sh c.debug && objcopy --add-gnu-debuglink=c.debug c");
	beside = ask_landmark(folder, 2, "a");
	below = ask_landmark(folder, 3, "b");
	other = ask_landmark(folder, 4, "c");
	assert_true(wait_names(folder->fixture));
	assert_string_equal(frame_name(folder->fixture, beside), "wick_hostile_landmark");
	assert_string_equal(frame_name(folder->fixture, below), "wick_hostile_landmark");
	assert_int_equal(frame_source(folder->fixture, beside), SYMBOL_DWARF);
	assert_int_equal(frame_source(folder->fixture, other), SYMBOL_NO_SYMBOL);
}

/* Without a build-id the checksum in the link decides. */
static void test_debug_file_by_checksum(void **state)
{
	struct folder *folder = *state;
	uint32_t good, bad;

	shell(folder, "objcopy --remove-section .note.gnu.build-id $self a && objcopy --only-keep-debug a a.debug && "
		      "objcopy --strip-all a && cp a b && cp a.debug b.debug && "
		      "objcopy --add-gnu-debuglink=a.debug a && objcopy --add-gnu-debuglink=b.debug b && "
		      "printf x >> b.debug");
	good = ask_landmark(folder, 2, "a");
	bad = ask_landmark(folder, 3, "b");
	assert_true(wait_names(folder->fixture));
	assert_string_equal(frame_name(folder->fixture, good), "wick_hostile_landmark");
	assert_int_equal(frame_source(folder->fixture, bad), SYMBOL_NO_SYMBOL);
}

static void test_debug_links_that_lead_astray(void **state)
{
	struct folder *folder = *state;
	uint64_t start = clock_monotonic_ns();
	uint32_t fifo, shadow, good;
	char path[128];

	shell(folder, "objcopy --strip-all $self a && cp a b && cp $self good && mkfifo pipe && "
		      "printf 'pipe\\0\\0\\0\\0\\1\\2\\3\\4' > link && objcopy --add-section .gnu_debuglink=link a && "
		      "printf '../../../etc/shadow\\0\\1\\2\\3\\4' > link && objcopy --add-section .gnu_debuglink=link b");
	fifo = ask_landmark(folder, 2, "a");
	shadow = ask_landmark(folder, 3, "b");
	good = ask_landmark(folder, 4, "good");
	assert_true(wait_names(folder->fixture));
	assert_int_equal(frame_source(folder->fixture, fifo), SYMBOL_NO_SYMBOL);
	assert_int_equal(frame_source(folder->fixture, shadow), SYMBOL_NO_SYMBOL);
	assert_string_equal(frame_name(folder->fixture, good), "wick_hostile_landmark");
	assert_string_equal(folder->fixture->done[3].description.debuglink, "");
	assert_true(clock_monotonic_ns() - start < 15 * NS_PER_S);
	snprintf(path, sizeof(path), "%s/pipe", folder->path);
	assert_int_equal(open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC), -1);
	assert_int_equal(errno, ENXIO); /* nobody has it open for reading */
}

/* A FUSE file system whose server never says a word. */
static void test_file_system_that_hangs(void **state)
{
	struct folder *folder = *state;
	auto_fd int fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	uint64_t start = clock_monotonic_ns();
	char path[128], options[128];
	struct resolve_stats stats;
	uint32_t hung[4], good;

	shell(folder, "mkdir mount && cp $self good");
	snprintf(path, sizeof(path), "%s/mount", folder->path);
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0", fuse);
	if (fuse < 0 || mount("wick", path, "fuse", 0, options))
		skip(); /* this user may not mount */
	for (uint32_t at = 0; at < 4; at++)
		hung[at] = ask_landmark(folder, 2 + at, "mount/file");
	assert_true(wait_names(folder->fixture));
	assert_true(clock_monotonic_ns() - start < 10 * NS_PER_S);
	for (uint32_t at = 0; at < 4; at++)
		assert_int_equal(frame_source(folder->fixture, hung[at]), SYMBOL_TIMEOUT);
	resolve_get_stats(folder->fixture->resolve, &stats);
	assert_int_equal(stats.timeouts, 2);
	assert_int_equal(stats.failed, 4);
	close(steal_fd(&fuse)); /* ends the file system: those left behind come back */
	umount2(path, MNT_DETACH);
	for (int turn = 0; turn < 500 && open_stuck(); turn++)
		usleep(10000);
	good = ask_landmark(folder, 10, "good");
	assert_true(wait_names(folder->fixture));
	assert_string_equal(frame_name(folder->fixture, good), "wick_hostile_landmark");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lies_are_not_believed),
		cmocka_unit_test(test_truth_is_believed),
		cmocka_unit_test_setup_teardown(test_debug_file_by_link, setup, teardown),
		cmocka_unit_test_setup_teardown(test_debug_file_by_checksum, setup, teardown),
		cmocka_unit_test_setup_teardown(test_debug_links_that_lead_astray, setup, teardown),
		cmocka_unit_test_setup_teardown(test_file_system_that_hangs, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

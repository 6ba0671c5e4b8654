/* SPDX-License-Identifier: Apache-2.0 */
/* The symbolizers' parent and children over their sockets, and the cage from the inside. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/clean.h"
#include "base/clock.h"
#include "base/file.h"
#include "symbolizer.h"
#include "symbolizer/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

struct parent {
	int socket;
	pid_t pid;
};

static int setup(void **state)
{
	static struct parent parent;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -1;
	parent.pid = fork();
	if (!parent.pid)
		_exit(symbolizer_main(pair[1]) ? 1 : 0);
	close(pair[1]);
	parent.socket = pair[0];
	*state = &parent;
	return 0;
}

/* The parent ends when its socket does, without any signal. */
static int teardown(void **state)
{
	struct parent *parent = *state;
	int status = -1;

	close(parent->socket);
	if (waitpid(parent->pid, &status, 0) != parent->pid)
		return -1;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

static void send_message(int socket, const void *bytes, size_t size, const int *fds, size_t fd_count)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(2 * sizeof(int))];
	} ancillary = { 0 };
	struct iovec part = { (void *)bytes, size };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };

	if (fd_count) {
		message.msg_control = &ancillary;
		message.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		ancillary.header.cmsg_level = SOL_SOCKET;
		ancillary.header.cmsg_type = SCM_RIGHTS;
		ancillary.header.cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		memcpy(CMSG_DATA(&ancillary.header), fds, fd_count * sizeof(int));
	}
	assert_int_equal(sendmsg(socket, &message, MSG_NOSIGNAL), size);
}

static int open_child(const struct parent *parent, const char *path, uint32_t kind)
{
	struct symbolizer_request request = { .op = SYMBOLIZER_OPEN, .kind = kind };
	auto_fd int image = open(path, O_RDONLY | O_CLOEXEC);
	int pair[2];

	assert_true(image >= 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	send_message(parent->socket, &request, sizeof(request), (int[]){ image, pair[1] }, 2);
	close(pair[1]);
	return pair[0];
}

static size_t ask(int child, uint32_t op, int fd, void *packet)
{
	struct symbolizer_request request = { .op = op, .id = 77 };
	ssize_t got;

	send_message(child, &request, sizeof(request), &fd, fd >= 0);
	got = recv(child, packet, SYMBOLIZER_PACKET, 0);
	return got < 0 ? 0 : (size_t)got;
}

static void test_describe_and_table(void **state)
{
	auto_fd int child = open_child(*state, "/proc/self/exe", SYMBOLIZER_ELF);
	auto_fd int memory = memfd_create("rows", MFD_CLOEXEC);
	struct symbolizer_image image;
	struct symbolizer_table table;
	struct unwind_file head;
	static char packet[SYMBOLIZER_PACKET];

	assert_int_equal(ask(child, SYMBOLIZER_DESCRIBE, -1, packet), sizeof(image));
	memcpy(&image, packet, sizeof(image));
	assert_int_equal(image.reply.error, 0);
	assert_int_equal(image.reply.id, 77);
	assert_true(image.has_dwarf && image.has_symtab && image.build_id_bytes == 20);
	assert_int_equal(ask(child, SYMBOLIZER_TABLE, memory, packet), sizeof(table));
	memcpy(&table, packet, sizeof(table));
	assert_int_equal(table.reply.error, 0);
	assert_true(table.rows > 100);
	assert_int_equal(pread(memory, &head, sizeof(head), 0), sizeof(head));
	assert_int_equal(head.magic, UNWIND_FILE_MAGIC);
	assert_int_equal(head.rows, table.rows);
}

static void test_no_elf_file_is_an_error_not_a_death(void **state)
{
	auto_fd int child = open_child(*state, "/etc/passwd", SYMBOLIZER_ELF);
	struct symbolizer_reply reply;
	static char packet[SYMBOLIZER_PACKET];

	for (int turn = 0; turn < 2; turn++) {
		assert_true(ask(child, SYMBOLIZER_DESCRIBE, -1, packet) >= sizeof(reply));
		memcpy(&reply, packet, sizeof(reply));
		assert_int_equal(reply.error, -ENOEXEC);
	}
}

/* Every address comes back once, in packets that are no longer than one may be. */
static void test_names_fill_several_packets(void **state)
{
	auto_fd int child = open_child(*state, "/proc/self/exe", SYMBOLIZER_ELF);
	struct {
		struct symbolizer_request head;
		uint64_t addresses[SYMBOLIZER_MAX_ADDRESSES];
	} request = { .head = { SYMBOLIZER_NAMES, 0, SYMBOLIZER_MAX_ADDRESSES, 5 } };
	bool seen[SYMBOLIZER_MAX_ADDRESSES] = { false };
	static _Alignas(8) char packet[SYMBOLIZER_PACKET];
	const struct symbolizer_names *names = (const void *)packet;
	struct symbolizer_image image;
	size_t total = 0, named = 0;

	assert_int_equal(ask(child, SYMBOLIZER_DESCRIBE, -1, packet), sizeof(image));
	memcpy(&image, packet, sizeof(image));
	for (size_t at = 0; at < image.segment_count; at++)
		for (size_t k = 0; (image.segments[at].flags & 1) && k < SYMBOLIZER_MAX_ADDRESSES; k++)
			request.addresses[k] = image.segments[at].vaddr +
					       image.segments[at].filesz * k / SYMBOLIZER_MAX_ADDRESSES;
	send_message(child, &request, sizeof(request), NULL, 0);
	do {
		const struct symbolizer_frame *frames = (const void *)(names + 1);
		ssize_t got = recv(child, packet, sizeof(packet), 0);

		assert_true(got >= (ssize_t)sizeof(*names));
		assert_int_equal(names->reply.id, 5);
		assert_int_equal(got, sizeof(*names) + names->frames * sizeof(struct symbolizer_frame) +
					      names->lines * sizeof(struct symbolizer_line) + names->string_bytes);
		for (size_t at = 0; at < names->frames; at++) {
			assert_false(seen[frames[at].address]);
			seen[frames[at].address] = true;
			named += frames[at].lines > 0;
		}
		total += names->frames;
	} while (names->reply.more);
	assert_int_equal(total, SYMBOLIZER_MAX_ADDRESSES);
	assert_true(named > SYMBOLIZER_MAX_ADDRESSES * 9 / 10);
}

static void test_debug_file_of_another_build_is_refused(void **state)
{
	auto_fd int child = open_child(*state, "/proc/self/exe", SYMBOLIZER_ELF);
	auto_fd int other = open("/bin/sh", O_RDONLY | O_CLOEXEC);
	auto_fd int same = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	struct symbolizer_reply reply;
	static char packet[SYMBOLIZER_PACKET];

	assert_int_equal(ask(child, SYMBOLIZER_DEBUG, other, packet), sizeof(reply));
	memcpy(&reply, packet, sizeof(reply));
	assert_true(reply.error < 0);
	assert_int_equal(ask(child, SYMBOLIZER_DEBUG, same, packet), sizeof(reply));
	memcpy(&reply, packet, sizeof(reply));
	assert_int_equal(reply.error, 0);
}

static bool has_line(pid_t pid, const char *line)
{
	auto_buf struct buf text = { 0 };
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	return !file_read(AT_FDCWD, path, 65536, &text) && strstr(text.data, line);
}

static pid_t only_child(pid_t of)
{
	auto_buf struct buf text = { 0 };
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", of, of);
	return file_read(AT_FDCWD, path, 65536, &text) || !text.length ? 0 : (pid_t)strtol(text.data, NULL, 10);
}

static void test_privileges_are_gone(void **state)
{
	const struct parent *parent = *state;
	auto_fd int child = open_child(parent, "/proc/self/exe", SYMBOLIZER_ELF);
	static char packet[SYMBOLIZER_PACKET];
	pid_t pid;

	assert_true(ask(child, SYMBOLIZER_DESCRIBE, -1, packet) > 0);
	pid = only_child(parent->pid);
	assert_true(pid > 0);
	for (int turn = 0; turn < 2; turn++) {
		pid_t of = turn ? pid : parent->pid;

		if (geteuid() == 0)
			assert_false(has_line(of, "\nUid:\t0\t"));
		assert_true(has_line(of, "\nCapEff:\t0000000000000000\n"));
		assert_true(has_line(of, "\nCapPrm:\t0000000000000000\n"));
		assert_true(has_line(of, "\nNoNewPrivs:\t1\n"));
		assert_true(has_line(of, "Name:\twick-symbolizer\n"));
	}
	assert_true(has_line(pid, "\nSeccomp:\t2\n"));
}

/* A killed parent takes its children along. */
static void test_children_die_with_the_parent(void **state)
{
	struct parent *parent = *state;
	auto_fd int child = open_child(parent, "/proc/self/exe", SYMBOLIZER_ELF);
	static char packet[SYMBOLIZER_PACKET];
	struct pollfd fd = { .fd = child, .events = POLLIN };
	int status;

	assert_true(ask(child, SYMBOLIZER_DESCRIBE, -1, packet) > 0);
	kill(parent->pid, SIGKILL);
	assert_int_equal(waitpid(parent->pid, &status, 0), parent->pid);
	assert_int_equal(poll(&fd, 1, 5000), 1);
	assert_int_equal(recv(child, packet, sizeof(packet), 0), 0);
	close(parent->socket);
	assert_int_equal(setup(state), 0); /* another for teardown */
}

/* A request that is none ends the child, not the parent. */
static void test_nonsense_ends_one_child(void **state)
{
	auto_fd int bad = open_child(*state, "/proc/self/exe", SYMBOLIZER_ELF);
	auto_fd int good = open_child(*state, "/proc/self/exe", SYMBOLIZER_ELF);
	static char packet[SYMBOLIZER_PACKET];

	send_message(bad, "x", 1, NULL, 0);
	assert_int_equal(recv(bad, packet, sizeof(packet), 0), 0);
	send_message(((const struct parent *)*state)->socket, "y", 1, NULL, 0);
	assert_true(ask(good, SYMBOLIZER_DESCRIBE, -1, packet) > 0);
}

/* In a process of its own, caged: what `act` returns, or minus the signal that ended it. */
static int caged(int (*act)(void))
{
	int pair[2], status;
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	pid = fork();
	if (!pid) {
		if (sandbox_parent(pair[1]) || sandbox_child())
			_exit(99);
		_exit(act());
	}
	close(pair[0]);
	close(pair[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static int act_open(void)
{
	return open("/etc/passwd", O_RDONLY) < 0 ? errno : 0;
}
static int act_socket(void)
{
	return socket(AF_INET, SOCK_STREAM, 0) < 0 ? errno : 0;
}
static int act_execute(void)
{
	return (int)syscall(SYS_execve, "/bin/true", NULL, NULL) < 0 ? errno : 0;
}
static int act_code(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ?
		       errno :
		       0;
}
static int act_kill(void)
{
	return kill(getppid(), SIGKILL) ? errno : 0;
}
static int act_memory(void)
{
	return mmap(NULL, SANDBOX_MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
			       MAP_FAILED ?
		       errno :
		       0;
}
static int act_loop(void)
{
	sandbox_request_begin();
	for (volatile int at = 1; at; at = 1)
		;
	return 0;
}

static int act_hurry(void)
{
	uint64_t start = clock_monotonic_ns();

	if (getpriority(PRIO_PROCESS, 0) >= 0)
		return 1;
	while (getpriority(PRIO_PROCESS, 0) < 0 && clock_monotonic_ns() - start < 60 * NS_PER_S)
		;
	if (getpriority(PRIO_PROCESS, 0))
		return 2;
	return setpriority(PRIO_PROCESS, 0, -5) ? 0 : 3;
}

/* What samples wait for goes first, but not for long, and not again. */
static void test_hurry_ends(void **state)
{
	(void)state;
	if (setpriority(PRIO_PROCESS, 0, -5))
		skip();
	assert_int_equal(caged(act_hurry), 0);
	assert_int_equal(setpriority(PRIO_PROCESS, 0, 0), 0);
}

static void test_cage_from_inside(void **state)
{
	(void)state;
	assert_int_equal(caged(act_open), ENOENT);
	assert_int_equal(caged(act_socket), -SIGSYS);
	assert_int_equal(caged(act_execute), -SIGSYS);
	assert_int_equal(caged(act_code), EPERM);
	assert_int_equal(caged(act_kill), EPERM);
	if (!SANITIZED)
		assert_int_equal(caged(act_memory), ENOMEM);
}

static void test_endless_request_ends(void **state)
{
	uint64_t start = clock_monotonic_ns();
	int result = caged(act_loop);

	(void)state;
	assert_true(result == -SIGPROF || result == -SIGALRM);
	assert_true(clock_monotonic_ns() - start < (SANDBOX_WALL_S + 2) * NS_PER_S);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_describe_and_table, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_elf_file_is_an_error_not_a_death, setup, teardown),
		cmocka_unit_test_setup_teardown(test_names_fill_several_packets, setup, teardown),
		cmocka_unit_test_setup_teardown(test_debug_file_of_another_build_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_privileges_are_gone, setup, teardown),
		cmocka_unit_test_setup_teardown(test_children_die_with_the_parent, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nonsense_ends_one_child, setup, teardown),
		cmocka_unit_test(test_hurry_ends),
		cmocka_unit_test(test_cage_from_inside),
		cmocka_unit_test(test_endless_request_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

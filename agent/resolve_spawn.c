/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starts the symbolizers' parent: this very program under another name, so that its memory holds nothing of the
 * agent. What survives an exec is one socket and the limit of memory, handed down as RLIMIT_DATA.
 */
#include "resolve_spawn.h"

#include "base/buf.h"
#include "base/clean.h"
#include "base/clock.h"
#include "base/file.h"
#include "privilege.h"
#include "resolve.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define BURY_TURNS 20
#define BURY_US 5000

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1 /* the sanitizers' own shadow memory is data too */
#else
#define SANITIZED 0
#endif

/* The agent has one parent of symbolizers; when it has to be made again, these two say how and who was before. */
static uint64_t spawn_limit_bytes;
static pid_t spawn_pid;
static bool spawn_plain_fork;

void spawn_without_exec(bool without)
{
	spawn_plain_fork = without;
}

/* In the new process. Only calls that are safe after a fork of many threads, unless a test asked for more. */
static void become_parent(int socket)
{
	struct rlimit limit = { spawn_limit_bytes, spawn_limit_bytes };
	char number[] = "3";
	char *arguments[] = { (char[]){ "wick-symbolizer" }, number, NULL };
	char *environment[] = { NULL };

	privilege_hurry(); /* for the children that samples wait for; the others calm themselves */
	if (spawn_limit_bytes && !SANITIZED)
		setrlimit(RLIMIT_DATA, &limit);
	if (spawn_plain_fork)
		_exit(symbolizer_main(socket) ? 1 : 0);
	if (socket == 3)
		fcntl(3, F_SETFD, 0);
	else
		dup2(socket, 3);
	execve("/proc/self/exe", arguments, environment);
	_exit(127);
}

int resolve_spawn_parent(uint64_t memory_limit_bytes, int *ret_pid)
{
	auto_fd int near = -1;
	auto_fd int far = -1;
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	near = pair[0];
	far = pair[1];
	spawn_limit_bytes = memory_limit_bytes;
	pid = fork();
	if (pid < 0)
		return -errno;
	if (!pid)
		become_parent(far);
	spawn_pid = pid;
	if (ret_pid)
		*ret_pid = (int)pid;
	return steal_fd(&near);
}

/* The one before is dead or about to be, its socket has ended; nobody else waits for it. */
static void bury(pid_t pid)
{
	kill(pid, SIGKILL);
	for (int turn = 0; turn < BURY_TURNS && waitpid(pid, NULL, WNOHANG) == 0; turn++)
		usleep(BURY_US);
}

int spawn_again(void)
{
	if (spawn_pid > 0)
		bury(spawn_pid);
	return resolve_spawn_parent(spawn_limit_bytes, NULL);
}

/* utime, stime, cutime and cstime are fields 14 to 17 of proc_pid_stat(5); the name in field 2 may hold anything. */
uint64_t spawn_cpu_ns(void)
{
	unsigned long long user, system, children_user, children_system;
	auto_buf struct buf text = { 0 };
	char path[40], *rest;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)spawn_pid);
	if (spawn_pid <= 0 || file_read(AT_FDCWD, path, 4096, &text) || !text.length)
		return 0;
	rest = strrchr(text.data, ')');
	if (!rest || sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %llu %llu", &user,
			    &system, &children_user, &children_system) != 4)
		return 0;
	return (user + system + children_user + children_system) * (NS_PER_S / (uint64_t)sysconf(_SC_CLK_TCK));
}

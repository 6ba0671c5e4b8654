/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cage of the symbolizers: user, limits, system call filter. The filter is compiled once in the parent; a
 * child only loads the bytes, because a fork has to stay in the order of a tenth of a millisecond.
 */
#include "sandbox.h"

#include "base/clean.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <pwd.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/capability.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1 /* the sanitizers reserve terabytes of addresses and report on descriptor 2 */
#else
#define SANITIZED 0
#endif

/*
 * Systemd's table of user ids leaves 1879048192 to 2147352575 unassigned: above its container ranges, below the
 * foreign one; Debian, subuid and systemd's dynamic users all lie lower. /etc/passwd has the last word. It is
 * read directly: a name service could ask the network.
 */
#define FIRST_UID 1900000123U
#define TRIES 64

static struct sock_filter filter[512];
static unsigned short filter_length;

static bool uid_is_known(uid_t uid)
{
	auto_file FILE *file = fopen("/etc/passwd", "re");
	const struct passwd *entry;

	while (file && (entry = fgetpwent(file)))
		if (entry->pw_uid == uid || entry->pw_gid == uid)
			return true;
	return false;
}

/*
 * In a container that was given only the agent's own capabilities, or in a user namespace that does not map the
 * id, the user stays; what is left of it then is a uid without capabilities and, in a child, without system calls.
 */
static int drop_identity(void)
{
	uid_t uid = FIRST_UID;
	cap_t none;
	int error;

	while (uid < FIRST_UID + TRIES && uid_is_known(uid))
		uid++;
	if (setgroups(0, NULL) || setresgid(uid, uid, uid) || setresuid(uid, uid, uid))
		if (errno != EPERM && errno != EINVAL)
			return -errno;
	none = cap_init();
	if (!none)
		return -ENOMEM;
	error = cap_set_proc(none) ? -errno : 0;
	cap_free(none);
	return error;
}

static int keep_only(int socket)
{
	int null;

	if (socket != 3 && (dup3(socket, 3, O_CLOEXEC) < 0))
		return -errno;
	if (close_range(4, ~0U, 0))
		return -errno;
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int fd = 0; fd < 3 && null >= 0; fd++)
		if (!(SANITIZED && fd == 2))
			dup2(null, fd);
	if (null > 3)
		close(null);
	return 0;
}

static const int allowed_calls[] = {
	SCMP_SYS(read), SCMP_SYS(pread64), SCMP_SYS(write), SCMP_SYS(pwrite64), SCMP_SYS(writev), SCMP_SYS(lseek),
	SCMP_SYS(close), SCMP_SYS(fstat), SCMP_SYS(ftruncate), SCMP_SYS(munmap), SCMP_SYS(mremap),
	SCMP_SYS(brk), SCMP_SYS(madvise), SCMP_SYS(recvmsg), SCMP_SYS(sendmsg), SCMP_SYS(poll), SCMP_SYS(ppoll),
	SCMP_SYS(shutdown), SCMP_SYS(futex), SCMP_SYS(clock_gettime), SCMP_SYS(getrandom), SCMP_SYS(setitimer),
	SCMP_SYS(restart_syscall), SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigprocmask), SCMP_SYS(exit),
	SCMP_SYS(exit_group), SCMP_SYS(getpid), SCMP_SYS(gettid),
#if SANITIZED
	SCMP_SYS(sigaltstack), SCMP_SYS(rt_sigaction), SCMP_SYS(sched_yield), SCMP_SYS(prctl),
#endif
};
/* Libraries probe for files and take "none" for an answer. */
static const int absent_calls[] = {
	SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(openat2), SCMP_SYS(stat), SCMP_SYS(lstat), SCMP_SYS(access),
	SCMP_SYS(readlink), SCMP_SYS(readlinkat), SCMP_SYS(statx), SCMP_SYS(faccessat), SCMP_SYS(faccessat2),
};
static const int deadly_calls[] = {
	SCMP_SYS(execve), SCMP_SYS(execveat), SCMP_SYS(fork), SCMP_SYS(vfork), SCMP_SYS(clone), SCMP_SYS(clone3),
	SCMP_SYS(ptrace), SCMP_SYS(socket), SCMP_SYS(connect), SCMP_SYS(process_vm_readv),
	SCMP_SYS(process_vm_writev), SCMP_SYS(bpf), SCMP_SYS(io_uring_setup), SCMP_SYS(pidfd_getfd),
};

static int add_rules(scmp_filter_ctx context)
{
	int error = 0;

	for (size_t at = 0; !error && at < array_size(allowed_calls); at++)
		error = seccomp_rule_add(context, SCMP_ACT_ALLOW, allowed_calls[at], 0);
	for (size_t at = 0; !error && at < array_size(absent_calls); at++)
		error = seccomp_rule_add(context, SCMP_ACT_ERRNO(ENOENT), absent_calls[at], 0);
	for (size_t at = 0; !error && at < array_size(deadly_calls); at++)
		error = seccomp_rule_add(context, SCMP_ACT_KILL_PROCESS, deadly_calls[at], 0);
	/* glibc's fstat is newfstatat(fd, "", AT_EMPTY_PATH); with another flag it would name a path. */
	if (!error)
		error = seccomp_rule_add(context, SCMP_ACT_ALLOW, SCMP_SYS(newfstatat), 1,
					 SCMP_A3(SCMP_CMP_EQ, AT_EMPTY_PATH));
	if (!error)
		error = seccomp_rule_add(context, SCMP_ACT_ALLOW, SCMP_SYS(getpriority), 0);
	if (!error) /* its own, which it cannot raise */
		error = seccomp_rule_add(context, SCMP_ACT_ALLOW, SCMP_SYS(setpriority), 2,
					 SCMP_A0(SCMP_CMP_EQ, PRIO_PROCESS), SCMP_A1(SCMP_CMP_EQ, 0));
	if (!error) /* send() is sendto() without an address */
		error = seccomp_rule_add(context, SCMP_ACT_ALLOW, SCMP_SYS(sendto), 1, SCMP_A4(SCMP_CMP_EQ, 0));
	if (!error) /* memory that can be written never becomes code */
		error = seccomp_rule_add(context, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
					 SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	if (!error)
		error = seccomp_rule_add(context, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
					 SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	return error;
}

static int compile_filter(void)
{
	scmp_filter_ctx context = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	auto_fd int fd = memfd_create("filter", MFD_CLOEXEC);
	ssize_t got;
	int error;

	if (!context || fd < 0) {
		seccomp_release(context);
		return -ENOMEM;
	}
	error = add_rules(context);
	if (!error)
		error = seccomp_export_bpf(context, fd);
	seccomp_release(context);
	if (error)
		return error;
	got = pread(fd, filter, sizeof(filter), 0);
	if (got <= 0 || got == (ssize_t)sizeof(filter))
		return -EFBIG;
	filter_length = (unsigned short)((size_t)got / sizeof(filter[0]));
	return 0;
}

static int limit(__rlimit_resource_t resource, uint64_t value)
{
	struct rlimit now, wanted = { value, value };

	if (getrlimit(resource, &now))
		return -errno;
	if (now.rlim_max < value) /* what the agent handed down is lower: keep it */
		wanted.rlim_cur = wanted.rlim_max = now.rlim_max;
	return setrlimit(resource, &wanted) ? -errno : 0;
}

/* Does nothing but end the parent's wait for a message: it then reaps, so that its children's CPU time adds up in
 * its own account (an ignored SIGCHLD would throw it away). */
static void child_ended(int number)
{
	(void)number;
}

int sandbox_parent(int socket)
{
	static const int plain[] = { SIGHUP, SIGPIPE, SIGALRM, SIGPROF, SIGSEGV, SIGBUS, SIGABRT, SIGUSR1 };
	pid_t parent = getppid();
	sigset_t blocked;
	int error;

	for (size_t at = 0; at < array_size(plain); at++)
		signal(plain[at], SIG_DFL);
	/* Ctrl-C and a service manager's stop reach all processes at once; the agent still wants its last names. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	sigaction(SIGCHLD, &(struct sigaction){ .sa_handler = child_ended }, NULL);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGCHLD); /* let in while the parent waits */
	sigprocmask(SIG_SETMASK, &blocked, NULL);
	prctl(PR_SET_NAME, "wick-symbolizer");
	unsetenv("DEBUGINFOD_URLS");
	error = keep_only(socket);
	if (!error)
		error = compile_filter();
	if (!error)
		error = drop_identity();
	if (error)
		return error;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_DUMPABLE, 0) || limit(RLIMIT_CORE, 0))
		return -errno;
	/* A change of uid forgets the death signal, so it is set after it; the agent may have died before. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent)
		return -ESRCH;
	return 0;
}

/* What a file makes somebody compute must not come before the host's own work for long. */
static void calm_down(int number)
{
	(void)number;
	if (getpriority(PRIO_PROCESS, 0) < 0)
		(void)setpriority(PRIO_PROCESS, 0, 0);
}

/* The kernel sends SIGXCPU at the lower of the two limits and each second after it, SIGKILL at the upper one. */
static int limit_cpu(void)
{
	struct sigaction calm = { .sa_handler = calm_down, .sa_flags = SA_RESTART };
	struct rlimit cpu;

	if (limit(RLIMIT_CPU, SANDBOX_CPU_LIFE_S) || getrlimit(RLIMIT_CPU, &cpu))
		return -EPERM;
	if (cpu.rlim_max > SANDBOX_CPU_URGENT_S)
		cpu.rlim_cur = SANDBOX_CPU_URGENT_S;
	return sigaction(SIGXCPU, &calm, NULL) || setrlimit(RLIMIT_CPU, &cpu) ? -EPERM : 0;
}

int sandbox_child(void)
{
	struct sock_fprog program = { .len = filter_length, .filter = filter };
	struct rlimit data;

	if (!SANITIZED) {
		/* Tables, symbols and inflated sections count as data; read-only file pages can be taken back. */
		if (getrlimit(RLIMIT_DATA, &data))
			return -errno;
		if (data.rlim_max == RLIM_INFINITY) /* the agent handed none down */
			data.rlim_max = SANDBOX_MEMORY_BYTES;
		if (limit(RLIMIT_DATA, data.rlim_max))
			return -EPERM;
		if (limit(RLIMIT_AS, data.rlim_max + SANDBOX_MAPPED_BYTES))
			return -EPERM;
	}
	if (limit(RLIMIT_NOFILE, 16) || limit(RLIMIT_FSIZE, SANDBOX_FILE_BYTES) || limit(RLIMIT_NPROC, 0) ||
	    limit_cpu())
		return -EPERM;
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		return -errno;
	return 0;
}

/* Both timers end the process by their signal's default action, wherever it loops or waits. */
static void set_timers(time_t cpu_s, time_t wall_s)
{
	struct itimerval cpu = { .it_value.tv_sec = cpu_s }, wall = { .it_value.tv_sec = wall_s };

	setitimer(ITIMER_PROF, &cpu, NULL);
	setitimer(ITIMER_REAL, &wall, NULL);
}

void sandbox_request_begin(void)
{
	set_timers(SANDBOX_CPU_S, SANDBOX_WALL_S);
}

void sandbox_request_begin_short(void)
{
	set_timers(SANDBOX_SHORT_CPU_S, SANDBOX_SHORT_WALL_S);
}

void sandbox_request_end(void)
{
	set_timers(0, 0);
}

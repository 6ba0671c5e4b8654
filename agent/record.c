/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `wick record`: the same pipeline for a while, then one profile in a file. A COMMAND is held before its exec until
 * sampling runs, and recorded to its exit with everything it starts.
 */
#include "run.h"

#include "base/buf.h"
#include "base/clean.h"
#include "base/clock.h"
#include "base/log.h"
#include "exporter.h"
#include "pipeline.h"
#include "query.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define NAMES_TIMEOUT_MS 15000
#define END_TURNS 200 /* of a command that is to end */
#define END_STEP_US 10000

struct command {
	pid_t pid;     /* 0: none */
	int go;        /* write a byte: exec */
	int failed;    /* readable with an errno if exec failed, end of file otherwise */
	bool exited;
	int status;    /* as a shell gives it */
};

static void run_child(char **argv, int go, int failed)
{
	sigset_t none;
	char byte;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	if (read(go, &byte, 1) == 1) {
		int error;

		execvp(argv[0], argv);
		error = errno;
		if (write(failed, &error, sizeof(error)) < 0)
			_exit(126);
	}
	_exit(127);
}

/* Forked before privileges are given up: the command runs with the caller's. */
static int command_start(struct command *command, char **argv)
{
	int go[2], failed[2];

	if (pipe2(go, O_CLOEXEC) || pipe2(failed, O_CLOEXEC))
		return -errno;
	command->pid = fork();
	if (command->pid < 0)
		return -errno;
	if (!command->pid) {
		close(go[1]);
		run_child(argv, go[0], failed[1]);
	}
	close(go[0]);
	close(failed[1]);
	command->go = go[1];
	command->failed = failed[0];
	return 0;
}

static int command_go(struct command *command, const char *name, char *error, size_t error_size)
{
	int reason;

	if (write(command->go, "g", 1) != 1)
		return -errno;
	if (read(command->failed, &reason, sizeof(reason)) == sizeof(reason)) {
		snprintf(error, error_size, "cannot run %s: %s", name, strerror(reason));
		return -reason;
	}
	return 0;
}

static void command_reap(struct command *command)
{
	int status;

	if (!command->pid || command->exited || waitpid(command->pid, &status, WNOHANG) != command->pid)
		return;
	command->exited = true;
	command->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* One that is left when the recording ends is asked to, and after a while made to. */
static void command_end(struct command *command)
{
	if (!command->pid || command->exited)
		return;
	kill(command->pid, SIGTERM);
	for (int turn = 0; turn < END_TURNS && !command->exited; turn++) {
		usleep(END_STEP_US);
		command_reap(command);
	}
	if (command->exited)
		return;
	kill(command->pid, SIGKILL);
	waitpid(command->pid, NULL, 0);
}

/* Interrupted once, the recording ends early and is written all the same. */
static bool read_signals(int signal_fd, struct command *command)
{
	struct signalfd_siginfo info;
	bool end = false;

	while (read(signal_fd, &info, sizeof(info)) == sizeof(info))
		end |= info.ssi_signo == SIGINT || info.ssi_signo == SIGTERM;
	command_reap(command);
	return end || command->exited;
}

static void show_progress(struct pipeline *pipeline, uint64_t started_ns, uint64_t duration_ns, bool last)
{
	uint64_t elapsed_ns = clock_monotonic_ns() - started_ns;
	struct host_view view;

	if (!isatty(STDERR_FILENO) && !last)
		return;
	pipeline_view(pipeline, &view);
	fprintf(stderr, "%srecording %.1f s", isatty(STDERR_FILENO) ? "\r" : "",
		(double)elapsed_ns / (double)NS_PER_S);
	if (duration_ns)
		fprintf(stderr, " of %.1f s", (double)duration_ns / (double)NS_PER_S);
	fprintf(stderr, ", %llu samples%s", (unsigned long long)view.accounting.taken, last ? "\n" : " ");
	fflush(stderr);
}

static int work(struct pipeline *pipeline, const struct config *config, int signal_fd, struct command *command)
{
	uint64_t started_ns = clock_monotonic_ns();
	uint64_t until_ns = command->pid && !config->duration_ns ? UINT64_MAX :
								   started_ns + config->duration_ns;
	int result = 0;

	while (clock_monotonic_ns() < until_ns) {
		uint64_t next_ns = clock_monotonic_ns() + NS_PER_S;

		result = pipeline_work(pipeline, signal_fd, next_ns < until_ns ? next_ns : until_ns);
		if (result < 0 || (result > 0 && read_signals(signal_fd, command)))
			break;
		show_progress(pipeline, started_ns, config->duration_ns, false);
	}
	if (result >= 0)
		result = pipeline_finish(pipeline);
	show_progress(pipeline, started_ns, config->duration_ns, true);
	return result;
}

/*
 * Written beside and renamed, so that a file with the name is always whole; opened before anything is recorded, so
 * that a wrong name costs no recording. In two cases the file itself is written: a device, a pipe or a link must
 * not be replaced, and in another user's folder root may rename no more by then (privilege.c).
 */
struct output {
	const char *path;
	char beside[4096]; /* empty: fd is the file itself */
	int fd;            /* -1: standard output */
};

static bool owns_folder(const char *path)
{
	const char *slash = strrchr(path, '/');
	auto_free char *folder = slash ? strndup(path, slash > path ? (size_t)(slash - path) : 1) : strdup(".");
	struct stat status;

	return folder && !stat(folder, &status) && status.st_uid == geteuid();
}

static bool is_special(const char *path)
{
	struct stat status;

	return !lstat(path, &status) && !S_ISREG(status.st_mode);
}

/* A link in another user's folder could name any file of ours. */
static int output_open_itself(struct output *output, bool own)
{
	output->fd = open(output->path, O_WRONLY | O_CREAT | O_CLOEXEC | (own ? 0 : O_NOFOLLOW), 0644);
	return output->fd < 0 ? -errno : 0;
}

static int output_open_beside(struct output *output)
{
	if ((size_t)snprintf(output->beside, sizeof(output->beside), "%s.%d", output->path, (int)getpid()) >=
	    sizeof(output->beside))
		return -ENAMETOOLONG;
	output->fd = open(output->beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	return output->fd < 0 ? -errno : 0;
}

static int output_open(struct output *output, const char *path, char *error, size_t error_size)
{
	bool own = owns_folder(path);
	int result;

	*output = (struct output){ .path = path, .fd = -1 };
	if (!strcmp(path, "-"))
		return 0;
	result = own && !is_special(path) ? output_open_beside(output) : output_open_itself(output, own);
	if (result)
		snprintf(error, error_size, "cannot write %s: %s", path, strerror(-result));
	return result;
}

static int output_write(struct output *output, const struct buf *bytes, char *error, size_t error_size)
{
	struct stat status;
	int result = 0;

	if (output->fd < 0)
		return fwrite(bytes->data, 1, bytes->length, stdout) == bytes->length && !fflush(stdout) ? 0 : -EIO;
	if (!fstat(output->fd, &status) && S_ISREG(status.st_mode) && ftruncate(output->fd, 0)) /* an older profile */
		result = -errno;
	for (size_t done = 0; !result && done < bytes->length;) {
		ssize_t wrote = write(output->fd, bytes->data + done, bytes->length - done);

		if (wrote < 0)
			result = -errno;
		else
			done += (size_t)wrote;
	}
	if (!result && output->beside[0] && rename(output->beside, output->path))
		result = -errno;
	if (result)
		snprintf(error, error_size, "cannot write %s: %s", output->path, strerror(-result));
	else
		output->beside[0] = '\0';
	return result;
}

static void output_close(struct output *output)
{
	if (output->beside[0])
		unlink(output->beside);
	if (output->fd >= 0)
		close(output->fd);
}

static int write_profile(struct pipeline *pipeline, const struct config *config, uint32_t root,
			 struct output *output, char *error, size_t error_size)
{
	const struct exporter *exporter = exporter_find(config->format);
	struct query_selector selector = { .container = config->container, .pod = config->pod,
					   .namespace_ = config->namespace_, .pid = config->pid,
					   .comm = config->comm, .cgroup = config->cgroup, .root = root };
	struct exporter_request request = { .title = "wick record" };
	auto_buf struct buf bytes = { 0 };
	struct profile *profile;
	struct window **slices;
	int count, result;

	if (!names_wait(pipeline_names(pipeline), NAMES_TIMEOUT_MS))
		log_warn("some frames are still without names: written with addresses");
	count = store_range(pipeline_store(pipeline), 0, UINT64_MAX, &slices);
	if (count < 0)
		return count;
	result = query_profile(slices, (size_t)count, &selector, pipeline_names(pipeline), pipeline_cgroups(pipeline),
			       &profile, error, error_size);
	store_release(slices, (size_t)count);
	if (result)
		return result;
	result = exporter->encode(profile, &request, &bytes);
	if (!result && bytes.failed)
		result = -ENOMEM;
	if (!result)
		result = output_write(output, &bytes, error, error_size);
	if (!result)
		fprintf(stderr, "wrote %s: %zu stacks, %zu bytes\n", output->path, profile->sample_count, bytes.length);
	profile_free(profile);
	return result;
}

int run_record(const struct config *config, int symbolizer_socket, int signal_fd, char *error, size_t error_size,
	       int *ret_status)
{
	struct pipeline_opts opts = { .config = config, .symbolizer_socket = symbolizer_socket,
				      .retention_ns = UINT64_MAX, .limit_bytes = UINT64_MAX,
				      .keep_threads = config->threads };
	const struct exporter *exporter = exporter_find(config->format);
	struct command command = { 0 };
	struct pipeline *pipeline = NULL;
	struct output output;
	char path[64];
	int result;

	if (!exporter || !exporter->encode) {
		snprintf(error, error_size, "--format: no profile format is called \"%s\"", config->format);
		return -EINVAL;
	}
	snprintf(path, sizeof(path), "wick.%s", exporter->file_suffix);
	result = output_open(&output, config->output ? config->output : path, error, error_size);
	if (result)
		return result;
	if (config->command)
		result = command_start(&command, config->command);
	opts.follow_pid = (uint32_t)command.pid;
	if (!result)
		result = pipeline_open(&opts, &pipeline, error, error_size);
	if (!result && command.pid)
		result = command_go(&command, config->command[0], error, error_size);
	if (!result)
		result = work(pipeline, config, signal_fd, &command);
	if (!result)
		result = write_profile(pipeline, config, (uint32_t)command.pid, &output, error, error_size);
	pipeline_close(pipeline);
	command_end(&command);
	output_close(&output);
	*ret_status = command.status;
	return result;
}

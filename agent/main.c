/* SPDX-License-Identifier: Apache-2.0 */
/* Arguments in, exit status out. Under the name wick-symbolizer the program is the symbolizers' parent. */
#include "config.h"
#include "replay.h"
#include "resolve.h"
#include "run.h"
#include "symbolizer.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* Descriptors 0 to 2 must be taken: libbpf 1.1 mistakes a map that lands there for none. */
static void hold_standard_descriptors(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= 2);
	if (fd > 2)
		close(fd);
}

static int open_signals(void)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int sample(enum config_verb verb, const struct config *config, char *error, size_t error_size)
{
	int pid, status = 0, result, signal_fd = open_signals();
	int socket = resolve_spawn_parent(config->symbolizer_memory_bytes, &pid);

	if (socket < 0 || signal_fd < 0) {
		snprintf(error, error_size, "cannot start the symbolizers: %s", strerror(socket < 0 ? -socket : errno));
		return socket < 0 ? socket : -EIO;
	}
	if (verb == CONFIG_RUN)
		result = run_agent(config, socket, signal_fd, error, error_size);
	else
		result = run_record(config, socket, signal_fd, error, error_size, &status);
	close(signal_fd);
	return result ? result : status;
}

static int dispatch(enum config_verb verb, const struct config *config, char *error, size_t error_size)
{
	switch (verb) {
	case CONFIG_VERSION:
		printf("wick %s\n", WICK_VERSION);
		return 0;
	case CONFIG_HELP:
		config_help(stdout);
		return 0;
	case CONFIG_PRINT:
		config_print(config, stdout);
		return 0;
	case CONFIG_CHECK:
		printf("%s: OK\n", config->config_file ? config->config_file : "-");
		return 0;
	case CONFIG_REPLAY:
		return replay_file(config->replay_file, error, error_size);
	case CONFIG_RUN:
	case CONFIG_RECORD:
		break;
	}
	log_setup(config->log_level, config->log_format);
	return sample(verb, config, error, error_size);
}

int main(int argc, char **argv, char **environment)
{
	enum config_verb verb;
	struct config config;
	char error[2048] = "";
	int result;

	hold_standard_descriptors();
	if (argc == 2 && !strcmp(basename(argv[0]), "wick-symbolizer"))
		return symbolizer_main(atoi(argv[1]));
	unsetenv("DEBUGINFOD_URLS"); /* libdw would ask the network for any build-id a container shows it */
	result = config_load(argc, argv, environment, &verb, &config, error, sizeof(error));
	if (!result) {
		result = dispatch(verb, &config, error, sizeof(error));
		config_done(&config);
	}
	if (result < 0) {
		fprintf(stderr, "wick: %s\n", error[0] ? error : strerror(-result));
		return 1;
	}
	return result;
}

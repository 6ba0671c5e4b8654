/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inputs for symbolizer tests: programs compiled at run time in a folder that goes when the test ends. Where a tool is
 * missing the test skips and says which.
 */
#ifndef TESTS_TOOLCHAIN_H
#define TESTS_TOOLCHAIN_H

#include "symbolizer/image.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char toolchain_folder[64];

static int toolchain_setup(void **state)
{
	(void)state;
	strcpy(toolchain_folder, "/tmp/wick-test-XXXXXX");
	return mkdtemp(toolchain_folder) ? 0 : -1;
}

static int toolchain_teardown(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", toolchain_folder);
	return system(command);
}

/* Runs a command inside the folder; its exit status. */
__attribute__((format(printf, 1, 2))) static int run(const char *format, ...)
{
	char command[4096];
	va_list arguments;
	int at, status;

	/* the tools under test's sanitizer settings are not for compilers */
	at = snprintf(command, sizeof(command), "unset ASAN_OPTIONS; cd %s && ", toolchain_folder);
	va_start(arguments, format);
	vsnprintf(command + at, sizeof(command) - (size_t)at, format, arguments);
	va_end(arguments);
	status = system(command);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static inline bool have(const char *tool)
{
	return run("command -v %s >/dev/null 2>&1", tool) == 0;
}

#define need(tool)                                                                                            \
	do {                                                                                                  \
		if (!have(tool)) {                                                                            \
			print_message("[  SKIPPED ] %s: no %s\n", __func__, tool);                            \
			skip();                                                                               \
		}                                                                                             \
	} while (0)

static inline void write_file(const char *name, const char *text)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", toolchain_folder, name);
	file = fopen(path, "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static inline FILE *open_output(const char *name)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", toolchain_folder, name);
	file = fopen(path, "r");
	assert_non_null(file);
	return file;
}

static inline struct image *open_image(const char *name)
{
	struct image *image;
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s%s%s", *name == '/' ? "" : toolchain_folder, *name == '/' ? "" : "/", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(image_open(fd, &image), 0);
	close(fd);
	return image;
}

static inline double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

#endif

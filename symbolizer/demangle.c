/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libiberty can neither be told how much to write nor how long to take, and a hostile name can ask for both without
 * end: back references double a C++ name's text each time, and a Rust binder of 2^60 lifetimes inside a part that
 * is passed over is counted through in silence. So the output is bounded, a timer of CPU time runs, and either
 * leaves by a long jump. What is lost then is at most the buffer of a Rust identifier in punycode.
 */
#include "demangle.h"

#include <libiberty/demangle.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/time.h>

#define MAX_TIME_US 20000 /* real names take 2 us */

struct output {
	jmp_buf stop;
	volatile sig_atomic_t running;
	size_t length;
	char bytes[DEMANGLE_MAX_OUTPUT];
};

/* Not on the stack, of which libiberty needs much; and the signal handler must find it. */
static struct output output;

static void time_is_up(int signal_number)
{
	(void)signal_number;
	if (output.running)
		longjmp(output.stop, 1);
}

/* 0 disarms. Where a sandbox refuses timers, its own limit on CPU time remains. */
static void set_timer(long us)
{
	static const struct sigaction action = { .sa_handler = time_is_up, .sa_flags = SA_NODEFER };
	const struct itimerval timer = { .it_value.tv_usec = us };

	if (!us || !sigaction(SIGVTALRM, &action, NULL))
		setitimer(ITIMER_VIRTUAL, &timer, NULL);
}

static void take(const char *bytes, size_t length, void *context)
{
	(void)context;
	if (length > sizeof(output.bytes) - output.length)
		longjmp(output.stop, 1);
	memcpy(output.bytes + output.length, bytes, length);
	output.length += length;
}

static bool run(const char *name)
{
	output.length = 0;
	if (rust_demangle_callback(name, DMGL_RUST, take, NULL) && output.length)
		return true;
	output.length = 0;
	/* without DMGL_PARAMS a name stays what the source calls it, whatever it was instantiated or cloned for */
	return name[1] == 'Z' && cplus_demangle_v3_callback(name, DMGL_ANSI, take, NULL) && output.length;
}

static bool run_bounded(const char *name)
{
	if (!setjmp(output.stop)) {
		output.running = 1;
		set_timer(MAX_TIME_US);
		bool done = run(name);

		output.running = 0;
		set_timer(0);
		return done;
	}
	output.running = 0;
	set_timer(0);
	return false;
}

/* Linkers put a symbol's version into .symtab as `name@@VERSION`; the tail that says `@plt` is ours. */
static size_t plain_length(const char *name, size_t limit)
{
	size_t length = strnlen(name, limit);
	const char *at = memchr(name, '@', length);

	return at && at != name && strcmp(at, "@plt") ? (size_t)(at - name) : length;
}

size_t demangle(const char *name, char *out, size_t size)
{
	size_t length;

	if (!size)
		return 0;
	length = plain_length(name, size - 1);
	if (name[0] == '_' && (name[1] == 'Z' || name[1] == 'R') && strnlen(name, DEMANGLE_MAX_INPUT + 1) <= DEMANGLE_MAX_INPUT &&
	    run_bounded(name)) {
		output.length = strnlen(output.bytes, output.length); /* nonsense can print a NUL */
		if (output.length) {
			length = output.length < size - 1 ? output.length : size - 1;
			name = output.bytes;
		}
	}
	memcpy(out, name, length);
	out[length] = '\0';
	return length;
}

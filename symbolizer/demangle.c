/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A mangled name may expand exponentially by back references, so the demangler writes into a bounded buffer and
 * is left by a long jump when that is full: libiberty has no way to stop it, and its callback forms allocate
 * nothing that matters (Rust's punycode buffer, a few hundred bytes at most).
 */
#include "demangle.h"

#include <libiberty/demangle.h>
#include <setjmp.h>
#include <stdbool.h>
#include <string.h>

struct output {
	jmp_buf full;
	size_t length;
	char bytes[DEMANGLE_MAX_OUTPUT];
};

static void take(const char *bytes, size_t length, void *context)
{
	struct output *output = context;

	if (length > sizeof(output->bytes) - output->length)
		longjmp(output->full, 1);
	memcpy(output->bytes + output->length, bytes, length);
	output->length += length;
}

static bool run(const char *name, struct output *output)
{
	if (setjmp(output->full))
		return false;
	output->length = 0;
	if (rust_demangle_callback(name, DMGL_RUST, take, output) && output->length)
		return true;
	output->length = 0;
	/* without DMGL_PARAMS a name stays what the source calls it, whatever it was instantiated or cloned for */
	return name[1] == 'Z' && cplus_demangle_v3_callback(name, DMGL_ANSI, take, output) && output->length;
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
	static struct output output; /* 16 KiB that must not lie on a stack which libiberty also needs */
	size_t length;

	if (!size)
		return 0;
	length = plain_length(name, size - 1);
	if (name[0] == '_' && (name[1] == 'Z' || name[1] == 'R') && strnlen(name, DEMANGLE_MAX_INPUT + 1) <= DEMANGLE_MAX_INPUT &&
	    run(name, &output)) {
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

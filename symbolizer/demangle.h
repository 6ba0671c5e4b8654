/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names for people: C++ (Itanium) without parameters and return type, Rust (legacy and v0) without hashes;
 * `@@VERSION`, which linkers add to names, is left off.
 */
#ifndef SYMBOLIZER_DEMANGLE_H
#define SYMBOLIZER_DEMANGLE_H

#include <stddef.h>

#define DEMANGLE_MAX_INPUT 4096
#define DEMANGLE_MAX_OUTPUT 16384

/*
 * Writes the demangled name, or the name itself if it is not mangled, makes no sense or passes a limit; cut to
 * size - 1 bytes and NUL-terminated. Returns the length written. One thread at a time; uses SIGVTALRM and ITIMER_VIRTUAL meanwhile.
 */
size_t demangle(const char *name, char *out, size_t size);

#endif

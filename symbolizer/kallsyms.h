/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /proc/kallsyms as a table: text symbols of the kernel, its modules and BPF programs. Owns about 8 bytes and
 * the name a symbol. Padding symbols (`__pfx_name`, the bytes before `name`) answer as the function they belong to.
 */
#ifndef SYMBOLIZER_KALLSYMS_H
#define SYMBOLIZER_KALLSYMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KALLSYMS_MAX_SYMBOLS (1U << 20)
#define KALLSYMS_MAX_NAME_BYTES (64U << 20)
#define KALLSYMS_MAX_MODULES 4096
#define KALLSYMS_MAX_REACH (1ULL << 20) /* no function is longer; beyond it an address has no name */

struct kallsyms;

struct kallsyms_symbol {
	const char *name;
	const char *module; /* "" the kernel itself, "bpf" a BPF program; lives as long as the table, like name */
	uint64_t start;
};

/* Reads an open /proc/kallsyms to its end. -EPERM: all addresses are hidden; -ENODATA: no symbols. */
int kallsyms_new(int fd, struct kallsyms **ret_kallsyms);
void kallsyms_free(struct kallsyms *kallsyms); /* accepts NULL */
bool kallsyms_find(const struct kallsyms *kallsyms, uint64_t address, struct kallsyms_symbol *ret_symbol);
size_t kallsyms_count(const struct kallsyms *kallsyms);
size_t kallsyms_bytes(const struct kallsyms *kallsyms);
size_t kallsyms_dropped(const struct kallsyms *kallsyms); /* lines left out by a limit or unreadable */

#endif

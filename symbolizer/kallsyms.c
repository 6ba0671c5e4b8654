/* SPDX-License-Identifier: Apache-2.0 */
/* Parses /proc/kallsyms line by line ("address type name [module]") into a sorted table and answers from it. */
#include "kallsyms.h"

#include "base/buf.h"
#include "base/intern.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BASE 0xffffffff00000000ULL /* kernel, modules and BPF programs all lie in the top 4 GiB of x86-64 */
#define CHUNK 65536
#define MAX_MODULE 64
#define IN_MODULE 0x80000000U /* of a name's offset: two bytes before the name number its module */
#define PADDING UINT32_MAX    /* instead of a name's offset */

struct entry {
	uint32_t start; /* from BASE */
	uint32_t name;  /* offset in names */
};

struct kallsyms {
	struct entry *entries;
	size_t count, room, dropped, hidden;
	struct buf names; /* type letter, name, NUL; before that the module's number if it has one */
	struct intern *modules;
};

struct line {
	uint64_t address;
	char type;
	const char *name, *module;
	size_t name_length, module_length;
};

static bool parse_line(const char *at, const char *end, struct line *ret_line)
{
	struct line line = { 0 };
	int digits = 0;

	for (; at < end && isxdigit((unsigned char)*at); at++, digits++)
		line.address = line.address << 4 | (uint64_t)(isdigit((unsigned char)*at) ? *at - '0' : (*at | 32) - 'a' + 10);
	if (!digits || digits > 16 || end - at < 4 || at[0] != ' ' || at[2] != ' ')
		return false;
	line.type = at[1];
	line.name = at += 3;
	while (at < end && *at != '\t' && *at != ' ')
		at++;
	line.name_length = (size_t)(at - line.name);
	while (at < end && (*at == '\t' || *at == ' '))
		at++;
	if (at < end && *at == '[' && end[-1] == ']') {
		line.module = at + 1;
		line.module_length = (size_t)(end - at) - 2;
	}
	*ret_line = line;
	return line.name_length > 0 && line.module_length < MAX_MODULE;
}

static uint32_t add_name(struct kallsyms *kallsyms, const struct line *line)
{
	static const char padding[] = "__pfx_";
	uint32_t offset, module = 0;

	if (line->name_length > sizeof(padding) - 1 && !memcmp(line->name, padding, sizeof(padding) - 1))
		return PADDING;
	if (kallsyms->names.length + line->name_length + 4 > KALLSYMS_MAX_NAME_BYTES)
		return IN_MODULE; /* no name can lie there: two bytes stand before it */
	if (line->module_length) {
		module = intern_add(kallsyms->modules, line->module, line->module_length);
		if (module >= KALLSYMS_MAX_MODULES)
			return IN_MODULE;
		buf_add_char(&kallsyms->names, (char)(module & 0xff));
		buf_add_char(&kallsyms->names, (char)(module >> 8));
	}
	buf_add_char(&kallsyms->names, line->type);
	offset = (uint32_t)kallsyms->names.length | (module ? IN_MODULE : 0);
	buf_add(&kallsyms->names, line->name, line->name_length);
	buf_add_char(&kallsyms->names, '\0');
	return offset;
}

static int add_line(struct kallsyms *kallsyms, const char *at, const char *end)
{
	size_t room = kallsyms->room ? kallsyms->room * 2 : 4096;
	struct entry *grown;
	struct line line;
	uint32_t name;

	if (!parse_line(at, end, &line)) {
		kallsyms->dropped++;
		return 0;
	}
	if (!memchr("tTwW", line.type, 4))
		return 0;
	if (!line.address) {
		kallsyms->hidden++;
		return 0;
	}
	if (line.address < BASE || kallsyms->count == KALLSYMS_MAX_SYMBOLS ||
	    (name = add_name(kallsyms, &line)) == IN_MODULE) {
		kallsyms->dropped++;
		return 0;
	}
	if (kallsyms->count == kallsyms->room) {
		grown = realloc(kallsyms->entries, room * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		kallsyms->entries = grown;
		kallsyms->room = room;
	}
	kallsyms->entries[kallsyms->count++] = (struct entry){ (uint32_t)(line.address - BASE), name };
	return kallsyms->names.failed ? -ENOMEM : 0;
}

static int read_lines(struct kallsyms *kallsyms, int fd)
{
	char chunk[CHUNK];
	size_t held = 0;

	for (;;) {
		ssize_t got = read(fd, chunk + held, sizeof(chunk) - held);
		char *at = chunk, *end;
		int error;

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		held += (size_t)got;
		while ((end = memchr(at, '\n', held - (size_t)(at - chunk)))) {
			error = add_line(kallsyms, at, end);
			if (error)
				return error;
			at = end + 1;
		}
		held -= (size_t)(at - chunk);
		memmove(chunk, at, held);
		if (!got)
			return held ? add_line(kallsyms, chunk, chunk + held) : 0;
		if (held == sizeof(chunk)) { /* no line is that long */
			kallsyms->dropped++;
			held = 0;
		}
	}
}

static const char *name_at(const struct kallsyms *kallsyms, const struct entry *entry)
{
	return kallsyms->names.data + (entry->name & ~IN_MODULE);
}

static int rank(char type)
{
	return type == 'T' ? 0 : type == 't' ? 2 : 1;
}

/* By address, the better name first: global, weak, local; then the shorter; then byte order. */
static int compare_entries(const void *left, const void *right, void *context)
{
	const struct entry *a = left, *b = right;
	const char *x, *y;
	size_t x_length, y_length;

	if (a->start != b->start)
		return a->start < b->start ? -1 : 1;
	if (a->name == PADDING || b->name == PADDING)
		return (a->name == PADDING) - (b->name == PADDING);
	x = name_at(context, a);
	y = name_at(context, b);
	if (rank(x[-1]) != rank(y[-1]))
		return rank(x[-1]) - rank(y[-1]);
	x_length = strlen(x);
	y_length = strlen(y);
	if (x_length != y_length)
		return x_length < y_length ? -1 : 1;
	return strcmp(x, y);
}

static void tidy(struct kallsyms *kallsyms)
{
	struct entry *entries = kallsyms->entries, *fitted;
	size_t kept = 0;
	char *names;

	qsort_r(entries, kallsyms->count, sizeof(*entries), compare_entries, kallsyms);
	for (size_t at = 0; at < kallsyms->count; at++)
		if (!kept || entries[kept - 1].start != entries[at].start)
			entries[kept++] = entries[at];
	kallsyms->count = kept;
	fitted = realloc(entries, kept * sizeof(*entries));
	if (fitted)
		kallsyms->entries = fitted;
	kallsyms->room = kept;
	names = kallsyms->names.data ? realloc(kallsyms->names.data, kallsyms->names.length + 1) : NULL;
	if (names) {
		kallsyms->names.data = names;
		kallsyms->names.capacity = kallsyms->names.length + 1;
	}
}

int kallsyms_new(int fd, struct kallsyms **ret_kallsyms)
{
	struct kallsyms *kallsyms = calloc(1, sizeof(*kallsyms));
	int error = -ENOMEM;

	if (!kallsyms)
		return -ENOMEM;
	kallsyms->modules = intern_new(KALLSYMS_MAX_MODULES * MAX_MODULE);
	if (!kallsyms->modules)
		goto fail;
	error = read_lines(kallsyms, fd);
	if (error)
		goto fail;
	error = kallsyms->hidden ? -EPERM : -ENODATA;
	if (!kallsyms->count)
		goto fail;
	tidy(kallsyms);
	*ret_kallsyms = kallsyms;
	return 0;
fail:
	kallsyms_free(kallsyms);
	return error;
}

void kallsyms_free(struct kallsyms *kallsyms)
{
	if (!kallsyms)
		return;
	free(kallsyms->entries);
	buf_done(&kallsyms->names);
	intern_free(kallsyms->modules);
	free(kallsyms);
}

bool kallsyms_find(const struct kallsyms *kallsyms, uint64_t address, struct kallsyms_symbol *ret_symbol)
{
	size_t low = 0, high = kallsyms->count;
	const struct entry *entry;
	uint32_t module = 0;
	const char *name;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (BASE + kallsyms->entries[middle].start <= address)
			low = middle + 1;
		else
			high = middle;
	}
	if (!low || address - BASE - kallsyms->entries[low - 1].start >= KALLSYMS_MAX_REACH)
		return false;
	if (kallsyms->entries[low - 1].name == PADDING && low < kallsyms->count)
		low++;
	entry = &kallsyms->entries[low - 1];
	if (entry->name == PADDING)
		return false;
	name = name_at(kallsyms, entry);
	if (entry->name & IN_MODULE)
		module = (uint32_t)(unsigned char)name[-3] | (uint32_t)(unsigned char)name[-2] << 8;
	*ret_symbol = (struct kallsyms_symbol){ name, intern_get(kallsyms->modules, module), BASE + entry->start };
	return true;
}

size_t kallsyms_count(const struct kallsyms *kallsyms)
{
	return kallsyms->count;
}

size_t kallsyms_bytes(const struct kallsyms *kallsyms)
{
	return kallsyms->room * sizeof(*kallsyms->entries) + kallsyms->names.capacity + intern_bytes(kallsyms->modules);
}

size_t kallsyms_dropped(const struct kallsyms *kallsyms)
{
	return kallsyms->dropped;
}

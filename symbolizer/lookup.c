/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The middle of a NAMES request: takes an address, gives its calls. Owns the image, its separate debug file and
 * the readers over both, until its process ends. Of several readers that know an address the order is DWARF, Go's
 * own table (it has lines and inlined calls), symbol tables.
 */
#include "lookup.h"

#include "demangle.h"
#include "gopclntab.h"
#include "kallsyms.h"
#include "lines.h"
#include "perf_map.h"
#include "symtab.h"

#include "base/clean.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#define CRC_BLOCK 65536
#define MAX_CRC_BYTES (512ULL << 20) /* a debug file without build-id that is bigger is not taken */

struct file {
	int fd;
	struct image *image;
	struct symtab *symtab;
	struct lines *lines;
	struct gopclntab *go;
	bool tried; /* opening it and its readers */
};

struct lookup {
	uint32_t kind;
	struct file main, debug;
	struct kallsyms *kallsyms;
	bool kallsyms_tried;
	struct perf_map *perf_map;
	bool perf_map_tried, frozen;
	char names[LOOKUP_MAX_CALLS][SYMBOLIZER_NAME_BYTES]; /* demangled */
	char module[SYMBOLIZER_NAME_BYTES];
};

struct lookup *lookup_new(int fd, uint32_t kind)
{
	struct lookup *lookup = calloc(1, sizeof(*lookup));

	if (!lookup)
		return NULL;
	lookup->kind = kind;
	lookup->main.fd = fd;
	lookup->debug.fd = -1;
	return lookup;
}

static void forget_file(struct file *file)
{
	gopclntab_free(file->go);
	lines_free(file->lines);
	symtab_free(file->symtab);
	image_close(file->image);
	*file = (struct file){ .fd = file->fd };
}

int lookup_image(struct lookup *lookup, struct image **ret_image)
{
	int error = 0;

	if (!lookup->main.image)
		error = image_open(lookup->main.fd, &lookup->main.image);
	if (!error)
		*ret_image = lookup->main.image;
	return error;
}

/* What a reader cannot do, another may: a failure leaves NULL and the search goes on. */
static void open_readers(struct file *file)
{
	if (file->tried || file->fd < 0)
		return;
	file->tried = true;
	if (!file->image && image_open(file->fd, &file->image))
		return;
	if (symtab_new(file->image, &file->symtab))
		file->symtab = NULL;
	if (lines_new(file->image, NULL, &file->lines))
		file->lines = NULL;
	if (gopclntab_new(file->image, &file->go))
		file->go = NULL;
}

/* The checksum of .gnu_debuglink is zlib's crc32 over the whole debug file. */
static int check_crc(int fd, uint32_t wanted)
{
	static unsigned char block[CRC_BLOCK];
	uLong crc = crc32(0, NULL, 0);
	uint64_t total = 0;
	ssize_t got;

	while ((got = pread(fd, block, sizeof(block), (off_t)total)) > 0) {
		crc = crc32(crc, block, (uInt)got);
		total += (uint64_t)got;
		if (total > MAX_CRC_BYTES)
			return -EFBIG;
	}
	if (got < 0)
		return -errno;
	return crc == wanted ? 0 : -ESTALE;
}

static int check_match(struct image *image, struct image *debug, int fd)
{
	struct symbolizer_image of_image, of_debug;

	image_describe(image, &of_image);
	image_describe(debug, &of_debug);
	if (!of_debug.has_dwarf && !of_debug.has_symtab)
		return -ENODATA;
	if (of_image.build_id_bytes)
		return of_image.build_id_bytes == of_debug.build_id_bytes &&
		       !memcmp(of_image.build_id, of_debug.build_id, of_image.build_id_bytes) ? 0 : -ESTALE;
	return of_image.debuglink[0] ? check_crc(fd, of_image.debuglink_crc) : -ESTALE;
}

int lookup_set_debug(struct lookup *lookup, int fd)
{
	auto_fd int given = fd;
	struct image *image, *debug = NULL;
	int error = lookup_image(lookup, &image);

	if (error)
		return error;
	error = image_open(given, &debug);
	if (!error)
		error = check_match(image, debug, given);
	image_close(debug);
	if (error)
		return error;
	forget_file(&lookup->debug);
	if (lookup->debug.fd >= 0)
		close(lookup->debug.fd);
	lookup->debug.fd = steal_fd(&given);
	return 0;
}

static size_t find_kernel(struct lookup *lookup, uint64_t address, struct lookup_line *ret_line,
			  enum symbol_source *ret_source)
{
	struct kallsyms_symbol symbol;

	if (!lookup->kallsyms_tried && kallsyms_new(lookup->main.fd, &lookup->kallsyms))
		lookup->kallsyms = NULL;
	lookup->kallsyms_tried = true;
	if (!lookup->kallsyms)
		*ret_source = SYMBOL_REFUSED; /* all addresses are hidden from the agent */
	if (!lookup->kallsyms || !kallsyms_find(lookup->kallsyms, address, &symbol))
		return 0;
	lookup->module[0] = '\0';
	if (symbol.module[0])
		snprintf(lookup->module, sizeof(lookup->module), "[%s]", symbol.module);
	demangle(symbol.name, lookup->names[0], sizeof(lookup->names[0])); /* modules written in Rust */
	*ret_line = (struct lookup_line){ lookup->names[0], symbol.name, lookup->module, 0, 0 };
	*ret_source = SYMBOL_KALLSYMS;
	return 1;
}

static bool find_symbol(const struct file *file, uint64_t address, struct symtab_symbol *ret_symbol)
{
	return file->symtab && symtab_find(file->symtab, address, ret_symbol);
}

void lookup_freeze(struct lookup *lookup)
{
	lookup->frozen = true;
}

static size_t find_generated(struct lookup *lookup, uint64_t address, struct lookup_line *ret_line,
			     enum symbol_source *ret_source)
{
	struct perf_map_stats stats;
	const char *name;
	bool found;

	*ret_source = SYMBOL_ANONYMOUS;
	if (!lookup->perf_map_tried && !perf_map_new(lookup->main.fd, &lookup->perf_map))
		perf_map_update(lookup->perf_map);
	lookup->perf_map_tried = true;
	if (!lookup->perf_map)
		return 0;
	found = perf_map_find(lookup->perf_map, address, &name, ret_source);
	if (!found && !lookup->frozen && perf_map_update(lookup->perf_map))
		found = perf_map_find(lookup->perf_map, address, &name, ret_source);
	if (!found) {
		perf_map_get_stats(lookup->perf_map, &stats);
		*ret_source = stats.is_cut ? SYMBOL_LIMIT : SYMBOL_ANONYMOUS;
		return 0;
	}
	demangle(name, lookup->names[0], sizeof(lookup->names[0]));
	*ret_line = (struct lookup_line){ lookup->names[0], name, "", 0, 0 };
	return 1;
}

/* The debug file's table is the full one; what the image has beside it are stubs of other libraries' functions. */
static bool find_any_symbol(struct lookup *lookup, uint64_t address, struct symtab_symbol *ret_symbol)
{
	return find_symbol(&lookup->debug, address, ret_symbol) || find_symbol(&lookup->main, address, ret_symbol);
}

static void set_name(struct lookup *lookup, size_t at, const char *mangled, const char *plain,
		     struct lookup_line *line)
{
	const char *system = mangled ? mangled : plain ? plain : "";

	line->system_name = system;
	line->name = system;
	if (mangled && demangle(mangled, lookup->names[at], sizeof(lookup->names[at])))
		line->name = lookup->names[at];
}

/* Calls by DWARF; the outermost, which is the function itself, goes by its ELF symbol where there is one. */
static size_t find_calls(struct lookup *lookup, struct lines *lines, uint64_t address,
			 const struct symtab_symbol *symbol, struct lookup_line ret_lines[LOOKUP_MAX_CALLS])
{
	struct lines_call calls[LOOKUP_MAX_CALLS];
	int count = lines ? lines_find(lines, address, calls, LOOKUP_MAX_CALLS) : 0;

	for (int at = 0; at < count; at++) {
		struct lookup_line *line = &ret_lines[at];
		const char *mangled = calls[at].linkage_name;

		if (at == count - 1 && symbol)
			mangled = symbol->name;
		set_name(lookup, (size_t)at, mangled, calls[at].name, line);
		line->file = calls[at].file ? calls[at].file : "";
		line->line = calls[at].line;
		line->start_line = calls[at].start_line;
	}
	if (count == 1 && !ret_lines[0].name[0])
		return 0; /* a line of no function, and no symbol: nothing to show */
	return count > 0 ? (size_t)count : 0;
}

/* Where Go's own table has the name: its ELF symbol may have more letters ("runtime.goexit.abi0"). */
static bool is_go(const struct gopclntab *go, uint64_t address)
{
	uint64_t start, end;

	if (!go)
		return false;
	gopclntab_range(go, &start, &end);
	return address >= start && address < end;
}

/* Go's linker writes the names as people read them. */
static size_t find_go(const struct gopclntab *go, uint64_t address, struct lookup_line ret_lines[LOOKUP_MAX_CALLS])
{
	struct gopclntab_call calls[LOOKUP_MAX_CALLS];
	size_t count = go ? gopclntab_find(go, address, calls, LOOKUP_MAX_CALLS) : 0;

	for (size_t at = 0; at < count; at++)
		ret_lines[at] = (struct lookup_line){ calls[at].name, calls[at].name, calls[at].file,
						      calls[at].line, calls[at].start_line };
	return count;
}

size_t lookup_find(struct lookup *lookup, uint64_t address, struct lookup_line lines[LOOKUP_MAX_CALLS],
		   enum symbol_source *ret_source)
{
	struct symtab_symbol symbol;
	bool has_symbol;
	size_t count;

	*ret_source = SYMBOL_NO_SYMBOL;
	if (lookup->kind == SYMBOLIZER_KALLSYMS)
		return find_kernel(lookup, address, &lines[0], ret_source);
	if (lookup->kind == SYMBOLIZER_PERF_MAP)
		return find_generated(lookup, address, &lines[0], ret_source);
	open_readers(&lookup->main);
	open_readers(&lookup->debug);
	has_symbol = !is_go(lookup->main.go, address) && find_any_symbol(lookup, address, &symbol);
	count = find_calls(lookup, lookup->debug.lines, address, has_symbol ? &symbol : NULL, lines);
	if (!count)
		count = find_calls(lookup, lookup->main.lines, address, has_symbol ? &symbol : NULL, lines);
	if (count) {
		*ret_source = SYMBOL_DWARF;
		return count;
	}
	count = find_go(lookup->main.go, address, lines);
	if (count) {
		*ret_source = SYMBOL_GOPCLNTAB;
		return count;
	}
	if (!has_symbol && !find_any_symbol(lookup, address, &symbol))
		return 0;
	set_name(lookup, 0, symbol.name, NULL, &lines[0]);
	lines[0].file = "";
	lines[0].line = lines[0].start_line = 0;
	*ret_source = symbol.source;
	return 1;
}

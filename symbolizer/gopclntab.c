/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reader of Go's tables: takes an address, gives the function there and what the compiler inlined into it.
 * A sorted table leads from addresses to records of functions; a record names tables of (value, length) pairs,
 * which give file, line and inlined call as they change along the function's code.
 *
 * Layouts: src/runtime/symtab.go, symtabinl.go and runtime2.go of Go 1.18 to 1.26.
 */
#include "gopclntab_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_STRING 65536
#define MAX_STEPS (1U << 20) /* pairs read for one address */
#define NO_OFFSET UINT32_MAX
#define INLINE_INDEX 2 /* of a function's pcdata: which inlined call holds the pc */
#define INLINE_TREE 3  /* of its funcdata: the calls */
#define OLD_FUNCTION_BYTES 40
#define FUNCTION_BYTES 44
#define OLD_CALL_BYTES 20
#define CALL_BYTES 16

struct search {
	const struct gopclntab *table;
	struct gopclntab_function function;
	uint32_t steps; /* taken so far */
};

static bool read_u32(const struct gopclntab *table, uint64_t offset, uint32_t *ret_value)
{
	if (offset > table->size || table->size - offset < sizeof(*ret_value))
		return false;
	memcpy(ret_value, table->bytes + offset, sizeof(*ret_value));
	return true;
}

const char *gopclntab_string(const struct gopclntab *table, uint64_t offset)
{
	size_t left;

	if (offset >= table->size)
		return NULL;
	left = table->size - offset;
	if (!memchr(table->bytes + offset, 0, left < MAX_STRING ? left : MAX_STRING))
		return NULL;
	return (const char *)table->bytes + offset;
}

uint64_t gopclntab_entry(const struct gopclntab *table, uint32_t index)
{
	uint32_t entry = UINT32_MAX;

	read_u32(table, table->table + 8 * (uint64_t)index, &entry);
	return entry;
}

/* The last function that starts at or below the offset; the entry behind the last one is where it ends. */
static bool find_index(const struct gopclntab *table, uint64_t offset, uint32_t *ret_index)
{
	uint32_t low = 0, high = table->functions;

	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;

		if (gopclntab_entry(table, middle) <= offset)
			low = middle;
		else
			high = middle;
	}
	*ret_index = low;
	return offset >= gopclntab_entry(table, low) && offset < gopclntab_entry(table, low + 1);
}

bool gopclntab_function(const struct gopclntab *table, uint32_t index, struct gopclntab_function *ret_function)
{
	uint32_t fixed = table->is_old ? OLD_FUNCTION_BYTES : FUNCTION_BYTES, pcdata_count, record, entry, kinds;
	struct gopclntab_function function = { .inline_tree = NO_OFFSET };
	uint64_t at;

	if (!read_u32(table, table->table + 8 * (uint64_t)index + 4, &record))
		return false;
	at = table->table + record;
	function.start = gopclntab_entry(table, index);
	/* The fixed part ends with its kind, flags, padding and the number of funcdata: reading them checks all of it. */
	if (!read_u32(table, at + fixed - 4, &kinds) || !read_u32(table, at + 28, &pcdata_count) ||
	    !read_u32(table, at, &entry) || entry != function.start)
		return false;
	read_u32(table, at + 4, &function.name);
	read_u32(table, at + 16, &function.depth_values);
	read_u32(table, at + 20, &function.file_values);
	read_u32(table, at + 24, &function.line_values);
	read_u32(table, at + 32, &function.unit);
	if (!table->is_old)
		read_u32(table, at + 36, &function.start_line);
	function.flags = (uint8_t)(kinds >> 8);
	if (kinds >> 24 > INLINE_TREE)
		read_u32(table, at + fixed + 4 * ((uint64_t)pcdata_count + INLINE_TREE), &function.inline_tree);
	if (pcdata_count > INLINE_INDEX)
		read_u32(table, at + fixed + 4 * INLINE_INDEX, &function.inline_values);
	*ret_function = function;
	return true;
}

static bool read_varint(const struct gopclntab *table, uint64_t *at, uint32_t *ret_value)
{
	uint32_t value = 0;

	for (unsigned int shift = 0; shift < 35 && *at < table->size; shift += 7) {
		uint8_t byte = table->bytes[(*at)++];

		value |= (uint32_t)(byte & 0x7f) << (shift < 32 ? shift : 31);
		if (!(byte & 0x80)) {
			*ret_value = value;
			return true;
		}
	}
	return false;
}

struct gopclntab_cursor gopclntab_values(const struct gopclntab *table, uint32_t offset, uint64_t start)
{
	/* Offset 0 stands for no table at all. */
	return (struct gopclntab_cursor){ .at = offset ? table->values + offset : UINT64_MAX, .pc = start, .value = -1 };
}

/* Deltas in zigzag form, each followed by the length of code it holds for. A 0 that is not the first ends them. */
bool gopclntab_next(const struct gopclntab *table, struct gopclntab_cursor *cursor)
{
	uint32_t delta, length;

	if (!read_varint(table, &cursor->at, &delta) || (!delta && cursor->begun) ||
	    !read_varint(table, &cursor->at, &length))
		return false;
	cursor->value += delta & 1 ? -(int64_t)(delta >> 1) - 1 : (int64_t)(delta >> 1);
	cursor->pc += (uint64_t)length * table->quantum;
	cursor->begun = true;
	return true;
}

static bool find_value(struct search *search, uint32_t offset, uint64_t target, int64_t *ret_value)
{
	struct gopclntab_cursor cursor = gopclntab_values(search->table, offset, search->function.start);

	while (search->steps++ < MAX_STEPS && gopclntab_next(search->table, &cursor)) {
		if (target < cursor.pc) {
			*ret_value = cursor.value;
			return true;
		}
	}
	return false;
}

static void set_position(struct search *search, uint64_t offset, struct gopclntab_call *call)
{
	const struct gopclntab *table = search->table;
	const struct gopclntab_function *function = &search->function;
	int64_t number;
	uint32_t path;
	const char *file;

	call->file = "";
	call->line = 0;
	if (find_value(search, function->line_values, offset, &number) && number > 0 && number <= INT32_MAX)
		call->line = (uint32_t)number;
	if (!find_value(search, function->file_values, offset, &number) || number < 0 || number > INT32_MAX)
		return;
	if (!read_u32(table, table->units + 4 * (function->unit + (uint64_t)number), &path) || path == NO_OFFSET)
		return;
	file = gopclntab_string(table, table->files + path);
	if (file)
		call->file = file;
}

struct inlined {
	uint32_t name, start_line;
	uint64_t parent; /* offset from text of an instruction at the call */
};

/* The inlined call an address belongs to. False: to the function itself. */
static bool find_inlined(struct search *search, uint64_t offset, struct inlined *ret_inlined)
{
	const struct gopclntab *table = search->table;
	const struct gopclntab_function *function = &search->function;
	uint64_t size = table->is_old ? OLD_CALL_BYTES : CALL_BYTES;
	uint32_t words[OLD_CALL_BYTES / 4] = { 0 };
	const uint8_t *bytes;
	int64_t index;

	if (!table->function_data || function->inline_tree == NO_OFFSET ||
	    !find_value(search, function->inline_values, offset, &index) || index < 0 || index > UINT16_MAX)
		return false;
	bytes = image_at(table->image, table->function_data + function->inline_tree + (uint64_t)index * size, size);
	if (!bytes)
		return false;
	memcpy(words, bytes, size);
	/* Old: parent, file, line, name, parent's pc. New: kind, name, parent's pc, first line. */
	ret_inlined->name = table->is_old ? words[3] : words[1];
	ret_inlined->parent = function->start + (table->is_old ? words[4] : words[2]);
	ret_inlined->start_line = table->is_old ? 0 : words[3];
	return true;
}

int gopclntab_new(struct image *image, struct gopclntab **ret_table)
{
	struct gopclntab *table = calloc(1, sizeof(*table));
	int error = table ? gopclntab_locate(image, table) : -ENOMEM;

	if (error)
		gopclntab_free(table);
	else
		*ret_table = table;
	return error;
}

void gopclntab_free(struct gopclntab *table)
{
	free(table);
}

bool gopclntab_has_inlining(const struct gopclntab *table)
{
	return table->function_data;
}

size_t gopclntab_find(const struct gopclntab *table, uint64_t vaddr, struct gopclntab_call *ret_calls, size_t max)
{
	struct search search = { .table = table };
	uint64_t offset = vaddr - table->text;
	struct inlined inlined;
	const char *name;
	uint32_t index;
	size_t count = 0;

	if (vaddr < table->text || offset >= UINT32_MAX || !find_index(table, offset, &index) ||
	    !gopclntab_function(table, index, &search.function))
		return 0;
	while (count + 1 < max && find_inlined(&search, offset, &inlined)) {
		name = gopclntab_string(table, table->names + inlined.name);
		if (!name)
			return 0;
		ret_calls[count] = (struct gopclntab_call){ .name = name, .start_line = inlined.start_line };
		set_position(&search, offset, &ret_calls[count++]);
		offset = inlined.parent;
	}
	name = gopclntab_string(table, table->names + search.function.name);
	if (!name || !*name)
		return 0;
	ret_calls[count] = (struct gopclntab_call){ .name = name, .start_line = search.function.start_line };
	set_position(&search, offset, &ret_calls[count++]);
	return count;
}

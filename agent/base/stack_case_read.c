/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads a stack case (include/stack_case.h) line by line into an arena. A line's first word names a row of the
 * table at the end; arrays grow by doubling up to their limits. Whoever wrote the file may have meant harm.
 */
#include "stack_case.h"

#include "base/arena.h"
#include "base/clean.h"

#include <errno.h>
#include <string.h>

#define VERSION "1"

struct list { /* of items of one size, in the arena */
	void *items;
	uint32_t count, room, limit, size;
};

struct reader {
	const char *at, *end; /* of the text not yet read */
	const char *word;     /* of the current line not yet read, up to `stop` */
	const char *stop;
	uint32_t line;
	struct arena *arena;
	struct stack_case *into;
	struct list images, mappings, memory, frames;
	struct list parts; /* of the last image */
	bool has_pc, has_registers, has_end;
};

static void *add(struct reader *reader, struct list *list)
{
	if (list->count == list->limit)
		return NULL;
	if (list->count == list->room) {
		uint32_t room = list->room ? list->room * 2 : 16;
		void *bigger = arena_array(reader->arena, room, list->size);

		if (!bigger)
			return NULL;
		if (list->count)
			memcpy(bigger, list->items, (size_t)list->count * list->size);
		list->items = bigger;
		list->room = room;
	}
	return (char *)list->items + (size_t)list->count++ * list->size;
}

static bool next_line(struct reader *reader)
{
	const char *newline;

	if (reader->at == reader->end)
		return false;
	newline = memchr(reader->at, '\n', (size_t)(reader->end - reader->at));
	reader->word = reader->at;
	reader->stop = newline ? newline : reader->end;
	reader->at = newline ? newline + 1 : reader->end;
	reader->line++;
	return true;
}

/* The next word of the line, by blanks; empty at its end. */
static size_t next_word(struct reader *reader, const char **ret_word)
{
	const char *from = reader->word;

	while (from < reader->stop && *from == ' ')
		from++;
	*ret_word = from;
	while (from < reader->stop && *from != ' ')
		from++;
	reader->word = from;
	return (size_t)(from - *ret_word);
}

static int digit(char character)
{
	if (character >= '0' && character <= '9')
		return character - '0';
	return character >= 'a' && character <= 'f' ? character - 'a' + 10 : 16;
}

static bool read_number(struct reader *reader, unsigned int base, uint64_t *ret_number)
{
	const char *word;
	size_t length = next_word(reader, &word);
	uint64_t number = 0;

	if (!length || length > 16)
		return false;
	for (size_t i = 0; i < length; i++) {
		unsigned int value = (unsigned int)digit(word[i]);

		if (value >= base)
			return false;
		number = number * base + value;
	}
	*ret_number = number;
	return true;
}

static bool read_small(struct reader *reader, uint32_t *ret_number)
{
	uint64_t number;

	if (!read_number(reader, 10, &number) || number > UINT32_MAX)
		return false;
	*ret_number = (uint32_t)number;
	return true;
}

static bool read_text(struct reader *reader, const char **ret_text)
{
	while (reader->word < reader->stop && *reader->word == ' ')
		reader->word++;
	*ret_text = arena_string(reader->arena, reader->word, (size_t)(reader->stop - reader->word));
	reader->word = reader->stop;
	return *ret_text;
}

static bool read_reason(struct reader *reader, enum reason *ret_reason)
{
	const char *word;
	size_t length = next_word(reader, &word);

	for (unsigned int i = 0; i < REASON_COUNT; i++) {
		const char *label = stack_case_reason((enum reason)i);

		if (strlen(label) == length && !memcmp(label, word, length)) {
			*ret_reason = (enum reason)i;
			return true;
		}
	}
	return false;
}

/* ---- runs of bytes ------------------------------------------------------------------------------------- */

/* The bytes that one hex line stands for; written only where `to` is not NULL. False: no hex line. */
static bool hex_line(const char *from, const char *stop, uint8_t *to, uint64_t *ret_size)
{
	uint64_t size = 0;

	if (from < stop && *from == '*') {
		for (from++; from < stop; from++) {
			if (digit(*from) > 9 || size > STACK_CASE_MAX_BYTES)
				return false;
			size = size * 10 + (uint64_t)digit(*from);
		}
		*ret_size = size;
		return size; /* the arena's bytes are zero already */
	}
	for (; stop - from >= 2; from += 2) {
		int high = digit(from[0]), low = digit(from[1]);

		if (high > 15 || low > 15)
			return false;
		if (to)
			to[size] = (uint8_t)(high << 4 | low);
		size++;
	}
	*ret_size = size;
	return from == stop && size;
}

static bool read_lines(struct reader *reader, uint8_t *to, uint64_t *ret_size)
{
	uint64_t size = 0, more;

	while (reader->at < reader->end && *reader->at == '\t') {
		if (!next_line(reader) || !hex_line(reader->word + 1, reader->stop, to ? to + size : NULL, &more))
			return false;
		size += more;
		if (size > STACK_CASE_MAX_BYTES)
			return false;
	}
	reader->word = reader->stop;
	*ret_size = size;
	return size;
}

/* Twice over the lines: how much it is, then the bytes. */
static bool read_part(struct reader *reader, struct list *list, uint64_t limit)
{
	struct reader before;
	struct stack_part part, *added;
	uint8_t *bytes;

	if (!read_number(reader, 16, &part.at) || reader->word != reader->stop)
		return false;
	before = *reader;
	if (!read_lines(reader, NULL, &part.size) || part.at > limit || part.size > limit - part.at)
		return false;
	bytes = arena_alloc(reader->arena, part.size);
	if (!bytes)
		return false;
	*reader = before;
	if (!read_lines(reader, bytes, &part.size))
		return false;
	part.bytes = bytes;
	added = add(reader, list);
	if (added)
		*added = part;
	return added;
}

/* ---- the lines ----------------------------------------------------------------------------------------- */

static bool read_title(struct reader *reader)
{
	return read_text(reader, &reader->into->title);
}

static bool read_oracle(struct reader *reader)
{
	return read_text(reader, &reader->into->oracle);
}

static bool read_pc(struct reader *reader)
{
	reader->has_pc = true;
	return read_number(reader, 16, &reader->into->pc);
}

static bool read_registers(struct reader *reader)
{
	reader->has_registers = true;
	for (int i = 0; i < STACK_CASE_REGISTERS; i++)
		if (!read_number(reader, 16, &reader->into->reg[i]))
			return false;
	return true;
}

/* Hands the parts read since the last image line to that image. */
static void end_image(struct reader *reader)
{
	struct stack_image *images = reader->images.items;

	if (!reader->images.count)
		return;
	images[reader->images.count - 1].parts = reader->parts.items;
	images[reader->images.count - 1].part_count = reader->parts.count;
}

static bool read_image(struct reader *reader)
{
	struct stack_image *image;

	end_image(reader);
	reader->parts = (struct list){ .limit = STACK_CASE_MAX_PARTS, .size = sizeof(struct stack_part) };
	image = add(reader, &reader->images);
	return image && read_number(reader, 16, &image->size) && image->size <= STACK_CASE_MAX_IMAGE_BYTES &&
	       read_text(reader, &image->name);
}

static bool read_bytes(struct reader *reader)
{
	const struct stack_image *images = reader->images.items;

	return reader->images.count && read_part(reader, &reader->parts, images[reader->images.count - 1].size);
}

static bool read_mapping(struct reader *reader)
{
	uint32_t before = reader->mappings.count;
	struct stack_mapping *mapping = add(reader, &reader->mappings);
	const struct stack_mapping *last = reader->mappings.items;
	const char *word, *rest;

	if (!mapping || !read_number(reader, 16, &mapping->start) || !read_number(reader, 16, &mapping->end) ||
	    !read_number(reader, 16, &mapping->offset) || !read_number(reader, 16, &mapping->bias))
		return false;
	if (mapping->start >= mapping->end || (before && last[before - 1].end > mapping->start))
		return false;
	rest = reader->word;
	mapping->image = STACK_CASE_ANONYMOUS;
	if (next_word(reader, &word) == 1 && *word == '-')
		return true;
	reader->word = rest;
	return read_small(reader, &mapping->image) && mapping->image < reader->images.count;
}

static bool read_memory(struct reader *reader)
{
	return read_part(reader, &reader->memory, UINT64_MAX);
}

static bool read_frame(struct reader *reader)
{
	uint64_t *frame = add(reader, &reader->frames);

	return frame && read_number(reader, 16, frame);
}

static bool read_ends(struct reader *reader)
{
	reader->has_end = true;
	return read_reason(reader, &reader->into->ends);
}

static bool read_shortfall(struct reader *reader)
{
	reader->into->has_shortfall = true;
	return read_small(reader, &reader->into->short_frames) &&
	       read_reason(reader, &reader->into->short_reason);
}

static bool read_line(struct reader *reader)
{
	static const struct {
		const char *word;
		bool (*read)(struct reader *reader);
	} kinds[] = {
		{ "title", read_title },
		{ "oracle", read_oracle },
		{ "pc", read_pc },
		{ "registers", read_registers },
		{ "image", read_image },
		{ "bytes", read_bytes },
		{ "mapping", read_mapping },
		{ "memory", read_memory },
		{ "frame", read_frame },
		{ "ends", read_ends },
		{ "shortfall", read_shortfall },
	};
	const char *word;
	size_t length = next_word(reader, &word);

	for (size_t i = 0; i < array_size(kinds); i++)
		if (strlen(kinds[i].word) == length && !memcmp(kinds[i].word, word, length))
			return kinds[i].read(reader) && reader->word == reader->stop;
	return false;
}

static bool read_all(struct reader *reader)
{
	static const char first[] = "wick-stack " VERSION;

	if (!next_line(reader) || (size_t)(reader->stop - reader->word) != strlen(first) ||
	    memcmp(reader->word, first, strlen(first)) != 0)
		return false;
	while (next_line(reader))
		if (!read_line(reader))
			return false;
	end_image(reader);
	reader->line = 0;
	return reader->has_pc && reader->has_registers && reader->has_end && reader->into->title &&
	       reader->into->oracle && reader->into->short_frames <= STACK_CASE_MAX_FRAMES;
}

int stack_case_read(const char *text, size_t size, struct stack_case **ret_case, uint32_t *ret_line)
{
	struct reader reader = {
		.at = text,
		.end = text + size,
		.arena = arena_new(STACK_CASE_MAX_BYTES),
		.images = { .limit = STACK_CASE_MAX_IMAGES, .size = sizeof(struct stack_image) },
		.mappings = { .limit = STACK_CASE_MAX_MAPPINGS, .size = sizeof(struct stack_mapping) },
		.memory = { .limit = STACK_CASE_MAX_PARTS, .size = sizeof(struct stack_part) },
		.frames = { .limit = STACK_CASE_MAX_FRAMES, .size = sizeof(uint64_t) },
	};

	if (!reader.arena)
		return -ENOMEM;
	reader.into = arena_alloc(reader.arena, sizeof(*reader.into));
	if (!reader.into || !read_all(&reader)) {
		*ret_line = reader.line;
		arena_free(reader.arena);
		return -EINVAL;
	}
	reader.into->arena = reader.arena;
	reader.into->images = reader.images.items;
	reader.into->image_count = reader.images.count;
	reader.into->mappings = reader.mappings.items;
	reader.into->mapping_count = reader.mappings.count;
	reader.into->memory = reader.memory.items;
	reader.into->memory_count = reader.memory.count;
	reader.into->frames = reader.frames.items;
	reader.into->frame_count = reader.frames.count;
	*ret_case = reader.into;
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Writes a stack case (include/stack_case.h), and answers what an unwind asks of one. Owns nothing. */
#include "stack_case.h"

#include "base/arena.h"
#include "base/buf.h"
#include "base/clean.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define LINE_BYTES 48
#define MIN_ZEROS 8 /* a shorter run is no shorter as a count */

static size_t zeros_at(const struct stack_part *part, uint64_t from)
{
	uint64_t at = from;

	while (at < part->size && !part->bytes[at])
		at++;
	return (size_t)(at - from);
}

static void write_part(const char *word, const struct stack_part *part, struct buf *out)
{
	static const char digits[] = "0123456789abcdef";
	size_t column = 0;

	buf_printf(out, "%s %" PRIx64 "\n", word, part->at);
	for (uint64_t at = 0; at < part->size && !out->failed;) {
		size_t zeros = zeros_at(part, at);
		uint8_t byte = part->bytes[at];

		if (zeros >= MIN_ZEROS) {
			buf_printf(out, "%s*%zu\n", column ? "\n\t" : "\t", zeros);
			column = 0;
			at += zeros;
			continue;
		}
		if (!column)
			buf_add_char(out, '\t');
		buf_add_char(out, digits[byte >> 4]);
		buf_add_char(out, digits[byte & 15]);
		at++;
		column = (column + 1) % LINE_BYTES;
		if (!column || at == part->size)
			buf_add_char(out, '\n');
	}
}

/* One line, whatever the name holds. */
static void write_text(const char *word, const char *text, struct buf *out)
{
	buf_add_string(out, word);
	buf_add_char(out, ' ');
	for (const char *at = text ? text : ""; *at; at++)
		buf_add_char(out, (unsigned char)*at < ' ' ? '?' : *at);
	buf_add_char(out, '\n');
}

static void write_image(const struct stack_image *image, struct buf *out)
{
	buf_printf(out, "image %" PRIx64, image->size);
	write_text("", image->name, out);
	for (uint32_t i = 0; i < image->part_count; i++)
		write_part("bytes", &image->parts[i], out);
}

static void write_mapping(const struct stack_mapping *mapping, struct buf *out)
{
	buf_printf(out, "mapping %" PRIx64 " %" PRIx64 " %" PRIx64 " %" PRIx64, mapping->start, mapping->end,
		   mapping->offset, mapping->bias);
	if (mapping->image == STACK_CASE_ANONYMOUS)
		buf_add_string(out, " -\n");
	else
		buf_printf(out, " %" PRIu32 "\n", mapping->image);
}

const char *stack_case_reason(enum reason reason)
{
	static const char *const labels[] = {
#define REASON(id, label, sentence) [REASON_##id] = (label),
		REASON_LIST(REASON)
#undef REASON
	};

	return labels[(unsigned int)reason < REASON_COUNT ? reason : REASON_NONE];
}

void stack_case_write(const struct stack_case *stack_case, struct buf *out)
{
	buf_add_string(out, "wick-stack 1\n");
	write_text("title", stack_case->title, out);
	write_text("oracle", stack_case->oracle, out);
	buf_printf(out, "pc %" PRIx64 "\nregisters", stack_case->pc);
	for (int i = 0; i < STACK_CASE_REGISTERS; i++)
		buf_printf(out, " %" PRIx64, stack_case->reg[i]);
	buf_add_char(out, '\n');
	for (uint32_t i = 0; i < stack_case->image_count; i++)
		write_image(&stack_case->images[i], out);
	for (uint32_t i = 0; i < stack_case->mapping_count; i++)
		write_mapping(&stack_case->mappings[i], out);
	for (uint32_t i = 0; i < stack_case->memory_count; i++)
		write_part("memory", &stack_case->memory[i], out);
	for (uint32_t i = 0; i < stack_case->frame_count; i++)
		buf_printf(out, "frame %" PRIx64 "\n", stack_case->frames[i]);
	buf_printf(out, "ends %s\n", stack_case_reason(stack_case->ends));
	if (stack_case->has_shortfall)
		buf_printf(out, "shortfall %" PRIu32 " %s\n", stack_case->short_frames,
			   stack_case_reason(stack_case->short_reason));
}

void stack_case_free(struct stack_case *stack_case)
{
	if (stack_case)
		arena_free(stack_case->arena); /* it lies there itself */
}

bool stack_case_word(const struct stack_case *stack_case, uint64_t address, uint64_t *ret_word)
{
	for (uint32_t i = 0; i < stack_case->memory_count; i++) {
		const struct stack_part *part = &stack_case->memory[i];
		uint64_t into = address - part->at;

		if (part->size < sizeof(*ret_word) || address < part->at || into > part->size - sizeof(*ret_word))
			continue;
		memcpy(ret_word, part->bytes + into, sizeof(*ret_word));
		return true;
	}
	return false;
}

const struct stack_mapping *stack_case_mapping(const struct stack_case *stack_case, uint64_t pc)
{
	for (uint32_t i = 0; i < stack_case->mapping_count; i++)
		if (pc >= stack_case->mappings[i].start && pc < stack_case->mappings[i].end)
			return &stack_case->mappings[i];
	return NULL;
}

int stack_case_image(const struct stack_case *stack_case, uint32_t index)
{
	const struct stack_image *image;
	auto_fd int fd = -1;

	if (index >= stack_case->image_count)
		return -EINVAL;
	image = &stack_case->images[index];
	fd = memfd_create("wick-image", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, (off_t)image->size) < 0)
		return -errno;
	for (uint32_t i = 0; i < image->part_count; i++) {
		const struct stack_part *part = &image->parts[i];
		ssize_t wrote = pwrite(fd, part->bytes, part->size, (off_t)part->at);

		if (wrote < 0)
			return -errno;
		if ((uint64_t)wrote != part->size)
			return -EIO;
	}
	return steal_fd(&fd);
}

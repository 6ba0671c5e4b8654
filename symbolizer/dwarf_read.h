/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading doubted bytes. A cursor never passes its end: a read that would fail gives 0, marks the cursor and
 * moves it to the end, so that loops stop by themselves and a reader checks `failed` once.
 */
#ifndef SYMBOLIZER_DWARF_READ_H
#define SYMBOLIZER_DWARF_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define DWARF_MAX_STRING 65536 /* a string without its end within this many bytes is none */

struct cursor {
	const uint8_t *at, *end;
	bool failed;
};

static inline size_t cursor_left(const struct cursor *cursor)
{
	return (size_t)(cursor->end - cursor->at);
}

static inline void cursor_fail(struct cursor *cursor)
{
	cursor->failed = true;
	cursor->at = cursor->end;
}

/* From `offset` to `end` of a section; failed at once if that is not inside it. */
static inline struct cursor cursor_make(const uint8_t *bytes, size_t size, uint64_t offset, uint64_t end)
{
	if (!bytes || end > size || offset > end)
		return (struct cursor){ .failed = true };
	return (struct cursor){ bytes + offset, bytes + end, false };
}

static inline void cursor_skip(struct cursor *cursor, uint64_t bytes)
{
	if (bytes > cursor_left(cursor))
		cursor_fail(cursor);
	else
		cursor->at += bytes;
}

static inline uint64_t cursor_fixed(struct cursor *cursor, size_t bytes) /* 0 to 8, little endian */
{
	uint64_t value = 0;

	if (bytes > cursor_left(cursor)) {
		cursor_fail(cursor);
		return 0;
	}
	memcpy(&value, cursor->at, bytes);
	cursor->at += bytes;
	return value;
}

static inline uint8_t cursor_u8(struct cursor *cursor)
{
	return (uint8_t)cursor_fixed(cursor, 1);
}

/* A number in groups of 7 bits; *ret_bits: how many there were, *ret_sign: the highest of them. */
static inline uint64_t cursor_leb(struct cursor *cursor, unsigned *ret_bits, bool *ret_sign)
{
	uint64_t value = 0;

	for (unsigned shift = 0; cursor->at < cursor->end; shift += 7) {
		uint8_t byte = *cursor->at++;

		if (shift < 64)
			value |= (uint64_t)(byte & 0x7f) << shift;
		if (byte & 0x80)
			continue;
		*ret_bits = shift + 7;
		*ret_sign = byte & 0x40;
		return value;
	}
	cursor_fail(cursor);
	return 0;
}

static inline uint64_t cursor_uleb(struct cursor *cursor)
{
	unsigned bits;
	bool sign;

	return cursor_leb(cursor, &bits, &sign);
}

static inline int64_t cursor_sleb(struct cursor *cursor)
{
	unsigned bits = 64;
	bool sign = false;
	uint64_t value = cursor_leb(cursor, &bits, &sign);

	return (int64_t)(sign && bits < 64 ? value | ~0ULL << bits : value);
}

/* The string at the cursor, which then stands behind its NUL; NULL and failed if it has none. */
static inline const char *cursor_string(struct cursor *cursor)
{
	size_t left = cursor_left(cursor);
	const char *string = (const char *)cursor->at;
	const uint8_t *nul = left ? memchr(cursor->at, 0, left < DWARF_MAX_STRING ? left : DWARF_MAX_STRING) : NULL;

	if (!nul) {
		cursor_fail(cursor);
		return NULL;
	}
	cursor->at = nul + 1;
	return string;
}

#endif

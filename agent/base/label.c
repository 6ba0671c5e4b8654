/* SPDX-License-Identifier: Apache-2.0 */
#include "base/label.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define REPLACEMENT "\xef\xbf\xbd"
#define ELLIPSIS "\xe2\x80\xa6"
#define HEAD_BYTES 40 /* of a value that is cut; the tail gets the rest */

/* Bytes of the character at `at`, 0 where it is not one (RFC 3629: no overlong forms, no surrogates). */
static size_t character_length(const unsigned char *at)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t length = *at < 0x80 ? 1 : *at >> 5 == 6 ? 2 : *at >> 4 == 14 ? 3 : *at >> 3 == 30 ? 4 : 0;
	uint32_t code = length == 1 ? *at : *at & (0x7fU >> length);

	for (size_t i = 1; i < length; i++) {
		if (at[i] >> 6 != 2) /* the final NUL too */
			return 0;
		code = code << 6 | (at[i] & 0x3f);
	}
	if (length > 1 && (code < least[length] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)))
		return 0;
	return length;
}

/* C0, DEL and C1 */
static bool is_control(const unsigned char *at)
{
	return *at < 0x20 || *at == 0x7f || (*at == 0xc2 && at[1] < 0xa0);
}

/* The next character as it will be written. */
static size_t take(const unsigned char **value, const char **ret_text)
{
	const unsigned char *at = *value;
	size_t length = character_length(at);

	*value += length ? length : 1;
	*ret_text = (const char *)at;
	if (length && !is_control(at))
		return length;
	*ret_text = REPLACEMENT;
	return strlen(REPLACEMENT);
}

/* Copies characters while they fit. */
static size_t copy(const unsigned char **value, char *to, size_t room)
{
	const char *text;
	size_t length = 0;

	while (**value) {
		const unsigned char *next = *value;
		size_t bytes = take(&next, &text);

		if (length + bytes > room)
			break;
		memcpy(to + length, text, bytes);
		length += bytes;
		*value = next;
	}
	return length;
}

size_t label_repair(const char *value, char repaired[LABEL_BYTES + 1])
{
	const unsigned char *at = (const unsigned char *)value;
	const char *text;
	size_t total = 0, length = 0, room = LABEL_BYTES;

	while (*at)
		total += take(&at, &text);
	at = (const unsigned char *)value;
	if (total > LABEL_BYTES) {
		length = copy(&at, repaired, HEAD_BYTES);
		memcpy(repaired + length, ELLIPSIS, strlen(ELLIPSIS));
		room -= length + strlen(ELLIPSIS);
		for (size_t left = total - length; left > room;)
			left -= take(&at, &text);
		length += strlen(ELLIPSIS);
	}
	length += copy(&at, repaired + length, room);
	repaired[length] = '\0';
	return length;
}

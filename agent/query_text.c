/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names are tenants' bytes: what leaves the agent is valid UTF-8 without control characters, so that one process
 * name can neither make a whole profile unreadable nor steer a terminal.
 */
#include "query_build.h"

#include "base/buf.h"

#include <string.h>

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

/* Bytes of the character at `at`, 0: not a character, or a control one (C0, DEL, C1). RFC 3629, section 4. */
static size_t character_bytes(const unsigned char *at)
{
	size_t bytes = at[0] < 0x80 ? 1 : at[0] >= 0xc2 && at[0] < 0xe0 ? 2 : at[0] >= 0xe0 && at[0] < 0xf0 ? 3 :
		       at[0] >= 0xf0 && at[0] < 0xf5 ? 4 : 0;

	if (bytes == 1)
		return at[0] >= 0x20 && at[0] != 0x7f;
	for (size_t i = 1; i < bytes; i++)
		if ((at[i] & 0xc0) != 0x80)
			return 0;
	if ((at[0] == 0xc2 && at[1] < 0xa0) ||                    /* C1 */
	    (at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] >= 0xa0) || /* overlong, surrogates */
	    (at[0] == 0xf0 && at[1] < 0x90) || (at[0] == 0xf4 && at[1] >= 0x90))
		return 0;
	return bytes;
}

void query_clean_to(struct buf *out, const char *text)
{
	const unsigned char *at = (const unsigned char *)text;

	while (*at) {
		size_t bytes = character_bytes(at);

		if (bytes)
			buf_add(out, at, bytes);
		else
			buf_add_string(out, REPLACEMENT);
		at += bytes ? bytes : 1;
	}
}

const char *query_clean(struct arena *arena, const char *text)
{
	const unsigned char *at = (const unsigned char *)text;
	auto_buf struct buf out = { 0 };
	size_t bytes;

	while (*at && (bytes = character_bytes(at)))
		at += bytes;
	if (!*at)
		return arena_string(arena, text, strlen(text));
	query_clean_to(&out, text);
	return out.failed ? NULL : arena_string(arena, out.data, out.length);
}

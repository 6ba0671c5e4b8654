/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A growing run of bytes. The owner calls buf_done. A failed allocation marks the buffer (`failed`) and later
 * appends do nothing, so that a writer checks once at its end. data is NUL-terminated whenever length > 0.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

struct buf {
	char *data;
	size_t length, capacity;
	bool failed;
};

void buf_done(struct buf *buf);
void buf_clear(struct buf *buf); /* keeps the memory */
bool buf_reserve(struct buf *buf, size_t more);
void buf_add(struct buf *buf, const void *bytes, size_t length);
void buf_add_string(struct buf *buf, const char *string);
void buf_add_char(struct buf *buf, char character);
void buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define auto_buf __attribute__((cleanup(buf_done)))

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that dies whole. Blocks come zeroed and aligned to 16; NULL when memory or the limit ran out. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>

struct arena;

struct arena *arena_new(size_t limit_bytes); /* 0: no limit */
void arena_free(struct arena *arena);        /* accepts NULL */
void *arena_alloc(struct arena *arena, size_t bytes);
void *arena_array(struct arena *arena, size_t count, size_t size); /* checks the product */
char *arena_string(struct arena *arena, const char *string, size_t length);
size_t arena_bytes(const struct arena *arena);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_BLOCK 16384

struct block {
	struct block *next;
	size_t used, size;
	_Alignas(16) char bytes[];
};

struct arena {
	struct block *blocks;
	size_t bytes, limit;
};

struct arena *arena_new(size_t limit_bytes)
{
	struct arena *arena = calloc(1, sizeof(*arena));

	if (arena)
		arena->limit = limit_bytes ? limit_bytes : SIZE_MAX;
	return arena;
}

void arena_free(struct arena *arena)
{
	if (!arena)
		return;
	while (arena->blocks) {
		struct block *next = arena->blocks->next;

		free(arena->blocks);
		arena->blocks = next;
	}
	free(arena);
}

static struct block *add_block(struct arena *arena, size_t bytes)
{
	size_t size = bytes > ARENA_BLOCK ? bytes : ARENA_BLOCK;
	struct block *block;

	if (size > arena->limit - arena->bytes)
		return NULL;
	block = calloc(1, sizeof(*block) + size);
	if (!block)
		return NULL;
	block->size = size;
	block->next = arena->blocks;
	arena->blocks = block;
	arena->bytes += size;
	return block;
}

void *arena_alloc(struct arena *arena, size_t bytes)
{
	size_t rounded = (bytes + 15) & ~(size_t)15;
	struct block *block = arena->blocks;
	void *result;

	if (rounded < bytes)
		return NULL;
	if (!block || block->size - block->used < rounded)
		block = add_block(arena, rounded);
	if (!block)
		return NULL;
	result = block->bytes + block->used;
	block->used += rounded;
	return result;
}

void *arena_array(struct arena *arena, size_t count, size_t size)
{
	size_t bytes;

	return __builtin_mul_overflow(count, size, &bytes) ? NULL : arena_alloc(arena, bytes);
}

char *arena_string(struct arena *arena, const char *string, size_t length)
{
	char *copy = arena_alloc(arena, length + 1);

	if (copy)
		memcpy(copy, string, length);
	return copy;
}

size_t arena_bytes(const struct arena *arena)
{
	return arena->bytes;
}

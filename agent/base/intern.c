/* SPDX-License-Identifier: Apache-2.0 */
#include "base/intern.h"

#include "base/arena.h"
#include "base/hmap.h"

#include <stdlib.h>
#include <string.h>

struct intern {
	struct arena *arena;
	const char **strings;
	uint32_t *slots; /* id + 1, open addressing */
	size_t count, capacity, slot_count;
};

struct intern *intern_new(size_t limit_bytes)
{
	struct intern *intern = calloc(1, sizeof(*intern));

	if (!intern)
		return NULL;
	intern->arena = arena_new(limit_bytes);
	if (!intern->arena || intern_add(intern, "", 0) != 0) {
		intern_free(intern);
		return NULL;
	}
	return intern;
}

void intern_free(struct intern *intern)
{
	if (!intern)
		return;
	arena_free(intern->arena);
	free(intern->strings);
	free(intern->slots);
	free(intern);
}

static uint32_t *find_slot(const struct intern *intern, const char *string, size_t length)
{
	size_t slot = hmap_hash(string, length) & (intern->slot_count - 1);

	while (intern->slots[slot]) {
		const char *other = intern->strings[intern->slots[slot] - 1];

		if (!strncmp(other, string, length) && !other[length])
			break;
		slot = (slot + 1) & (intern->slot_count - 1);
	}
	return &intern->slots[slot];
}

static int grow(struct intern *intern)
{
	size_t capacity = intern->capacity ? intern->capacity * 2 : 64;
	const char **strings = realloc(intern->strings, capacity * sizeof(*strings));
	uint32_t *slots;

	if (!strings)
		return -1;
	intern->strings = strings;
	slots = calloc(capacity * 2, sizeof(*slots));
	if (!slots)
		return -1;
	free(intern->slots);
	intern->slots = slots;
	intern->slot_count = capacity * 2;
	intern->capacity = capacity;
	for (size_t id = 0; id < intern->count; id++)
		*find_slot(intern, strings[id], strlen(strings[id])) = (uint32_t)id + 1;
	return 0;
}

uint32_t intern_add(struct intern *intern, const char *string, size_t length)
{
	uint32_t *slot;
	char *copy;

	length = strnlen(string, length); /* a NUL inside would end the copy early: cut there */
	if (intern->count >= intern->capacity && grow(intern))
		return UINT32_MAX;
	slot = find_slot(intern, string, length);
	if (*slot)
		return *slot - 1;
	copy = arena_string(intern->arena, string, length);
	if (!copy)
		return UINT32_MAX;
	intern->strings[intern->count] = copy;
	*slot = (uint32_t)++intern->count;
	return *slot - 1;
}

const char *intern_get(const struct intern *intern, uint32_t id)
{
	return id < intern->count ? intern->strings[id] : "";
}

size_t intern_count(const struct intern *intern)
{
	return intern->count;
}

size_t intern_bytes(const struct intern *intern)
{
	return arena_bytes(intern->arena);
}

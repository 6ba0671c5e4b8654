/* SPDX-License-Identifier: Apache-2.0 */
#include "base/intern.h"

#include "base/arena.h"
#include "base/hmap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct intern {
	struct arena *arena;
	const char **strings; /* NULL: the number is free */
	uint32_t *slots; /* id + 1, open addressing */
	uint32_t *spare; /* free numbers */
	size_t count, capacity, slot_count, spare_count, limit_bytes;
};

struct intern *intern_new(size_t limit_bytes)
{
	struct intern *intern = calloc(1, sizeof(*intern));

	if (!intern)
		return NULL;
	intern->limit_bytes = limit_bytes;
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
	free(intern->spare);
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

static void fill_slots(struct intern *intern)
{
	memset(intern->slots, 0, intern->slot_count * sizeof(*intern->slots));
	for (size_t id = 0; id < intern->count; id++)
		if (intern->strings[id])
			*find_slot(intern, intern->strings[id], strlen(intern->strings[id])) = (uint32_t)id + 1;
}

static int grow(struct intern *intern)
{
	size_t capacity = intern->capacity ? intern->capacity * 2 : 64;
	const char **strings = realloc(intern->strings, capacity * sizeof(*strings));
	uint32_t *slots;

	if (!strings)
		return -1;
	intern->strings = strings;
	slots = malloc(capacity * 2 * sizeof(*slots));
	if (!slots)
		return -1;
	free(intern->slots);
	intern->slots = slots;
	intern->slot_count = capacity * 2;
	intern->capacity = capacity;
	fill_slots(intern);
	return 0;
}

uint32_t intern_add(struct intern *intern, const char *string, size_t length)
{
	uint32_t *slot, id;
	char *copy;

	length = strnlen(string, length); /* a NUL inside would end the copy early: cut there */
	if (!intern->spare_count && intern->count >= intern->capacity && grow(intern))
		return UINT32_MAX;
	slot = find_slot(intern, string, length);
	if (*slot)
		return *slot - 1;
	copy = arena_string(intern->arena, string, length);
	if (!copy)
		return UINT32_MAX;
	id = intern->spare_count ? intern->spare[--intern->spare_count] : (uint32_t)intern->count++;
	intern->strings[id] = copy;
	*slot = id + 1;
	return id;
}

static void drop_string(struct intern *intern, uint32_t id)
{
	if (intern->strings[id])
		intern->spare[intern->spare_count++] = id;
	intern->strings[id] = NULL;
}

/* All that stays is copied first, so that a lack of memory changes nothing. */
int intern_sweep(struct intern *intern, bool (*kept)(void *context, uint32_t id), void *context)
{
	struct arena *arena = arena_new(intern->limit_bytes);
	const char **copies = calloc(intern->count, sizeof(*copies));
	uint32_t *spare = realloc(intern->spare, intern->count * sizeof(*spare));
	bool failed = !arena || !copies || !spare;

	if (spare)
		intern->spare = spare;
	for (size_t id = 0; id < intern->count && !failed; id++) {
		const char *string = intern->strings[id];

		if (!string || (id && !kept(context, (uint32_t)id)))
			continue;
		copies[id] = arena_string(arena, string, strlen(string));
		failed = !copies[id];
	}
	for (size_t id = 0; id < intern->count && !failed; id++) {
		if (!copies[id])
			drop_string(intern, (uint32_t)id);
		else
			intern->strings[id] = copies[id];
	}
	if (!failed) {
		fill_slots(intern);
		arena_free(intern->arena);
		intern->arena = arena;
	} else {
		arena_free(arena);
	}
	free(copies);
	return failed ? -ENOMEM : 0;
}

const char *intern_get(const struct intern *intern, uint32_t id)
{
	return id < intern->count && intern->strings[id] ? intern->strings[id] : "";
}

size_t intern_count(const struct intern *intern)
{
	return intern->count;
}

size_t intern_bytes(const struct intern *intern)
{
	return arena_bytes(intern->arena);
}

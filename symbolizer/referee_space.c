/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Part of "referee": takes mappings and descriptors of files, gives bytes at user addresses and FDEs. Where a
 * segment lies in memory is found from the mapping's file offset here again, not taken from the agent: that too
 * can be wrong.
 */
#include "symbolizer/referee_space.h"

#include "abi/reason.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096

int space_read(struct space *space, int fd)
{
	struct stat status;
	size_t bytes;

	if (fstat(fd, &status))
		return -errno;
	bytes = (size_t)status.st_size;
	if (bytes % sizeof(struct referee_mapping) || bytes / sizeof(struct referee_mapping) > REFEREE_MAX_MAPPINGS)
		return -EINVAL;
	space->mappings = malloc(bytes + 1);
	if (!space->mappings)
		return -ENOMEM;
	if (pread(fd, space->mappings, bytes, 0) != (ssize_t)bytes)
		return -EIO;
	space->mapping_count = bytes / sizeof(struct referee_mapping);
	return 0;
}

void space_done(struct space *space)
{
	for (size_t i = 0; i < REFEREE_MAX_IMAGES; i++) {
		struct space_image *image = &space->images[i];

		for (unsigned which = 0; which < 2; which++) {
			free(image->sections[which]);
			free(image->places[which]);
		}
		image_close(image->image);
	}
	free(space->mappings);
}

void space_set_image(struct space *space, uint32_t index, int fd)
{
	if (index < REFEREE_MAX_IMAGES && !space->images[index].image &&
	    image_open(fd, &space->images[index].image))
		space->images[index].image = NULL;
}

/* Which segment a mapping of the file from `offset` on holds, and so what to take from a pc. */
static bool find_bias(const struct image *image, const struct referee_mapping *mapping, uint64_t *ret_bias)
{
	const struct symbolizer_segment *segments;
	size_t count = image_segments(image, &segments);

	for (size_t i = 0; i < count; i++) {
		const struct symbolizer_segment *segment = &segments[i];

		if (!(segment->flags & PF_X) || mapping->offset < (segment->offset & ~(uint64_t)(PAGE - 1)) ||
		    mapping->offset >= segment->offset + segment->filesz)
			continue;
		*ret_bias = mapping->start - mapping->offset - segment->vaddr + segment->offset;
		return true;
	}
	return false;
}

int space_find(struct space *space, uint64_t pc, struct space_object *ret_object)
{
	size_t low = 0, high = space->mapping_count;
	const struct referee_mapping *mapping;
	struct space_object object;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (space->mappings[middle].end > pc)
			high = middle;
		else
			low = middle + 1;
	}
	mapping = &space->mappings[low];
	if (low == space->mapping_count || pc < mapping->start)
		return REASON_NO_MAPPING;
	if (mapping->image >= REFEREE_MAX_IMAGES)
		return REASON_NO_TABLE;
	object = (struct space_object){ &space->images[mapping->image], mapping->start, mapping->end, 0 };
	if (!object.image->image || !find_bias(object.image->image, mapping, &object.bias))
		return REASON_NO_TABLE;
	*ret_object = object;
	return REASON_NONE;
}

bool space_word(const struct space_object *object, uint64_t address, uint64_t *ret_word)
{
	for (size_t size = sizeof(*ret_word); size; size--) {
		const uint8_t *bytes = image_at(object->image->image, address - object->bias, size);
		uint64_t word = 0;

		if (!bytes)
			continue;
		memcpy(&word, bytes, size);
		*ret_word = word;
		return true;
	}
	return false;
}

/* Reads all of a section once. What fails stays without places. */
static void index_section(struct space_image *image, unsigned which)
{
	const struct image_section *section = image_find(image->image, which ? ".debug_frame" : ".eh_frame");
	const uint8_t *bytes;
	uint64_t bad = 0;
	size_t size;
	long count;

	image->indexed[which] = true;
	if (!section || image_bytes(image->image, section, &bytes, &size))
		return;
	image->sections[which] = malloc(sizeof(*image->sections[which]));
	if (!image->sections[which])
		return;
	cfi_init(image->sections[which], bytes, size, section->vaddr);
	image->sections[which]->debug = which;
	count = cfi_scan(image->sections[which], true, &image->places[which], &bad);
	image->place_counts[which] = count > 0 ? (size_t)count : 0;
}

bool space_find_fde(struct space_image *image, unsigned which, uint64_t vaddr, struct cfi_place *ret_place,
		    struct cfi_fde *ret_fde)
{
	size_t low = 0, high;
	const struct cfi_place *place;
	struct cfi_fde fde;

	if (!image->indexed[which])
		index_section(image, which);
	high = image->place_counts[which];
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (image->places[which][middle].start > vaddr)
			high = middle;
		else
			low = middle + 1;
	}
	if (!low)
		return false;
	place = &image->places[which][low - 1];
	if (cfi_fde(image->sections[which], place->offset, &fde) < 0 || vaddr < fde.start || vaddr >= fde.end)
		return false;
	*ret_place = *place;
	*ret_fde = fde;
	return true;
}

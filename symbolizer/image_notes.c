/* SPDX-License-Identifier: Apache-2.0 */
/* How an image says who it is: the build-id note and the debug link. Both are labels, never to be trusted. */
#include "symbolizer/image_private.h"

#include <elf.h>
#include <string.h>

#define MAX_NOTES 64

static uint64_t round_up(uint64_t value, uint64_t align)
{
	return (value + align - 1) & ~(align - 1);
}

void image_parse_notes(struct image *image, uint64_t offset, uint64_t size, uint64_t align)
{
	const uint8_t *bytes = image_range(image, offset, size);
	struct symbolizer_image *description = &image->description;
	uint64_t at = 0;

	if (!bytes || description->build_id_bytes)
		return;
	align = align == 8 ? 8 : 4; /* .note.gnu.property is the one that pads to 8 */
	for (int note = 0; note < MAX_NOTES && size - at >= sizeof(Elf64_Nhdr); note++) {
		uint64_t name, desc, next;
		Elf64_Nhdr header;

		memcpy(&header, bytes + at, sizeof(header));
		name = at + sizeof(header);
		desc = round_up(name + header.n_namesz, align);
		next = round_up(desc + header.n_descsz, align);
		if (desc > size || header.n_descsz > size - desc)
			return;
		if (header.n_type == NT_GNU_BUILD_ID && header.n_namesz == 4 &&
		    !memcmp(bytes + name, "GNU", 4) && header.n_descsz &&
		    header.n_descsz <= sizeof(description->build_id)) {
			memcpy(description->build_id, bytes + desc, header.n_descsz);
			description->build_id_bytes = (uint8_t)header.n_descsz;
			return;
		}
		if (next >= size)
			return;
		at = next;
	}
}

void image_parse_debuglink(struct image *image)
{
	const struct image_section *section = image_find(image, ".gnu_debuglink");
	struct symbolizer_image *description = &image->description;
	const uint8_t *bytes;
	size_t length, crc;

	if (!section || section->type == SHT_NOBITS)
		return;
	bytes = image_range(image, section->offset, section->size);
	if (!bytes)
		return;
	length = strnlen((const char *)bytes, section->size);
	crc = (size_t)round_up(length + 1, 4);
	if (!length || length >= sizeof(description->debuglink) || crc > section->size ||
	    section->size - crc < 4)
		return;
	/* One component, so that joining it to a folder cannot leave that folder. */
	if (memchr(bytes, '/', length) || (length <= 2 && !memcmp(bytes, "..", length)))
		return;
	memcpy(description->debuglink, bytes, length);
	memcpy(&description->debuglink_crc, bytes + crc, 4);
}

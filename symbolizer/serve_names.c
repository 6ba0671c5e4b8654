/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The last step of a NAMES request: takes addresses, asks lookup for each, gives packets of frames, lines and
 * strings. Equal strings of a packet are stored once. Owns one packet at a time.
 */
#include "serve_names.h"

#include "base/hmap.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define STRING_SLOTS 2048 /* past half of it strings are stored again */
#define SHORT_BYTES 240   /* of a name, when 64 calls with full names would not fit a packet */

struct packet {
	struct symbolizer_frame frames[SYMBOLIZER_MAX_ADDRESSES];
	struct symbolizer_line lines[SYMBOLIZER_MAX_LINES];
	char strings[SYMBOLIZER_PACKET];
	uint32_t slots[STRING_SLOTS]; /* offsets, 0: free */
	uint32_t frame_count, line_count, string_bytes, string_count;
};

static void clear(struct packet *packet)
{
	memset(packet->slots, 0, sizeof(packet->slots));
	packet->frame_count = packet->line_count = packet->string_count = 0;
	packet->strings[0] = '\0';
	packet->string_bytes = 1;
}

static size_t packet_bytes(const struct packet *packet)
{
	return sizeof(struct symbolizer_names) + packet->frame_count * sizeof(packet->frames[0]) +
	       packet->line_count * sizeof(packet->lines[0]) + packet->string_bytes;
}

/* The string's offset; UINT32_MAX: it does not fit. */
static uint32_t add_string(struct packet *packet, const char *string, size_t limit)
{
	size_t length = strnlen(string, limit);
	size_t slot = hmap_hash(string, length) % STRING_SLOTS;
	uint32_t offset;

	if (!length)
		return 0;
	for (; packet->slots[slot]; slot = (slot + 1) % STRING_SLOTS) {
		const char *other = packet->strings + packet->slots[slot];

		if (!strncmp(other, string, length) && !other[length])
			return packet->slots[slot];
	}
	if (packet_bytes(packet) + length + 1 > SYMBOLIZER_PACKET)
		return UINT32_MAX;
	offset = packet->string_bytes;
	memcpy(packet->strings + offset, string, length);
	packet->strings[offset + length] = '\0';
	packet->string_bytes += (uint32_t)length + 1;
	if (packet->string_count < STRING_SLOTS / 2) {
		packet->slots[slot] = offset;
		packet->string_count++;
	}
	return offset;
}

static bool add_line(struct packet *packet, const struct lookup_line *from, size_t limit)
{
	struct symbolizer_line *line;

	if (packet->line_count == SYMBOLIZER_MAX_LINES ||
	    packet_bytes(packet) + sizeof(*line) > SYMBOLIZER_PACKET)
		return false;
	line = &packet->lines[packet->line_count++];
	line->name = add_string(packet, from->name, limit);
	line->system_name = add_string(packet, from->system_name, limit);
	line->file = add_string(packet, from->file, limit);
	line->line = from->line;
	line->start_line = from->start_line;
	return line->name != UINT32_MAX && line->system_name != UINT32_MAX && line->file != UINT32_MAX;
}

/* All of a frame or nothing of it; what was stored of its strings stays, unused. */
static bool add_frame(struct packet *packet, const struct symbolizer_frame *from, const struct lookup_line *lines,
		      size_t limit)
{
	struct symbolizer_frame *frame;
	uint32_t first = packet->line_count;

	if (packet_bytes(packet) + sizeof(*frame) > SYMBOLIZER_PACKET)
		return false;
	frame = &packet->frames[packet->frame_count++];
	*frame = *from;
	frame->first_line = first;
	for (uint16_t at = 0; at < from->lines; at++) {
		if (add_line(packet, &lines[at], limit))
			continue;
		packet->frame_count--;
		packet->line_count = first;
		return false;
	}
	return true;
}

static int send_packet(int socket, struct packet *packet, uint32_t id, bool more)
{
	struct symbolizer_names names = {
		.reply = { .op = SYMBOLIZER_NAMES, .id = id, .more = more },
		.frames = packet->frame_count, .lines = packet->line_count, .string_bytes = packet->string_bytes,
	};
	struct iovec parts[] = {
		{ &names, sizeof(names) },
		{ packet->frames, packet->frame_count * sizeof(packet->frames[0]) },
		{ packet->lines, packet->line_count * sizeof(packet->lines[0]) },
		{ packet->strings, packet->string_bytes },
	};
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = 4 };
	ssize_t sent;

	do
		sent = sendmsg(socket, &message, MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : 0;
}

int serve_names(int socket, struct lookup *lookup, uint32_t id, const uint64_t *addresses, uint32_t count)
{
	static struct packet packet; /* too big for a stack */
	struct lookup_line lines[LOOKUP_MAX_CALLS];

	clear(&packet);
	for (uint32_t at = 0; at < count; at++) {
		struct symbolizer_frame frame = { .address = at };
		enum symbol_source source = SYMBOL_NO_SYMBOL;
		int error;

		frame.lines = (uint16_t)lookup_find(lookup, addresses[at], lines, &source);
		frame.source = (uint8_t)source;
		if (add_frame(&packet, &frame, lines, SYMBOLIZER_NAME_BYTES))
			continue;
		if (packet.frame_count) {
			error = send_packet(socket, &packet, id, true);
			if (error)
				return error;
		}
		clear(&packet);
		if (add_frame(&packet, &frame, lines, SYMBOLIZER_NAME_BYTES))
			continue;
		clear(&packet);
		add_frame(&packet, &frame, lines, SHORT_BYTES);
	}
	return send_packet(socket, &packet, id, false);
}

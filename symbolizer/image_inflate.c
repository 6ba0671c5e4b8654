/* SPDX-License-Identifier: Apache-2.0 */
/* The decompressors of the image reader. They are told how much may come out and never write more. */
#include "symbolizer/image_private.h"

#include <errno.h>
#include <lzma.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

#define XZ_MEMORY (72ULL << 20) /* xz -9 has a dictionary of 64 MiB; distributions use far less */
#define XZ_FIRST 65536

static int inflate_zlib(const uint8_t *bytes, size_t packed, size_t size, uint8_t *out)
{
	z_stream stream = { .next_in = (Bytef *)(uintptr_t)bytes, .next_out = out };
	int result;

	if (packed > UINT32_MAX || size > UINT32_MAX)
		return -EFBIG;
	stream.avail_in = (uInt)packed;
	stream.avail_out = (uInt)size;
	if (inflateInit(&stream) != Z_OK)
		return -ENOMEM;
	result = inflate(&stream, Z_FINISH);
	inflateEnd(&stream);
	return result == Z_STREAM_END && stream.avail_out == 0 ? 0 : -EINVAL;
}

int image_inflate(enum image_codec codec, const uint8_t *bytes, size_t packed, size_t size, uint8_t **ret_bytes)
{
	uint8_t *out = malloc(size ? size : 1);
	int error = 0;

	if (!out)
		return -ENOMEM;
	if (codec == IMAGE_ZLIB)
		error = inflate_zlib(bytes, packed, size, out);
	else if (ZSTD_decompress(out, size, bytes, packed) != size) /* an error code is a huge number */
		error = -EINVAL;
	if (error) {
		free(out);
		return error;
	}
	*ret_bytes = out;
	return 0;
}

/* Room for more output, or -EFBIG when the limit is already used up. */
static int grow(uint8_t **out, size_t *capacity, size_t limit)
{
	size_t wanted = *capacity ? *capacity * 2 : XZ_FIRST;
	uint8_t *bigger;

	if (*capacity >= limit)
		return -EFBIG;
	if (wanted > limit)
		wanted = limit;
	bigger = realloc(*out, wanted);
	if (!bigger)
		return -ENOMEM;
	*out = bigger;
	*capacity = wanted;
	return 0;
}

int image_inflate_xz(const uint8_t *bytes, size_t packed, size_t limit, uint8_t **ret_bytes, size_t *ret_size)
{
	lzma_stream stream = LZMA_STREAM_INIT;
	size_t capacity = 0;
	uint8_t *out = NULL;
	lzma_ret result;
	int error = 0;

	if (lzma_stream_decoder(&stream, XZ_MEMORY, 0) != LZMA_OK)
		return -ENOMEM;
	stream.next_in = bytes;
	stream.avail_in = packed;
	do {
		if (!stream.avail_out) {
			error = grow(&out, &capacity, limit);
			if (error)
				break;
			stream.next_out = out + stream.total_out;
			stream.avail_out = capacity - stream.total_out;
		}
		result = lzma_code(&stream, LZMA_FINISH);
		if (result != LZMA_OK && result != LZMA_STREAM_END)
			error = result == LZMA_MEM_ERROR || result == LZMA_MEMLIMIT_ERROR ? -ENOMEM : -EINVAL;
	} while (!error && result != LZMA_STREAM_END);
	if (error) {
		free(out);
	} else {
		*ret_bytes = out;
		*ret_size = stream.total_out;
	}
	lzma_end(&stream);
	return error;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Part of agent/serve: from an answer to libmicrohttpd's response, with the headers that every answer has. */
#include "serve_request.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <zlib.h>

#define MIN_GZIP_BYTES 512

void serve_error(struct serve_answer *answer, unsigned status, const char *format, ...)
{
	char text[512];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	buf_clear(&answer->body);
	buf_add_string(&answer->body, text);
	answer->status = status;
}

static void add_fixed_headers(struct MHD_Response *response)
{
	MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
	MHD_add_response_header(response, "Content-Security-Policy",
				"default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; "
				"frame-ancestors 'none'");
	MHD_add_response_header(response, "Referrer-Policy", "no-referrer");
	MHD_add_response_header(response, "Cross-Origin-Resource-Policy", "same-origin");
	MHD_add_response_header(response, "Cache-Control", "no-store");
}

static void add_headers(struct MHD_Response *response, const struct serve_answer *answer)
{
	char seconds[16];

	add_fixed_headers(response);
	if (answer->status >= 400) {
		MHD_add_response_header(response, "Content-Type", "text/plain; charset=utf-8");
		MHD_add_response_header(response, "X-Go-Pprof", "1");
	} else if (answer->mime) {
		MHD_add_response_header(response, "Content-Type", answer->mime);
	}
	if (answer->status == 405)
		MHD_add_response_header(response, "Allow", "GET, HEAD");
	if (answer->retry_after_s) {
		snprintf(seconds, sizeof(seconds), "%u", answer->retry_after_s);
		MHD_add_response_header(response, "Retry-After", seconds);
	}
	if (*answer->range)
		MHD_add_response_header(response, "X-Wick-Range", answer->range);
	if (answer->disposition && answer->status < 400)
		MHD_add_response_header(response, "Content-Disposition", answer->disposition);
	if (answer->gzip_varies)
		MHD_add_response_header(response, "Vary", "Accept-Encoding");
	if (answer->gzipped)
		MHD_add_response_header(response, "Content-Encoding", "gzip");
	if (answer->close)
		MHD_add_response_header(response, "Connection", "close");
}

enum MHD_Result serve_send(struct MHD_Connection *connection, struct serve_answer *answer)
{
	struct MHD_Response *response;
	enum MHD_Result result;

	if (answer->body.failed)
		serve_error(answer, 503, "There is not enough memory for this answer.");
	if (answer->status >= 400)
		buf_add_char(&answer->body, '\n');
	response = MHD_create_response_from_buffer(answer->body.length, answer->body.data, MHD_RESPMEM_MUST_FREE);
	if (!response) {
		buf_done(&answer->body);
		return MHD_NO;
	}
	answer->body = (struct buf){ 0 };
	add_headers(response, answer);
	result = MHD_queue_response(connection, answer->status, response);
	MHD_destroy_response(response);
	return result;
}

static ssize_t no_bytes(void *context, uint64_t at, char *to, size_t size)
{
	(void)context, (void)at, (void)to, (void)size;
	return MHD_CONTENT_READER_END_OF_STREAM;
}

/* HEAD of a profile: the headers of an answer whose length nobody made the effort to find out. As HTTP/1.0 has
 * it, or libmicrohttpd would announce chunks and, though it is a HEAD, send the last one. */
enum MHD_Result serve_send_head(struct MHD_Connection *connection, const char *mime)
{
	struct serve_answer answer = { .status = 200, .mime = mime };
	struct MHD_Response *response =
		MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 1024, no_bytes, NULL, NULL);
	enum MHD_Result result;

	if (!response)
		return MHD_NO;
	MHD_set_response_options(response, MHD_RF_HTTP_1_0_COMPATIBLE_STRICT, MHD_RO_END);
	add_headers(response, &answer);
	result = MHD_queue_response(connection, answer.status, response);
	MHD_destroy_response(response);
	return result;
}

bool serve_accepts_gzip(struct MHD_Connection *connection)
{
	const char *at = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Accept-Encoding");

	while (at && *at) {
		size_t length = strcspn(at, ","), name;
		const char *quality;

		while (length && (*at == ' ' || *at == '\t'))
			at++, length--;
		name = strcspn(at, ",; \t");
		quality = memmem(at, length, "q=0", 3);
		if (name == 4 && !strncasecmp(at, "gzip", 4))
			return !quality || strspn(quality + 2, "0.") < strcspn(quality + 2, ", \t");
		at += length + (at[length] == ',');
	}
	return false;
}

int serve_gzip(struct buf *body)
{
	z_stream zip = { 0 };
	struct buf out = { 0 };
	int status;

	if (body->length < MIN_GZIP_BYTES || body->length > UINT32_MAX / 2)
		return -EMSGSIZE;
	if (deflateInit2(&zip, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		return -ENOMEM;
	if (!buf_reserve(&out, deflateBound(&zip, body->length))) {
		deflateEnd(&zip);
		return -ENOMEM;
	}
	zip.next_in = (Bytef *)body->data;
	zip.avail_in = (uInt)body->length;
	zip.next_out = (Bytef *)out.data;
	zip.avail_out = (uInt)out.capacity;
	status = deflate(&zip, Z_FINISH);
	out.length = zip.total_out;
	deflateEnd(&zip);
	buf_done(status == Z_STREAM_END ? body : &out);
	if (status != Z_STREAM_END)
		return -EIO;
	*body = out;
	return 0;
}

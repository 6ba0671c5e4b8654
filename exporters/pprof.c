/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A profile as gzipped pprof. The message is packed in pieces that go straight into the compressor: protobuf
 * defines the concatenation of two messages as their merge, so a large profile never lies in memory twice.
 */
#include "exporter.h"

#include "base/buf.h"
#include "base/intern.h"
#include "pprof.pb-c.h"
#include "profile.h"

#include <errno.h>
#include <string.h>
#include <zlib.h>

#define GZIP_LEVEL 4
#define GZIP_WINDOW (15 + 16) /* zlib: 16 asks for the gzip frame */

struct writer {
	const struct profile *profile;
	struct intern *strings; /* its numbers are the string table's */
	struct buf piece;
	struct buf ids;
	z_stream zip;
	struct buf *out;
	int error;
};

static void compress_piece(struct writer *writer, int flush)
{
	int status;

	writer->zip.next_in = (Bytef *)writer->piece.data;
	writer->zip.avail_in = (uInt)writer->piece.length;
	do {
		if (!buf_reserve(writer->out, 16384)) {
			writer->error = -ENOMEM;
			return;
		}
		writer->zip.next_out = (Bytef *)writer->out->data + writer->out->length;
		writer->zip.avail_out = 16384;
		status = deflate(&writer->zip, flush);
		if (status == Z_STREAM_ERROR) {
			writer->error = -EIO;
			return;
		}
		writer->out->length += 16384 - writer->zip.avail_out;
	} while (!writer->zip.avail_out || (flush == Z_FINISH && status != Z_STREAM_END));
}

static void put(struct writer *writer, const Pprof__Profile *part)
{
	size_t bytes = pprof__profile__get_packed_size(part);

	buf_clear(&writer->piece);
	if (writer->error)
		return;
	if (bytes > UINT32_MAX / 2 || !buf_reserve(&writer->piece, bytes)) {
		writer->error = -ENOMEM;
		return;
	}
	writer->piece.length = pprof__profile__pack(part, (uint8_t *)writer->piece.data);
	compress_piece(writer, Z_NO_FLUSH);
}

static int64_t string_id(struct writer *writer, const char *text)
{
	uint32_t id = text ? intern_add(writer->strings, text, strlen(text)) : 0;

	if (id != UINT32_MAX)
		return id;
	writer->error = -ENOMEM;
	return 0;
}

static Pprof__ValueType value_type(struct writer *writer, const struct profile_type *type)
{
	Pprof__ValueType value = PPROF__VALUE_TYPE__INIT;

	value.type = string_id(writer, type->name);
	value.unit = string_id(writer, type->unit);
	return value;
}

/* Everything that must stand once: a reader takes a second time_nanos for a second profile. */
static void put_head(struct writer *writer)
{
	const struct profile *profile = writer->profile;
	Pprof__Profile part = PPROF__PROFILE__INIT;
	Pprof__ValueType types[2], period_type, *pointers[2] = { &types[0], &types[1] };
	int64_t comment = string_id(writer, profile->comment);

	types[0] = value_type(writer, &profile->types[0]);
	types[1] = value_type(writer, &profile->types[1]);
	period_type = value_type(writer, &profile->period_type);
	part.n_sample_type = 2;
	part.sample_type = pointers;
	part.period_type = &period_type;
	part.period = (int64_t)profile->period;
	part.time_nanos = (int64_t)profile->time_ns;
	part.duration_nanos = (int64_t)profile->duration_ns;
	part.default_sample_type = types[1].type;
	part.n_comment = comment ? 1 : 0;
	part.comment = &comment;
	put(writer, &part);
}

static size_t add_text_label(struct writer *writer, Pprof__Label *label, const char *key, const char *text)
{
	if (!text || !*text)
		return 0;
	pprof__label__init(label);
	label->key = string_id(writer, key);
	label->str = string_id(writer, text);
	return 1;
}

/* A number that is 0 and has no unit is dropped by readers: so it has one. */
static size_t add_number_label(struct writer *writer, Pprof__Label *label, const char *key, uint32_t number)
{
	pprof__label__init(label);
	label->key = string_id(writer, key);
	label->num = number;
	label->num_unit = string_id(writer, "id");
	return 1;
}

static void put_samples(struct writer *writer)
{
	const struct profile *profile = writer->profile;
	Pprof__Label labels[7], *label_pointers[7];

	for (size_t i = 0; i < 7; i++)
		label_pointers[i] = &labels[i];
	for (size_t i = 0; i < profile->sample_count && !writer->error; i++) {
		const struct profile_sample *from = &profile->samples[i];
		const struct profile_labels *who = &profile->labels[from->labels];
		int64_t values[2] = { (int64_t)from->count, (int64_t)(from->count * profile->period) };
		Pprof__Profile part = PPROF__PROFILE__INIT;
		Pprof__Sample sample = PPROF__SAMPLE__INIT, *pointer = &sample;
		size_t count = 0;

		if (!from->count)
			continue;
		buf_clear(&writer->ids);
		for (uint32_t j = 0; j < from->depth; j++) {
			uint64_t id = profile->stack_locations[from->first_location + j] + 1ULL;

			buf_add(&writer->ids, &id, sizeof(id));
		}
		count += add_text_label(writer, &labels[count], "container", who->container);
		count += add_text_label(writer, &labels[count], "pod", who->pod);
		count += add_text_label(writer, &labels[count], "namespace", who->namespace_);
		count += add_text_label(writer, &labels[count], "comm", who->comm);
		count += add_text_label(writer, &labels[count], "thread", who->thread);
		count += add_number_label(writer, &labels[count], "pid", who->pid);
		if (who->tid)
			count += add_number_label(writer, &labels[count], "tid", who->tid);
		sample.n_location_id = from->depth;
		sample.location_id = (uint64_t *)(void *)writer->ids.data;
		sample.n_value = 2;
		sample.value = values;
		sample.n_label = count;
		sample.label = label_pointers;
		part.n_sample = 1;
		part.sample = &pointer;
		if (writer->ids.failed)
			writer->error = -ENOMEM;
		else
			put(writer, &part);
	}
}

/* Addresses are ELF virtual ones, so the mapping is the whole address space; has_*: names are complete, no reader
 * need look for more. */
static void put_mappings(struct writer *writer)
{
	for (size_t i = 0; i < writer->profile->mapping_count; i++) {
		const struct profile_mapping *from = &writer->profile->mappings[i];
		Pprof__Profile part = PPROF__PROFILE__INIT;
		Pprof__Mapping mapping = PPROF__MAPPING__INIT, *pointer = &mapping;

		mapping.id = i + 1;
		mapping.memory_limit = UINT64_MAX;
		mapping.filename = string_id(writer, from->file);
		mapping.build_id = string_id(writer, from->build_id);
		mapping.has_functions = mapping.has_filenames = 1;
		mapping.has_line_numbers = mapping.has_inline_frames = 1;
		part.n_mapping = 1;
		part.mapping = &pointer;
		put(writer, &part);
	}
}

#define MAX_LINES 1024 /* inlined calls at one address; the outermost beyond it are left out */

static void put_locations(struct writer *writer)
{
	const struct profile *profile = writer->profile;
	Pprof__Line lines[MAX_LINES], *pointers[MAX_LINES];

	for (size_t i = 0; i < profile->location_count; i++) {
		const struct profile_location *from = &profile->locations[i];
		size_t count = from->lines < MAX_LINES ? from->lines : MAX_LINES;
		Pprof__Profile part = PPROF__PROFILE__INIT;
		Pprof__Location location = PPROF__LOCATION__INIT, *pointer = &location;

		for (size_t j = 0; j < count; j++) {
			const struct profile_line *line = &profile->lines[from->first_line + j];

			pprof__line__init(&lines[j]);
			lines[j].function_id = line->function + 1ULL;
			lines[j].line = line->line;
			pointers[j] = &lines[j];
		}
		location.id = i + 1;
		location.mapping_id = from->mapping == UINT32_MAX ? 0 : from->mapping + 1ULL;
		location.address = from->address;
		location.n_line = count;
		location.line = pointers;
		part.n_location = 1;
		part.location = &pointer;
		put(writer, &part);
	}
}

static void put_functions(struct writer *writer)
{
	for (size_t i = 0; i < writer->profile->function_count; i++) {
		const struct profile_function *from = &writer->profile->functions[i];
		Pprof__Profile part = PPROF__PROFILE__INIT;
		Pprof__Function function = PPROF__FUNCTION__INIT, *pointer = &function;

		function.id = i + 1;
		function.name = string_id(writer, from->name);
		function.system_name = string_id(writer, from->system_name);
		function.filename = string_id(writer, from->file);
		function.start_line = from->start_line;
		part.n_function = 1;
		part.function = &pointer;
		put(writer, &part);
	}
}

static void put_strings(struct writer *writer)
{
	for (uint32_t i = 0; i < intern_count(writer->strings); i++) {
		Pprof__Profile part = PPROF__PROFILE__INIT;
		char *text = (char *)(uintptr_t)intern_get(writer->strings, i);

		part.n_string_table = 1;
		part.string_table = &text;
		put(writer, &part);
	}
}

static int encode(const struct profile *profile, const struct exporter_request *request, struct buf *out)
{
	struct writer writer = { .profile = profile, .out = out };

	(void)request;
	writer.strings = intern_new(0);
	if (!writer.strings ||
	    deflateInit2(&writer.zip, GZIP_LEVEL, Z_DEFLATED, GZIP_WINDOW, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
		intern_free(writer.strings);
		return -ENOMEM;
	}
	put_head(&writer);
	put_samples(&writer);
	put_mappings(&writer);
	put_locations(&writer);
	put_functions(&writer);
	put_strings(&writer);
	buf_clear(&writer.piece);
	if (!writer.error)
		compress_piece(&writer, Z_FINISH);
	deflateEnd(&writer.zip);
	intern_free(writer.strings);
	buf_done(&writer.piece);
	buf_done(&writer.ids);
	return writer.error;
}

const struct exporter pprof_exporter = {
	.name = "pprof",
	.help = "gzipped protobuf for go tool pprof and what reads its format",
	.mime = "application/octet-stream",
	.file_suffix = "pb.gz",
	.attachment = true,
	.encode = encode,
};

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Part of "referee": takes a copy and its process, gives a job that needs neither any more. Of a process's files
 * only those are handed over that a register or a word of the copied stack points into: no return address can lie
 * elsewhere.
 */
#include "referee_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static const struct process_mapping *mapping_of(const struct process *process, uint64_t address, size_t *ret_index)
{
	size_t at = process_mapping_after(process, address);

	if (at == process->mapping_count || process->mappings[at].start > address)
		return NULL;
	*ret_index = at;
	return &process->mappings[at];
}

static uint32_t add_file(struct referee_job *job, const struct process *process, const struct process_mapping *mapping)
{
	const struct process_image *image = mapping->image;
	struct resolve_image_request request = { .image = image->id, .pid = process->pid, .parent = process->parent,
						 .start = mapping->start, .end = mapping->end, .file = image->file,
						 .path = image->path, .vdso = image->vdso };

	for (size_t i = 0; i < job->file_count; i++)
		if (job->files[i].image == image->id)
			return (uint32_t)i;
	if (image->anonymous || image->jit || job->file_count == REFEREE_MAX_IMAGES)
		return REFEREE_NO_IMAGE;
	request.path = strdup(image->path); /* the thread reads it when the image may be gone */
	if (!request.path)
		return REFEREE_NO_IMAGE;
	job->files[job->file_count] = request;
	return (uint32_t)job->file_count++;
}

static void want(struct referee_job *job, const struct process *process, uint64_t address)
{
	const struct process_mapping *mapping;
	size_t index;

	if (address < process->mappings[0].start || address > process->mappings[process->mapping_count - 1].end)
		return;
	/* A return address may be the first byte behind its mapping. */
	mapping = mapping_of(process, address - 1, &index);
	if (!mapping)
		mapping = mapping_of(process, address, &index);
	if (mapping && job->mappings[index].image == REFEREE_NO_IMAGE)
		job->mappings[index].image = add_file(job, process, mapping);
}

int job_fill(struct referee_job *job, const struct process *process)
{
	const struct snapshot *copy = &job->copy;
	size_t count = process->mapping_count;

	if (!count || count > REFEREE_MAX_MAPPINGS || process->recycles) /* else what it has now is what it had */
		return -ENOENT;
	job->mappings = calloc(count, sizeof(*job->mappings));
	if (!job->mappings)
		return -ENOMEM;
	job->mapping_count = count;
	for (size_t i = 0; i < count; i++)
		job->mappings[i] = (struct referee_mapping){ process->mappings[i].start, process->mappings[i].end,
							     process->mappings[i].offset, REFEREE_NO_IMAGE, 0 };
	want(job, process, copy->pc + 1);
	for (size_t i = 0; i < SNAPSHOT_REGISTERS; i++)
		want(job, process, copy->reg[i]);
	for (uint32_t at = 0; at + sizeof(uint64_t) <= copy->bytes; at += sizeof(uint64_t)) {
		uint64_t word;

		memcpy(&word, job->stack + at, sizeof(word));
		want(job, process, word);
	}
	return 0;
}

void job_clear(struct referee_job *job)
{
	uint8_t *stack = job->stack;

	for (size_t i = 0; i < job->file_count; i++)
		free((char *)(uintptr_t)job->files[i].path);
	free(job->mappings);
	free(job->judged);
	free(job->walked);
	if (madvise(stack, SNAPSHOT_REFEREE_BYTES, MADV_DONTNEED_LOCKED))
		(void)madvise(stack, SNAPSHOT_REFEREE_BYTES, MADV_DONTNEED);
	*job = (struct referee_job){ .stack = stack };
}

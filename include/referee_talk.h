/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The talk between the agent and a referee: a symbolizer child of kind SYMBOLIZER_REFEREE, which unwinds copies of
 * one process's stacks by the files themselves. In place of an image it is opened with a memfd of struct
 * referee_mapping. Images come as descriptors, stacks in packets: neither ever has a name, nothing is kept.
 */
#ifndef REFEREE_TALK_H
#define REFEREE_TALK_H

#include "abi/snapshot.h"

#include <stdint.h>

#define REFEREE_MAX_MAPPINGS 4096
#define REFEREE_MAX_IMAGES 64
#define REFEREE_PACKET_FDS 8
#define REFEREE_MAX_FRAMES 4096 /* of deeper stacks the innermost are compared */
#define REFEREE_NO_IMAGE UINT32_MAX

struct referee_mapping { /* executable, ascending */
	uint64_t start, end, offset; /* offset: in the file, of start */
	uint32_t image;              /* REFEREE_NO_IMAGE: not a file's */
	uint32_t pad;
};

enum referee_op {
	REFEREE_IMAGES = 1, /* u32 images[count], each with its descriptor. No answer */
	REFEREE_UNWIND,     /* struct snapshot and its stack -> struct referee_answer */
	/* The same behind a struct referee_keep, with a memfd: unwound again and written there as a stack case
	 * (stack_case.h), with what is needed of the images for these frames and for others' walked[count]
	 * -> struct referee_answer without frames; REASON_NONE: it is written */
	REFEREE_KEEP,
};

struct referee_request {
	uint32_t op, count, id, pad;
};

struct referee_answer { /* then frames, as in abi/sample.h */
	uint32_t id;
	uint32_t frames;
	uint32_t reason; /* enum reason; NONE: the last frame is the root */
	uint32_t certain; /* so many frames are by rules; one more: a rule says that the last one is the root */
	uint32_t cpu_us;  /* what the child has spent since it began */
	uint32_t pad;
};

struct referee_keep {
	char title[128];
	char names[REFEREE_MAX_IMAGES][48]; /* of the images, for people */
	uint64_t walked[REFEREE_MAX_FRAMES];
};

#define REFEREE_STACK_PACKET (sizeof(struct referee_keep) + sizeof(struct referee_request) + sizeof(struct snapshot) + SNAPSHOT_REFEREE_BYTES)
#define REFEREE_ANSWER_PACKET (sizeof(struct referee_answer) + REFEREE_MAX_FRAMES * sizeof(uint64_t))

#endif

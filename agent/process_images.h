/* SPDX-License-Identifier: Apache-2.0 */
/* What process_image.c (which image a file is) and process_check.c (files written anew) share with the others. */
#ifndef PROCESS_IMAGES_H
#define PROCESS_IMAGES_H

#include "process_private.h"

#define PROCESS_CHECK_NS NS_PER_S
#define PROCESS_IMAGE_LIMIT 65536
#define PROCESS_IMAGE_PATH_BYTES (8U << 20) /* of all images */

struct image_entry {
	struct process_image image; /* first */
	struct image_entry *other; /* same inode number, another generation */
	bool ready;                /* its users are published at the next tick */
	uint32_t asked;            /* how often image_new told it; if it failed, not again before: */
	uint64_t again_ns;
	bool superseded;  /* its file has other bytes now, of another image */
	struct process_mapping remapped; /* the newest after a while without */
	uint32_t remapped_pid;
	uint64_t doubted_ns; /* who mapped it since is in doubt */
	uint64_t check_ns, check_again_ns; /* asked, events up to then being known, 0: not; not again before */
	uint64_t idle_ns; /* since when process_image_idle saw nobody map it, 0: somebody does */
};

/* process_image.c */
/* The image of a mapping, made if it is new. Never NULL but for memory. */
struct process_image *process_image_for(struct process_table *table, const struct sideband_file *file,
					const char *path);
/* The image of a file that is known, or of memory without one; NULL: no such. */
struct process_image *process_image_known(struct process_table *table, const struct sideband_file *file);
/* An image for the same file with other bytes. NULL: memory. */
struct process_image *process_image_succeed(struct process_table *table, struct process_image *old);
/* image_new, if the image is new or failed a while ago. */
void process_image_tell(struct process_table *table, const struct process *process,
			const struct process_mapping *mapping, uint64_t now_ns);
bool process_image_asks_again(const struct process_table *table, const struct image_entry *entry, uint64_t now_ns);
void process_image_done(struct process_table *table);

/* process_check.c */
/* Before the mapping is counted: it may be the first after a while. */
void process_check_mapped(struct process_table *table, const struct process *process,
			  const struct process_mapping *mapping);
void process_check_tick(struct process_table *table, uint64_t now_ns);

#endif

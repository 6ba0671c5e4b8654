/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of resolve share: images (the agent's ids), subjects (files), children. One thread's, bar the queue. */
#ifndef RESOLVE_PRIVATE_H
#define RESOLVE_PRIVATE_H

#include "resolve.h"
#include "resolve_open.h"

#include "base/hmap.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/queue.h>

#define RESOLVE_MAX_CHILDREN 16
#define RESOLVE_ROWS_CHILDREN 4  /* of these for rows alone: many names must not keep them waiting */
#define RESOLVE_MAX_FDS 256      /* kept open for a later child */
#define RESOLVE_MAX_IMAGES (1U << 18)
#define RESOLVE_MAX_SUBJECTS (1U << 16)
#define RESOLVE_REQUEST_S 25     /* a little more than a child's own limits: it ends itself first */
#define RESOLVE_KALLSYMS_S 10    /* read again at most so often */
#define RESOLVE_MAX_DEATHS 2
#define FRAME_ID 0x7fffffffU
#define FRAME_ASKED_BEFORE 0x80000000U /* on a kernel frame's id in a queue: this time is the last */

struct subject;
struct queued_pages;

/* Stacks wait for rows, names can come a moment later: each has a child of its own. */
enum lane { LANE_ROWS, LANE_NAMES, LANE_COUNT };

struct image { /* an id that somebody may ask about */
	struct resolve_image_request request; /* path is ours */
	char *path;
	struct subject *subject; /* NULL: failed, for `reason` */
	struct image *next;      /* of the same subject */
	enum symbol_source reason;
	bool wants_table;        /* image_done has not been called */
	uint32_t *pages;         /* whose rows are wanted */
	size_t page_count, page_capacity;
	uint32_t *ids;           /* frames to ask for */
	size_t id_count, id_capacity;
	bool is_homeless; /* has frames but no subject, maybe its request is still in the queue */
	struct image *next_homeless;
};

struct child {
	int socket; /* -1: none */
	struct subject *subject;
	enum lane lane;
	uint32_t op; /* enum symbolizer_op in flight, 0: none */
	uint32_t request_id;
	uint64_t started_ns, used_ns, deadline_ns;
	bool debug_sent;
	struct image *image; /* TABLE, NAMES: for whom */
	int table_fd;
	uint32_t count; /* NAMES: frames in flight; UINT32_MAX for one that is answered. TABLE: pages, 0: the file */
	uint32_t ids[SYMBOLIZER_MAX_ADDRESSES];
};

struct subject { /* a file as it was opened, whatever number of images are it */
	struct open_identity identity;
	uint32_t kind; /* enum symbolizer_kind */
	enum symbol_source failed; /* not 0: no child can read it */
	struct symbolizer_image *description; /* NULL: not asked yet */
	struct image *images;
	struct child *children[LANE_COUNT];
	int fd, debug_fd;
	uint64_t fd_used_ns;
	unsigned debug_candidate;
	bool debug_done;
	unsigned deaths;
	uint64_t died_ns, not_before_ns;
	bool is_active;
	bool is_closed; /* quarantined: until not_before_ns what is asked of it fails rather than waits */
	struct subject *next_active;
};

struct queued_request {
	struct resolve_image_request request;
	STAILQ_ENTRY(queued_request) link;
	char path[];
};
STAILQ_HEAD(request_queue, queued_request);

struct resolve {
	pthread_t thread;
	pthread_mutex_t lock; /* queue; parent_socket, which the thread alone changes */
	struct request_queue queue;
	size_t queue_length;
	struct queued_pages *queued_pages;
	int wake_fd;
	atomic_bool stop, kernel_changed;
	atomic_ullong images_opened, failed, children_alive, deaths, quarantined, timeouts;

	struct names *names;
	struct resolve_callbacks callbacks;
	int parent_socket; /* -1: dead */
	uint64_t parent_tried_ns;
	struct image **images;
	size_t image_capacity;
	struct hmap subjects; /* open_identity -> struct subject * */
	struct subject kernel, *active;
	struct image *homeless;
	struct subject *holders[RESOLVE_MAX_FDS]; /* of descriptors */
	struct child children[RESOLVE_MAX_CHILDREN];
	uint32_t last_request_id;
	_Alignas(8) char packet[SYMBOLIZER_PACKET];
};


#endif

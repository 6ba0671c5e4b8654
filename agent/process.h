/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Noun "process": who is alive, what is mapped where, and since when. Fed by side-band events in order of time
 * and by /proc for processes older than the agent. The pipeline thread owns it; nothing here opens an ELF file.
 *
 * A process is (pid, from when, until when): a program replaced by exec is a new generation of the same pid,
 * kept PROCESS_GRACE_S after it ended so that the samples of its last second find it.
 */
#ifndef PROCESS_H
#define PROCESS_H

#include "sideband.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROCESS_GRACE_S 5
#define PROCESS_LIMIT 65536
#define PROCESS_JIT_LIMIT 8192 /* images of generated code, ever */

struct process_table;
struct process;

enum process_image_state { PROCESS_IMAGE_NEW, PROCESS_IMAGE_ASKED, PROCESS_IMAGE_READY, PROCESS_IMAGE_FAILED };

enum process_end { PROCESS_ALIVE, PROCESS_EXITED, PROCESS_REPLACED };

#define PROCESS_IMAGE_SEGMENTS 16
struct process_image { /* a file that is mapped executable somewhere; never freed while the agent runs */
	uint32_t id;           /* index in the table of images; the same id in agent/names */
	struct sideband_file file;
	char *path;            /* as the event gave it */
	enum process_image_state state;
	bool vdso, anonymous;
	bool jit, jitdump;     /* the generated code of one process; a file that says what is in it */
	atomic_uint ended;     /* jit: enum process_end */
	uint64_t dump_start, dump_end; /* jit: where its process maps a jitdump, 0: nowhere */
	uint32_t dir;          /* for unwind_mapping.dir: directory base minus first page (modulo 2^32) */
	bool has_table;
	uint32_t segment_count; /* PT_LOADs, from the symbolizer */
	struct { uint64_t offset, vaddr, filesz; uint32_t flags; } segments[PROCESS_IMAGE_SEGMENTS]; /* flags 0: not told */
	uint32_t users;        /* living mappings */
};

/* Whether rows that are not there yet will be: until then nothing may be guessed in their place. */
static inline bool process_image_pending(const struct process_image *image)
{
	return image->state == PROCESS_IMAGE_NEW || image->state == PROCESS_IMAGE_ASKED;
}

/* A mapping whose file was not met before, or failed a while ago; `image->state` is NEW. Set it to ASKED when it
 * was asked for. */
struct process_callbacks {
	void (*image_new)(void *context, struct process_image *image, uint32_t pid, uint64_t start, uint64_t end);
	/* The process's mapping table changed (or it is gone: table == NULL): publish it. */
	void (*table_changed)(void *context, struct process *process);
	void (*exited)(void *context, uint32_t pid); /* may be NULL */
	void *context;
};

struct process_mapping {
	uint64_t start, end, offset; /* file offset of start */
	struct process_image *image;
	uint64_t since_ns;
};

struct process {
	uint32_t pid, parent;
	uint64_t from_ns, until_ns; /* until UINT64_MAX while alive */
	uint64_t known_ns;          /* for unwind_process.known_ns */
	char comm[16];
	uint32_t root; /* descends from the process given to process_table_follow: that pid, else 0 */
	bool dirty, kernel_thread;
	uint32_t version;
	uint64_t serial; /* no other process has or had it, nor this one with other mappings or images */
	size_t mapping_count, mapping_capacity;
	struct process_mapping *mappings; /* sorted by start */
	struct process *older; /* the generation before, same pid */
	struct process_image *jit; /* made at its first frame, NULL before */
	uint64_t dump_start, dump_end; /* the jitdump it mapped last */
	void *published;       /* agent/publish's handle */
};

struct process_stats {
	uint64_t processes, images; /* living, ever */
	uint64_t lost, repairs;     /* LOST records, passes over /proc because of them */
	uint64_t ksymbol_changes;   /* how often a kernel symbol came or went */
	uint64_t refused_processes, refused_mappings, refused_images, refused_ksymbols, refused_jits; /* at a limit */
};

struct process_table *process_table_new(const struct process_callbacks *callbacks);
void process_table_free(struct process_table *table); /* accepts NULL */
void process_table_event(struct process_table *table, const struct sideband_event *event);
/* Every process of /proc that is not known yet (start-up), or those alive on a CPU that lost records. */
int process_table_scan(struct process_table *table); /* 0 or -errno */
/* Calls table_changed for the dirty ones and frees those gone for PROCESS_GRACE_S. */
void process_table_tick(struct process_table *table, uint64_t now_ns);
/* Samples from that time on are not looked up yet: what ended later stays, however late the next tick comes. */
void process_table_keep(struct process_table *table, uint64_t from_ns);
/* The generation that was alive at that time; NULL: never met. */
struct process *process_find(struct process_table *table, uint32_t pid, uint64_t at_ns);
/* The image and ELF address of a user address; NULL: no mapping (or segments still unknown: *ret_file_offset is
 * then set and the address is the file offset instead, *ret_is_vaddr false). */
struct process_image *process_resolve(const struct process *process, uint64_t address, uint64_t *ret_vaddr,
				      bool *ret_is_vaddr);
/* The image for frames in anonymous memory: its process generation's own, so that names do not mix; at a limit the
 * one given. */
struct process_image *process_jit_image(struct process_table *table, struct process *process,
					struct process_image *anonymous);
/* pc - bias == ELF virtual address for this mapping; false: segments unknown. */
bool process_mapping_bias(const struct process_mapping *mapping, uint64_t *ret_bias);
struct process_image *process_image_get(struct process_table *table, uint32_t id);
/* Publishes again every process that maps the image (its table became ready). */
void process_image_ready(struct process_table *table, struct process_image *image);
/* The image with rows that has been without a living mapping longest, `least_ns` at least; NULL: none. Called about
 * once a second: the first call after a mapping went notes the time. */
struct process_image *process_image_idle(struct process_table *table, uint64_t now_ns, uint64_t least_ns);
void process_table_follow(struct process_table *table, uint32_t pid); /* wick record -- COMMAND */
bool process_table_unread(const struct process_table *table); /* some are to be read from /proc, at the next tick */
void process_table_get_stats(const struct process_table *table, struct process_stats *ret_stats);
/* A kernel symbol that came by KSYMBOL (BPF programs), also after it went; NULL: none. */
const char *process_ksymbol(struct process_table *table, uint64_t address);
uint64_t process_ksymbol_changes(const struct process_table *table); /* how often one came or went */

#endif

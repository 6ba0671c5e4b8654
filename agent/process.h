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

#include "process_image.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROCESS_GRACE_S 5
#define PROCESS_LIMIT 65536

struct process;

/* A mapping whose file was not met before, or failed a while ago; `image->state` is NEW. Set it to ASKED when it
 * was asked for. */
struct process_callbacks {
	void (*image_new)(void *context, struct process_image *image, uint32_t pid, uint64_t start, uint64_t end);
	/* The process's mapping table changed (or it is gone: table == NULL): publish it. */
	void (*table_changed)(void *context, struct process *process);
	void (*exited)(void *context, uint32_t pid); /* may be NULL */
	/* Look whether the image's file has changed, process_image_checked takes the answer. May be NULL; 0 or -errno. */
	int (*image_check)(void *context, struct process_image *image, uint32_t pid, uint64_t start, uint64_t end,
			   uint64_t now_ns);
	void *context;
};

struct process_mapping {
	uint64_t start, end, offset; /* file offset of start */
	struct process_image *image;
	uint64_t since_ns;
	uint32_t version; /* process.version when it was told: tables up to that one do not have it */
	bool recycled;    /* something else was at these addresses before */
};

struct process_found { /* a mapping as the kernel showed it */
	uint64_t start, end, offset;
	struct sideband_file file;
};

struct process {
	uint32_t pid, parent;
	uint64_t from_ns, until_ns; /* until UINT64_MAX while alive */
	uint64_t known_ns;          /* for unwind_process.known_ns */
	char comm[16];
	uint32_t root; /* descends from the process given to process_table_follow: that pid, else 0 */
	bool dirty, kernel_thread;
	bool recycles;    /* has lately mapped something else where something was */
	uint64_t seen_ns; /* when it was last told by table_changed: events up to then are in it */
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
	uint64_t processes, images; /* living, kept */
	uint64_t lost, repairs;     /* LOST records, passes over /proc because of them */
	uint64_t ksymbol_changes;   /* how often a kernel symbol came or went */
	uint64_t mapping_bytes;     /* of all mapping tables and of what they have replaced */
	uint64_t unchecked;         /* files mapped again that nobody looked at: too many at once */
	uint64_t moved;             /* mappings found where no event had told of them */
	uint64_t forgotten;         /* replaced mappings that were let go before their samples were looked up */
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
/* The generation that was alive at that time; NULL: never met, or let go. */
struct process *process_find(struct process_table *table, uint32_t pid, uint64_t at_ns);
/* What lay at a user address at that time, which may have been replaced since; NULL: nothing, or not known. */
const struct process_mapping *process_mapping_at(const struct process *process, uint64_t address, uint64_t at_ns);
/* The ELF address of an address in it; false: segments unknown, then it is the file offset. */
bool process_mapping_vaddr(const struct process_mapping *mapping, uint64_t address, uint64_t *ret_vaddr);
/* The kernel has [start, end) of that file there, whatever the events told: text moves without one. */
void process_table_found(struct process_table *table, uint32_t pid, uint64_t at_ns, uint64_t address,
			 const struct process_found *found);
/* Whether its file may have other bytes than those that the image was read from. */
bool process_mapping_doubted(const struct process_mapping *mapping);
/* Whether some of `count` samples of this slice, the newest of which met this mapping, may have met the one before,
 * or other bytes than those that its image was read from. */
bool process_mapping_mixed(const struct process_table *table, const struct process_mapping *mapping, uint64_t count);
/* Whether a walk by that version of the process's table took it for what lay there before. */
bool process_mapping_misread(const struct process *process, const struct process_mapping *mapping, uint32_t version);
/* The image for frames in anonymous memory: its process generation's own, so that names do not mix; at a limit the
 * one given. */
struct process_image *process_jit_image(struct process_table *table, struct process *process,
					struct process_image *anonymous);
/* The first mapping that ends after the address. */
size_t process_mapping_after(const struct process *process, uint64_t address);
/* pc - bias == ELF virtual address for this mapping; false: segments unknown. */
bool process_mapping_bias(const struct process_mapping *mapping, uint64_t *ret_bias);
void process_table_follow(struct process_table *table, uint32_t pid); /* wick record -- COMMAND */
bool process_table_unread(const struct process_table *table); /* some are to be read from /proc, at the next tick */
void process_table_get_stats(const struct process_table *table, struct process_stats *ret_stats);
/* A kernel symbol that came by KSYMBOL (BPF programs), also after it went; NULL: none. */
const char *process_ksymbol(struct process_table *table, uint64_t address);
uint64_t process_ksymbol_changes(const struct process_table *table); /* how often one came or went */

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The talk between the agent and its symbolizers. A symbolizer parent is forked at start, drops its privileges
 * and forks one sandboxed child per image; a child serves its image over a SOCK_SEQPACKET socket until the
 * agent closes it or it has been idle for its SYMBOLIZER_…IDLE_S. A child opens nothing: it is handed descriptors.
 * All messages are one packet of at most SYMBOLIZER_PACKET bytes, in host byte order. The agent doubts every
 * length it gets back. Addresses are ELF virtual addresses of the image (kallsyms: kernel addresses).
 */
#ifndef SYMBOLIZER_H
#define SYMBOLIZER_H

#include <stdint.h>

#define SYMBOLIZER_PACKET 65536
#define SYMBOLIZER_IDLE_S 4           /* another fork costs half a millisecond, an idle child 1.7 MiB */
#define SYMBOLIZER_KALLSYMS_IDLE_S 300 /* reading kallsyms again costs 50 ms, keeping it 2.7 MiB */
#define SYMBOLIZER_MAX_SEGMENTS 16
#define SYMBOLIZER_MAX_ADDRESSES 512 /* in one NAMES request, pages in one of TABLE */
#define SYMBOLIZER_WHOLE_PAGES 8 /* a file of so many gives all its rows when first asked */
#define SYMBOLIZER_MAX_LINES 4096    /* in one packet */
#define SYMBOLIZER_NAME_BYTES 4096   /* a longer name is cut */

enum symbolizer_op {
	SYMBOLIZER_OPEN = 1, /* to the parent, with 2 descriptors: the image, the child's socket. No answer */
	SYMBOLIZER_DESCRIBE, /* -> struct symbolizer_image */
	SYMBOLIZER_TABLE,    /* with 1 descriptor, an empty memfd; u64 pages[count] that are wanted -> struct symbolizer_table */
	SYMBOLIZER_DEBUG,    /* with 1 descriptor: the separate debug file -> struct symbolizer_reply */
	SYMBOLIZER_NAMES,    /* u64 addresses[count] -> packets of struct symbolizer_names, `more` until the last */
};

enum symbolizer_kind { SYMBOLIZER_ELF = 1, SYMBOLIZER_KALLSYMS, SYMBOLIZER_PERF_MAP, SYMBOLIZER_FROZEN,
		       SYMBOLIZER_REFEREE /* see referee_talk.h */ };

struct symbolizer_request {
	uint32_t op;
	uint32_t kind;  /* enum symbolizer_kind; NAMES of a PERF_MAP: 0, or FROZEN: it may be another's file now */
	uint32_t count; /* OPEN: 1, if somebody waits for it: it goes before other work as the agent does; NAMES: addresses that follow; TABLE: pages, vaddr >> 16, ascending */
	uint32_t id;    /* given back in the answer */
};

struct symbolizer_reply { /* every answer opens with it */
	uint32_t op;
	uint32_t id;
	int32_t error; /* 0 or negative errno */
	uint32_t more; /* further packets follow */
};

struct symbolizer_segment { /* a PT_LOAD */
	uint64_t offset, vaddr, filesz, memsz;
	uint32_t flags; /* PF_X … */
	uint32_t pad;
};

struct symbolizer_image {
	struct symbolizer_reply reply;
	uint16_t machine;      /* e_machine */
	uint8_t elf_class;     /* 1: 32 bit, 2: 64 bit */
	uint8_t has_dwarf;
	uint8_t has_symtab;
	uint8_t build_id_bytes; /* 0: none */
	uint16_t type;          /* e_type */
	uint8_t build_id[64];
	char debuglink[256];   /* one component without '/', or empty */
	uint32_t debuglink_crc;
	uint32_t segment_count;
	struct symbolizer_segment segments[SYMBOLIZER_MAX_SEGMENTS];
};

struct symbolizer_table { /* the memfd then holds a struct unwind_file */
	struct symbolizer_reply reply;
	uint64_t bytes;
	uint32_t pages, rows, escapes, unsupported; /* unsupported: rows that end in REASON_UNSUPPORTED_RULE */
	uint32_t first_page, span; /* outside of these no page of the image has rows */
};

/* Rows as the child writes them, pages without any left out: header, escapes, pages, the blocks of abi/unwind.h. */
#define UNWIND_FILE_MAGIC 0x3152574bU
struct unwind_file {
	uint32_t magic;
	uint32_t escapes; /* struct unwind_escape, referred to by rules of kind ESCAPE by their index here */
	uint32_t pages, rows; /* struct unwind_file_page, ascending */
};
struct unwind_file_page {
	uint32_t page, offset, bytes; /* vaddr >> 16; of the block in the file */
};

/* Where a name came from, or why there is none. One list for the children, the agent and /metrics. */
#define SYMBOL_SOURCE_LIST(X)                                                                                 \
	X(NONE, "none") X(DWARF, "dwarf") X(SYMTAB, "symtab") X(DYNSYM, "dynsym") X(DEBUGDATA, "debugdata")   \
	X(PLT, "plt") X(KALLSYMS, "kallsyms") X(KSYMBOL, "ksymbol") X(GOPCLNTAB, "gopclntab")                 \
	X(PERF_MAP, "perf_map") X(JITDUMP, "jitdump") X(NO_SYMBOL, "no_symbol")                               \
	X(NO_FILE, "no_file") X(REFUSED, "refused") X(DIED, "symbolizer_died") X(TIMEOUT, "timeout")          \
	X(LIMIT, "limit") X(CHANGED, "changed") X(ANONYMOUS, "anonymous")
enum symbol_source {
#define X(id, label) SYMBOL_##id,
	SYMBOL_SOURCE_LIST(X)
#undef X
	SYMBOL_SOURCE_COUNT
};

struct symbolizer_names { /* then frames[frames], lines[lines], strings: NUL-terminated, offset 0 is "" */
	struct symbolizer_reply reply;
	uint32_t frames, lines, string_bytes, pad;
};
struct symbolizer_frame { /* one per address asked, each in exactly one packet */
	uint32_t address; /* index in the request */
	uint32_t first_line;
	uint16_t lines; /* innermost first; all but the last are inlined calls; 0: no name */
	uint8_t source; /* enum symbol_source */
	uint8_t pad;
};
struct symbolizer_line {
	uint32_t name, system_name, file; /* string offsets: demangled, as in the file, path; "" where unknown */
	uint32_t line, start_line;        /* 0: unknown */
};

/* The program `wick` under the name `wick-symbolizer`: serves OPEN requests on `socket` until it is closed. */
int symbolizer_main(int socket);

#endif

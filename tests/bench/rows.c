/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bench: how fast .eh_frame becomes unwind rows and how small they are, over every ELF file below the folders
 * given (/usr/bin and /usr/lib). The peer is libdw's dwarf_cfi_addrframe, asked for the same rows of a sample
 * of the files right after each of them. Prints one `name value unit` a line.
 *
 * Links libsymbolizer, libbase, libdw and libelf; with -Wl,--wrap for malloc, calloc, realloc, reallocarray and free,
 * so that the builder's heap can be counted.
 */
#include "base/clean.h"
#include "symbolizer/unwind_table.h"

#include "abi/unwind.h"

#include <elfutils/libdw.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#define MAX_FILES 65536
#define SAMPLE_EVERY 16      /* files that libdw is asked about, too */
#define SAMPLE_MAX_ROWS 200000 /* of one file: libdw is quadratic in a function */

struct totals {
	uint64_t files, empty, failed, rows, bytes, pages, escapes, unsupported, ns;
	uint64_t sample_files, sample_rows, sample_ns, libdw_ns;
	uint64_t heap_max; /* allocated at a time while a file's rows are made */
	uint64_t per_file_ns[MAX_FILES];
};

struct seen {
	dev_t device;
	ino_t inode;
};

static struct totals totals;
static struct seen seen[MAX_FILES];
static size_t seen_count;
static bool timed;
static size_t heap_now, heap_most;

void *__real_malloc(size_t);
void *__real_calloc(size_t, size_t);
void *__real_realloc(void *, size_t);
void *__real_reallocarray(void *, size_t, size_t);
void __real_free(void *);

static void *heap_add(void *memory)
{
	heap_now += malloc_usable_size(memory);
	if (heap_now > heap_most)
		heap_most = heap_now;
	return memory;
}

void *__wrap_malloc(size_t bytes)
{
	return heap_add(__real_malloc(bytes));
}

void *__wrap_calloc(size_t count, size_t bytes)
{
	return heap_add(__real_calloc(count, bytes));
}

void *__wrap_realloc(void *memory, size_t bytes)
{
	heap_now -= malloc_usable_size(memory);
	return heap_add(__real_realloc(memory, bytes));
}

void *__wrap_reallocarray(void *memory, size_t count, size_t bytes)
{
	heap_now -= malloc_usable_size(memory);
	return heap_add(__real_reallocarray(memory, count, bytes));
}

void __wrap_free(void *memory)
{
	heap_now -= malloc_usable_size(memory);
	__real_free(memory);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

/* The time libdw takes to say the rule at each of our rows. */
static uint64_t time_libdw(int fd, const uint8_t *bytes)
{
	const struct unwind_file *header = (const void *)bytes;
	const struct unwind_file_page *pages =
		(const void *)(bytes + sizeof(*header) + header->escapes * sizeof(struct unwind_escape));
	uint64_t start = now_ns();
	Elf *elf = elf_begin(fd, ELF_C_READ_MMAP, NULL);
	Dwarf_CFI *cfi = dwarf_getcfi_elf(elf);

	for (uint32_t p = 0; cfi && p < header->pages; p++) {
		const uint16_t *starts = (const void *)(bytes + pages[p].offset);
		const struct unwind_row *rows = (const void *)starts;
		uint64_t bucket = 0;

		for (uint32_t i = starts[0]; i < starts[UNWIND_BUCKETS]; i++) {
			Dwarf_Op memory[3], *ops;
			Dwarf_Frame *frame;
			size_t length;

			while (starts[bucket + 1] <= i)
				bucket++;
			if (dwarf_cfi_addrframe(cfi, (uint64_t)pages[p].page << 16 | bucket << 8 | rows[i].pc, &frame))
				continue;
			dwarf_frame_cfa(frame, &ops, &length);
			dwarf_frame_register(frame, 6, memory, &ops, &length);
			dwarf_frame_register(frame, 16, memory, &ops, &length);
			free(frame);
		}
	}
	dwarf_cfi_end(cfi);
	elf_end(elf);
	return now_ns() - start;
}

/* Of all blocks, as the kernel side will hold them. */
static uint64_t count_blocks(int table, const struct symbolizer_table *report)
{
	const uint8_t *bytes = mmap(NULL, report->bytes, PROT_READ, MAP_SHARED, table, 0);
	const struct unwind_file *header = (const void *)bytes;
	const struct unwind_file_page *pages;
	uint64_t sum = 0;

	if (bytes == MAP_FAILED)
		return 0;
	pages = (const void *)(bytes + sizeof(*header) + header->escapes * sizeof(struct unwind_escape));
	for (uint32_t i = 0; i < header->pages; i++)
		sum += pages[i].bytes;
	munmap((void *)bytes, report->bytes);
	return sum;
}

static void sample_libdw(int fd, int table, const struct symbolizer_table *report, uint64_t ns)
{
	void *bytes = mmap(NULL, report->bytes, PROT_READ, MAP_SHARED, table, 0);

	if (bytes == MAP_FAILED)
		return;
	totals.sample_files++;
	totals.sample_rows += report->rows;
	totals.sample_ns += ns;
	totals.libdw_ns += time_libdw(fd, bytes);
	munmap(bytes, report->bytes);
}

static void count_file(const struct symbolizer_table *report, uint64_t block_bytes, uint64_t ns)
{
	totals.per_file_ns[totals.files++] = ns;
	totals.empty += !report->rows;
	totals.rows += report->rows;
	totals.pages += report->pages;
	totals.escapes += report->escapes;
	totals.unsupported += report->unsupported;
	totals.ns += ns;
	/* What the kernel side will hold: blocks, escapes and a directory entry a page. */
	totals.bytes += block_bytes + report->pages * sizeof(struct unwind_page) +
			report->escapes * sizeof(struct unwind_escape);
}

/* From the open descriptor to the finished table, as a symbolizer does it. */
static void run_file(int fd)
{
	auto_fd int table = memfd_create("rows", MFD_CLOEXEC);
	struct symbolizer_table report;
	struct unwind_table *rows = NULL;
	struct image *image = NULL;
	uint64_t start = now_ns();
	int error = image_open(fd, &image);

	if (error) /* a script, another machine */
		return;
	heap_now = heap_most = 0;
	error = unwind_table_new(image, &rows);
	if (!error)
		error = unwind_table_write(rows, table, NULL, 0, &report);
	unwind_table_free(rows);
	if (heap_most > totals.heap_max)
		totals.heap_max = heap_most;
	image_close(image);
	start = now_ns() - start;
	if (!timed)
		return;
	if (error) {
		totals.failed++;
		return;
	}
	count_file(&report, count_blocks(table, &report), start);
	if (totals.files % SAMPLE_EVERY == 0 && report.rows && report.rows < SAMPLE_MAX_ROWS)
		sample_libdw(fd, table, &report, start);
}

static int visit(const char *path, const struct stat *status, int type, struct FTW *place)
{
	auto_fd int fd = -1;

	(void)place;
	if (type != FTW_F || !S_ISREG(status->st_mode) || status->st_size < 64 || seen_count == MAX_FILES)
		return 0;
	for (size_t i = seen_count; status->st_nlink > 1 && i-- > 0;)
		if (seen[i].device == status->st_dev && seen[i].inode == status->st_ino)
			return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	char magic[4];
	if (fd < 0 || pread(fd, magic, 4, 0) != 4 || memcmp(magic, "\177ELF", 4))
		return 0;
	seen[seen_count++] = (struct seen){ status->st_dev, status->st_ino };
	run_file(fd);
	return 0;
}

static int compare_ns(const void *left, const void *right)
{
	const uint64_t *a = left, *b = right;

	return *a < *b ? -1 : *a > *b;
}

static void report(void)
{
	double ours, libdw;
	struct rusage usage;

	qsort(totals.per_file_ns, totals.files, sizeof(totals.per_file_ns[0]), compare_ns);
	getrusage(RUSAGE_SELF, &usage);
	printf("rows.files %" PRIu64 " files\n", totals.files);
	printf("rows.files_without_rows %" PRIu64 " files\n", totals.empty);
	printf("rows.failed %" PRIu64 " files\n", totals.failed);
	if (!totals.files || !totals.rows)
		return;
	printf("rows.rows %" PRIu64 " rows\n", totals.rows);
	printf("rows.unsupported %" PRIu64 " rows\n", totals.unsupported);
	printf("rows.escapes %" PRIu64 " escapes\n", totals.escapes);
	printf("rows.per_second %.1f M/s\nrows.bytes_per_row %.3f bytes\n",
	       (double)totals.rows * 1e3 / (double)totals.ns, (double)totals.bytes / (double)totals.rows);
	printf("rows.heap_max %.0f KiB\n", (double)totals.heap_max / 1024);
	printf("rows.file_p50 %.1f us\nrows.file_p99 %.1f us\nrows.file_max %.1f us\n",
	       (double)totals.per_file_ns[totals.files / 2] / 1e3,
	       (double)totals.per_file_ns[totals.files * 99 / 100] / 1e3,
	       (double)totals.per_file_ns[totals.files - 1] / 1e3);
	if (!totals.sample_rows)
		return;
	ours = (double)totals.sample_ns / (double)totals.sample_rows;
	libdw = (double)totals.libdw_ns / (double)totals.sample_rows;
	printf("rows.sample %" PRIu64 " files\nrows.sample_ours %.1f ns/row\nrows.sample_libdw %.1f ns/row\n",
	       totals.sample_files, ours, libdw);
	printf("rows.ratio_to_libdw %.3f x\n", ours / libdw);
}

int main(int argc, char **argv)
{
	static char *standard[] = { "/usr/bin", "/usr/lib" };
	char **folders = argc > 1 ? argv + 1 : standard;
	int count = argc > 1 ? argc - 1 : 2;

	elf_version(EV_CURRENT);
	for (int round = 0; round < 2; round++) { /* the first only brings the files into memory */
		timed = round == 1;
		seen_count = 0;
		for (int i = 0; i < count; i++)
			nftw(folders[i], visit, 32, FTW_PHYS);
	}
	report();
	return totals.failed ? 1 : 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Takes a stack case, gives the frames that the unwinder finds in it. Rules are looked up in the compiled blocks by
 * the code that the kernel side runs; the turns of the walk follow bpf/unwind_native.bpf.c.
 */
#include "stack_replay.h"

#include "base/clean.h"
#include "symbolizer/image.h"
#include "symbolizer/unwind_table.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

static int case_read(const struct stack_case *stack_case, uint64_t address, __u64 *to)
{
	uint64_t word;

	if (!stack_case_word(stack_case, address, &word))
		return 1;
	*to = word;
	return 0;
}

#define UNWIND_READ(context, address, to) case_read(context, address, to)
#include "unwind_step.h"

#define MAX_PAGES 256 /* compiled for one walk; the oldest goes when there are more */

struct source { /* an image, opened; NULL: it has no rows */
	struct image *image;
	struct unwind_table *table;
};

struct page { /* the rows of one page of text, as the agent asks for them: a struct unwind_file */
	uint32_t image;
	uint64_t number;
	const uint8_t *bytes;
	size_t size;
};

struct walk {
	struct unwind_regs regs;
	const struct stack_case *stack_case;
	struct source sources[STACK_CASE_MAX_IMAGES];
	struct page pages[MAX_PAGES];
	uint32_t page_count;	 /* ever compiled */
	const struct page *page; /* of the last rule */
	uint8_t *chunk;		 /* UNWIND_CHUNK_BYTES, the block in use at its start */
	const struct stack_mapping *mapping;
	enum reason reason, doubt;
	int error;
};

/* ---- rows -------------------------------------------------------------------------------------------------- */

static int open_source(struct walk *walk, uint32_t index)
{
	struct source *source = &walk->sources[index];
	auto_fd int file = stack_case_image(walk->stack_case, index);
	int error;

	if (file < 0)
		return file;
	error = image_open(file, &source->image);
	if (!error)
		error = unwind_table_new(source->image, &source->table);
	return error == -ENOMEM ? error : 0; /* whatever else it is, it has no rows */
}

static int compile_page(struct walk *walk, uint32_t image, uint64_t number, struct page *ret_page)
{
	struct symbolizer_table report = { 0 };
	auto_fd int fd = memfd_create("wick-rows", MFD_CLOEXEC);
	int error;
	void *bytes;

	if (fd < 0)
		return -errno;
	error = unwind_table_write(walk->sources[image].table, fd, &number, 1, &report);
	if (error)
		return error;
	bytes = mmap(NULL, report.bytes, PROT_READ, MAP_PRIVATE, fd, 0);
	if (bytes == MAP_FAILED)
		return -errno;
	*ret_page = (struct page){ image, number, bytes, report.bytes };
	return 0;
}

static const struct page *get_page(struct walk *walk, uint32_t image, uint64_t number)
{
	struct page *page, compiled;

	for (uint32_t i = 0; i < MAX_PAGES && i < walk->page_count; i++)
		if (walk->pages[i].image == image && walk->pages[i].number == number)
			return &walk->pages[i];
	walk->error = compile_page(walk, image, number, &compiled);
	if (walk->error)
		return NULL;
	page = &walk->pages[walk->page_count++ % MAX_PAGES];
	if (page->bytes)
		munmap((void *)(uintptr_t)page->bytes, page->size);
	*page = compiled;
	return page;
}

static const struct unwind_file_page *find_block(const struct page *page)
{
	const struct unwind_file *header = (const void *)page->bytes;
	const struct unwind_file_page *blocks;

	blocks = (const void *)(page->bytes + sizeof(*header) + header->escapes * sizeof(struct unwind_escape));
	for (uint32_t i = 0; i < header->pages; i++)
		if (blocks[i].page == page->number)
			return &blocks[i];
	return NULL;
}

static enum reason find_rule(struct walk *walk, uint64_t pc, uint16_t *ret_rule)
{
	const struct stack_mapping *mapping = walk->mapping;
	const struct unwind_file_page *block;
	uint64_t vaddr = pc - mapping->bias;

	if (mapping->image == STACK_CASE_ANONYMOUS)
		return REASON_NO_TABLE;
	if (!walk->sources[mapping->image].table || vaddr >> UNWIND_PAGE_BITS > UINT32_MAX)
		return REASON_NO_RULE;
	walk->page = get_page(walk, mapping->image, vaddr >> UNWIND_PAGE_BITS);
	block = walk->page ? find_block(walk->page) : NULL;
	if (!block || block->bytes > UNWIND_CHUNK_BYTES)
		return REASON_NO_RULE;
	memcpy(walk->chunk, walk->page->bytes + block->offset, block->bytes);
	*ret_rule = unwind_find_rule(walk->chunk, 0, vaddr & ((1U << UNWIND_PAGE_BITS) - 1));
	return *ret_rule == UNWIND_RULE_NONE ? REASON_NO_RULE : REASON_NONE;
}

static enum reason step_escape(struct walk *walk, uint32_t index)
{
	const struct unwind_file *header = (const void *)walk->page->bytes;
	struct unwind_escape escape;

	if (index >= header->escapes)
		return REASON_UNSUPPORTED_RULE;
	memcpy(&escape, walk->page->bytes + sizeof(*header) + index * sizeof(escape), sizeof(escape));
	return unwind_step_escape(&walk->regs, &escape, (void *)(uintptr_t)walk->stack_case);
}

/* ---- the walk ---------------------------------------------------------------------------------------------- */

/* From one frame to its caller. False: walk->reason says how the walk ended. */
static bool advance(struct walk *walk, uint64_t pc)
{
	void *context = (void *)(uintptr_t)walk->stack_case;
	uint16_t rule = UNWIND_RULE_NONE;
	enum reason reason = find_rule(walk, pc, &rule);

	walk->doubt = reason;
	if (reason) {
		walk->reason = reason;
		if (unwind_step_linked(&walk->regs, context))
			return false;
		walk->reason = REASON_NONE;
		return walk->regs.pc;
	}
	if (rule == UNWIND_RULE_OUTERMOST) {
		walk->reason = REASON_NONE;
		return false;
	}
	if (rule >> 14 == UNWIND_KIND_ESCAPE)
		reason = step_escape(walk, rule & 0x3fff);
	else
		reason = unwind_step_rule(&walk->regs, rule, context);
	walk->reason = reason ? reason : REASON_NO_MAPPING; /* the latter only if the return address is 0 */
	return !reason && walk->regs.pc;
}

static void walk_all(struct walk *walk, struct stack_replay *replay)
{
	for (;;) {
		uint64_t frame = walk->regs.pc, pc = frame - !walk->regs.exact;

		if (replay->count == SAMPLE_MAX_USER_FRAMES) {
			walk->reason = REASON_DEPTH;
			break;
		}
		walk->mapping = stack_case_mapping(walk->stack_case, pc);
		if (!walk->mapping) {
			walk->reason = walk->doubt ? walk->doubt : REASON_NO_MAPPING;
			if (walk->doubt || frame >> 63)
				break; /* what a frame pointer led to is no frame */
		}
		replay->frames[replay->count++] = frame;
		if (!walk->mapping || !advance(walk, pc))
			break;
	}
	replay->reason = walk->reason;
}

static void walk_free(struct walk *walk)
{
	for (uint32_t i = 0; i < STACK_CASE_MAX_IMAGES; i++) {
		unwind_table_free(walk->sources[i].table);
		image_close(walk->sources[i].image);
	}
	for (uint32_t i = 0; i < MAX_PAGES; i++)
		if (walk->pages[i].bytes)
			munmap((void *)(uintptr_t)walk->pages[i].bytes, walk->pages[i].size);
	free(walk->chunk);
	free(walk);
}

int stack_replay_run(const struct stack_case *stack_case, struct stack_replay *ret_replay)
{
	struct walk *walk = calloc(1, sizeof(*walk));
	int error;

	if (!walk)
		return -ENOMEM;
	walk->stack_case = stack_case;
	walk->regs.pc = stack_case->pc;
	walk->regs.exact = 1;
	memcpy(walk->regs.reg, stack_case->reg, sizeof(walk->regs.reg));
	walk->chunk = calloc(1, UNWIND_CHUNK_BYTES);
	if (!walk->chunk)
		walk->error = -ENOMEM;
	for (uint32_t i = 0; i < stack_case->image_count && !walk->error; i++)
		walk->error = open_source(walk, i);
	ret_replay->count = 0;
	if (!walk->error)
		walk_all(walk, ret_replay);
	error = walk->error;
	walk_free(walk);
	return error;
}

int stack_replay_compare(const struct stack_case *stack_case, const struct stack_replay *replay)
{
	uint32_t common = replay->count < stack_case->frame_count ? replay->count : stack_case->frame_count;

	for (uint32_t i = 0; i < common; i++)
		if (replay->frames[i] != stack_case->frames[i])
			return (int)i;
	if (replay->count == SAMPLE_MAX_USER_FRAMES && stack_case->frame_count >= common &&
	    replay->reason == REASON_DEPTH)
		return -1;
	return replay->count == stack_case->frame_count && replay->reason == stack_case->ends ? -1 : (int)common;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Reads symbols of functions and the targets of direct calls as raw bytes. */
#include "symbolizer/unwind_starts.h"

#include "symbolizer/x86.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

#define BUDGET (32U << 20)
#define CALLS_AROUND (1U << 20) /* bytes of text on either side in which calls are looked for */
#define CALLS_BYTES 16384       /* a shorter stretch of a big file is a function or two of hand-written code */
#define SMALL_TEXT 262144
#define CALL_BYTES 6           /* the longer of a call and of a lea without its prefix */
#define LONG_FUNCTION 32768     /* a start further back is of no use: a window holds little more */
#define BEFORE_BYTES 4096       /* where no symbol tells, paths are followed from so much earlier */
#define MAX_STARTS (1U << 17)

static void read_table(struct unwind_starts *starts, const char *name)
{
	const struct image_section *section = image_find(starts->image, name);
	const struct image_section *sections;
	size_t size, count = image_sections(starts->image, &sections);

	if (starts->symbol_count || !section || section->type == SHT_NOBITS || section->link >= count ||
	    image_bytes(starts->image, section, &starts->symbols, &size) < 0 ||
	    image_bytes(starts->image, &sections[section->link], &starts->names, &starts->names_size) < 0)
		return;
	starts->symbol_count = size / sizeof(Elf64_Sym);
}

/* "mov %rsp,%rdi": what begins so is handed the arguments on the stack, as glibc's dynamic loader is. */
static bool takes_stack(struct image *image, uint64_t vaddr)
{
	static const uint8_t mov_rsp_rdi[] = { 0x48, 0x89, 0xe7 };
	const uint8_t *code = image_at(image, vaddr, sizeof(mov_rsp_rdi));

	return code && !memcmp(code, mov_rsp_rdi, sizeof(mov_rsp_rdi));
}

/* A library's header names its first byte of text where it has no entry: only programs begin there, and their loader. */
static bool is_program(struct image *image)
{
	struct symbolizer_image description;

	if (image_find(image, ".interp"))
		return true;
	image_describe(image, &description);
	return description.type == ET_EXEC || takes_stack(image, image_entry(image));
}

void unwind_starts_init(struct unwind_starts *starts, struct image *image)
{
	*starts = (struct unwind_starts){ .image = image, .budget = BUDGET };
	read_table(starts, ".symtab");
	starts->complete = starts->symbol_count;
	read_table(starts, ".dynsym");
	if (is_program(image))
		starts->root = image_entry(image);
}

void unwind_starts_done(struct unwind_starts *starts)
{
	free(starts->sure.at);
	free(starts->likely.at);
}

/* What gcc moves out of a function keeps its frame and a part of its name. */
static bool is_cold_part(const struct unwind_starts *starts, uint32_t name)
{
	const char *text = (const char *)starts->names + name;
	size_t length = name < starts->names_size ? strnlen(text, starts->names_size - name) : 0;

	return length > 5 && length < starts->names_size - name && !memcmp(text + length - 5, ".cold", 5);
}

/* Labels that assembly left local may lie inside a function. */
static bool is_function(const struct unwind_starts *starts, const Elf64_Sym *symbol)
{
	unsigned int type = ELF64_ST_TYPE(symbol->st_info);

	if (symbol->st_shndx == SHN_UNDEF || symbol->st_shndx >= SHN_LORESERVE)
		return false;
	if (type == STT_FUNC || type == STT_GNU_IFUNC)
		return !is_cold_part(starts, symbol->st_name);
	return type == STT_NOTYPE && ELF64_ST_BIND(symbol->st_info) != STB_LOCAL;
}

static bool spend(struct unwind_starts *starts, uint64_t amount)
{
	if (amount > starts->budget)
		return false;
	starts->budget -= amount;
	return true;
}

static void add(const struct unwind_starts *starts, struct unwind_start_list *list, uint64_t vaddr)
{
	size_t room = list->room ? list->room * 2 : 64;
	uint64_t *bigger;

	if (vaddr < starts->low || vaddr >= starts->high)
		return;
	if (list->count == list->room) {
		bigger = room <= MAX_STARTS ? reallocarray(list->at, room, sizeof(*bigger)) : NULL;
		if (!bigger)
			return;
		list->at = bigger;
		list->room = room;
	}
	list->at[list->count++] = vaddr;
}

static void add_symbols(struct unwind_starts *starts)
{
	Elf64_Sym symbol;

	if (!spend(starts, starts->symbol_count))
		return;
	for (size_t i = 0; i < starts->symbol_count; i++) {
		memcpy(&symbol, starts->symbols + i * sizeof(symbol), sizeof(symbol));
		if (symbol.st_value >= starts->low && symbol.st_value < starts->high && is_function(starts, &symbol))
			add(starts, &starts->sure, symbol.st_value);
	}
}

/* Where the 32 bits at `at`, relative to their end, lead. */
static uint64_t relative_target(uint64_t vaddr, const uint8_t *at)
{
	int32_t relative;

	memcpy(&relative, at, sizeof(relative));
	return vaddr + sizeof(relative) + (uint64_t)(int64_t)relative;
}

/* lea of an address of text: a function's that is called by pointer, if it looks like one; else some table's. */
static void add_pointer(struct unwind_starts *starts, uint64_t vaddr)
{
	const uint8_t *code;

	if (vaddr < starts->low || vaddr >= starts->high || starts->high - vaddr < 4)
		return;
	code = image_at(starts->image, vaddr, 4);
	if (code && x86_begins_function(code, 4))
		add(starts, &starts->likely, vaddr);
}

/* Every e8 whose operand leads here is taken for a call: others hit a stretch of text by rare chance only. */
static void add_calls(struct unwind_starts *starts, const struct symbolizer_segment *segment)
{
	uint64_t from = segment->vaddr, end = segment->vaddr + segment->filesz;
	const uint8_t *code;

	if (starts->low > CALLS_AROUND && from < starts->low - CALLS_AROUND)
		from = starts->low - CALLS_AROUND;
	if (end > starts->high && end - starts->high > CALLS_AROUND)
		end = starts->high + CALLS_AROUND;
	code = from < end && end - from >= CALL_BYTES ? image_at(starts->image, from, end - from) : NULL;
	if (!code || !spend(starts, end - from))
		return;
	for (uint64_t at = 0; at <= end - from - CALL_BYTES; at++) {
		if (code[at] == 0xe8)
			add(starts, &starts->likely, relative_target(from + at + 1, code + at + 1));
		else if (code[at] == 0x8d && (code[at + 1] & 0xc7) == 5)
			add_pointer(starts, relative_target(from + at + 2, code + at + 2));
	}
}

static int compare(const void *left, const void *right)
{
	const uint64_t *a = left, *b = right;

	return *a < *b ? -1 : *a > *b;
}

static void sort(struct unwind_start_list *list)
{
	if (list->count)
		qsort(list->at, list->count, sizeof(*list->at), compare);
}

void unwind_starts_load(struct unwind_starts *starts, uint64_t low, uint64_t high, bool at_low)
{
	const struct symbolizer_segment *segments;
	size_t segment_count = image_segments(starts->image, &segments);

	if (starts->high == high && starts->low == low)
		return;
	starts->low = low;
	starts->high = high;
	starts->sure.count = starts->likely.count = 0;
	if (at_low)
		add(starts, &starts->sure, low);
	add(starts, &starts->sure, starts->root);
	add_symbols(starts);
	for (size_t i = 0; i < segment_count && !starts->complete; i++)
		if (segments[i].flags & PF_X && (high - low >= CALLS_BYTES || segments[i].filesz <= SMALL_TEXT))
			add_calls(starts, &segments[i]);
	sort(&starts->sure);
	sort(&starts->likely);
}

/* How many lie below vaddr. */
static size_t count_below(const struct unwind_start_list *list, uint64_t vaddr)
{
	size_t low = 0, high = list->count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (list->at[middle] < vaddr)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

size_t unwind_starts_between(const struct unwind_start_list *list, uint64_t low, uint64_t high,
			     const uint64_t **ret_starts)
{
	size_t first = count_below(list, low);

	*ret_starts = list->at + first;
	return count_below(list, high) - first;
}

uint64_t unwind_starts_before(const struct unwind_starts *starts, uint64_t vaddr)
{
	size_t below = count_below(&starts->sure, vaddr + 1);
	uint64_t best = below ? starts->sure.at[below - 1] : starts->low;

	if (vaddr - best <= LONG_FUNCTION && (below || starts->complete))
		return best;
	if (starts->complete)
		return vaddr;
	return vaddr - starts->low > BEFORE_BYTES ? vaddr - BEFORE_BYTES : starts->low;
}

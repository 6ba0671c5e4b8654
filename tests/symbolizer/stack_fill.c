/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The second half of tests/data/stacks/record: takes a stack case whose images are paths without parts, puts in what
 * an unwind reads of them, and says how the unwinder fares with the result.
 *
 *   stack_fill FROM TO [known]      `known`: where the unwinder falls short, the case says so
 */
#include "base/arena.h"
#include "base/buf.h"
#include "base/clean.h"
#include "base/file.h"
#include "stack_replay.h"
#include "symbolizer/stack_extract.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#define ADDRESSES (2 * STACK_CASE_MAX_FRAMES)

/* Where frames lie in an image: as they are and as return addresses are looked up. */
static size_t addresses_in(const struct stack_case *stack_case, uint32_t image, uint64_t *ret_vaddrs)
{
	size_t count = 0;

	for (uint32_t i = 0; i < stack_case->frame_count; i++) {
		for (uint64_t back = 0; back < 2; back++) {
			uint64_t pc = stack_case->frames[i] - back, vaddr;
			const struct stack_mapping *mapping = stack_case_mapping(stack_case, pc);
			bool known = !mapping || mapping->image != image || (!i && back);

			vaddr = known ? 0 : pc - mapping->bias;
			for (size_t k = 0; k < count && !known; k++)
				known = ret_vaddrs[k] == vaddr;
			if (!known)
				ret_vaddrs[count++] = vaddr;
		}
	}
	return count;
}

static int fill_image(const struct stack_case *stack_case, uint32_t index, struct arena *arena,
		      struct stack_image *to)
{
	static uint64_t vaddrs[ADDRESSES];
	const char *slash = strrchr(to->name, '/');
	auto_fd int fd = open(to->name, O_RDONLY | O_CLOEXEC);
	struct image *image; /* stays open: the parts borrow from it */
	int error = fd < 0 ? -errno : image_open(fd, &image);

	if (!error)
		error = stack_extract(image, vaddrs, addresses_in(stack_case, index, vaddrs), arena, to);
	if (error)
		fprintf(stderr, "%s: %s\n", to->name, strerror(-error));
	to->name = slash ? slash + 1 : to->name;
	return error;
}

static void judge(struct stack_case *stack_case, bool known)
{
	static struct stack_replay replay;
	int error = stack_replay_run(stack_case, &replay), differs;

	differs = error ? 0 : stack_replay_compare(stack_case, &replay);
	if (differs < 0) {
		printf("agrees: %u frames, ends %s\n", replay.count, stack_case_reason(replay.reason));
		return;
	}
	printf("differs at frame %d of %u (the oracle: %u, %s): %s\n", differs, replay.count, stack_case->frame_count,
	       stack_case_reason(stack_case->ends), error ? strerror(-error) : stack_case_reason(replay.reason));
	for (uint32_t i = differs > 2 ? (uint32_t)differs - 2 : 0; i < (uint32_t)differs + 2; i++)
		printf("  %u: %" PRIx64 " oracle %" PRIx64 "\n", i, i < replay.count ? replay.frames[i] : 0,
		       i < stack_case->frame_count ? stack_case->frames[i] : 0);
	if (known && !error && (uint32_t)differs == replay.count) {
		stack_case->has_shortfall = true;
		stack_case->short_frames = replay.count;
		stack_case->short_reason = replay.reason;
	}
}

static int run(const char *from, const char *to, bool known)
{
	auto_buf struct buf text = { 0 }, out = { 0 };
	struct stack_image images[STACK_CASE_MAX_IMAGES];
	struct arena *arena = arena_new(0);
	struct stack_case *stack_case, *again;
	uint32_t line = 0;
	int error = file_read(AT_FDCWD, from, STACK_CASE_MAX_BYTES, &text);

	if (!error)
		error = stack_case_read(text.data, text.length, &stack_case, &line);
	if (error) {
		fprintf(stderr, "%s:%u: %s\n", from, line, strerror(-error));
		return error;
	}
	for (uint32_t i = 0; i < stack_case->image_count && !error; i++) {
		images[i] = stack_case->images[i];
		if (!images[i].part_count)
			error = fill_image(stack_case, i, arena, &images[i]);
	}
	if (error)
		return error;
	stack_case->images = images;
	stack_case_write(stack_case, &out);
	if (stack_case_read(out.data, out.length, &again, &line))
		return -EINVAL;
	judge(again, known);
	buf_clear(&out);
	stack_case_write(again, &out);
	auto_file FILE *file = fopen(to, "w");
	if (!file || fwrite(out.data, 1, out.length, file) != out.length)
		return -errno;
	stack_case_free(again);
	stack_case_free(stack_case);
	arena_free(arena);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 3 || argc > 4) {
		fprintf(stderr, "usage: %s FROM TO [known]\n", argv[0]);
		return 2;
	}
	return run(argv[1], argv[2], argc == 4) ? 1 : 0;
}

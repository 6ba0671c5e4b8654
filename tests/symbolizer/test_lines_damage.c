/* SPDX-License-Identifier: Apache-2.0 */
/* Programs of real compilers with cut sections and random damage: no answer may come from outside the file. */
#include "toolchain.h"

#include "symbolizer/lines.h"

#include <elf.h>

static const char source[] =
	"template <class T> static inline T twice(T x) { volatile T y = x; return y + y; }\n"
	"namespace deep { __attribute__((noinline)) int work(int x) { return twice(x) + twice((long)x); } }\n"
	"int main(int argc, char **) { return deep::work(argc); }\n";

struct program {
	uint8_t *good, *copy;
	size_t size, text, text_size;
	size_t debug[32], debug_size[32], headers[32], count; /* of sections .debug_* */
};

static void load_program(struct program *program, const char *compiler)
{
	const struct image_section *sections;
	struct image *image;
	char path[128];
	FILE *file;

	*program = (struct program){ .good = malloc(1 << 20) };
	write_file("damage.cc", source);
	assert_int_equal(run("%s -O2 damage.cc -o damage", compiler), 0);
	snprintf(path, sizeof(path), "%s/damage", toolchain_folder);
	file = fopen(path, "r");
	program->size = fread(program->good, 1, 1 << 20, file);
	fclose(file);
	program->copy = malloc(program->size); /* exactly as long, so that the sanitizer knows the end */
	image = open_image("damage");
	for (size_t at = 0, count = image_sections(image, &sections); at < count; at++) {
		if (strncmp(sections[at].name, ".debug_", 7))
			continue;
		program->debug[program->count] = sections[at].offset;
		program->debug_size[program->count] = sections[at].size;
		program->headers[program->count++] = ((Elf64_Ehdr *)program->good)->e_shoff + at * sizeof(Elf64_Shdr);
	}
	program->text = image_find(image, ".text")->vaddr;
	program->text_size = image_find(image, ".text")->size;
	image_close(image);
	assert_true(program->count >= 4);
}

static void unload_program(struct program *program)
{
	free(program->good);
	free(program->copy);
}

/* Asks for all addresses; touches every string, which the sanitizer watches. A sum that damage changes. */
static uint64_t ask_all(const struct program *program)
{
	struct lines_call calls[8];
	struct lines *lines = NULL;
	struct image *image;
	uint64_t sum = 0;

	if (image_open_memory(program->copy, program->size, &image))
		return 0;
	if (!lines_new(image, NULL, &lines)) {
		for (size_t at = 0; at < program->text_size; at += 3) {
			int count = lines_find(lines, program->text + at, calls, 8);

			assert_true(count >= 0 && count <= 8);
			for (int i = 0; i < count; i++) {
				sum = sum * 31 + calls[i].line + calls[i].start_line + strlen(calls[i].file);
				sum += calls[i].name ? strlen(calls[i].name) : 0;
				sum += calls[i].linkage_name ? strlen(calls[i].linkage_name) : 0;
			}
		}
		lines_free(lines);
	}
	image_close(image);
	return sum;
}

static const char *const damaged[] = { "g++ -gdwarf-5", "g++ -gdwarf-4", "clang++-14 -gdwarf-5", "g++ -g -gz=zlib" };

static void test_cut_sections(void **state)
{
	(void)state;
	need("clang++-14");
	for (size_t compiler = 0; compiler < 4; compiler++) {
		struct program program;
		size_t changed = 0;
		uint64_t whole;

		load_program(&program, damaged[compiler]);
		memcpy(program.copy, program.good, program.size);
		whole = ask_all(&program);
		assert_true(whole != 0);
		for (size_t section = 0; section < program.count; section++)
			for (size_t part = 0; part < 16; part++) {
				Elf64_Shdr *header = (void *)(program.copy + program.headers[section]);

				memcpy(program.copy, program.good, program.size);
				header->sh_size = header->sh_size * part / 16;
				changed += ask_all(&program) != whole;
			}
		assert_true(changed > 16);
		unload_program(&program);
	}
}

static uint32_t random_next(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

static void test_random_damage(void **state)
{
	uint32_t seed = 20;

	(void)state;
	need("clang++-14");
	for (size_t compiler = 0; compiler < 4; compiler++) {
		struct program program;
		size_t changed = 0, rounds = 0;
		uint64_t whole;
		double slowest = 0;

		load_program(&program, damaged[compiler]);
		memcpy(program.copy, program.good, program.size);
		whole = ask_all(&program);
		for (double end = now_s() + 1.5; now_s() < end; rounds++) {
			double start = now_s();

			memcpy(program.copy, program.good, program.size);
			for (uint32_t flips = 1 + random_next(&seed) % 12; flips; flips--) {
				size_t section = random_next(&seed) % program.count;

				program.copy[program.debug[section] + random_next(&seed) % program.debug_size[section]] =
					(uint8_t)(random_next(&seed) % 3 ? random_next(&seed) : 0xff);
			}
			changed += ask_all(&program) != whole;
			if (now_s() - start > slowest)
				slowest = now_s() - start;
		}
		print_message("  %s: %zu rounds, %zu answered otherwise, slowest %.1f ms\n", damaged[compiler], rounds, changed,
			      slowest * 1e3);
		assert_true(changed > 10);
		assert_true(slowest < 1);
		unload_program(&program);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_cut_sections), cmocka_unit_test(test_random_damage) };

	return cmocka_run_group_tests(tests, toolchain_setup, toolchain_teardown);
}

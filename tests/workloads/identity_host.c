/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls libraries of identity.c through a function of the same letter, so that a stack tells twice whose it is.
 * identity_host churn SECONDS A-SECOND LIBRARY…  opens, calls and closes them by turns: recycled addresses
 *               move  SECONDS A-SECOND LIBRARY…  moves their text by mremap, each to where another one's was
 *               under SECONDS A-SECOND LIBRARY…  the same, and the work is done 40 frames behind the call that they make
 *               pids  SECONDS ROUNDS PROGRAM…    starts them by turns, all under one pid, which must be free
 *               files SECONDS COUNT FOLDER       maps and calls so many files, each made, unmapped and removed at once
 *               big   SECONDS MAPPINGS           forks children that work in big_child, from a process so large
 * The name of a library is libidentity_LETTER.so. Says how often, and what CPU time it and its children took.
 */
#define _GNU_SOURCE
#include "split_work.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LIBRARIES 6
#define TURNS 600 /* about half a millisecond */

typedef uint64_t (*back_fn)(uint64_t x);
typedef uint64_t (*enter_fn)(uint64_t x, unsigned turns, back_fn back);

static back_fn back; /* where the work is done, NULL: in the library */

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double used(int who)
{
	struct rusage usage;

	getrusage(who, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static int tell(unsigned long count)
{
	printf("{\"count\": %lu, \"cpu\": %.3f}\n", count, used(RUSAGE_SELF) + used(RUSAGE_CHILDREN));
	return 0;
}

#define VIA(letter)                                                                                           \
	__attribute__((noipa)) static uint64_t via_##letter(enter_fn enter, uint64_t x)                    \
	{                                                                                                     \
		x = enter(x, TURNS, back);                                                                    \
		__asm__ volatile("" : "+r"(x));                                                               \
		return x + 1;                                                                                 \
	}
VIA(a)
VIA(b)
VIA(c)
VIA(d)
VIA(e)
VIA(f)
static uint64_t (*const via[])(enter_fn enter, uint64_t x) = { via_a, via_b, via_c, via_d, via_e, via_f };

static enter_fn find_enter(void *library, const char *path)
{
	char name[] = "enter_a";

	name[6] = path[strlen(path) - 4];
	return (enter_fn)dlsym(library, name);
}

static uint64_t call(const char *path, enter_fn enter, uint64_t x)
{
	return via[path[strlen(path) - 4] - 'a'](enter, x);
}

static int churn(double end, double rate, int count, char **paths)
{
	double due = seconds();
	unsigned long turns = 0;
	uint64_t x = 1;

	for (; seconds() < end; turns++) {
		const char *path = paths[turns % (unsigned long)count];
		void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);

		if (!library)
			return 1;
		x = call(path, find_enter(library, path), x);
		dlclose(library);
		due += 1 / rate;
		while (seconds() < due)
			usleep(100);
	}
	return x == 7 ? 1 : tell(turns);
}

struct text { /* of a library */
	const char *path;
	char *at;
	size_t bytes, enter; /* enter: offset in the text */
};

static int find_text(struct dl_phdr_info *info, size_t size, void *data)
{
	struct text *text = data;

	(void)size;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *header = &info->dlpi_phdr[i];
		char *at = (char *)(info->dlpi_addr + (header->p_vaddr & ~4095UL));

		if (header->p_type != PT_LOAD || !(header->p_flags & PF_X) ||
		    (size_t)(text->at - at) >= header->p_memsz)
			continue;
		text->enter = (size_t)(text->at - at);
		text->at = at;
		text->bytes = (header->p_memsz + (header->p_vaddr & 4095) + 4095) & ~4095UL;
		return 1;
	}
	return 0;
}

__attribute__((noipa)) static uint64_t descend_by(uint64_t x, unsigned frames)
{
	if (frames)
		x = descend_by(x, frames - 1);
	else
		for (unsigned turns = TURNS; turns; turns--)
			SPLIT_WORK(x, 500);
	__asm__ volatile("" : "+r"(x));
	return x + 1;
}

static uint64_t descend(uint64_t x)
{
	return descend_by(x, 40);
}

static int move(double end, double rate, int count, char **paths)
{
	struct text texts[LIBRARIES] = { 0 };
	char *places = mmap(NULL, (LIBRARIES + 1) << 16, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned long turns = 0;
	uint64_t x = 1;

	for (int i = 0; i < count; i++) {
		void *library = dlopen(paths[i], RTLD_NOW | RTLD_LOCAL);

		texts[i].path = paths[i];
		texts[i].at = library ? (char *)find_enter(library, paths[i]) : NULL;
		if (!texts[i].at || !dl_iterate_phdr(find_text, &texts[i]))
			return 1;
	}
	for (; seconds() < end; turns++) {
		struct text *text = &texts[turns % (unsigned long)count];
		char *to = places + ((turns % (unsigned long)(count + 1)) << 16);
		double until = seconds() + 1 / rate;

		if (mremap(text->at, text->bytes, text->bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to) != to)
			return 1;
		text->at = to;
		while (seconds() < until)
			for (int i = 0; i < count; i++)
				x = call(texts[i].path, (enter_fn)(texts[i].at + texts[i].enter), x);
	}
	tell(turns);
	fflush(stdout);
	_exit(x == 7); /* what a library would do at the end has moved */
}

static int pids(double end, unsigned long rounds, int count, char **paths)
{
	pid_t pid = 0;
	unsigned long turns = 0;

	for (; turns < rounds || seconds() < end; turns++) {
		struct clone_args how = { .exit_signal = SIGCHLD, .set_tid = pid ? (uint64_t)&pid : 0,
					  .set_tid_size = pid != 0 };
		char *arguments[] = { paths[turns % (unsigned long)count], NULL };
		pid_t child = (pid_t)syscall(SYS_clone3, &how, sizeof(how));
		int status;

		if (!child) {
			execv(arguments[0], arguments);
			_exit(127);
		}
		if (child < 0 || waitpid(child, &status, 0) != child || status)
			return 1;
		pid = child;
	}
	return tell(turns);
}

__attribute__((noipa)) static void big_child(void)
{
	uint64_t x = 1;

	SPLIT_WORK(x, 1000000);
	_exit(x == 7);
}

static int big(double end, unsigned long mappings)
{
	int fd = open("/proc/self/exe", O_RDONLY);
	unsigned long turns = 0;

	/* Two that touch would be one mapping if their offsets went on, so all have the same. */
	for (unsigned long i = 0; i < mappings; i++)
		if (mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) == MAP_FAILED)
			return 1;
	for (; seconds() < end; turns++) {
		pid_t child = fork();
		int status;

		if (!child)
			big_child();
		if (child < 0 || waitpid(child, &status, 0) != child || status)
			return 1;
	}
	return tell(turns);
}

/* Little more than an ELF header, and a function that returns; the number makes each another file. */
static bool make_file(const char *path, unsigned long number)
{
	unsigned char bytes[4096] = { 0 };
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0700), self = open("/proc/self/exe", O_RDONLY);
	bool good = fd >= 0 && self >= 0 && read(self, bytes, 64) == 64;

	memset(bytes + 32, 0, 16); /* no tables */
	memset(bytes + 54, 0, 10);
	memcpy(bytes + 64, &number, sizeof(number));
	bytes[128] = 0xc3;
	good = good && write(fd, bytes, sizeof(bytes)) == sizeof(bytes);
	close(fd);
	close(self);
	return good;
}

static int files(double end, unsigned long count, const char *folder)
{
	unsigned long turns = 0;
	char path[256];

	for (; turns < count || seconds() < end; turns++) {
		char *at;
		int fd;

		snprintf(path, sizeof(path), "%s/file%lu", folder, turns);
		if (!make_file(path, turns) || (fd = open(path, O_RDONLY)) < 0)
			return 1;
		at = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
		if (at == MAP_FAILED)
			return 1;
		((void (*)(void))(at + 128))();
		munmap(at, 4096);
		close(fd);
		unlink(path);
	}
	return tell(turns);
}

int main(int argc, char **argv)
{
	double end = seconds() + (argc > 3 ? atof(argv[2]) : 0);
	int count = argc - 4;

	if (argc < 4 || count > LIBRARIES)
		return 2;
	if (!strcmp(argv[1], "churn"))
		return churn(end, atof(argv[3]), count, argv + 4);
	if (!strcmp(argv[1], "move"))
		return move(end, atof(argv[3]), count, argv + 4);
	if (!strcmp(argv[1], "under")) {
		back = descend;
		return move(end, atof(argv[3]), count, argv + 4);
	}
	if (!strcmp(argv[1], "pids"))
		return pids(end, strtoul(argv[3], NULL, 10), count, argv + 4);
	if (!strcmp(argv[1], "files") && argc == 5)
		return files(end, strtoul(argv[3], NULL, 10), argv[4]);
	return big(end, strtoul(argv[3], NULL, 10));
}

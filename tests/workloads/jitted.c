/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes two functions at run time, alpha and beta, spends 3/4 and 1/4 of the time in them and says where it told
 * their names: jitted MODE SECONDS [FOLDER], MODE one of
 *   jitdump   FOLDER/jit-PID.dump, mapped as perf wants it      map   /tmp/perf-PID.map
 *   late      the same, a second after the code runs            fifo  a FIFO in its place
 *   huge      200 MB of it, the names first                     churn written anew all the time
 *   none      nothing
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

typedef void function(uint64_t rounds);

#define CODE_BYTES 64

static char map_path[128];
static unsigned char *code;

/* push rbp; mov rbp,rsp; 1: dec rdi; jnz 1b; pop rbp; ret */
static const unsigned char loop[] = { 0x55, 0x48, 0x89, 0xe5, 0x48, 0xff, 0xcf, 0x75, 0xfb, 0x5d, 0xc3 };

static double cpu_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void make_code(void)
{
	code = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memcpy(code, loop, sizeof(loop));
	memcpy(code + CODE_BYTES, loop, sizeof(loop));
	mprotect(code, 4096, PROT_READ | PROT_EXEC);
}

static void dump_function(FILE *file, const char *name, const unsigned char *at)
{
	struct {
		uint32_t id, size;
		uint64_t time;
		uint32_t pid, tid;
		uint64_t vma, address, bytes, index;
	} load = { 0, (uint32_t)(56 + strlen(name) + 1 + CODE_BYTES), 1, (uint32_t)getpid(), (uint32_t)getpid(),
		   (uint64_t)at, (uint64_t)at, CODE_BYTES, (uint64_t)at };

	fwrite(&load, sizeof(load), 1, file);
	fwrite(name, strlen(name) + 1, 1, file);
	fwrite(at, CODE_BYTES, 1, file);
}

static void write_dump(const char *folder)
{
	struct {
		uint32_t magic, version, size, machine, pad, pid;
		uint64_t time, flags;
	} header = { 0x4a695444, 1, 40, 62, 0, (uint32_t)getpid(), 1, 0 };
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/jit-%d.dump", folder, getpid());
	file = fopen(path, "w+");
	fwrite(&header, sizeof(header), 1, file);
	dump_function(file, "dumped_alpha", code);
	dump_function(file, "dumped_beta", code + CODE_BYTES);
	fflush(file);
	/* the mark by which the kernel tells profilers about it */
	mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fileno(file), 0);
}

static void write_map(void)
{
	FILE *file = fopen(map_path, "w");

	fprintf(file, "%lx %x mapped_alpha\nthis is no line\n%lx %x mapped_beta with a blank;and more\n",
		(unsigned long)code, CODE_BYTES, (unsigned long)code + CODE_BYTES, CODE_BYTES);
	fclose(file);
}

static void write_huge(void)
{
	FILE *file;

	write_map();
	file = fopen(map_path, "a");
	for (unsigned int at = 0; at < (200 << 20) / 1000; at++)
		fprintf(file, "%x 10 filler_%u_%01000d\n", 0x10000000 + at * 16, at, 0);
	fclose(file);
}

static void *churn(void *unused)
{
	for (unsigned int at = 0;; at++) {
		FILE *file = fopen(map_path, "w");

		for (unsigned int line = 0; line < at % 5000; line++)
			fprintf(file, "%x 10 other_%u\n", 0x10000000 + line * 16, line);
		fclose(file);
		write_map();
		usleep(500);
	}
	return unused;
}

/* Half-way through, so that addresses were asked for before there was an answer. */
static void *late(void *unused)
{
	sleep(1);
	write_map();
	return unused;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "none", *folder = argc > 3 ? argv[3] : "/tmp";
	double seconds = argc > 2 ? atof(argv[2]) : 2, begin, alpha = 0, beta = 0;
	pthread_t thread;

	snprintf(map_path, sizeof(map_path), "/tmp/perf-%d.map", getpid());
	make_code();
	if (!strcmp(mode, "jitdump"))
		write_dump(folder);
	else if (!strcmp(mode, "map"))
		write_map();
	else if (!strcmp(mode, "huge"))
		write_huge();
	else if (!strcmp(mode, "fifo"))
		mkfifo(map_path, 0600);
	else if (!strcmp(mode, "churn"))
		pthread_create(&thread, NULL, churn, NULL);
	else if (!strcmp(mode, "late"))
		pthread_create(&thread, NULL, late, NULL);
	while (alpha + beta < seconds) {
		begin = cpu_s();
		if (alpha <= 3 * beta) {
			((function *)code)(3000000);
			alpha += cpu_s() - begin;
		} else {
			((function *)(code + CODE_BYTES))(3000000);
			beta += cpu_s() - begin;
		}
	}
	unlink(map_path);
	printf("{\"alpha\": %.4f, \"beta\": %.4f}\n", alpha, beta);
	return 0;
}

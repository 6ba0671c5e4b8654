/* SPDX-License-Identifier: Apache-2.0 */
/* Locals that clean themselves up. Ownership leaves by steal_fd() or steal_ptr(). */
#ifndef BASE_CLEAN_H
#define BASE_CLEAN_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void clean_free(void *pointer)
{
	free(*(void **)pointer);
}
static inline void clean_fd(const int *fd)
{
	if (*fd >= 0)
		close(*fd);
}
static inline void clean_file(FILE **file)
{
	if (*file)
		fclose(*file);
}
static inline void clean_dir(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

#define auto_free __attribute__((cleanup(clean_free)))
#define auto_fd __attribute__((cleanup(clean_fd)))
#define auto_file __attribute__((cleanup(clean_file)))
#define auto_dir __attribute__((cleanup(clean_dir)))

static inline int steal_fd(int *fd)
{
	int stolen = *fd;

	*fd = -1;
	return stolen;
}
#define steal_ptr(pointer)                                                                                    \
	({                                                                                                    \
		__typeof__(pointer) stolen_ = (pointer);                                                      \
		(pointer) = NULL;                                                                             \
		stolen_;                                                                                      \
	})

#define array_size(array) (sizeof(array) / sizeof((array)[0]))

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* `wick replay FILE`: a stack case, walked again. */
#ifndef REPLAY_H
#define REPLAY_H

#include <stddef.h>

/* Prints both frame lists side by side. 0: they agree, 1: they part; -errno with a sentence in `error`. */
int replay_file(const char *path, char *error, size_t error_size);

#endif

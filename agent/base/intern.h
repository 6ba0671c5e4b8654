/* SPDX-License-Identifier: Apache-2.0 */
/* Strings stored once and named by small numbers; 0 is "". One thread at a time. */
#ifndef BASE_INTERN_H
#define BASE_INTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct intern;

struct intern *intern_new(size_t limit_bytes); /* of all strings together; 0: none */
void intern_free(struct intern *intern);       /* accepts NULL */
/* The string's number; UINT32_MAX when memory or the limit ran out. */
uint32_t intern_add(struct intern *intern, const char *string, size_t length);
const char *intern_get(const struct intern *intern, uint32_t id); /* stays valid until intern_sweep */
/* Drops all strings but those that `kept` says yes to; their numbers are given out again. 0 or -ENOMEM: none went. */
int intern_sweep(struct intern *intern, bool (*kept)(void *context, uint32_t id), void *context);
size_t intern_count(const struct intern *intern); /* numbers are below it */
size_t intern_bytes(const struct intern *intern);

#endif

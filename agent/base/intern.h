/* SPDX-License-Identifier: Apache-2.0 */
/* Strings stored once and named by small numbers; 0 is "". Append only, dies whole. One thread at a time. */
#ifndef BASE_INTERN_H
#define BASE_INTERN_H

#include <stddef.h>
#include <stdint.h>

struct intern;

struct intern *intern_new(size_t limit_bytes); /* of all strings together; 0: none */
void intern_free(struct intern *intern);       /* accepts NULL */
/* The string's number; UINT32_MAX when memory or the limit ran out. */
uint32_t intern_add(struct intern *intern, const char *string, size_t length);
const char *intern_get(const struct intern *intern, uint32_t id); /* stays valid as long as the table */
size_t intern_count(const struct intern *intern);
size_t intern_bytes(const struct intern *intern);

#endif

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Fixed-width integers on both sides of the kernel border. */
#ifndef ABI_TYPES_H
#define ABI_TYPES_H

#include <linux/types.h>

/* C11 spelling; both compilers have it, and neither needs <assert.h> for it. */
#define ABI_SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), #type " changed its size")
#define ABI_OFFSET(type, field, bytes) \
	_Static_assert(__builtin_offsetof(type, field) == (bytes), #type "." #field " moved")

#endif

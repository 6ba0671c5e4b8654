/* SPDX-License-Identifier: Apache-2.0 */
/* The middle of the table compiler: rules as the kernel side takes them. */
#ifndef SYMBOLIZER_UNWIND_RULE_H
#define SYMBOLIZER_UNWIND_RULE_H

#include "symbolizer/cfi.h"
#include "symbolizer/unwind_pages.h"

/* `follow`: callee-saved registers go with it (cfi_section.follow), so that every rule is an escape. */
uint16_t unwind_rule_encode(struct unwind_pages *pages, struct cfi_rule rule, bool follow);

#endif

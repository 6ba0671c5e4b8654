/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stage "drain": begins a turn of the kernel's block sets, waits until no handler writes to the old one, and hands out
 * every record of it. Keeps the accounts: taken == stored + lost + pending, at any moment, from any
 * thread.
 */
#ifndef DRAIN_H
#define DRAIN_H

#include "abi/sample.h"
#include "collector.h"
#include "loader.h"

#include <stdint.h>

struct drain;

struct drain_sample { /* borrowed for the call */
	const struct sample_key *key;
	const struct sample_value *value;
	const uint64_t *user, *kernel; /* leaf first, in the record too */
	uint32_t user_depth, kernel_depth; /* 0 where the stack is missing */
	enum reason user_reason; /* the key's, or STACK_MISSING */
};

/* Returns REASON_NONE when the sample was taken over, else why it is lost (its count goes to that reason). */
typedef enum reason (*drain_fn)(void *context, const struct drain_sample *sample);

int drain_new(struct loader *loader, struct drain **ret_drain);
void drain_free(struct drain *drain); /* accepts NULL */
/* Makes the other set the active one and waits for the handlers that still use the old one. ret_from_ns and
 * ret_to_ns: the span in which it was active. Between this and drain_collect the caller brings the process table
 * up to ret_to_ns. 0 or -errno. */
int drain_switch(struct drain *drain, uint64_t *ret_from_ns, uint64_t *ret_to_ns);
/* Hands out every record of the set that is no longer active; equal keys may have several. Their number or -errno. */
int drain_collect(struct drain *drain, drain_fn take, void *context);
/* One consistent reading of the accounts. After sampling stopped and both sets were collected pending is 0. */
void drain_accounting(struct drain *drain, struct view_accounting *ret_view);

#endif

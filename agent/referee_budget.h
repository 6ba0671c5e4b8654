/* SPDX-License-Identifier: Apache-2.0 */
/* What the referee may cost: CPU time that comes in steadily and is spent in pieces. Pure. */
#ifndef REFEREE_BUDGET_H
#define REFEREE_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

struct referee_budget { /* a second's worth can be saved up */
	uint64_t a_second_ns, since_ns;
	int64_t left_ns; /* less than 0: the last piece was larger than what was left */
};

void budget_init(struct referee_budget *budget, uint64_t a_second_ns, uint64_t now_ns);
bool budget_allows(struct referee_budget *budget, uint64_t now_ns);
void budget_spend(struct referee_budget *budget, uint64_t ns);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Part of "referee": takes what stacks have cost, says whether another one may. */
#include "referee_budget.h"

#include "base/clock.h"

#define MOST_NS (60 * NS_PER_S) /* that count: the product stays small */

void budget_init(struct referee_budget *budget, uint64_t a_second_ns, uint64_t now_ns)
{
	*budget = (struct referee_budget){ a_second_ns, now_ns, (int64_t)a_second_ns };
}

bool budget_allows(struct referee_budget *budget, uint64_t now_ns)
{
	uint64_t gone_ns = now_ns > budget->since_ns ? now_ns - budget->since_ns : 0;

	budget->since_ns += gone_ns;
	if (gone_ns > MOST_NS)
		gone_ns = MOST_NS;
	budget->left_ns += (int64_t)(gone_ns * budget->a_second_ns / NS_PER_S);
	if (budget->left_ns > (int64_t)budget->a_second_ns)
		budget->left_ns = (int64_t)budget->a_second_ns;
	return budget->left_ns > 0;
}

void budget_spend(struct referee_budget *budget, uint64_t ns)
{
	budget->left_ns -= (int64_t)(ns < NS_PER_S ? ns : NS_PER_S);
}

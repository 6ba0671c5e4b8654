/* SPDX-License-Identifier: Apache-2.0 */
/* A profile lies in its own arena, the struct itself included. */
#include "profile.h"

#include "base/arena.h"

void profile_free(struct profile *profile)
{
	if (profile)
		arena_free(profile->arena);
}

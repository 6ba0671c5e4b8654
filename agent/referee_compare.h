/* SPDX-License-Identifier: Apache-2.0 */
/* Two opinions on one stack, held against each other. Pure. */
#ifndef REFEREE_COMPARE_H
#define REFEREE_COMPARE_H

#include "abi/reason.h"

#include <stdbool.h>
#include <stdint.h>

struct referee_opinion {
	const uint64_t *frames; /* as in abi/sample.h; those walked may have a gap */
	uint32_t depth;
	uint32_t certain; /* libunwind's: as in struct referee_answer */
	enum reason reason; /* NONE: the last frame is the root */
};

enum referee_outcome {
	REFEREE_AGREE,    /* on every frame that both reached, as far as libunwind is certain */
	REFEREE_DISAGREE,
	REFEREE_SHORT,    /* the referee got no further than the interrupted frame: nothing to compare */
	REFEREE_OUTCOMES,
};

struct referee_verdict {
	enum referee_outcome outcome;
	uint32_t compared; /* up to this frame of those walked both are equal */
	bool root;         /* both reached it */
};

struct referee_verdict referee_compare(const struct referee_opinion *walked, const struct referee_opinion *judged);

#endif

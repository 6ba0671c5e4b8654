/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Part of agent/serve: /status, how well stacks are unwound, as plain text. Binaries, ELF addresses and reasons
 * only; the names are tenants' bytes and are cleaned.
 */
#include "serve_private.h"

#include "base/clean.h"
#include "query_build.h"
#include "referee_tally.h"

#include <stdlib.h>

#define MAX_LINES 50 /* of each list */

static const char *const reasons[] = {
#define REASON(id, label, sentence) label,
	REASON_LIST(REASON)
#undef REASON
};

static const char *const titles[TALLY_LISTS] = {
	[TALLY_UNFINISHED] = "Stacks that end before their root, by the last address reached",
	[TALLY_PARTED] = "Stacks that libunwind reads otherwise, by the last address both have",
	[TALLY_LEFT] = "Stacks that libunwind leaves before their root",
};

static void add_name(struct buf *out, const char *path)
{
	auto_buf struct buf clean = { 0 };

	query_clean_to(&clean, path);
	buf_add(out, clean.data, clean.length);
}

static void add_totals(struct referee_tally *tally, struct buf *out)
{
	struct tally_totals totals;
	uint64_t compared;

	tally_get(tally, &totals);
	compared = totals.outcomes[REFEREE_AGREE] + totals.outcomes[REFEREE_DISAGREE];
	buf_printf(out, "Stacks compared with libunwind: %llu, of which %llu agree and %llu reach the root in both; "
			"%llu more could not be compared.\n",
		   (unsigned long long)compared, (unsigned long long)totals.outcomes[REFEREE_AGREE],
		   (unsigned long long)totals.root, (unsigned long long)totals.outcomes[REFEREE_SHORT]);
}

static void add_binaries(struct referee_tally *tally, enum tally_by by, struct buf *out)
{
	auto_free struct tally_binary *binaries = calloc(MAX_LINES, sizeof(*binaries));
	size_t count = binaries ? tally_binaries(tally, by, binaries, MAX_LINES) : 0;

	buf_printf(out, "\nStacks compared, by %s\n     agree   disagree    to root  binary\n",
		   by == TALLY_PROGRAM ? "program" : "binary");
	for (size_t i = 0; i < count; i++) {
		buf_printf(out, "%10llu %10llu %10llu  ", (unsigned long long)binaries[i].agree,
			   (unsigned long long)binaries[i].disagree, (unsigned long long)binaries[i].root);
		add_name(out, binaries[i].path);
		buf_add_char(out, '\n');
	}
}

static void add_places(struct referee_tally *tally, enum tally_list list, struct buf *out)
{
	auto_free struct tally_place *places = calloc(MAX_LINES, sizeof(*places));
	size_t count = places ? tally_places(tally, list, places, MAX_LINES) : 0;

	buf_printf(out, "\n%s\n   samples  reason            address             binary\n", titles[list]);
	for (size_t i = 0; i < count; i++) {
		const struct tally_place *place = &places[i];

		buf_printf(out, "%10llu  %-16s  0x%-16llx  ", (unsigned long long)place->count, reasons[place->reason],
			   (unsigned long long)place->address);
		add_name(out, place->path);
		if (place->over)
			buf_printf(out, "  (%llu at least)", (unsigned long long)(place->count - place->over));
		buf_add_char(out, '\n');
	}
}

void serve_status(struct serve *serve, struct serve_answer *answer)
{
	struct referee_tally *tally = serve->sources.tally;

	answer->status = 200;
	answer->mime = "text/plain; charset=utf-8";
	buf_add_string(&answer->body, "How stacks are unwound, since the agent started.\n\n");
	if (!tally)
		return;
	add_totals(tally, &answer->body);
	for (int by = 0; by < TALLY_BYS; by++)
		add_binaries(tally, (enum tally_by)by, &answer->body);
	for (int list = 0; list < TALLY_LISTS; list++)
		add_places(tally, (enum tally_list)list, &answer->body);
}

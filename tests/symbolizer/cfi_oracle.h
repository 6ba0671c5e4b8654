/* SPDX-License-Identifier: Apache-2.0 */
/* What libdw says is in force at an address, in the words of rule_words.h. */
#ifndef TESTS_CFI_ORACLE_H
#define TESTS_CFI_ORACLE_H

#include "base/clean.h"
#include "cfi_oracle_places.h"

#include <stdlib.h>

/* Where the other callee-saved registers are, as rule_words.h says it. */
static void oracle_saved(Dwarf_Frame *frame, char *text)
{
	static const int numbers[] = { 3, 12, 13, 14, 15 };
	char place[40];

	text += sprintf(text, " saved");
	for (size_t i = 0; i < array_size(numbers); i++) {
		oracle_register(frame, numbers[i], INT_MAX, place);
		text += sprintf(text, " %d", strcmp(place, "same") ? -atoi(place + 3) / 8 : 0);
	}
}

static void oracle_describe(Dwarf_CFI *cfi, uint64_t vaddr, bool saved, char *text)
{
	char cfa[60], bp[40], ra[40], sp[40];
	Dwarf_Frame *frame = NULL;
	int rsp_offset;
	bool signal;

	strcpy(text, "none");
	if (dwarf_cfi_addrframe(cfi, vaddr, &frame))
		return;
	dwarf_frame_info(frame, NULL, NULL, &signal);
	strcpy(text, "unsupported");
	if (!oracle_register(frame, 16, INT_MAX, ra)) {
		strcpy(text, "outermost");
	} else if (oracle_cfa(frame, signal, cfa, &rsp_offset)) {
		oracle_register(frame, 6, rsp_offset, bp);
		if (oracle_register(frame, 7, INT_MAX, sp) && *sp == 'r')
			sprintf(cfa, "%s+0", sp);
		if (!strcmp(cfa, "signal"))
			strcpy(text, "signal");
		else if (!strncmp(ra, "cfa", 3) || *ra == 'r')
			sprintf(text, "%s bp %s ra %s", cfa, bp, ra + (*ra == 'r' ? 0 : 3));
		if (saved)
			oracle_saved(frame, text + strlen(text));
	}
	free(frame);
}

#endif

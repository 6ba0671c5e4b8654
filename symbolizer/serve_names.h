/* SPDX-License-Identifier: Apache-2.0 */
/* Names of addresses as packets of struct symbolizer_names, each of at most SYMBOLIZER_PACKET bytes. */
#ifndef SYMBOLIZER_SERVE_NAMES_H
#define SYMBOLIZER_SERVE_NAMES_H

#include "lookup.h"

#include <stdint.h>

/* Every address is in exactly one packet; the last packet says that no more follow. 0 or negative errno. */
int serve_names(int socket, struct lookup *lookup, uint32_t id, const uint64_t *addresses, uint32_t count);

#endif

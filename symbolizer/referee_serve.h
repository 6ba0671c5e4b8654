/* SPDX-License-Identifier: Apache-2.0 */
/* Serves the requests of referee_talk.h on `socket` until it is closed or nobody asks any more. */
#ifndef SYMBOLIZER_REFEREE_SERVE_H
#define SYMBOLIZER_REFEREE_SERVE_H

void referee_serve(int socket, int space); /* space: a descriptor of struct referee_mapping */

#endif

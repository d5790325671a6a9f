/* SPDX-License-Identifier: Apache-2.0 */
/* Output: what the programs here do about their standard descriptors. A result that could not be written is an error, and
 * never looks like success.
 *
 * Threading   The main thread, before others start and after they have ended.
 * Errors      output_close prints on stderr.
 */
#ifndef KVRING_TOOLS_OUTPUT_H
#define KVRING_TOOLS_OUTPUT_H

#include <stdbool.h>

/* Call it first. A descriptor from 0 to 2 that was closed at the start would become that of a file or a socket, and the
 * result would be written into it. It is opened on /dev/null, in the direction in which using it still fails.
 * Writing past the limit of file sizes (SIGXFSZ) fails, too, and ends nothing. */
void output_open(void);

/* Flushes stdout. False when something written there did not arrive; then "PROGRAM: ..." says so on stderr. */
bool output_close(const char *program);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Progress: how far a long command has come, on stderr. A bar on a terminal, else a line now and then.
 *
 * Threading   One thread.
 * Ownership   Borrows title.
 */
#ifndef KVRING_KVCTL_PROGRESS_H
#define KVRING_KVCTL_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
	const char *title;
	uint64_t total;  /* bytes of input; 0: unknown */
	uint64_t offset; /* where this run started */
	uint64_t start_us, shown_us;
	bool quiet, terminal;
};

void progress_init(struct progress *, const char *title, uint64_t total, uint64_t offset, bool quiet);
/* done: bytes of input up to here; records: in this run. Prints when it is time. */
void progress_update(struct progress *, uint64_t done, uint64_t records);
/* The last state, and the end of the line. */
void progress_finish(struct progress *, uint64_t done, uint64_t records);
/* The same for what is no transfer of records. share: 0 to 1, negative: unknown. */
void progress_show(struct progress *, double share, const char *text); /* when it is time */
void progress_end(struct progress *, double share, const char *text);
double progress_seconds(const struct progress *);

#endif

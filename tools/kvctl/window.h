/* SPDX-License-Identifier: Apache-2.0 */
/* Window: the records of an input that are worked on together; no key twice.
 *
 * import, compare and export go through their input window by window: read one, settle all of it, note how far.
 *
 * Threading   One thread.
 * Ownership   Owns the records in it, until the next fill or window_fini. Borrows the reader.
 * Errors      Those of records_next.
 * Invariants  N1 Keys in a window are distinct: a key that comes again starts the next one.
 */
#ifndef KVRING_KVCTL_WINDOW_H
#define KVRING_KVCTL_WINDOW_H

#include "tools/kvctl/records.h"

enum { WINDOW_SIZE_MAX = 64 * 1024 * 1024 }; /* bytes of keys and values, unless one record is larger */

/* Is told of a record that is wrong, with the text; true: go on behind it. */
typedef bool window_on_bad(void *arg, const char *text);

struct window {
	struct record *records;
	size_t count, max;
	struct record carried; /* read, but belongs to the next window */
	bool has_carried;
	uint32_t *slots; /* hash table: index of a record + 1 */
	size_t slot_count;
	window_on_bad *on_bad; /* NULL: a wrong record is an error */
	void *arg;
};

void window_init(struct window *, size_t record_max);
void window_fini(struct window *);
/* Drops what it held and reads on. 1 when it has records, 0 at the end of the input. */
RPC_OK int window_fill(struct window *, struct records *, struct rpc_error *error_out);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* State: how far an import or export has come, in a file, so that it can go on after it was stopped.
 *
 *     kvring-transfer 1
 *     input 50163761          bytes; another size is another input
 *     id 5f0c...              hex; operation ids derive from it, so that what is sent again cannot apply twice
 *     offset 1048576          of the input: everything before it is acknowledged
 *     line 18211              lines before it
 *     records 1024            before it
 *     output 734003           bytes of output that belong to them (export)
 *     time 1700000000000      Unix time in ms when the window behind the offset was begun; operation ids bear it
 *
 * Threading   One thread.
 * Ownership   Borrows path.
 * Errors      -EBADMSG with a text when the file is no such state or belongs to another input; -errno of the file
 *             system.
 * Invariants  T1 The file is whole, old or new: written beside and renamed.
 */
#ifndef KVRING_KVCTL_STATE_H
#define KVRING_KVCTL_STATE_H

#include <stdint.h>
#include "rpc/rpc.h"

struct state {
	uint64_t input_size;
	uint64_t id;
	uint64_t offset, line, record_count, output_size;
	uint64_t time_ms;
	bool resumed; /* the window behind the offset may have been sent before */
};

/* Reads path, or makes a new state when there is no such file. path NULL: always new, and state_save does nothing. */
RPC_OK int state_load(const char *path, uint64_t input_size, struct state *out, struct rpc_error *error_out);
RPC_OK int state_save(const char *path, const struct state *, struct rpc_error *error_out);
/* Operations sent from now on have never been sent before. Save the state before they are sent. */
void state_begin_window(struct state *);
/* A UUID version 7 that only this run and this record have. When the state is loaded later than nodes take attempts of an
 * operation (kvnode's retry-window-s), they would refuse those ids: the state then takes the time of the loading, and so
 * gives other ids. */
void state_operation_id(const struct state *, uint64_t record_end_offset, uint8_t id_out[RPC_OPERATION_ID_SIZE]);

#endif

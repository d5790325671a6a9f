/* SPDX-License-Identifier: Apache-2.0 */
/* Age: how long ago a request was sent, by the clock of the process that reads it.
 *
 * A request can wait long before it is read: in the sockets of a process that was stopped, or on a link that was down.
 * Its budget of time counts from when it was sent. Sender and receiver share no clock, so every request carries the
 * sender's (sent_us, counted from anywhere), and the receiver compares: the request that came fastest on a connection
 * shows how far the clocks are apart, and every other is older by what it took longer.
 *
 * The fastest of the last one to two minutes counts. Clocks that drift by 500 ppm thus make an error of 60 ms at most.
 * Before the first request of a connection there is nothing to compare with: see rpc/stall.h.
 *
 * Threading   Caller's memory, one thread at a time.
 * Errors      None.
 */
#ifndef KVRING_RPC_AGE_H
#define KVRING_RPC_AGE_H

#include <stdbool.h>
#include <stdint.h>

enum { RPC_AGE_WINDOW_US = 60 * 1000 * 1000 };

/* All zero: no request yet. */
struct rpc_age {
	uint64_t least[2]; /* smallest receiver's minus sender's clock, modulo 2^64: of this window and the last one */
	bool known[2];
	uint64_t window_end_us;
};

/* True: *age_us_out is the age of this request. False: nothing to compare it with, and *age_us_out is 0. sent_us 0: the
 * sender did not say. Takes the request into account. */
bool rpc_age_take(struct rpc_age *, uint64_t sent_us, uint64_t now_us, uint64_t *age_us_out);

#endif

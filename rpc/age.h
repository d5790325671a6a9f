/* SPDX-License-Identifier: Apache-2.0 */
/* Age: how long ago a request was sent, by the clock of the process that reads it.
 *
 * A request can wait long before it is read: in the sockets of a process that was stopped, or on a link that was down.
 * Its budget of time counts from when it was sent. Sender and receiver share no clock, so every request carries the
 * sender's (sent_us, counted from anywhere), and the receiver compares: the request that came fastest on a connection
 * shows how far the clocks are apart, and every other is older by what it took longer.
 *
 * The fastest of the last one to two minutes counts. Clocks that drift by 500 ppm thus make an error of 60 ms at most.
 * The first request of a connection has nothing to be compared with; it may be as old as a stall of the receiver that has
 * just ended (rpc/stall.h).
 *
 * Threading   Caller's memory, one thread at a time.
 * Errors      None.
 */
#ifndef KVRING_RPC_AGE_H
#define KVRING_RPC_AGE_H

#include <stdbool.h>
#include <stdint.h>

enum {
	RPC_AGE_WINDOW_US = 60 * 1000 * 1000,
	RPC_STALL_GRACE_US = 1000 * 1000,  /* so long after a stall the first request of a connection may be that old */
	RPC_STALL_BACKLOG_US = 150 * 1000, /* so long it takes to accept who connected during the stall */
};

/* All zero: no request yet. */
struct rpc_age {
	uint64_t least[2]; /* smallest receiver's minus sender's clock, modulo 2^64: of this window and the last one */
	bool known[2];
	uint64_t window_end_us;
};

/* True: *age_us_out is the age of this request. False: nothing to compare it with, and *age_us_out is 0. sent_us 0: the
 * sender did not say. Takes the request into account. */
bool rpc_age_take(struct rpc_age *, uint64_t sent_us, uint64_t now_us, uint64_t *age_us_out);

/* A time in which the receiver did not run. All zero: none. */
struct rpc_stall {
	uint64_t begin_us, end_us;
};
/* How old the first request of a connection may be that was opened at opened_us and brings it now: 0, or the time since
 * the stall began. */
uint64_t rpc_stall_age(const struct rpc_stall *, uint64_t opened_us, uint64_t now_us);

#endif

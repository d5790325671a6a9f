/* SPDX-License-Identifier: Apache-2.0 */
/* Network: what becomes of a message between two machines.
 *
 * Draws delays (mostly short, now and then long, so that messages overtake each other), losses and duplicates, and
 * keeps which directions are cut. A cut is known to the sender only after a while, as a broken connection is.
 *
 * Threading   One thread.
 * Errors      None.
 */
#ifndef KVRING_TESTS_SIM_NETWORK_H
#define KVRING_TESTS_SIM_NETWORK_H

#include <stdbool.h>
#include <stdint.h>
#include "tests/sim/sim_random.h"

enum { NETWORK_MACHINES_MAX = 16, NETWORK_COPIES_MAX = 2 };

struct network_weather {
	uint32_t delay_us;      /* of most messages: up to twice this */
	uint32_t slow_permille; /* of the others ... */
	uint32_t slow_us;       /* ... up to this */
	uint32_t loss_permille;
	uint32_t duplicate_permille;
	uint32_t detect_us; /* a cut is noticed at latest after this */
};

struct network_link { /* one direction */
	bool cut;
	uint64_t known_us; /* when the sender knows of the cut */
};

struct network {
	struct sim_random random;
	struct network_weather weather;
	uint32_t machine_count;
	struct network_link links[NETWORK_MACHINES_MAX][NETWORK_MACHINES_MAX];
	uint64_t sent, lost, duplicated, cuts;
};

struct network_fate {
	uint32_t copies; /* 0: lost */
	uint64_t delay_us[NETWORK_COPIES_MAX];
};

void network_init(struct network *, uint32_t machine_count, const struct network_weather *, struct sim_random);
void network_cut(struct network *, uint32_t from, uint32_t to, uint64_t now_us);
void network_heal(struct network *); /* every link */
/* Calm: no loss, no duplicates, no long delays, from now on. */
void network_calm(struct network *);
/* The sender knows that nothing gets through and back. */
bool network_is_known_cut(const struct network *, uint32_t from, uint32_t to, uint64_t now_us);
/* Between machines. */
struct network_fate network_send(struct network *, uint32_t from, uint32_t to);
/* Between a client and a machine: never cut. */
struct network_fate network_send_client(struct network *);
uint64_t network_delay(struct network *);

#endif

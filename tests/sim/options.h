/* SPDX-License-Identifier: Apache-2.0 */
/* Options: what kvsim is asked for, and what a seed makes of it.
 *
 * Everything that is not given is drawn from the seed, so that a range of seeds covers many sizes and kinds of weather.
 *
 * Threading   Caller's memory.
 * Errors      A bad option: a line on stderr and false.
 */
#ifndef KVRING_TESTS_SIM_OPTIONS_H
#define KVRING_TESTS_SIM_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include "tests/sim/network.h"

#define OPTION_DRAWN UINT32_MAX

/* Bugs planted on purpose, to see that they are found. Only kvsim_canary can be asked for one. */
enum canary {
	CANARY_NONE,
	CANARY_EARLY_ACK,
	CANARY_LYING_DISK,
	CANARY_OLD_COUNTERS,
	CANARY_KEPT_ACTOR,
	CANARY_KEPT_ACTOR_ORDERLY,
	CANARY_FORGET_SUPERSEDED,
	CANARY_SWITCH_EARLY,
	CANARY_IGNORE_EPOCH,
	CANARY_COUNT
};
const char *canary_name(enum canary);

struct sim_options {
	uint64_t first_seed, last_seed;
	uint32_t fresh_seeds; /* and so many more, from the clock; printed */
	uint32_t nodes, operations, clients, keys, replicas, r, w, shards, coordinators, partitions;
	uint32_t down_together, attempts, memtable_kib;
	uint32_t restore_permille;
	uint32_t change_rate, move_rate; /* of the ring; not drawn */
	uint32_t members;                /* at first; the other machines wait until an operator lets them join */
	uint32_t crash_rate, partition_rate, pause_rate,
		disk_error_rate; /* a simulated minute, all machines together */
	uint32_t late_permille;
	uint32_t loss_permille, duplicate_permille, slow_permille, delay_us, deadline_ms, skew_ms;
	uint32_t seconds; /* no new seed after so much real time; 0: no end */
	bool trace, twice, quiet, hashes;
	enum canary canary;
	uint32_t expect_within; /* kvsim_canary: found within so many seeds, or it fails */
};

/* The same with everything drawn. */
struct sim_settings {
	uint32_t nodes, operations, clients, keys, replicas, r, w, shards, coordinators, partitions;
	uint32_t crash_rate, partition_rate, pause_rate, disk_error_rate, skew_ms, change_rate, move_rate;
	uint32_t members;
	uint32_t late_permille;    /* of the writes: one more attempt comes when the client has long gone on */
	uint32_t restore_permille; /* of the starts for which there is a copy: the directory is put back first */
	uint32_t kill_permille;    /* of the crashes: the process alone dies */
	uint32_t down_max_ms;      /* how long a machine stays down */
	uint32_t down_together;    /* machines that may be down at once */
	uint32_t commit_us;        /* a sync takes up to twice this, now and then fifty times */
	uint32_t stall_permille;   /* of the steps: the thread is late by milliseconds */
	uint32_t think_ms;         /* clients pause up to twice this */
	uint32_t deadline_ms;      /* of an attempt */
	uint32_t attempts;         /* a client gives up after at most so many */
	bool vary_quorums;         /* now and then a request asks for another r or w; not when one was given */
	bool commits_beside;       /* messages are stepped while a commit is under way */
	uint32_t in_flight;        /* batches under way from an actor to a machine, by one method */
	uint32_t memtable_bytes, cache_bytes;
	struct network_weather network;
};

void options_default(struct sim_options *);
bool options_parse(struct sim_options *, int argc, char **argv, bool canary_allowed);
void options_print(const struct sim_options *, FILE *);
void options_draw(const struct sim_options *, uint64_t seed, struct sim_settings *out);
/* The command that runs this one seed again. */
void options_print_command(const struct sim_options *, uint64_t seed, FILE *);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Config: what kvnode is told by its file and its flags.
 *
 *     kvnode --config FILE        INI: [section], key = value, one per line; seed may be repeated
 *     kvnode --name n1 ...        the same options as flags; a flag goes before the file
 *
 * Every option is one row of the table in setting.c: the flags, --help, the file and --print-config are all derived
 * from it.
 *
 * Threading   before other threads start. The result is plain memory.
 * Ownership   nothing but the caller's struct.
 * Errors      one line that says which value of which file and line or flag is wrong, and what would be right; exit
 *             code 2.
 * Invariants  C1 what --print-config prints, read as a file, gives the same configuration.
 *             C2 a configuration that was accepted is complete: the derived addresses are set, and everything is within
 *                its limits.
 */
#ifndef KVRING_NODE_CONFIG_H
#define KVRING_NODE_CONFIG_H

#include "node/coordinator/level.h"
#include "node/observe/log.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum {
	CONFIG_NAME_MAX = 64,     /* bytes with the final 0, as RING_NAME_MAX */
	CONFIG_ADDRESS_MAX = 128, /* bytes with the final 0, as RING_ADDRESS_MAX */
	CONFIG_PATH_MAX = 187,    /* so that it fits a line of the file */
	CONFIG_SEEDS_MAX = 32,
	CONFIG_LINE_MAX = 197, /* bytes of a line of the file, without its end; inih's limit */
	CONFIG_EXIT_WRONG = 2, /* exit code: the configuration is wrong */
};

struct node_config {
	/* [node] */
	char name[CONFIG_NAME_MAX];
	char data_dir[CONFIG_PATH_MAX];
	char dc[CONFIG_NAME_MAX];
	char rack[CONFIG_NAME_MAX]; /* may be empty */
	uint32_t weight;

	/* [network], HOST:PORT */
	char listen[CONFIG_ADDRESS_MAX];      /* clients */
	char listen_peer[CONFIG_ADDRESS_MAX]; /* unless given: the port of listen + 1 */
	char listen_bus[CONFIG_ADDRESS_MAX];  /* unless given: the port of listen + 2 */
	char advertise[CONFIG_ADDRESS_MAX];   /* HOST by which others reach this node; unless given: that of listen */
	char seeds[CONFIG_SEEDS_MAX][CONFIG_ADDRESS_MAX];
	uint32_t seed_count;
	uint32_t idle_s;

	/* [threads] */
	uint32_t coordinators; /* 0: one per two cores */
	uint32_t shards;       /* 0: one per two cores when the data directory is new, else as it is */
	uint32_t jobs;

	/* [storage] */
	uint32_t cache_mb;
	uint32_t memtable_mb;
	uint32_t request_mb; /* 0: an eighth of the machine's memory */
	uint32_t retry_window_s;
	uint32_t transfer_rate_mb;

	/* [requests] */
	enum level read_level;
	enum level write_level;

	/* [autoscale]; node/membership/autoscale.h */
	uint32_t autoscale; /* 0: off, 1: propose, 2: apply */
	uint32_t autoscale_high, autoscale_low;
	uint32_t autoscale_disk_gb;
	uint32_t autoscale_min, autoscale_max;
	uint32_t autoscale_hold_s, autoscale_rest_s;

	/* [log] */
	enum log_level log_level;

	bool accept_restored; /* a flag alone: it is for one start */

	/* derived: advertise with the port of each listener */
	char client_address[CONFIG_ADDRESS_MAX];
	char peer_address[CONFIG_ADDRESS_MAX];
	char bus_address[CONFIG_ADDRESS_MAX];
};

struct config_error {
	char text[1024]; /* one line, without "kvnode: " */
};

/* For main: what the arguments say, with the file they name. Returns -1 to go on; otherwise the exit code, after
 * printing what was asked for
 * (--print-config, --check-config) or, on stderr, what is wrong. --help, --version and unknown flags end the process
 * within (argp). */
int config_from_arguments(int argc, char **argv, struct node_config *out);

/* For a node that runs: file and flags as they are now. -EINVAL or -errno with a text. */
__attribute__((warn_unused_result)) int config_read_again(int argc, char **argv, struct node_config *out,
							  struct config_error *error_out);

/* A file that is read back as the same configuration, with the help of each option as comments. */
void config_print(const struct node_config *, FILE *);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Transfer: what import, export and compare share: options, and going through an input window by window.
 *
 *     transfer_open -> transfer_each: (settle a window, transfer_advance) ... -> transfer_close
 *
 * Threading   One thread.
 * Ownership   transfer_close frees everything; options are borrowed.
 * Errors      Exit statuses of kvctl.h, with the text printed.
 * Invariants  A1 The state file never counts a record that is not settled.
 */
#ifndef KVRING_KVCTL_TRANSFER_H
#define KVRING_KVCTL_TRANSFER_H

#include "tools/kvctl/batches.h"
#include "tools/kvctl/kvctl.h"
#include "tools/kvctl/progress.h"
#include "tools/kvctl/records.h"
#include "tools/kvctl/state.h"
#include "tools/kvctl/window.h"

struct transfer_options {
	struct kvctl *kvctl;
	const char *path; /* "-": stdin; NULL: not given */
	enum record_format format;
	const char *bucket;
	const char *state_path; /* NULL: none */
	uint32_t batch;         /* operations per call */
	uint32_t outstanding;   /* calls under way */
	uint32_t patience_ms;
	bool requires_values; /* a record without one is wrong */
	bool quiet;
};

struct transfer {
	const struct transfer_options *options;
	struct records *records;
	struct window window;
	struct state state;
	struct progress progress;
	struct batches batches;
	uint64_t record_count; /* of this run, as the three below */
	uint64_t value_bytes;
	double seconds;
	bool writing;          /* what is under way are writes */
	bool stopped_by_input; /* a callback stops with BATCHES_STOP: because of the input, not of the cluster */
};

/* As a child of a command's argp, with child_inputs[0] = the options. Takes FILE and the common options too. */
extern const struct argp_child transfer_argp_child[];
void transfer_options_init(struct transfer_options *, struct kvctl *);

int transfer_open(struct transfer *, const struct transfer_options *, const char *title);
/* Goes through the input: calls settle_window for each window, until the input ends or a status is not KVCTL_DONE. */
int transfer_each(struct transfer *, int (*settle_window)(void *arg), void *arg);
/* All of the window is settled. */
int transfer_advance(struct transfer *);
/* Also ends the progress line and sets seconds; the counters stay. */
void transfer_close(struct transfer *);

/* Prints why a batch run ended, and how to go on. Returns the exit status. */
int transfer_fail(const struct transfer *, int error, const struct rpc_error *);
/* Requests for the keys of the window. */
void transfer_gets(const struct transfer *, struct kvctl_replicas r, Kvring__V1__GetRequest *gets_out);
/* Wipes the progress bar, before something is said. */
void transfer_clear_line(const struct transfer *);
/* "FILE:LINE: 'KEY'" on stderr, without a line end. */
void transfer_print_record(const struct transfer *, const struct record *);
/* Adds records, bytes, seconds, records_per_second and repeated. */
void transfer_set_figures(const struct transfer *, json_t *object);

#endif

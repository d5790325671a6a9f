/* SPDX-License-Identifier: Apache-2.0 */
/* kvctl: what all commands share: options, the connection, exit statuses, output.
 *
 * A command is an entry of the table in main.c. It parses its own arguments with argp (kvctl_argp_child adds the
 * options that every command takes), calls kvctl_connect, and returns an exit status. Results go to stdout, everything
 * said to a person goes to stderr. With -o json stdout carries exactly one JSON document, also after an error.
 *
 * Threading   One thread.
 * Ownership   struct kvctl lives in main; the client is closed there.
 * Errors      enum kvctl_exit; the text has been printed by whoever returns it.
 */
#ifndef KVRING_KVCTL_KVCTL_H
#define KVRING_KVCTL_KVCTL_H

#include <argp.h>
#include <stdbool.h>
#include <stdint.h>
#include <jansson.h>
#include "tools/client/client.h"

/* What a script can rely on; printed by `kvctl --help`. */
enum kvctl_exit {
	KVCTL_DONE = 0,
	KVCTL_NOT_FOUND = 1,   /* no live value; compare: something differs */
	KVCTL_USAGE = 2,       /* wrong arguments or input, as kvctl or the cluster finds; the text names it */
	KVCTL_REFUSED = 3,     /* the cluster did not do it, and says why */
	KVCTL_IN_DOUBT = 4,    /* a write that may or may not have taken effect; safe to repeat with its operation id */
	KVCTL_UNREACHABLE = 5, /* no node answered, or none that did can serve; nothing was done; waited in vain */
	KVCTL_OUTPUT = 6,      /* the result could not be written down; what was asked for may have been done */
};

enum { KVCTL_TIMEOUT_MAX_MS = 7 * 86400 * 1000 };

struct kvctl {
	const char *command;   /* "kvctl put": starts every message */
	const char *endpoints; /* "HOST:PORT,HOST:PORT"; NULL: none given */
	bool json;
	uint32_t timeout_ms;
	struct kv_client *client; /* NULL until kvctl_connect */
};

struct kvctl_command {
	const char *name;    /* "put", "cluster init" */
	const char *summary; /* one line */
	int (*run)(struct kvctl *, int argc, char **argv);
};

/* ---- arguments ------------------------------------------------------------------------------------------------ */

/* As .children of a command's argp. At ARGP_KEY_INIT: state->child_inputs[0] = kvctl. */
extern const struct argp_child kvctl_argp_child[];

/* "500ms", "5s", "2m", "1h", "7d", plain numbers are seconds. False: no duration, or not from 1 ms to max_ms. */
bool kvctl_parse_duration(const char *text, uint64_t max_ms, uint64_t *ms_out);
/* A decimal number from min to max, or argp_error (which exits with KVCTL_USAGE). */
/* --r and --w: a number, or the name of a level, in either case and with '-' or '_'. Both 0: not given. */
struct kvctl_replicas {
	uint32_t count;
	Kvring__V1__Level level;
};
struct kvctl_replicas kvctl_parse_replicas(struct argp_state *, const char *name, const char *text);
uint32_t kvctl_parse_number(struct argp_state *, const char *name, const char *text, uint32_t min, uint32_t max);

/* .parser of a command that takes no argument and has no option of its own; its input is kvctl. */
error_t kvctl_parse_nothing(int key, char *arg, struct argp_state *);

/* ---- connection ----------------------------------------------------------------------------------------------- */

/* Opens the client on kvctl->endpoints. KVCTL_DONE or another status, with the text printed. */
int kvctl_connect(struct kvctl *);

/* As kv_client_status, of a node that is in a cluster if any endpoint is: those that are to join may be named, too. */
RPC_OK int kvctl_status(const struct kvctl *, struct kv_client_reply *);
/* Connects and asks for the members of the cluster. The reply is the caller's to release, whatever the status; REFUSED
 * when the node is in no cluster. */
int kvctl_ask_cluster(struct kvctl *, struct kv_client_reply *);

/* ---- output --------------------------------------------------------------------------------------------------- */

/* "kvctl put: TEXT" on stderr; with -o json also {"error": TEXT, "exit_status": N} on stdout. Returns the status. */
int kvctl_fail(const struct kvctl *, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The same for a call that got no answer; says what to do next and returns the fitting status. */
int kvctl_fail_call(const struct kvctl *, const struct kv_client_reply *);
/* The endpoint could not be connected within the timeout, nor could any before it. */
int kvctl_fail_connect(const struct kvctl *, unsigned endpoint);
/* Prints the document and a newline on stdout; takes the reference. */
void kvctl_print_json(json_t *);

/* Exit status of an operation's outcome, with the code that explains it. */
int kvctl_outcome_exit(Kvring__V1__Outcome, uint32_t code);
const char *kvctl_outcome_name(Kvring__V1__Outcome);          /* "DONE", "IN_DOUBT", ... */
const char *kvctl_code_name(uint32_t code);                   /* "UNAVAILABLE", ... */
const char *kvctl_reason(const char *message, uint32_t code); /* the message, or the code's name when it is empty */

/* Adds name (text) when the bytes are UTF-8, else name_b64. */
void kvctl_json_set_bytes(json_t *object, const char *name, const uint8_t *bytes, size_t size);
/* [{value or value_b64, written_ms}, ...] */
json_t *kvctl_siblings_json(const Kvring__V1__GetResponse *);
/* Prints a key in a message: 'text', or base64:... when it is no text, or has control characters. */
void kvctl_print_key(FILE *, const uint8_t *bytes, size_t size);
/* Prints bytes for people: text as it is, else "base64:...". */
void kvctl_print_bytes(FILE *, const uint8_t *bytes, size_t size);

/* ---- commands ------------------------------------------------------------------------------------------------- */

int command_put(struct kvctl *, int argc, char **argv);
int command_get(struct kvctl *, int argc, char **argv);
int command_del(struct kvctl *, int argc, char **argv);
int command_import(struct kvctl *, int argc, char **argv);
int command_export(struct kvctl *, int argc, char **argv);
int command_compare(struct kvctl *, int argc, char **argv);
int command_cluster_init(struct kvctl *, int argc, char **argv);
int command_cluster_rack(struct kvctl *, int argc, char **argv);
int command_cluster_join(struct kvctl *, int argc, char **argv);
int command_cluster_leave(struct kvctl *, int argc, char **argv);
int command_cluster_replace(struct kvctl *, int argc, char **argv);
int command_cluster_weight(struct kvctl *, int argc, char **argv);
int command_cluster_remove(struct kvctl *, int argc, char **argv);
int command_cluster_drain(struct kvctl *, int argc, char **argv);
int command_cluster_changes(struct kvctl *, int argc, char **argv);
int command_cluster_clear(struct kvctl *, int argc, char **argv);
int command_cluster_plan(struct kvctl *, int argc, char **argv);
int command_cluster_commit(struct kvctl *, int argc, char **argv);
int command_cluster_abort(struct kvctl *, int argc, char **argv);
int command_cluster_wait(struct kvctl *, int argc, char **argv);
int command_members(struct kvctl *, int argc, char **argv);
int command_status(struct kvctl *, int argc, char **argv);
int command_ring_force(struct kvctl *, int argc, char **argv);
int command_ring(struct kvctl *, int argc, char **argv);

#endif

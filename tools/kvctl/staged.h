/* SPDX-License-Identifier: Apache-2.0 */
/* Staged: the changes of a cluster that its operator has put together and not committed yet, in a file of the operator:
 * $XDG_STATE_HOME/kvctl/CLUSTERID.json, or below ~/.local/state.
 *
 *     {"kvctl_changes": 1, "cluster_id": "5f0c...", "changes": [{"change": "join", "node": "n4"}, ...],
 *      "planned": {"parent_hash": "...", "plan_hash": "..."}}      what `kvctl cluster plan` showed last
 *
 * Threading   One thread. Of several processes each one's change is kept: staged_add locks the directory.
 * Ownership   Owns its strings until staged_fini.
 * Errors      -errno of the file system, -EBADMSG when the file is no such list; always with a text.
 * Invariants  S1 A node stands in one change only: the last one that was staged for it.
 *             S2 The file is whole, old or new: written beside and renamed.
 */
#ifndef KVRING_KVCTL_STAGED_H
#define KVRING_KVCTL_STAGED_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "proto/kv.pb-c.h"
#include "rpc/rpc.h"

enum { STAGED_MAX = 256, STAGED_WEIGHT_MAX = 10000 /* of ring documents */ };

struct staged_change {
	Kvring__V1__ChangeKind kind;
	char *node;
	char *replacement; /* NULL unless kind is REPLACE */
	uint32_t weight;   /* 0: the node's own */
};

struct staged {
	uint64_t cluster_id;
	struct staged_change changes[STAGED_MAX];
	unsigned count;
	bool planned; /* the plan of just these changes was shown; its hashes: */
	uint64_t parent_hash, plan_hash;
};

RPC_OK int staged_load(uint64_t cluster_id, struct staged *out, struct rpc_error *error_out); /* no file: none */
/* Adds changes to those in the file, in place of earlier ones of the same nodes. *out: all. */
RPC_OK int staged_add(uint64_t cluster_id, const struct staged_change *, unsigned count, struct staged *out,
		      struct rpc_error *error_out);
RPC_OK int staged_save(const struct staged *, struct rpc_error *error_out);
RPC_OK int staged_clear(uint64_t cluster_id, struct rpc_error *error_out);
void staged_fini(struct staged *);

/* "join": the word of the command. */
const char *staged_word(Kvring__V1__ChangeKind);
/* "n4 joins with weight 50". */
void staged_say(const struct staged_change *, FILE *);
json_t *staged_json(const struct staged *); /* the list */

#endif

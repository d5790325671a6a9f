/* SPDX-License-Identifier: Apache-2.0 */
/* Peers: one link to every other node that this one knows.
 *
 * Threading   peers_set, peers_close: the main thread (links are opened and closed nowhere else, see rpc.h).
 *             peers_link: any thread, lock-free: entries are only ever added; a link that was replaced is stopped, but its
 *             memory stays until peers_close.
 * Ownership   Owns the links.
 * Errors      -ENOSPC past PEERS_MAX; what rpc_link_open gives.
 */
#ifndef KVRING_NODE_PEERS_H
#define KVRING_NODE_PEERS_H

#include "ring/ring.h"
#include "rpc/rpc.h"

enum { PEERS_MAX = 2 * RING_MEMBERS_MAX };

struct peers;

RPC_OK int peers_create(struct rpc_budget *answers, struct peers **out);
void peers_close(struct peers **);
/* Opens a link to this node, or a new one when its address has changed. node_id may be any key but 0 (seeds use small
 * numbers). */
RPC_OK int peers_set(struct peers *, uint64_t node_id, const char *address, struct rpc_error *error_out);
/* NULL when unknown. */
struct rpc_link *peers_link(struct peers *, uint64_t node_id);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Inbound: requests of clients and batches of peers, and the way back of their answers.
 *
 *     client   NNG thread -> coordinator's mailbox -> decode -> step ... CLIENT_DONE -> encode -> reply
 *     peer     NNG thread -> a replica's (or coordinator's, or gossip's) mailbox -> decode -> step, or post to
 *              the replica that owns the key ... the last answer of the batch encodes them all -> reply
 *
 * Threading   inbound_on_*: NNG's threads. The others: workers.
 * Ownership   Takes calls and messages; every call is answered exactly once (W1).
 * Errors      A request that cannot be decoded is refused with a text; the node goes on.
 */
#ifndef KVRING_NODE_INBOUND_H
#define KVRING_NODE_INBOUND_H

#include "node/actor/message.h"
#include "rpc/rpc.h"

struct hub;
struct worker;

struct bus_mail {
	struct cds_wfcq_node mail;
	struct rpc_message *message;
};

/* Callbacks for rpc_server_open and rpc_bus_open; arg is the hub. */
void inbound_on_client(void *arg, struct rpc_call *);
void inbound_on_peer(void *arg, struct rpc_call *);
void inbound_on_bus(void *arg, struct rpc_message *);
void inbound_on_full(void *arg, const struct rpc_server_full *);

/* What comes out of the mailbox. */
void inbound_call(struct worker *, struct rpc_call *);
void inbound_bus(struct worker *, struct bus_mail *);
void inbound_discard_bus(struct bus_mail *);

/* A MESSAGE_CLIENT_DONE, MESSAGE_CLUSTER_INITED or MESSAGE_CHANGE_PLAN on its way to the client. */
void inbound_reply_client(struct worker *, struct message *);
/* An answer to a question that came from another node. (any worker) */
void inbound_answer(struct worker *, struct message *);

#endif

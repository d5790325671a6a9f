/* SPDX-License-Identifier: Apache-2.0 */
/* Connector: opens and closes links and bus connections as the contacts that gossip asks for change.
 *
 * Threading   connector_want: gossip's worker. The others: the main thread, which opens and closes links and dials (rpc.h).
 * Ownership   Borrows peers and bus.
 * Errors      A contact that cannot be dialled is told in the log and tried again with the next contacts.
 */
#ifndef KVRING_NODE_CONNECTOR_H
#define KVRING_NODE_CONNECTOR_H

#include "node/actor/note.h"
#include "node/driver/peers.h"
#include "rpc/lock.h"
#include "rpc/rpc.h"

struct connector {
	struct peers *peers;
	struct rpc_bus *bus;
	int control; /* eventfd: contacts wait for connector_dial */

	/* from gossip's worker to the main thread, under lock (rare: only when members or links change) */
	struct lock lock;
	struct contact *GUARDED wanted;
	uint32_t GUARDED wanted_count;

	/* owned by the main thread */
	struct connector_link *dialled;
	uint32_t dialled_count;
};

RPC_OK int connector_init(struct connector *, struct peers *, struct rpc_bus *);
void connector_fini(struct connector *);
/* From now on these, instead of those before. */
void connector_want(struct connector *, const struct contacts *);
/* When control is readable. */
void connector_dial(struct connector *);
/* Now and then: writes into the log which links to members have come and gone. */
void connector_tell(struct connector *, uint64_t now_us);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Behind: a question or an answer of another node shows that a newer ring is in force than this node's.
 *
 * Gossip would hear of it within a few rounds; told at once it gets the ring at once. It is told once of each epoch, so that many
 * questions do not become many messages; should that one message fail, gossip's rounds bring the ring.
 *
 * Threading   That of the actor whose `told` it is.
 * Ownership   Borrows the ring table.
 * Errors      None: without memory nothing is told.
 */
#ifndef KVRING_NODE_MEMBERSHIP_BEHIND_H
#define KVRING_NODE_MEMBERSHIP_BEHIND_H

#include "node/actor/event.h"

/* The epoch is that of a ring in force elsewhere. node_id: who has it; 0: unknown. *told: the highest epoch seen so far, 0 at first. */
void behind_notice(uint64_t *told, struct ring_table *, struct address self, uint64_t epoch, uint64_t node_id,
		   struct effects *);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Acceptor: this node's vote on the ring document that is to follow the one in force (CASPaxos, Rystsov 2018).
 *
 * Each ring document has one register, which says what follows it; the members of the document are its acceptors. A proposer asks them to
 * promise that they accept nothing under a lower ballot (PREPARE), learns what they accepted before, and asks them to accept that, or its
 * own document where nothing was (ACCEPT). What a majority accepted under one ballot is chosen for good, so that each epoch has one
 * document (node/ALGORITHMS.md, Ring).
 *
 * Threading   That of gossip.
 * Ownership   Borrows the data directory; owns the bytes that it accepted.
 * Errors      A vote that cannot be written is refused. A damaged file is -EBADMSG with a text: a node that has forgotten its votes must
 *             not vote.
 *             Who accepts a directory that went back in time (--accept-restored) vouches that no change of the ring was under way since
 *             the copy was made: votes given after it are forgotten.
 * Invariants  V1 What it answers is on stable storage before it answers.
 *             V2 It never promises or accepts under a ballot below the one promised last.
 *             V3 It accepts only what may follow the ring in force (ring_verify), in the next epoch.
 *             V4 It votes on the ring in force, and not when it has voted on a later ring or another one of that epoch.
 */
#ifndef KVRING_NODE_MEMBERSHIP_ACCEPTOR_H
#define KVRING_NODE_MEMBERSHIP_ACCEPTOR_H

#include "node/actor/message.h"
#include "node/data_dir.h"

enum { BALLOT_STEP_MAX = 1 << 20 }; /* a ballot that is further ahead is made up: there would soon be no higher one */

struct acceptor {
	struct data_dir *data_dir;
	uint64_t parent_epoch, parent_hash; /* whose register the rest is; 0: it has not voted yet */
	struct ballot promised, accepted;
	uint8_t *bytes; /* the document accepted, NULL when none is */
	size_t size;
};

RPC_OK int acceptor_load(struct acceptor *, struct data_dir *, struct rpc_error *error_out);
void acceptor_fini(struct acceptor *);
/* The answer lives in the arena. */
void acceptor_vote(struct acceptor *, const struct ring_document *in_force, const struct vote_body *question,
		   struct arena *, struct voted_body *out);
/* The highest counter that it knows of this ring's register. */
uint64_t acceptor_counter(const struct acceptor *, const struct ring_document *in_force);

static inline bool ballot_below(struct ballot a, struct ballot b)
{
	return a.counter != b.counter ? a.counter < b.counter : a.node_id < b.node_id;
}

#endif

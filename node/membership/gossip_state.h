/* SPDX-License-Identifier: Apache-2.0 */
/* Gossip, inside: what gossip.c (rows, rounds, messages) and gossip_ring.c (the ring document) share. */
#ifndef KVRING_NODE_GOSSIP_STATE_H
#define KVRING_NODE_GOSSIP_STATE_H

#include <stdatomic.h>
#include "node/membership/acceptor.h"
#include "node/membership/autoscale.h"
#include "node/membership/detector.h"

enum {
	GOSSIP_BUS_LINKS = 3, /* k of ALGORITHMS.md, Membership */
	GOSSIP_ASK_MAX = 8,   /* members asked in a round which start they keep */
};

/* What this node proposes. */
enum wish {
	WISH_NONE,
	/* an operator's */
	WISH_RACK,
	WISH_CHANGE,
	WISH_ABORT,
	/* of nobody, as a step is due (gossip_advance.c) */
	WISH_NEXT,
	WISH_DROP_LEAVERS,
	/* likewise, as the active members are too few, too many or uneven (gossip_autoscale.c) */
	WISH_SCALE,
};

/* A change of the ring that this node wants (gossip_propose.c). */
struct proposal {
	enum wish wish;           /* WISH_NONE: none is under way */
	struct message *question; /* the operator's, until it is answered; NULL: nobody asked */
	uint64_t deadline_us;
	const struct change_plan *plan; /* WISH_CHANGE: in the arena of the question */
	uint64_t own_epoch, own_hash;   /* of the document that was made last; 0: none was */
	uint64_t parent_hash;           /* of the ring that it is to follow */
	uint64_t counter;               /* of its ballot */
	uint64_t highest;               /* counter by which it was outbid */
	uint64_t wait_rounds;           /* at most, before the next ballot */
	uint64_t phase_number;          /* of questions and answers; never used twice */
	uint64_t again_us; /* who has not answered is asked again, or, while waiting, a new ballot begins */
	bool accepting;    /* the second phase */
	bool outbid, waiting;
	bool stopping;     /* the node */
	bool maybe_chosen; /* somebody may have accepted it */
	bool *answered;    /* by member, in this phase */
	uint32_t votes;
	uint8_t *own; /* what the operator wants */
	size_t own_size;
	uint8_t *found; /* what has to be proposed instead: accepted before, under the highest ballot; NULL: nothing */
	size_t found_size;
	struct ballot found_under;
	char why[200]; /* the last refusal */
};

struct gossip {
	struct gossip_row self;
	struct data_dir *data_dir;
	struct ring_table *ring;
	struct prng prng;
	uint32_t seed_count;
	void (*read_figures)(void *arg, struct ring_figures *out);
	void *read_figures_arg;
	uint64_t round_us, timeout_us;
	struct detector detector;
	struct {
		struct gossip_row row; /* as it was when it changed last */
		uint32_t pushes;       /* rounds in which it still goes by the bus in full */
		bool unrevised;        /* it has had no other revision since */
		uint64_t wanted_us;    /* when a row of this id was asked for last */
	} own;

	struct gossip_table table; /* without this node */
	struct ring_document *document;
	uint8_t *document_bytes;
	size_t document_size;
	struct ring_member_status *status; /* for publishing */

	struct acceptor acceptor;
	struct proposal proposal;
	struct {
		uint64_t hash;   /* of the ring whose next step may be taken; 0: not yet */
		uint64_t due_us; /* when this node proposes it */
	} step;
	uint64_t transfer_bytes_per_s; /* that a node takes in, for estimates; 0: the default */
	struct autoscale autoscale;
	struct autoscale_decision scale_decision; /* the last one */

	uint64_t checked_epoch; /* of the last step */
	uint64_t next_round_us, pull_after_us;
	uint64_t refused_hash; /* of the ring that was refused last: not asked for again; 0: none */
	uint64_t told_hash;    /* of the ring that upkeep was told of */
	bool publish_now;      /* a member came or went: not only at the end of a round */
	uint64_t bus_links[GOSSIP_BUS_LINKS];
	uint32_t bus_link_count;
	struct gossip_counters counters;

	/* another process that goes by this node's id: a copy of its directory, or what the others keep of a former life */
	struct {
		uint64_t life, incarnation, heartbeat;
		uint64_t round; /* in which it rose last */
		uint32_t rises; /* rounds in which it did: only what lives goes on rising */
		bool is_later;  /* its start is one that this node's directory does not know */
		uint64_t
			held_round; /* 1 and the round of the last sign that this node may have to yield to it; 0: none */
	} twin;
	bool displaced;
	bool proven; /* G8 */

	/* what the next step's end makes effects of */
	bool contacts_changed;
	bool ring_changed;               /* another document was adopted */
	bool is_told_joined;             /* operators know that this node is in a cluster */
	uint32_t noted[NOTE_KIND_COUNT]; /* how often something was refused */
};

static inline void gossip_count(_Atomic uint64_t *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

static inline bool gossip_is_foreign(const struct gossip *self, uint64_t cluster_id)
{
	return self->self.cluster_id != 0 && cluster_id != 0 && cluster_id != self->self.cluster_id;
}

/* Whether the sender has the same document, so that its beats say whom they are of. */
static inline bool gossip_has_document(const struct gossip *self, const struct gossip_rows *gossip)
{
	return gossip->epoch == self->self.epoch && gossip->ring_hash == self->self.ring_hash;
}

/* Something was refused or ignored: counted, and told at the end of the step. */
static inline void gossip_refuse(struct gossip *self, _Atomic uint64_t *counter, enum note_kind kind)
{
	gossip_count(counter);
	self->noted[kind]++;
}

struct gossip_verdict {
	uint32_t code; /* Code of kv.proto */
	const char *text;
};

/* ---- gossip_check.c ---- */

/* Asserts what holds between steps: G2; and
 *     G4 Rows are those of other nodes, in the order of their ids, each once.
 *     G5 Epoch, hash and cluster of the own row are those of the document.
 *     G6 Bus links are few, distinct, and not to this node.
 * D1 of detector.h is asserted too. */
void gossip_check(struct gossip *);

/* ---- gossip_hold.c ---- */

/* G9 A sign of a process to which this one would have to yield, if it lives: until that shows, this node serves nobody, so that nothing
 * is acknowledged by two processes as one node. An ordinary start is none: it has the latest number of all. */
void gossip_hold(struct gossip *);
bool gossip_is_held(const struct gossip *);
/* By then a node has heard what others keep of its former life: news reaches all in about as many rounds as the number of members
 * doubles, and the links take one or two to open. */
uint64_t gossip_settle_rounds(const struct gossip *);

/* ---- gossip_tell.c ---- */

/* A member was found to be UP, UNREACHABLE or DOWN, and was not before. */
void gossip_tell_state(const struct gossip *, uint32_t index, struct effects *out);
/* A member came, came back, or went. */
void gossip_tell_member(enum note_kind, const struct gossip_row *, uint64_t incarnation, struct effects *out);
/* Of the last decision of autoscale. */
void gossip_tell_autoscale(const struct gossip *, enum note_kind, const char *why, struct effects *out);
/* At the end of a step: notes and contacts of all that it changed. */
void gossip_tell(struct gossip *, struct effects *out);

/* ---- gossip_send.c ---- */

/* Once a round: draws another revision when the own row has changed. */
void gossip_revise(struct gossip *);

/* All of these return NULL without memory; gossip_send takes that as nothing to send. */
struct gossip_rows *gossip_make_rows(const struct gossip *, uint32_t capacity, struct effects *out);
struct gossip_rows *gossip_bus_rows(struct gossip *, struct effects *out);
struct gossip_rows *gossip_pull_rows(struct gossip *, struct effects *out);
/* A question whose answer is the row of the node that is asked, and those that are wanted. */
struct gossip_rows *gossip_brief_rows(const struct gossip *, const uint64_t *wanted, uint32_t wanted_count,
				      struct effects *out);
/* The rows in which this node is ahead of the asker. */
struct gossip_rows *gossip_answer_rows(struct gossip *, const struct gossip_rows *question, struct effects *out);
void gossip_attach_document(const struct gossip *, struct gossip_rows *, struct effects *out);
void gossip_send(struct gossip *, enum message_type, uint64_t node_id, uint16_t index, struct gossip_rows *,
		 uint64_t now_us, struct effects *out);

/* ---- gossip_ring.c ---- */

/* Document and the members' states, for all readers. Nothing before there is a document. */
void gossip_publish(struct gossip *, uint64_t now_us);
/* What the data directory holds: the document, and a cluster id that a crash may have kept from it. */
RPC_OK int gossip_load_document(struct gossip *, struct rpc_error *error_out);
/* Installs encoded bytes that came in, if they are valid, wanted and newer, and may follow this node's document (G10). Size 0 is no
 * document. from: the node that sent it. */
void gossip_receive_document(struct gossip *, struct rpc_slice, uint64_t from, uint64_t now_us, struct effects *out);

/* Of a document that was agreed on, or forced here: keeps and adopts it. */
RPC_OK int gossip_install(struct gossip *, struct rpc_slice bytes, uint64_t now_us, struct rpc_error *error_out);

/* ---- gossip_spread.c ---- */

/* Nodes to be connected to. */
uint32_t gossip_count_contacts(const struct gossip *);
/* Index of one of so many; there must be one. */
uint32_t gossip_random_contact(struct gossip *, uint32_t contact_count);
/* Push-pull with a random node, and with the seeds while there is no document. */
void gossip_exchange(struct gossip *, uint64_t now_us, struct effects *out);
/* This node's document to members that have not got it, at most so many. */
void gossip_push_document(struct gossip *, uint32_t max, uint64_t now_us, struct effects *out);
/* Asks one node that has a newer document, by what it says here, for it; not more than once a round. */
void gossip_pull_document(struct gossip *, const struct gossip_rows *, uint64_t now_us, struct effects *out);
/* A document of that epoch is in force elsewhere: likewise. node_id: who has it; 0: unknown. */
void gossip_get_newer(struct gossip *, uint64_t epoch, uint64_t node_id, uint64_t now_us, struct effects *out);

/* ---- gossip_propose.c ---- */

/* VOTE and VOTED. */
void gossip_vote(struct gossip *, const struct message *question, uint64_t now_us, struct effects *out);
void gossip_hear_vote(struct gossip *, const struct message *answer, uint64_t now_us, struct effects *out);
/* SET_RACK, COMMIT_CHANGE, ABORT_CHANGE: takes the question, and answers it once. */
void gossip_propose(struct gossip *, struct message *question, uint64_t now_us, struct effects *out);
/* Each round; and at the end of each step, as the ring in force may be another now. */
void gossip_propose_round(struct gossip *, uint64_t now_us, struct effects *out);
void gossip_propose_settle(struct gossip *, uint64_t now_us, struct effects *out);
/* STOPPING: the question is answered, and no other is taken. */
void gossip_propose_stop(struct gossip *, struct effects *out);
void gossip_propose_fini(struct gossip *);
/* A step that no operator asked for; no other proposal may be under way. */
void gossip_propose_step(struct gossip *, enum wish, uint64_t deadline_us, uint64_t now_us, struct effects *out);
/* Whether this node has a vote now. */
bool gossip_may_propose(const struct gossip *);

/* ---- gossip_change.c ---- */

/* PLAN_CHANGE: takes the question and answers it. */
void gossip_plan_change(const struct gossip *, struct message *question, struct effects *out);
/* To PLAN_CHANGE or COMMIT_CHANGE, which it takes. plan: in the arena of the question, or NULL. */
void gossip_answer_plan(struct message *question, uint32_t code, const char *text, const struct change_plan *,
			struct effects *out);
/* What is agreed on first for that one change, which nobody has seen the plan of: it must not break placement rules. */
RPC_OK int gossip_make_change(const struct gossip *, const struct member_change *, struct ring_document **out,
			      struct ring_error *why);
/* The document of a wish, but of WISH_RACK, on top of the ring in force; or a negative errno with a text. */
RPC_OK int gossip_make_wish(struct gossip *, struct ring_document **out, struct ring_error *why);
uint32_t gossip_wish_code(int error);

/* ---- gossip_force.c ---- */

/* FORCE_RING. */
struct gossip_verdict gossip_force(struct gossip *, const struct force_body *, uint64_t now_us, struct effects *out);

/* ---- gossip_advance.c ---- */

/* Each round: proposes the next step of a change when it is due. */
void gossip_advance_round(struct gossip *, uint64_t now_us, struct effects *out);
/* READY. */
void gossip_hear_ready(struct gossip *, const struct ready_body *);
/* Of the member with that index, this node too. NULL: no row. */
const struct gossip_row *gossip_member_row(const struct gossip *, uint32_t member);
bool gossip_is_member_up(const struct gossip *, uint32_t member);
/* Whether this node is the first member by id of those that are up: it is the one to act where any could. */
bool gossip_is_first_up(const struct gossip *);

/* ---- gossip_autoscale.c ---- */

/* Each round: what one change of the members would do good, told or proposed. */
void gossip_autoscale_round(struct gossip *, uint64_t now_us, struct effects *out);

/* ---- gossip_starts.c ---- */

/* What the data directory keeps of the members. After the document. */
RPC_OK int gossip_load_starts(struct gossip *, struct rpc_error *error_out);
/* Keeps the asker's start, and puts into the answer which one is kept now (G7). */
void gossip_answer_start(struct gossip *, const struct gossip_rows *question, struct gossip_rows *answer);
/* Whether enough members keep this start (G8). */
void gossip_prove(struct gossip *);
/* What the answering node keeps of this one. */
void gossip_hear_kept(struct gossip *, const struct gossip_rows *answer);
/* Somebody knows this start of this node. true: the directory does not, so this node is receiving from now on. */
bool gossip_hear_start(struct gossip *, uint64_t boot, uint64_t life);
/* Members to ask which start they keep: some that have not confirmed this one. suspected: also those that are suspected. */
uint32_t gossip_to_ask(struct gossip *, bool suspected, uint64_t ids_out[GOSSIP_ASK_MAX]);

/* INIT_CLUSTER: computes, keeps and installs the first document. */
struct gossip_verdict gossip_init_cluster(struct gossip *, const struct message *, uint64_t now_us, struct arena *);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Operation: one client operation in flight. Private to the coordinator's files.
 *
 *     operation.c    the table of operations, their questions and results
 *     put.c, get.c   writes: coordinate, replicate, forward; reads: fetch, merge, repair
 *     coordinator.c  events: which operation they belong to
 *
 * Transitions (operation_move asserts them):
 *
 *     STARTED -> FORWARDED -> ANSWERED
 *     STARTED -> COORDINATING -> REPLICATING -> ANSWERED      COORDINATING -> FORWARDED: the local replica refused
 *     STARTED -> LEARNING -> COORDINATING                     an attempt that is not the first, or owners that may be away
 *     STARTED -> FETCHING -> REPAIRING -> ANSWERED            FETCHING -> ANSWERED: nothing to repair
 *     FETCHING, LEARNING, COORDINATING, FORWARDED -> WAITING -> STARTED    the ring changed, and nothing was written
 *     any -> ANSWERED: refused, or the deadline
 *
 * Invariants  (asserted by operation_check and coordinator_check after each step)
 *             I1 A state belongs to one kind of operation.
 *             I2 An operation keeps its question until it is answered, and no longer.
 *             I3 It has a timer, at its deadline at the latest (C4).
 *             I4 No owner is counted twice (C1): asserted where the owners are taken over.
 *             I5 An operation asks no owner before it leaves STARTED; only a get merges.
 *             I6 Every slot is in flight, with a timer, or free.
 *             I7 A put that replicates has the object to send, and may be written.
 *             I8 Only a get merges; what it has merged lies in merge_arena, or in `held`.
 *             I9 A put that learns has written nothing; one that has learned awaits no lesson: a STORED of this node
 *                is for the write.
 *             I10 Each quota can be met by its owners. While the ring changes a put has quotas of both sides; a get has
 *                those of one.
 */
#ifndef KVRING_NODE_OPERATION_H
#define KVRING_NODE_OPERATION_H

#include <urcu/list.h>
#include "node/coordinator/coordinator.h"
#include "node/coordinator/evidence.h"
#include "node/object/object.h"
#include "node/actor/timer_heap.h"

enum operation_state {
	OPERATION_STARTED,
	OPERATION_FORWARDED,
	OPERATION_LEARNING,
	OPERATION_COORDINATING,
	OPERATION_REPLICATING,
	OPERATION_FETCHING,
	OPERATION_REPAIRING,
	OPERATION_WAITING,
	OPERATION_ANSWERED,
	OPERATION_STATE_COUNT,
};

enum call_state { CALL_IDLE, CALL_SENT, CALL_OK, CALL_FAILED };

/* Owners by the ring's rows before a change and after it; there is no change: SIDE_NEW. Bits. */
enum side { SIDE_OLD = 1, SIDE_NEW = 2 };

enum { DATACENTER_ANY = UINT8_MAX };

/* So many owners of one side, anywhere or in one datacenter, have to answer (ALGORITHMS.md, Ring, Datacenters). */
struct quota {
	uint8_t side;
	uint8_t datacenter;
	uint8_t owners;
	uint8_t needed;
	uint8_t to_learn;  /* put: those that are to answer before it writes, this node included */
	const char *place; /* for texts: " in dc1", "" for anywhere */
};

/* One owner of the key, and what is known of it. */
struct owner {
	uint64_t node_id;
	uint16_t member_index;
	uint8_t sides; /* a kept owner is on both */
	uint8_t datacenter;
	bool near;            /* in this node's datacenter */
	bool up;              /* when the operation started, by this node's own calls or by gossip */
	bool unreachable;     /* likewise; neither: nothing is known yet */
	bool suspect;         /* it left the last of this node's own calls without an answer */
	enum call_state call; /* put: FETCH while it learns, COORDINATE, STORE or FORWARD; get: FETCH */
	enum replica_status failure;
	/* get only */
	bool object_asked;
	bool merged;            /* what it holds is part of the operation's object */
	enum call_state repair; /* at most one under way: its answer says what the owner has now */
	bool receiving; /* its disk may have gone back in time: it counts toward no r (C3); valid when call is CALL_OK */
	uint64_t digest;        /* of what it holds, 0 absent; valid when call is CALL_OK */
	uint64_t repair_digest; /* of what it was sent */
};

struct operation {
	struct timer_entry timer; /* first member */
	uint64_t correlation;
	enum operation_state state;
	enum operation_kind kind;
	struct message *question;               /* CLIENT or FORWARD; NULL once answered */
	uint32_t index;                         /* of the result, for CLIENT */
	const struct client_operation *request; /* valid until answered */
	struct arena *arena;                    /* holds key and context */
	struct rpc_slice key;                   /* engine key */
	struct context context;
	uint16_t partition;
	uint64_t epoch;
	uint64_t started_us, deadline_us;
	struct owner *owners; /* in the arena: those that reads go to first, of this datacenter before the others */
	uint32_t owner_count;
	struct quota *quotas; /* in the arena; the first is of the side that reads go to */
	uint32_t quota_count;
	enum side read_side;
	enum level level;      /* LEVEL_NONE: the client gave a number */
	uint32_t needed;       /* of the quotas of a side together, the larger */
	uint32_t beginnings;   /* so often it was begun again */
	uint32_t tries;        /* put: replicas that were asked to coordinate it, each a further attempt */
	bool unproven;         /* this node's disk may have gone back in time */
	uint32_t lessons;      /* put: objects of other owners that the local replica is merging */
	bool maybe_written;    /* some replica may hold the write */
	uint32_t forward_acks; /* the most that an owner who answered IN_DOUBT had */
	struct message *held;  /* put: COORDINATED, until answered; get: the FETCHED that `merged` points into, unless
				  merge_arena does */
	/* get only */
	bool spare; /* owners of other datacenters have not been asked */
	bool has_object;
	struct object merged;
	uint64_t merged_digest;
	struct rpc_slice merged_bytes;
	struct arena *merge_arena;
	struct cds_list_head answered; /* in the coordinator's list, while state is ANSWERED */
	struct operation *next_free;
};

struct coordinator {
	struct coordinator_options options;
	struct timer_heap timers;
	struct operation **slots;
	uint32_t slot_count;
	struct operation *free_list;
	struct cds_list_head
		answered; /* oldest first; they only wait for late answers, and give way when there is no room */
	uint32_t in_flight;
	uint64_t now_us;          /* of this step */
	uint64_t told_epoch;      /* behind_notice */
	struct evidence evidence; /* of other nodes */
	struct coordinator_counters counters;
};

enum { OPERATION_SLAB = 256 }; /* slots made at once */
#define CORRELATION_STEP (UINT64_C(1) << 32)

void coordinator_count(_Atomic uint64_t *counter);
void operation_move(struct operation *, enum operation_state);
/* NULL past LIMIT_OPERATIONS or when memory is out. */
struct operation *operation_begin(struct coordinator *, uint64_t deadline_us);
/* NULL: it has ended. */
struct operation *operation_find(const struct coordinator *, uint64_t correlation);
/* The result REFUSED, for a question that gets no operation. */
void operation_turn_away(struct coordinator *, struct message *question, uint32_t index, uint32_t code,
			 const char *message, struct effects *);
/* Assert all but I6, and I6. */
void operation_check(const struct operation *);
void coordinator_check(const struct coordinator *);

/* A question about this operation's key, to a replica (or coordinator) of that owner. NULL: out of memory. */
struct message *operation_question(struct coordinator *, struct operation *, const struct owner *, enum message_type,
				   struct effects *);
/* Asks the owner for its object, or for the digest. False: no memory, which counts as an owner that is overloaded. */
bool operation_fetch(struct coordinator *, struct operation *, struct owner *, bool digest_only, struct effects *);
struct owner *operation_owner(struct operation *, uint64_t node_id);
uint32_t operation_count_calls(const struct operation *, enum call_state);
bool quota_has(const struct quota *, const struct owner *);
uint32_t quota_count_calls(const struct operation *, const struct quota *, enum call_state);
/* Acknowledgements; of a get, answers that count toward r. */
uint32_t quota_acks(const struct operation *, const struct quota *);
/* That of which most is missing: first for good, then so far. */
const struct quota *operation_worst_quota(const struct operation *);
/* It, or this node, has yet to hear of a ring that the other knows: asked again after a while it may answer. */
bool owner_ring_differs(const struct owner *);
/* Begins the operation again soon, under the ring that is in force then. One that has not written forgets what it asked;
 * one that has goes on as it is until then. */
void operation_wait_for_ring(struct coordinator *, struct operation *, uint64_t now_us);
/* Acknowledgements known of, here or by an owner that it was forwarded to; of a get, answers that count toward r. */
uint32_t operation_acks(const struct operation *);

/* Hands the result to whoever asked; once. The operation lives on until operation_finish. */
void operation_answer(struct coordinator *, struct operation *, const struct client_result *, struct effects *);
/* OUTCOME_REFUSED or OUTCOME_IN_DOUBT with a text; `message` must live in out->arena or be a literal. */
void operation_fail(struct coordinator *, struct operation *, enum outcome, uint32_t code, const char *message,
		    struct effects *);
void operation_finish(struct coordinator *, struct operation *);
/* Whoever is still to answer has left this node's call without an answer. */
void operation_note_silence(struct coordinator *, const struct operation *, uint64_t now_us);
/* Whom to ask first: less is better. */
uint32_t owner_rank(const struct owner *);
/* "n2: unreachable, n3: no answer in time": which owners failed, and why. code: of the result. In out->arena. */
const char *operation_failures(struct coordinator *, const struct operation *, uint32_t code, struct effects *out);

/* A client's request that came in: values that are large. */
void coordinator_tell_request(const struct client_request *, struct effects *out);
/* Its answer, complete: slow, many siblings, refused for want of a resource. */
void coordinator_tell_answer(const struct client_request *, uint64_t now_us, struct effects *out);

void put_start(struct coordinator *, struct operation *, uint64_t now_us, struct effects *);
/* What was coordinated goes to all owners, who are those of a newer ring. */
void put_replicate(struct coordinator *, struct operation *, uint64_t now_us, struct effects *);
/* Consumes the answer. */
void put_on_message(struct coordinator *, struct operation *, struct message *answer, uint64_t now_us,
		    struct effects *);
void put_on_timer(struct coordinator *, struct operation *, uint64_t now_us, struct effects *);

void get_start(struct coordinator *, struct operation *, const struct event *, struct effects *);
/* Consumes the answer. */
void get_on_message(struct coordinator *, struct operation *, struct message *answer, const struct event *,
		    struct effects *);
void get_on_timer(struct coordinator *, struct operation *, const struct event *, struct effects *);

#endif

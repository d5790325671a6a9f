/* SPDX-License-Identifier: Apache-2.0 */
/* Event and effects: the only ways into and out of an actor.
 *
 *     void x_step(struct x *, const struct event *, struct effects *out);
 *
 * A step takes one event, which carries the time, and leaves effects. It may call down (ring view, engine); it never
 * blocks on a socket, reads a clock, draws from a global random source or takes a lock. Production and simulator drive
 * the same steps.
 *
 * A driver: drains the mailbox and steps each message; then steps EVENT_BATCH_END, tells the notes and delivers effects.messages; when
 * effects.sync is set it clears it, commits the shard, steps EVENT_SYNCED, and delivers again; then it hands out jobs
 * and arms the timer. It routes a message to ACTOR_REPLICA by the partition of its key (node_shard_of), whatever index
 * the sender guessed.
 */
#ifndef KVRING_NODE_EVENT_H
#define KVRING_NODE_EVENT_H

#include "node/actor/message.h"
#include "node/actor/note.h"

enum event_type {
	EVENT_START,     /* once, before all others */
	EVENT_MESSAGE,   /* the step consumes it: frees, keeps or passes it on */
	EVENT_TIMER,     /* effects.timer_us has come; may be early or late, never assumed exact */
	EVENT_BATCH_END, /* the mailbox is drained */
	EVENT_SYNCED,    /* the commit asked for by effects.sync ended with status */
	EVENT_JOB_DONE,  /* a job from effects.jobs has run; install it */
};

struct event {
	enum event_type type;
	uint64_t now_us; /* monotonic */
	uint64_t now_ms; /* Unix time: stamps and expiry only */
	union {
		struct message *message;
		struct engine_job *job;
		int status; /* 0 or -errno */
	};
};

enum { EFFECTS_JOBS_MAX = 8 };

struct effects {
	struct arena *arena;                       /* messages are made in it; the driver replaces it as it fills */
	struct message_list messages;              /* to send, in order */
	uint64_t timer_us;                         /* wake me then; UINT64_MAX: no timer. The latest value counts. */
	bool sync;                                 /* commit my shard, then EVENT_SYNCED */
	struct engine_job *jobs[EFFECTS_JOBS_MAX]; /* run in the background, then EVENT_JOB_DONE */
	uint32_t job_count;
	struct note *first_note, *last_note; /* to tell, before the messages are delivered */
	struct contacts *contacts;           /* whom to be connected to from now on; NULL: as before */
};

void effects_init(struct effects *, struct arena *);
/* Appends; the message's `to` says where. */
void effects_send(struct effects *, struct message *);
/* Appends a copy, made in the arena; without memory nothing is told. */
void effects_note(struct effects *, const struct note *);

/* Seeded generator (xoshiro256**; not for secrets), a field of each actor. */
struct prng {
	uint64_t state[4];
};
void prng_seed(struct prng *, uint64_t seed);
uint64_t prng_next(struct prng *);
uint64_t prng_below(struct prng *, uint64_t bound);

#endif

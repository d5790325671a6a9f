/* SPDX-License-Identifier: Apache-2.0 */
/* World: a whole cluster in one thread, under virtual time.
 *
 *     world.c    a run from seed to verdict          machine.c  one node: its clocks, its disk, its death and return
 *     client.c   who uses the cluster                actor.c    its actors: mailboxes, batches, commits, jobs
 *     faults.c   what goes wrong                     traffic.c  questions and answers between machines
 *     change.c   operators who change the ring
 *     moves.c    operators who change who owns what
 *     verdict.c  healing, settling, comparing
 *
 * The driver of the same step functions as node/driver/worker.c, with the same exchange between nodes. Every actor of every machine is scheduled by itself, in
 * batches of random size; commits and jobs take random times; nothing here draws from another source than the seed.
 *
 * Threading   One thread (liburcu's reclaimer frees old ring snapshots beside it).
 * Ownership   The world owns all. Messages belong to mailboxes; between machines travel bytes, so a machine can die at
 *             any moment without anything pointing into it.
 * Errors      A broken rule is kept in the oracle with its text. Memory that is out aborts: this is a test.
 * Invariants  D1 The same options and seed give the same sequence of events, to the hash.
 *             D2 A machine that is down steps nothing; what it had not delivered is gone.
 *             D3 A commit is under way beside the actor's other work, as in production, or alone, as the seed chose.
 */
#ifndef KVRING_TESTS_SIM_WORLD_H
#define KVRING_TESTS_SIM_WORLD_H

#include <stdarg.h>
#include "rpc/age.h"
#include "tests/sim/network.h"
#include "node/node.h"
#include "node/wire/exchange.h"
#include "tests/sim/options.h"
#include "tests/sim/oracle.h"
#include "tests/sim/schedule.h"
#include "tests/sim/sim_fs.h"

enum {
	OPERATIONS_PER_REQUEST_MAX = 3,
	ROT_PATH_SIZE = 128,
	SIM_EPOCHS_MAX = 4096,
	MOVES_MAX = 64,
	MOVE_CHANGES_MAX = 3,
};

struct world;
struct machine;

/* ---- a machine ---- */

/* What waits in front of an actor. */
struct mail {
	struct mail *next;
	uint64_t ready_us;
	struct message *message; /* or */
	struct engine_job *job;  /* that has run */
};

struct actor {
	struct machine *machine;
	struct exchange exchange;     /* with other machines */
	struct engine_commit *commit; /* under way, or NULL */
	bool commit_has_run;
	enum actor_kind kind;
	uint32_t index;
	struct mail *mailbox; /* by ready_us */
	uint64_t timer_us;    /* virtual; UINT64_MAX: none */
	uint64_t wake_us;     /* when it is stepped next; UINT64_MAX: not planned */
	uint64_t wake_number; /* of the plan that counts */
	bool blocked;         /* its thread is in a commit */
};

/* A background job that is out. */
struct job {
	struct job *next;
	uint64_t number;
	struct engine_job *engine_job;
	struct actor *actor;
	bool has_run;
};

/* A batch that left in one envelope, until it is answered or given up. */
struct call {
	struct call *next;
	uint64_t number;
	uint32_t to;
	struct actor *actor; /* whose exchange it is of */
	uint64_t batch;      /* and its number there */
};

/* The same batch where it arrived, until every answer is in. */
struct inbound {
	struct inbound *next;
	uint64_t call_number;
	uint32_t from;
	struct exchange_incoming *batch; /* whose carrier this is */
};

/* What a machine that is stopped would have done, or is sent: until it goes on. */
struct postponed {
	struct postponed *next;
	void (*run)(void *world, void *arg, uint64_t number);
	void *arg;
	uint64_t number;
	void (*drop)(void *arg);
};

/* What the receiver knows of the clock behind a connection. */
struct connection_age {
	uint32_t sender_boot, receiver_boot;
	struct rpc_age age;
};

struct machine {
	struct world *world;
	uint32_t index;
	char name[8], address[16];
	struct sim_fs *disk;
	struct node *node; /* NULL: down */
	uint64_t id;       /* node id, once known */
	uint64_t new_id;
	uint32_t boot;
	uint64_t boot_us, clock_base_us; /* its monotonic clock starts at clock_base_us */
	int64_t skew_ms;
	uint64_t known_down_us; /* when the others have noticed that it is down */
	uint64_t restart_number;
	bool stopped; /* its process is: pause.c */
	struct postponed *held;
	uint64_t pause_number;
	struct rpc_stall stall; /* the last one, in virtual time */
	struct connection_age peer_ages[NETWORK_MACHINES_MAX];
	struct connection_age *client_ages; /* by client */
	bool disk_failed; /* an error was injected since the last start: it may refuse, die or complain */
	struct {
		char path[ROT_PATH_SIZE];
		uint64_t offset;
		uint8_t bits; /* 0: nothing is rotten */
	} rot;
	struct actor *actors;
	uint32_t actor_count;
	struct job *jobs;
	struct call *calls;
	struct inbound *inbounds;
	struct disk_copy *copy; /* of its directory, from an orderly stop; or NULL */
	bool has_kept_dots;     /* of planted bugs: what its replicas go on with at the next start */
	struct dot kept_dots[ENGINE_SHARDS_MAX];
	uint64_t bus_links[NETWORK_MACHINES_MAX]; /* node ids of whom it is connected to on the bus */
	uint32_t bus_link_count;
};

/* ---- clients ---- */

struct known { /* a client's newest context of one key */
	uint8_t *context;
	size_t size;
	struct oracle_set covers;
};

struct task {
	bool is_get, is_delete, done;
	uint32_t key;
	uint32_t write; /* the oracle's number; ORACLE_NONE for a get */
	uint32_t quorum;
	uint32_t attempts; /* of this write, with this one */
};

/* One request to one node. The last one of a client counts; earlier ones may still be executed. */
struct attempt {
	struct client *client;
	uint32_t machine, boot;
	uint64_t begun_us, deadline_us;
	bool arrived, answered;
	uint32_t task_count;
	struct task tasks[OPERATIONS_PER_REQUEST_MAX];
};

struct client {
	struct world *world;
	uint32_t index;
	struct sim_random random;
	struct known *known; /* per key */
	struct task tasks[OPERATIONS_PER_REQUEST_MAX];
	struct given { /* with each task, in all its attempts */
		uint8_t *context;
		size_t size;
	} given[OPERATIONS_PER_REQUEST_MAX];
	uint32_t task_count;
	uint64_t attempt; /* the number of the one that counts */
	uint32_t attempts_left;
	uint32_t machine; /* it was sent to */
	bool write_next;  /* what was just read is to be written back */
	bool idle;
	bool auditor;  /* reads at the end, for the verdict */
	bool all_done; /* auditor: every task of the last request was answered */
};

/* ---- operators ---- */

/* A plan that an operator has in mind. */
struct move {
	struct member_change changes[MOVE_CHANGES_MAX];
	uint32_t count;
	uint64_t parent_hash, plan_hash; /* once it was shown */
};

/* ---- the world ---- */

struct totals {
	uint64_t seeds, operations, puts, gets, acked, in_doubt, refused, silent, retries, crashes, kills, restarts,
		restores, crashes_in_disk, disk_errors, full_disks, rots, partitions, messages, lost, duplicated,
		unreachable, pauses, late_attempts, steps, commits, jobs, truncations, false_siblings, reads_checked,
		simulated_us, changes_asked, changes_done, moves_asked, moves_done, wipes;
};

struct world {
	const struct sim_options *options;
	struct sim_settings settings;
	uint64_t seed;
	struct sim_random random; /* of scheduling */
	struct sim_random fault_random;
	struct schedule schedule;
	struct network network;
	struct oracle oracle;
	struct machine machines[NETWORK_MACHINES_MAX];
	struct client *clients;
	uint64_t next_call, next_job;
	struct attempt *attempts;
	uint32_t attempt_count, attempt_capacity;
	uint32_t operations_left;
	bool faults_on;
	bool paused;
	struct machine *restored;                           /* whose directory went back in time; NULL: none */
	bool inited;                                        /* the cluster's first document is made */
	uint64_t ring_of_epoch[SIM_EPOCHS_MAX], last_epoch; /* as machines installed them */
	struct move moves[MOVES_MAX];                       /* by number, the last ones */
	uint32_t move_number;
	uint64_t hash;
	struct totals totals;
	/* tracing */
	bool tracing;
	uint32_t trace_key; /* ORACLE_NONE: all keys */
	struct told {       /* questions of this key that were told, so that their answers are told too */
		uint64_t node_id, correlation;
	} * told;
	uint32_t told_count, told_capacity;
};

struct verdict {
	bool tell;    /* in: print the transcript ... */
	uint32_t key; /* in: ... of this key (ORACLE_NONE: of all). out: whose rule was broken */
	uint64_t hash;
	char text[512]; /* which rule was broken, empty: none */
};

/* Runs one seed. true: every rule held. Adds to the totals. */
bool world_run(const struct sim_options *, uint64_t seed, struct totals *, struct verdict *);

uint64_t world_random(struct world *, uint64_t bound);
void world_mix(struct world *, uint64_t value);
void world_mix_bytes(struct world *, const void *data, size_t size);
/* Runs events until the condition holds. false: it still does not after so much virtual time, or a rule was broken. */
bool world_run_until(struct world *, bool (*condition)(struct world *), uint64_t limit_us);
/* A line of the transcript: "[  40] n1 ...". key ORACLE_NONE: part of every story. */
bool world_tells(const struct world *, uint32_t key);
void world_line(struct world *, const char *format, ...) __attribute__((format(printf, 2, 3)));
void world_break(struct world *, uint32_t key, const char *format, ...) __attribute__((format(printf, 3, 4)));
void *world_alloc(size_t size); /* zeroed */
/* NULL: none has this id. */
struct machine *world_machine(struct world *, uint64_t node_id);
/* The number in a key of ours, "k7"; ORACLE_NONE: it is none. */
uint32_t world_key_number(struct rpc_slice key);
uint32_t world_engine_key_number(struct rpc_slice engine_key);

/* ---- machine.c ---- */

void machine_init(struct world *, uint32_t index);
void machine_fini(struct machine *);
/* Of a machine that is down: another disk, with nothing on it. */
void machine_wipe(struct machine *);
/* A table that reads wrong reads rightly again. */
void machine_mend(struct machine *);
/* Opens the node on what the disk holds. false: it died again while opening; one that refuses breaks a rule. */
bool machine_start(struct machine *);
void machine_stop(struct machine *);                            /* orderly: flushes and closes */
void machine_crash(struct machine *, const struct sim_crash *); /* power */
void machine_kill(struct machine *);                            /* process */
/* After anything that may have touched the disk: if its power failed in there, buries the machine. true: it did. */
bool machine_died(struct machine *);
uint64_t machine_now_us(const struct machine *); /* its clocks */
uint64_t machine_now_ms(const struct machine *);
uint64_t machine_to_virtual(const struct machine *, uint64_t clock_us);
uint64_t machine_truncations(const struct machine *);

/* ---- actor.c ---- */

/* Empties mailboxes and forgets plans; engine memory in messages must go before the engine does. */
void actors_reset(struct machine *);
/* Jobs and commits must be back before the engine closes; after a crash they fail at once. */
void actors_bring_work_home(struct machine *);
/* EVENT_START to each. The machine may die of it. */
void actors_start(struct machine *);
/* Puts a message in front of the actor it is for; consumes it. */
/* ---- directories that go back in time (restore.c) ---- */

void restore_take_copy(struct machine *); /* after an orderly stop */
void restore_from_copy(struct machine *); /* before a start; draws whether */
void restore_forget(struct machine *);    /* the copy */
void restore_note_start(struct machine *);
void restore_note_stop(struct machine *); /* before the node closes */
/* What a planted bug lets the replicas go on with; NULL: new actors. */
const struct dot *restore_planted_dots(struct machine *);

void machine_post(struct machine *, struct message *, uint64_t delay_us);

/* ---- pause.c ---- */

/* True: the machine is stopped, and runs this when it goes on. drop: when it dies instead. */
bool machine_holds(struct machine *, void (*run)(void *world, void *arg, uint64_t number), void *arg, uint64_t number,
		   void (*drop)(void *arg));
void machine_forget_held(struct machine *); /* its process is gone */
void machine_pause(struct machine *, uint64_t length_us);
void machine_resume(struct machine *);
/* When a request that comes now was sent, by the machine's clock. sent_us: by the sender's. */
uint64_t machine_sent_us(struct machine *, struct connection_age *, uint32_t sender_boot, uint64_t sent_us);

/* ---- traffic.c ---- */

/* A message is about to be stepped: into the hash, the transcript and the oracle. */
bool traffic_is_connected(void *machine, uint64_t node_id);
void traffic_note(struct actor *, const struct message *);
/* Takes what a step left. Consumes the messages. */
void traffic_deliver(struct actor *, struct effects *);
/* The connections of others to it break. */
void traffic_machine_died(struct machine *);
/* Frees what it had under way. */
void traffic_forget(struct machine *);

/* ---- client.c ---- */

void clients_init(struct world *);
void clients_fini(struct world *);
void clients_begin(struct world *);
/* All operations are done and no client waits. */
bool clients_idle(struct world *);
/* A node answers a client's request. */
void client_answer(struct world *, struct machine *, const struct message *);
/* The auditor reads this key at r replicas by this machine. */
void client_audit(struct world *, uint32_t machine, uint32_t key, uint32_t r);
struct client *client_auditor(struct world *);

/* ---- change.c ---- */

void change_begin(struct world *);
/* A CLUSTER_INITED that is no answer to the first document. */
void change_answered(struct world *, const struct message *);
void change_watch(struct world *, const struct machine *, const struct note *);
/* All machines are up and have the last ring that anyone installed. */
/* ---- moves.c ---- */

void moves_begin(struct world *);
void moves_answered(struct world *, const struct message *);

/* Of its ring; 0: it has none. */
uint64_t change_epoch(const struct machine *);
/* Is it a member by the last ring? So say those that have it; true when nobody is up that has. */
bool change_is_member(struct world *, const struct machine *);
bool change_is_everywhere(struct world *);

/* ---- faults.c ---- */

void faults_begin(struct world *);
/* No more faults: heals everything and restarts whoever is down. */
void faults_end(struct world *);
void faults_machine_down(struct machine *); /* plans its return */

/* ---- verdict.c ---- */

/* Forms the cluster. */
void verdict_form(struct world *);
void verdict_cluster_inited(struct world *, const struct message *);
/* E4, of one shard; after each start too. Reads the disk. */
void verdict_recount(struct machine *, uint32_t shard_index);
/* After the last client and fault: settles, reads everything, compares. */
void verdict_reach(struct world *);

#endif

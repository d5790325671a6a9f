/* SPDX-License-Identifier: Apache-2.0 */
/* Ring: who owns what.
 *
 * Q equal partitions, a power of two fixed when the cluster is created (Dynamo 6.2, strategy 3). partition = top bits
 * of XXH3-64(bucket, key, cluster seed). A virtual node is one (node, partition) claim; a node claims in proportion to
 * its weight. For every datacenter the document holds, per partition, the ordered preference list of N distinct nodes,
 * distinct racks first.
 *
 *     ring_document   immutable, agreed per epoch, stored and gossiped as bytes
 *     ring_claim      pure function: previous document, members -> next document
 *     ring_transition the way from one stable document to the next, in epochs
 *     ring_table      the document and the members' states as one snapshot, published through RCU
 *
 * Threading   Documents and views are immutable: share them freely. ring_table_publish: one writer thread.
 *             ring_view_acquire, release: any thread that called ring_reader_register; the section between them never
 *             blocks.
 * Ownership   Build and decode copy their inputs. ring_document_destroy(&doc) nulls the pointer. A view is valid until
 *             release.
 * Errors      -ENOMEM; -EINVAL with a text; -EBADMSG bytes that are no document, with a text naming the byte. Lookups
 *             cannot fail.
 * Invariants  R1 Every preference list names distinct nodes, and distinct racks while there are enough.
 *             R2 Replicas per node differ from their weighted share by less than one claim per datacenter, also in
 *                first place. Share: what the weight asks for, as far as R1 and one replica per partition and node
 *                allow (share.h).
 *             R3 ring_claim moves the minimum; with racks, at times a claim more (README.md).
 *             R4 Same inputs, same document, to the byte, on every machine.
 */
#ifndef KVRING_RING_RING_H
#define KVRING_RING_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RING_OK __attribute__((warn_unused_result))

enum {
	RING_NAME_MAX = 64,     /* bytes with the final 0: node, datacenter and rack names */
	RING_ADDRESS_MAX = 128, /* bytes with the final 0: HOST:PORT */
	RING_PARTITIONS_MIN = 8,
	RING_PARTITIONS_MAX = 65536, /* keys on disk begin with two bytes of partition */
	RING_PARTITIONS_DEFAULT = 1024,
	RING_REPLICAS_MAX = 8, /* N, per datacenter */
	RING_REPLICAS_DEFAULT = 3,
	RING_MEMBERS_MAX = 16384, /* below 65,535: owners are numbers of two bytes, and one says nobody */
	RING_DATACENTERS_MAX = 16,
	RING_WEIGHT_DEFAULT = 100, /* relative */
	RING_WEIGHT_MAX = 10000,
	/* Bytes of an encoded document at all these limits: with every name and address of full length 8.3 MiB of members, and
	 * 32 MiB of owners, in transition, at RING_REPLICAS_MAX in each of RING_DATACENTERS_MAX. */
	RING_DOCUMENT_SIZE_MAX = 41 * 1024 * 1024,
	/* Hashes of earlier documents in a document, 8 KiB: a node that missed no more epochs can tell whether a ring comes
	 * from its own. */
	RING_ANCESTORS_MAX = 1024,
};

/* Of a document. No cluster gets there: a higher one is forged, and would have no successor. */
#define RING_EPOCH_MAX (UINT64_C(1) << 62)

enum ring_member_state { RING_MEMBER_ACTIVE = 1, RING_MEMBER_STANDBY, RING_MEMBER_LEAVING };

struct ring_member {
	uint64_t id;
	char name[RING_NAME_MAX];
	char client_address[RING_ADDRESS_MAX];
	char peer_address[RING_ADDRESS_MAX];
	char bus_address[RING_ADDRESS_MAX];
	char datacenter[RING_NAME_MAX];
	char rack[RING_NAME_MAX];
	uint32_t weight;
	enum ring_member_state state;
};

struct ring_datacenter {
	char name[RING_NAME_MAX];
	uint32_t replica_count; /* N here */
};

/* node/ALGORITHMS.md, Transition: STABLE -> WRITE_BOTH_READ_OLD -> WRITE_BOTH_READ_NEW -> STABLE. */
enum ring_transition { RING_STABLE, RING_WRITE_BOTH_READ_OLD, RING_WRITE_BOTH_READ_NEW };

struct ring_error {
	char text[256];
};

struct ring_document; /* immutable */

/* The contents of a first document; ring_claim computes the owners. */
struct ring_plan {
	uint64_t cluster_id;
	uint64_t hash_seed;
	uint32_t partition_count; /* power of two */
	const struct ring_datacenter *datacenters;
	uint32_t datacenter_count;
	const struct ring_member *members;
	uint32_t member_count;
};

/* Next document, RING_STABLE. previous NULL: the first one, epoch 1. Otherwise plan gives the new members, and cluster
 * id, seed and partition count must be those of previous, which is RING_STABLE; owners move as little as possible. Only
 * ACTIVE members own partitions. */
RING_OK int ring_claim(const struct ring_document *previous, const struct ring_plan *, struct ring_document **out,
		       struct ring_error *error_out);
void ring_document_destroy(struct ring_document **);
struct ring_document *ring_document_ref(const struct ring_document *); /* shares; each reference is destroyed once */

/* Bytes for disk and wire, with a version and a checksum. encode: malloc'ed. */
RING_OK int ring_document_encode(const struct ring_document *, uint8_t **bytes_out, size_t *size_out);
RING_OK int ring_document_decode(const uint8_t *bytes, size_t size, struct ring_document **out,
				 struct ring_error *error_out);

uint64_t ring_cluster_id(const struct ring_document *);
uint64_t ring_epoch(const struct ring_document *);
uint64_t ring_hash(const struct ring_document *); /* of the encoded bytes: equal hash, equal document */
uint64_t ring_hash_seed(const struct ring_document *);
uint64_t ring_parent_hash(const struct ring_document *); /* 0 in epoch 1 */
/* Of the document of that epoch that this one comes from. 0: no earlier epoch, or more than RING_ANCESTORS_MAX before. */
uint64_t ring_ancestor_hash(const struct ring_document *, uint64_t epoch);
/* Whether both agree on what never changes: cluster, hash seed and number of partitions. */
bool ring_document_same_cluster(const struct ring_document *, const struct ring_document *);
enum ring_transition ring_transition(const struct ring_document *);
uint32_t ring_partition_count(const struct ring_document *);
uint32_t ring_datacenter_count(const struct ring_document *);
const struct ring_datacenter *ring_datacenter(const struct ring_document *, uint32_t datacenter_index);
uint32_t ring_member_count(const struct ring_document *);
const struct ring_member *ring_member(const struct ring_document *, uint32_t member_index);
/* Index of the member with this id, or -1. */
int ring_member_find(const struct ring_document *, uint64_t id);
int ring_member_find_name(const struct ring_document *, const char *name);
/* Datacenter index of a member. */
uint32_t ring_member_datacenter(const struct ring_document *, uint32_t member_index);
uint32_t ring_member_replicas(const struct ring_document *, uint32_t member_index);  /* partitions held */
uint32_t ring_member_primaries(const struct ring_document *, uint32_t member_index); /* in first place */

uint32_t ring_partition_of(const struct ring_document *, const void *bucket, size_t bucket_size, const void *key,
			   size_t key_size);
/* Owners of a partition in one datacenter, in order: replica_count member indexes, fewer only when there are not that
 * many members. */
uint32_t ring_owners(const struct ring_document *, uint32_t partition, uint32_t datacenter_index,
		     const uint16_t **members_out);
/* The next distinct nodes of that datacenter walking the ring clockwise: who stands in for the owners (sloppy quorum). max:
 * a few, since each newcomer is compared with those found. */
uint32_t ring_fallbacks(const struct ring_document *, uint32_t partition, uint32_t datacenter_index,
			uint16_t *members_out, uint32_t max);
/* Owner now, or before the transition that is on: who stores writes of this partition. */
bool ring_owns(const struct ring_document *, uint32_t partition, uint32_t member_index);
/* As ring_owners, of the document before the transition that is on: those that are still members. 0 when RING_STABLE. */
uint32_t ring_old_owners(const struct ring_document *, uint32_t partition, uint32_t datacenter_index,
			 const uint16_t **members_out);
/* Placement rules that cannot be met (fewer racks than N, ...), for people: line 0, 1, ... until it returns false. */
bool ring_violation(const struct ring_document *, uint32_t line, char *text_out, size_t text_size);

/* ---- from one stable document to the next ---------------------------------------------------------------------- */

/* stable with other addresses, another rack or weight of one member, which `changed` names by its id; under the next epoch. The owners
 * stay until the next claim, whatever rack and weight ask for. */
RING_OK int ring_amend(const struct ring_document *stable, const struct ring_member *changed,
		       struct ring_document **out, struct ring_error *error_out);
/* target is ring_claim(stable, ...): the same owners, with those of stable beside them, in WRITE_BOTH_READ_OLD. A
 * node that leaves, and one that is dead, is LEAVING in target: it stays an old owner until the ring is STABLE again. */
RING_OK int ring_transition_begin(const struct ring_document *stable, const struct ring_document *target,
				  struct ring_document **out, struct ring_error *error_out);
/* The next step: READ_OLD -> READ_NEW -> STABLE, the epoch one higher. */
RING_OK int ring_transition_next(const struct ring_document *, struct ring_document **out,
				 struct ring_error *error_out);
/* Back from READ_OLD, under a new epoch: the old owners own again, and are ACTIVE, also who was LEAVING; all other members are on
 * STANDBY. Weights stay as the change made them, and count in the next claim. */
RING_OK int ring_transition_abort(const struct ring_document *, struct ring_document **out,
				  struct ring_error *error_out);
/* stable without its LEAVING members, under the next epoch. -EINVAL: there are none. */
RING_OK int ring_drop_leavers(const struct ring_document *stable, struct ring_document **out,
			      struct ring_error *error_out);

/* Of mine, in whatever state, without the members of these ids: READ_OLD, two epochs later, from those of the old owners that are left. It
 * asks no majority: force.c. -EINVAL with a text: nobody would be left. */
RING_OK int ring_force(const struct ring_document *mine, const uint64_t *lost, uint32_t lost_count,
		       struct ring_document **out, struct ring_error *error_out);

/* Whether next may take the place of mine: it is the legal next step (verify.c), or of a later epoch and comes from mine.
 * -EINVAL with a text that says what is wrong and what to do; -ENOMEM. */
RING_OK int ring_verify(const struct ring_document *mine, const struct ring_document *next,
			struct ring_error *error_out);

/* ---- the published snapshot ---------------------------------------------------------------------------------- */

enum ring_reachability {
	RING_UP,
	RING_UNREACHABLE, /* this node hears nothing of it */
	RING_DOWN,        /* at least two members report that they hear nothing of it */
	RING_UNKNOWN,     /* no heartbeat yet since this node started */
};

enum { RING_SUSPICIONS_MAX = 8 };

/* How much a node holds and does, by its own word: carried for who reads the view. */
struct ring_figures {
	uint64_t keys, disk_bytes, memory_bytes, puts, gets;
	uint32_t load_permille, dead_shards;
	/* of a change that is under way: partitions still to be copied to it, all of them, and what was copied so far */
	uint32_t incoming_partitions, incoming_total;
	uint64_t copied_bytes;
};

/* The state of a member as gossip knows it. Same index as in the document. */
struct ring_member_status {
	enum ring_reachability reachability;
	uint64_t since_us; /* this node's clock when that began; 0: unknown */
	uint64_t incarnation;
	uint64_t heartbeat;
	uint64_t heard_us; /* this node's clock when the newest heartbeat came; 0: none since it started */
	uint64_t unheard[RING_SUSPICIONS_MAX]; /* node ids of members that it reports; what counts toward DOWN */
	uint32_t unheard_count;
	uint64_t epoch;
	uint64_t ready_epoch; /* of the newest document of which it has done its part, by its own word */
	struct ring_figures figures;
	uint64_t started_ms; /* Unix time */
	uint32_t shard_count;
	bool displaced; /* this node alone: another process goes by its id, and this process serves no client any more */
	bool held;      /* this node alone: such a process may live, and until that shows this one serves no client */
	bool unproven;  /* by its own word: its disk may have gone back in time, so its answers count toward no r */
	bool receiving; /* its disk went back in time, by its own word, and no operator has accepted that yet */
	/* as the member announces them: these are dialled, whatever the document says */
	char client_address[RING_ADDRESS_MAX], peer_address[RING_ADDRESS_MAX], bus_address[RING_ADDRESS_MAX];
	char version[32];
};

/* One immutable snapshot. document is NULL until the node is in a cluster. */
struct ring_view {
	const struct ring_document *document;
	const struct ring_member_status *status; /* ring_member_count entries */
	int self;                                /* this node's member index, -1 when it is not a member */
	uint64_t self_id;
};

struct ring_table;

RING_OK int ring_table_create(uint64_t self_id, struct ring_table **out);
void ring_table_destroy(struct ring_table **); /* after the last reader */
/* Replaces the snapshot; copies status, references document. Frees the old one after a grace period (call_rcu). Writer
 * thread only, which has called ring_reader_register. */
RING_OK int ring_table_publish(struct ring_table *, const struct ring_document *,
			       const struct ring_member_status *status);
void ring_reader_register(void);
void ring_reader_unregister(void);
const struct ring_view *ring_view_acquire(struct ring_table *);
void ring_view_release(struct ring_table *, const struct ring_view *);

#endif

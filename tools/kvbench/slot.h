/* SPDX-License-Identifier: Apache-2.0 */
/* Slot: one chain of requests, each started by the answer to the one before.
 *
 *     IDLE -> choose keys -> READ or UPDATE -> answer -> choose keys ...
 *                            MODIFY = READ, then UPDATE of the same keys
 *
 * Threading   One thread at a time: whoever starts it, then the thread that brings an answer.
 * Ownership   Borrows phase and client. slot_fini frees the buffers.
 * Errors      Counted in the phase's result. What cannot be sent now is parked; the phase's thread resumes it.
 */
#ifndef KVRING_KVBENCH_SLOT_H
#define KVRING_KVBENCH_SLOT_H

#include <pthread.h>
#include "tools/kvbench/payload.h"
#include "tools/kvbench/phase.h"

struct slot;

/* Shared by the slots of a phase. */
struct phase {
	enum phase_kind kind;
	const struct phase_options *options;
	const struct chooser *chooser;
	struct contexts *contexts;
	struct phase_result *result;
	uint64_t end_us;
	_Atomic uint64_t next_key;   /* PHASE_LOAD and PHASE_PREPARE, as the two below */
	_Atomic uint64_t settled_us; /* when a request was settled last */
	_Atomic bool gave_up;        /* nothing has been settled for too long */
	_Atomic bool error_noted;
	/* under lock */
	pthread_mutex_t lock;
	pthread_cond_t idle;
	uint32_t busy;
	struct slot *parked;
};

/* One key of a request. */
struct slot_item {
	uint64_t number;
	uint8_t key[PAYLOAD_KEY_SIZE];
	uint8_t operation_id[RPC_OPERATION_ID_SIZE];
	uint8_t *context; /* a buffer that grows */
	size_t context_size, context_room;
	uint32_t version; /* of the key's context when the read started */
	bool settled;     /* load: acknowledged */
	bool claimed;     /* in contexts, by this request */
};

struct slot {
	struct kv_client_call call; /* first: the call is the slot */
	struct phase *phase;
	struct kv_client *client;
	struct slot *next_parked;
	struct random random;
	enum phase_step step; /* what is measured */
	bool writing;         /* the request under way is a put */
	uint32_t attempts;
	uint64_t start_us;
	uint32_t count; /* items in the request */
	struct slot_item *items;
	uint8_t *values; /* value_size bytes per item */
	uint64_t *seen;  /* keys of this request: hash table of number + 1 */
	uint32_t seen_size;
	Kvring__V1__PutRequest *puts;
	Kvring__V1__GetRequest *gets;
	Kvring__V1__PutRequest **put_pointers;
	Kvring__V1__GetRequest **get_pointers;
	Kvring__V1__BatchPutRequest batch_put;
	Kvring__V1__BatchGetRequest batch_get;
};

void slot_init(struct slot *, struct phase *, struct kv_client *, uint32_t index);
void slot_fini(struct slot *);
void slot_start(struct slot *);
/* Sends again what could not be sent. */
void slot_resume(struct slot *);

#endif

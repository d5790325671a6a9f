/* SPDX-License-Identifier: Apache-2.0 */
/* Client: how a program uses a kvring cluster.
 *
 * A client holds one connection to each node of its list. A call goes to one of them; the next one is asked, with the
 * same operation id, when that node cannot be reached or answers UNAVAILABLE, and also when it is silent for its share
 * of the time (an equal part of it, one second at most): then both may answer, and the first answer counts. A node that was
 * silent is passed over by the calls of the next five seconds, as long as another one can be asked; then one call tries it
 * again. Requests and answers are the messages of kv.proto; answers live in the reply until it is released.
 *
 *     struct kv_client *client;
 *     struct kv_client_options options = {.endpoints = "10.0.0.1:7000,10.0.0.2:7000"};
 *     struct rpc_error error;
 *     if (kv_client_open(&options, &client, &error) < 0) ... error.text
 *
 *     Kvring__V1__GetRequest request = KVRING__V1__GET_REQUEST__INIT;
 *     request.key.data = key, request.key.len = key_size;
 *     struct kv_client_reply reply;
 *     if (kv_client_get(client, &request, &reply) < 0)
 *             fprintf(stderr, "%s\n", reply.text);
 *     else if (reply.get->outcome == KVRING__V1__OUTCOME__ABSENT)
 *             ... no live value; reply.get->context still covers deletes
 *     else
 *             ... reply.get->siblings[0..n_siblings-1]->value, reply.get->context
 *     kv_client_reply_release(&reply);
 *
 * To supersede what a get returned, put with its context. Several siblings are concurrent writes: merge them, put with
 * the context.
 *
 * Threading   kv_client_open / kv_client_close: one thread, and nothing else of the client at that time. Calls: any thread,
 *             any number at once. done of a kv_client_call runs on an NNG thread: it must not block, nor call the
 *             synchronous functions; it may start calls, the finished one again included.
 * Ownership   Requests are borrowed: until the return of a synchronous call, until done of an asynchronous one. A reply
 *             owns its body; kv_client_reply_release frees it.
 * Errors      0 when a node answered with code OK; then the body is set, and says itself what became of each single
 *             operation (outcome DONE, ABSENT, IN_DOUBT, REFUSED). Else negative errno, with reply.code (canonical
 *             code, also for errors of the transport), reply.text (whole sentence, names the node) and reply.in_doubt:
 *                 -EHOSTUNREACH  UNAVAILABLE        no node of the list could be reached, or none can serve this
 *                 -ETIMEDOUT     DEADLINE_EXCEEDED  no answer in time
 *                 -ECONNRESET    UNKNOWN            the connection was lost while waiting, and the call may not be repeated
 *                 -EAGAIN        RESOURCE_EXHAUSTED outstanding_max calls under way, or the node refused for load
 *                 -EINVAL        INVALID_ARGUMENT   the request is wrong; -EMSGSIZE it is too large
 *                 -EBADMSG       DATA_LOSS          the answer does not decode
 *                 -EREMOTEIO     any other          the node answered with this code
 * Invariants  C1 Retries of one operation carry the same operation id, so that a put cannot apply twice.
 *             C2 A call that may have been executed is repeated only where the operation id makes that safe: puts,
 *                deletes, and everything that only reads; never InitCluster.
 *             C3 in_doubt is false only when the operation certainly had no effect, or its answer says what it had. A
 *                node that refuses a write which another node may have executed does not settle it: such an outcome
 *                reads IN_DOUBT.
 *             C4 Every kv_client_call that kv_client_start accepted runs done exactly once, never inside
 *                kv_client_start.
 */
#ifndef KVRING_CLIENT_CLIENT_H
#define KVRING_CLIENT_CLIENT_H

#include <stdbool.h>
#include <stdint.h>
#include <urcu/list.h>
#include "rpc/rpc.h"
#include "proto/kv.pb-c.h"

struct kv_client;
struct kv_client_attempt;

struct kv_client_options {
	const char *endpoints;    /* "HOST:PORT,HOST:PORT", up to CLIENT_ENDPOINTS_MAX; the first is asked first */
	uint32_t timeout_ms;      /* a whole call, retries included; 0: 5,000 */
	uint32_t connect_ms;      /* of it, how long to wait while no node is connected; 0: 2,000 */
	uint32_t outstanding_max; /* asynchronous calls under way per node; 0: 1,024 */
	bool spread;              /* take turns among the connected nodes rather than stay with one */
	bool patient; /* wait for a silent node until the deadline, so that each call is at one node at a time */
};

enum {
	CLIENT_ENDPOINTS_MAX = 64, /* bits of kv_client_call.asked */
	CLIENT_ANY_ENDPOINT = -1,
	CLIENT_EXPLAIN_SIZE = 512, /* bytes of a text */
};

RPC_OK int kv_client_open(const struct kv_client_options *, struct kv_client **out, struct rpc_error *error_out);
/* Completes calls under way with -ECANCELED first. */
void kv_client_close(struct kv_client **);

unsigned kv_client_endpoint_count(const struct kv_client *);
const char *kv_client_endpoint(const struct kv_client *, unsigned index); /* "HOST:PORT" */
bool kv_client_endpoint_connected(const struct kv_client *, unsigned index);
/* Why an endpoint is not connected, for people: "10.0.0.1:7000: ...". Looks the host's name up, which may take seconds. */
void kv_client_endpoint_explain(const struct kv_client *, unsigned index, char text_out[CLIENT_EXPLAIN_SIZE]);
/* Waits until `count` endpoints are connected (more than there are: all). -ETIMEDOUT otherwise. */
RPC_OK int kv_client_wait_connected(struct kv_client *, unsigned count, uint32_t timeout_ms);

/* ---- replies -------------------------------------------------------------------------------------------------- */

struct kv_client_reply {
	int status;    /* what the call returned */
	uint32_t code; /* enum Code of kv.proto */
	bool in_doubt; /* a write that may have been executed although no answer says so; see C3 */
	uint8_t operation_id[RPC_OPERATION_ID_SIZE]; /* to repeat an operation in doubt, put it into the PutRequest */
	unsigned attempts;
	unsigned endpoint;   /* index of the node that answered, or was asked last */
	uint64_t ring_epoch; /* of the node that answered */
	char text[1024];     /* for people, "..." at its end when it was cut; empty when status is 0 */
	union {              /* NULL when none came */
		const ProtobufCMessage *body;
		const Kvring__V1__PutResponse *put; /* and of kv_client_delete */
		const Kvring__V1__GetResponse *get;
		const Kvring__V1__BatchPutResponse *batch_put;
		const Kvring__V1__BatchGetResponse *batch_get;
		const Kvring__V1__InitResponse *init;
		const Kvring__V1__NodeStatus *describe;
		const Kvring__V1__StatusResponse *cluster;
		const Kvring__V1__RingResponse *ring;
		const Kvring__V1__ChangePlan *plan;
		const Kvring__V1__HealthResponse *health;
	};
	struct arena *arena; /* holds the body */
};

/* Frees the body; status, code and text stay. Released twice is allowed. */
void kv_client_reply_release(struct kv_client_reply *);

/* ---- synchronous calls ---------------------------------------------------------------------------------------- */
/* Each returns reply->status and always sets the reply. A PutRequest with an operation_id (16 bytes, see
 * kv_client_operation_id) uses that one, for the attempt that its `attempt` says: 1 when it is new, 0 when the operation may
 * have been asked for before. Attempts within one call are counted by the call. */

/* A new operation id: a UUID version 7. Nodes refuse any other kind. */
RPC_OK int kv_client_operation_id(uint8_t id_out[RPC_OPERATION_ID_SIZE]);

RPC_OK int kv_client_put(struct kv_client *, const Kvring__V1__PutRequest *, struct kv_client_reply *);
RPC_OK int kv_client_get(struct kv_client *, const Kvring__V1__GetRequest *, struct kv_client_reply *);
RPC_OK int kv_client_delete(struct kv_client *, const Kvring__V1__PutRequest *, struct kv_client_reply *);
RPC_OK int kv_client_batch_put(struct kv_client *, const Kvring__V1__BatchPutRequest *, struct kv_client_reply *);
RPC_OK int kv_client_batch_get(struct kv_client *, const Kvring__V1__BatchGetRequest *, struct kv_client_reply *);
RPC_OK int kv_client_status(struct kv_client *, struct kv_client_reply *);
RPC_OK int kv_client_ring(struct kv_client *, const Kvring__V1__RingRequest *, struct kv_client_reply *);
RPC_OK int kv_client_init_cluster(struct kv_client *, const Kvring__V1__InitRequest *, struct kv_client_reply *);
/* The reply is an `init` too: the epoch of the ring that says so. */
RPC_OK int kv_client_set_rack(struct kv_client *, const Kvring__V1__SetRackRequest *, struct kv_client_reply *);
/* What members would own after these changes. Changes nothing; the reply is a `plan`. */
RPC_OK int kv_client_plan_change(struct kv_client *, const Kvring__V1__ChangeRequest *, struct kv_client_reply *);
/* Begins the change that was planned under parent_hash and plan_hash. The reply is a `plan`, with the epoch of its first step.
 * Repeated it is refused, as the ring is another one by then. */
RPC_OK int kv_client_commit_change(struct kv_client *, const Kvring__V1__ChangeRequest *, struct kv_client_reply *);
/* Goes back to the owners from before; the reply is an `init`. */
RPC_OK int kv_client_abort_change(struct kv_client *, const Kvring__V1__AbortRequest *, struct kv_client_reply *);
/* A ring without members that are lost; the reply is an `init`. Repeated with the same ring_hash it makes the same ring. */
RPC_OK int kv_client_force_ring(struct kv_client *, const Kvring__V1__ForceRequest *, struct kv_client_reply *);
/* Of one node: no failover. */
RPC_OK int kv_client_describe(struct kv_client *, unsigned endpoint, struct kv_client_reply *);
RPC_OK int kv_client_status_of(struct kv_client *, unsigned endpoint, struct kv_client_reply *);
RPC_OK int kv_client_health(struct kv_client *, unsigned endpoint, struct kv_client_reply *);

/* ---- asynchronous calls --------------------------------------------------------------------------------------- */

enum kv_client_method {
	CLIENT_PUT,
	CLIENT_GET,
	CLIENT_DELETE,
	CLIENT_BATCH_PUT,
	CLIENT_BATCH_GET,
	CLIENT_INIT_CLUSTER,
	CLIENT_SET_RACK,
	CLIENT_PLAN_CHANGE,
	CLIENT_COMMIT_CHANGE,
	CLIENT_ABORT_CHANGE,
	CLIENT_FORCE_RING,
	CLIENT_DESCRIBE,
	CLIENT_STATUS,
	CLIENT_RING,
	CLIENT_HEALTH,
	CLIENT_METHOD_COUNT,
};

/* A call under way; embedded in the caller's own struct, which stays alive until done has run. Fill in the first group,
 * leave the rest alone. After done it may be started again. */
struct kv_client_call {
	enum kv_client_method method;
	const ProtobufCMessage *request; /* of the method's type, unchanged until done */
	int endpoint;                    /* CLIENT_ANY_ENDPOINT, or the index of the only node to ask */
	uint32_t timeout_ms;             /* 0: the client's */
	void (*done)(struct kv_client_call *);

	struct kv_client_reply reply; /* valid in done; the caller's to release */

	/* owned by the client; with attempts under way, under its lock */
	struct kv_client *client;
	struct kv_client_attempt *attempts; /* those under way */
	struct cds_list_head patience_link;
	uint64_t patience_us; /* when one more node is asked; 0: not while these attempts are under way */
	uint64_t deadline_us;
	unsigned tried;   /* nodes of this round */
	uint64_t asked;   /* which they are, a bit each */
	unsigned current; /* index of the node asked last */
};

/* Starts a call; unlike the synchronous ones it does not wait for a connection. An error returned here means that done
 * will not run and nothing was sent: -EHOSTUNREACH no node is connected, -EAGAIN outstanding_max calls are under way at
 * each, -EINVAL. */
RPC_OK int kv_client_start(struct kv_client *, struct kv_client_call *);

#endif

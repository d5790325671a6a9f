/* SPDX-License-Identifier: Apache-2.0 */
/* Peers. A batch is one envelope; results come back in the order of the operations. Keys and objects are copied once,
 * by protobuf-c, from the NNG message into the batch's arena. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "node/wire/codec_client.h"
#include "node/wire/codec_gossip.h"
#include "node/wire/codec_vote.h"
#include "proto/kv.pb-c.h"
#include "node/object/key.h"
#include "node/object/limit.h"
#include "proto/peer.pb-c.h"

enum {
	OPERATION_OVERHEAD = 32, /* bytes: tags, lengths, ids; for the size limit, not exact */
	KEY_MIN = 2,             /* bytes: the partition, see node/object/key.h */
};

static struct rpc_slice slice(ProtobufCBinaryData bytes)
{
	return (struct rpc_slice){bytes.data, bytes.len};
}

static ProtobufCBinaryData bytes_of(struct rpc_slice from)
{
	return (ProtobufCBinaryData){.len = from.size, .data = (uint8_t *)from.data};
}

/* ---- questions out ------------------------------------------------------------------------------------------ */

static int encode_store(const struct message *question, uint32_t count, const struct rpc_request *head,
			struct arena *scratch, struct rpc_message **out)
{
	Kvring__V1__StoreRequest body = KVRING__V1__STORE_REQUEST__INIT;
	Kvring__V1__StoreOperation *operations = rpc_arena_alloc(scratch, count * sizeof *operations);
	body.operations = rpc_arena_alloc(scratch, count * sizeof *body.operations);
	body.n_operations = count;
	if (operations == NULL || body.operations == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++, question = question->next) {
		assert(question->type == MESSAGE_STORE);
		kvring__v1__store_operation__init(&operations[i]);
		operations[i].key = bytes_of(question->key);
		operations[i].object = bytes_of(question->store.object);
		operations[i].hint_for = question->store.hint_for;
		body.operations[i] = &operations[i];
	}
	return rpc_request_encode(head, &body.base, out);
}

static int encode_fetch(const struct message *question, uint32_t count, const struct rpc_request *head,
			struct arena *scratch, struct rpc_message **out)
{
	Kvring__V1__FetchRequest body = KVRING__V1__FETCH_REQUEST__INIT;
	Kvring__V1__FetchOperation *operations = rpc_arena_alloc(scratch, count * sizeof *operations);
	body.operations = rpc_arena_alloc(scratch, count * sizeof *body.operations);
	body.n_operations = count;
	if (operations == NULL || body.operations == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++, question = question->next) {
		assert(question->type == MESSAGE_FETCH);
		kvring__v1__fetch_operation__init(&operations[i]);
		operations[i].key = bytes_of(question->key);
		operations[i].digest_only = question->fetch.digest_only;
		body.operations[i] = &operations[i];
	}
	return rpc_request_encode(head, &body.base, out);
}

/* One in an envelope: its answer may be as large as an answer may be. */
static int encode_scan(const struct message *question, uint32_t count, const struct rpc_request *head,
		       struct arena *scratch, struct rpc_message **out)
{
	Kvring__V1__ScanRequest body = KVRING__V1__SCAN_REQUEST__INIT;
	(void)scratch;
	assert(count == 1);
	body.after = bytes_of(question->key);
	body.bytes_max = question->scan.bytes_max;
	body.digest_only = question->scan.digest_only;
	body.root = question->scan.root;
	return rpc_request_encode(head, &body.base, out);
}

/* What the deadline of this question leaves of a budget that is the latest one's. */
static uint32_t own_budget_ms(const struct message *question, uint64_t latest_us, uint32_t budget_ms)
{
	uint64_t less_ms = latest_us > question->deadline_us ? (latest_us - question->deadline_us) / 1000 : 0;
	return less_ms < budget_ms ? budget_ms - (uint32_t)less_ms : 1;
}

static uint64_t latest_deadline_us(const struct message *first)
{
	uint64_t latest_us = 0;
	for (const struct message *question = first; question != NULL; question = question->next)
		if (question->deadline_us > latest_us)
			latest_us = question->deadline_us;
	return latest_us;
}

static int encode_forward(const struct message *question, uint32_t count, const struct rpc_request *head,
			  struct arena *scratch, struct rpc_message **out)
{
	Kvring__V1__ForwardRequest body = KVRING__V1__FORWARD_REQUEST__INIT;
	uint64_t latest_us = latest_deadline_us(question);
	Kvring__V1__PutRequest *puts = rpc_arena_alloc(scratch, count * sizeof *puts);
	body.operations = rpc_arena_alloc(scratch, count * sizeof *body.operations);
	body.n_operations = count;
	if (puts == NULL || body.operations == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++, question = question->next) {
		const struct client_operation *operation = &question->forward.operation;
		assert(question->type == MESSAGE_FORWARD);
		assert(operation->attempt > 0);
		kvring__v1__put_request__init(&puts[i]);
		puts[i].bucket = bytes_of(operation->bucket);
		puts[i].key = bytes_of(operation->key);
		puts[i].value = bytes_of(operation->value);
		puts[i].context = bytes_of(operation->context);
		puts[i].w = operation->quorum;
		puts[i].level = (Kvring__V1__Level)operation->level;
		puts[i].tombstone = operation->tombstone;
		puts[i].expires_ms = operation->expires_ms;
		puts[i].attempt = operation->attempt;
		puts[i].deadline_ms = own_budget_ms(question, latest_us, head->deadline_ms);
		puts[i].operation_id = (ProtobufCBinaryData){RPC_OPERATION_ID_SIZE, (uint8_t *)operation->operation_id};
		body.operations[i] = &puts[i];
	}
	return rpc_request_encode(head, &body.base, out);
}

static int encode_gossip(const struct message *question, uint32_t count, const struct rpc_request *head,
			 struct arena *scratch, struct rpc_message **out)
{
	ProtobufCMessage *body;
	assert(count == 1);
	int error = codec_gossip_encode(question, scratch, &body);
	return error < 0 ? error : rpc_request_encode(head, body, out);
}

static int encode_vote(const struct message *question, uint32_t count, const struct rpc_request *head,
		       struct arena *scratch, struct rpc_message **out)
{
	ProtobufCMessage *body;
	assert(count == 1);
	int error = codec_vote_encode(question, scratch, &body);
	return error < 0 ? error : rpc_request_encode(head, body, out);
}

/* ---- questions in ------------------------------------------------------------------------------------------- */

/* Messages listed by ->next, each with its place in the batch. */
struct list {
	struct arena *arena;
	void *call;
	uint64_t epoch, deadline_us;
	struct message *first, **last;
	uint32_t count;
};

static struct message *append(struct list *list, enum message_type type)
{
	struct message *message = message_create(list->arena, type);
	if (message == NULL)
		return NULL;
	message->to.kind = (uint16_t)message_receiver(type);
	message->epoch = list->epoch;
	message->deadline_us = list->deadline_us;
	message->call = list->call;
	message->call_index = list->count++;
	assert(*list->last == NULL);
	*list->last = message;
	list->last = &message->next;
	return message;
}

static void discard(struct message *message)
{
	while (message != NULL) {
		struct message *next = message->next;
		message_free(message);
		message = next;
	}
}

static int decode_store(struct list *list, const struct rpc_request *request, struct rpc_error *error_out)
{
	Kvring__V1__StoreRequest *body =
		rpc_body_decode(&kvring__v1__store_request__descriptor, request->body, list->arena, error_out);
	if (body == NULL)
		return -EBADMSG;
	for (size_t i = 0; i < body->n_operations; i++) {
		struct message *message = append(list, MESSAGE_STORE);
		if (message == NULL)
			return -ENOMEM;
		message->key = slice(body->operations[i]->key);
		message->store.object = slice(body->operations[i]->object);
		message->store.hint_for = body->operations[i]->hint_for;
		if (message->key.size < KEY_MIN)
			return -EINVAL;
	}
	return 0;
}

static int decode_fetch(struct list *list, const struct rpc_request *request, struct rpc_error *error_out)
{
	Kvring__V1__FetchRequest *body =
		rpc_body_decode(&kvring__v1__fetch_request__descriptor, request->body, list->arena, error_out);
	if (body == NULL)
		return -EBADMSG;
	for (size_t i = 0; i < body->n_operations; i++) {
		struct message *message = append(list, MESSAGE_FETCH);
		if (message == NULL)
			return -ENOMEM;
		message->key = slice(body->operations[i]->key);
		message->fetch.digest_only = body->operations[i]->digest_only;
		if (message->key.size < KEY_MIN)
			return -EINVAL;
	}
	return 0;
}

static int decode_scan(struct list *list, const struct rpc_request *request, struct rpc_error *error_out)
{
	Kvring__V1__ScanRequest *body =
		rpc_body_decode(&kvring__v1__scan_request__descriptor, request->body, list->arena, error_out);
	if (body == NULL)
		return -EBADMSG;
	struct message *message = append(list, MESSAGE_SCAN);
	if (message == NULL)
		return -ENOMEM;
	message->key = slice(body->after);
	message->scan =
		(struct scan_body){.bytes_max = body->bytes_max, .digest_only = body->digest_only, .root = body->root};
	return message->key.size < KEY_MIN ? -EINVAL : 0;
}

static int decode_forward(struct list *list, const struct rpc_request *request, struct rpc_error *error_out)
{
	Kvring__V1__ForwardRequest *body =
		rpc_body_decode(&kvring__v1__forward_request__descriptor, request->body, list->arena, error_out);
	if (body == NULL)
		return -EBADMSG;
	for (size_t i = 0; i < body->n_operations; i++) {
		const Kvring__V1__PutRequest *put = body->operations[i];
		struct message *message = append(list, MESSAGE_FORWARD);
		if (message == NULL)
			return -ENOMEM;
		if (put->deadline_ms != 0 && put->deadline_ms < request->deadline_ms)
			message->deadline_us -= (request->deadline_ms - put->deadline_ms) * UINT64_C(1000);
		message->forward.operation = (struct client_operation){
			.kind = OPERATION_PUT,
			.bucket = slice(put->bucket),
			.key = slice(put->key),
			.value = slice(put->value),
			.context = slice(put->context),
			.quorum = put->w,
			.level = (uint32_t)put->level,
			.tombstone = put->tombstone,
			.expires_ms = put->expires_ms,
			.attempt = put->attempt ? put->attempt : 2, /* a node that does not count */
		};
		if (put->operation_id.len != RPC_OPERATION_ID_SIZE)
			return -EINVAL;
		memcpy(message->forward.operation.operation_id, put->operation_id.data, RPC_OPERATION_ID_SIZE);
	}
	return 0;
}

static int decode_gossip(struct list *list, const struct rpc_request *request, struct rpc_error *error_out)
{
	struct message *message;
	int error = codec_gossip_decode(request, list->arena, &message, error_out);
	if (error < 0)
		return error;
	message->to.kind = ACTOR_GOSSIP;
	message->call = list->call;
	message->deadline_us = list->deadline_us;
	list->first = message;
	list->count = 1;
	return 0;
}

static int decode_vote(struct list *list, const struct rpc_request *request, struct rpc_error *error_out)
{
	struct message *message = append(list, MESSAGE_VOTE);
	return message != NULL ? codec_vote_decode(request, list->arena, &message->vote, error_out) : -ENOMEM;
}

/* ---- answers out -------------------------------------------------------------------------------------------- */

/* Of the question at this place. What a replica says of a put that it coordinates stays on its node. */
static Kvring__V1__ReplicaCode code_of(const struct message *answer, enum message_type type)
{
	if (answer == NULL)
		return KVRING__V1__REPLICA_CODE__REPLICA_ERROR;
	assert(answer->type == type);
	assert(answer->status >= REPLICA_OK && answer->status <= REPLICA_NOT_OWNER);
	return (Kvring__V1__ReplicaCode)answer->status;
}

static int encode_stored(struct message *const *answers, uint32_t count, const struct rpc_response *head,
			 struct arena *scratch, struct rpc_message **out)
{
	Kvring__V1__StoreResponse body = KVRING__V1__STORE_RESPONSE__INIT;
	body.codes = rpc_arena_alloc(scratch, count * sizeof *body.codes);
	body.n_codes = count;
	if (body.codes == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++)
		body.codes[i] = code_of(answers[i], MESSAGE_STORED);
	return rpc_response_encode(head, &body.base, out);
}

static int encode_fetched(struct message *const *answers, uint32_t count, const struct rpc_response *head,
			  struct arena *scratch, struct rpc_message **out)
{
	Kvring__V1__FetchResponse body = KVRING__V1__FETCH_RESPONSE__INIT;
	Kvring__V1__FetchResult *results = rpc_arena_alloc(scratch, count * sizeof *results);
	body.results = rpc_arena_alloc(scratch, count * sizeof *body.results);
	body.n_results = count;
	assert(count <= LIMIT_PEER_BATCH_OPERATIONS);
	size_t room = RPC_PEER_MESSAGE_MAX - count * OPERATION_OVERHEAD - OPERATION_OVERHEAD;
	if (results == NULL || body.results == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++) {
		kvring__v1__fetch_result__init(&results[i]);
		results[i].code = code_of(answers[i], MESSAGE_FETCHED);
		if (answers[i] != NULL && answers[i]->fetched.object.size > room) {
			results[i].code = KVRING__V1__REPLICA_CODE__REPLICA_OVERLOADED; /* the others still arrive */
		} else if (answers[i] != NULL) {
			room -= answers[i]->fetched.object.size;
			results[i].object = bytes_of(answers[i]->fetched.object);
			results[i].digest = answers[i]->fetched.digest;
			results[i].receiving = answers[i]->fetched.receiving;
		}
		body.results[i] = &results[i];
	}
	return rpc_response_encode(head, &body.base, out);
}

static int encode_scanned(struct message *const *answers, uint32_t count, const struct rpc_response *head,
			  struct arena *scratch, struct rpc_message **out)
{
	Kvring__V1__ScanResponse body = KVRING__V1__SCAN_RESPONSE__INIT;
	assert(count == 1);
	body.code = code_of(answers[0], MESSAGE_SCANNED);
	if (answers[0] == NULL)
		return rpc_response_encode(head, &body.base, out);
	const struct scanned_body *scanned = &answers[0]->scanned;
	Kvring__V1__ScanEntry *entries = rpc_arena_alloc(scratch, (scanned->count + 1) * sizeof *entries);
	body.entries = rpc_arena_alloc(scratch, (scanned->count + 1) * sizeof *body.entries);
	if (entries == NULL || body.entries == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < scanned->count; i++) {
		kvring__v1__scan_entry__init(&entries[i]);
		entries[i].key = bytes_of(scanned->entries[i].key);
		entries[i].object = bytes_of(scanned->entries[i].object);
		entries[i].digest = scanned->entries[i].digest;
		entries[i].size = scanned->entries[i].size;
		body.entries[i] = &entries[i];
	}
	body.n_entries = scanned->count;
	body.done = scanned->done;
	body.same = scanned->same;
	body.root = scanned->root;
	body.receiving = scanned->receiving;
	return rpc_response_encode(head, &body.base, out);
}

static const struct client_result no_result = {
	.outcome = OUTCOME_IN_DOUBT, .code = KVRING__V1__CODE__RESOURCE_EXHAUSTED, .message = "out of memory"};

static int encode_forwarded(struct message *const *answers, uint32_t count, const struct rpc_response *head,
			    struct arena *scratch, struct rpc_message **out)
{
	Kvring__V1__ForwardResponse body = KVRING__V1__FORWARD_RESPONSE__INIT;
	Kvring__V1__PutResponse *results = rpc_arena_alloc(scratch, count * sizeof *results);
	body.results = rpc_arena_alloc(scratch, count * sizeof *body.results);
	body.n_results = count;
	if (results == NULL || body.results == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++) {
		assert(answers[i] == NULL || answers[i]->type == MESSAGE_FORWARDED);
		codec_put_response(answers[i] != NULL ? &answers[i]->forwarded.result : &no_result, &results[i]);
		body.results[i] = &results[i];
	}
	return rpc_response_encode(head, &body.base, out);
}

static int encode_gossiped(struct message *const *answers, uint32_t count, const struct rpc_response *head,
			   struct arena *scratch, struct rpc_message **out)
{
	ProtobufCMessage *body;
	assert(count == 1);
	int error = answers[0] != NULL ? codec_gossiped_encode(answers[0], scratch, &body) : -ENOMEM;
	return error < 0 ? error : rpc_response_encode(head, body, out);
}

static int encode_voted(struct message *const *answers, uint32_t count, const struct rpc_response *head,
			struct arena *scratch, struct rpc_message **out)
{
	ProtobufCMessage *body;
	assert(count == 1);
	int error = answers[0] != NULL ? codec_voted_encode(answers[0], scratch, &body) : -ENOMEM;
	return error < 0 ? error : rpc_response_encode(head, body, out);
}

/* ---- answers in --------------------------------------------------------------------------------------------- */

struct answers {
	const struct message *question; /* whose answer is next */
	const struct rpc_response *response;
	struct arena *arena;
	struct message *first, **last;
	struct rpc_error *error_out;
};

static struct message *append_answer(struct answers *answers, enum message_type type)
{
	assert(answers->question != NULL); /* check_count */
	struct message *answer = message_answer(answers->question, answers->arena, type);
	if (answer == NULL)
		return NULL;
	answer->epoch = answers->response->ring_epoch;
	*answers->last = answer;
	answers->last = &answer->next;
	answers->question = answers->question->next;
	return answer;
}

static int check_count(const struct answers *answers, size_t count)
{
	size_t asked = 0;
	for (const struct message *question = answers->question; question != NULL; question = question->next)
		asked++;
	if (count == asked)
		return 0;
	snprintf(answers->error_out->text, sizeof answers->error_out->text, "%zu results for %zu operations", count,
		 asked);
	return -EBADMSG;
}

static void *answers_body(const struct answers *answers, const ProtobufCMessageDescriptor *descriptor)
{
	return rpc_body_decode(descriptor, answers->response->body, answers->arena, answers->error_out);
}

/* A code of a newer peer that this one does not know is an error, never an acknowledgement. */
static enum replica_status status_of(Kvring__V1__ReplicaCode code)
{
	return code >= KVRING__V1__REPLICA_CODE__REPLICA_OK && code <= KVRING__V1__REPLICA_CODE__REPLICA_NOT_OWNER
		       ? (enum replica_status)code
		       : REPLICA_ERROR;
}

static int decode_stored(struct answers *answers)
{
	Kvring__V1__StoreResponse *body = answers_body(answers, &kvring__v1__store_response__descriptor);
	int error = body != NULL ? check_count(answers, body->n_codes) : -EBADMSG;
	for (size_t i = 0; error == 0 && i < body->n_codes; i++) {
		struct message *answer = append_answer(answers, MESSAGE_STORED);
		if (answer == NULL)
			return -ENOMEM;
		answer->status = status_of(body->codes[i]);
	}
	return error;
}

static int decode_fetched(struct answers *answers)
{
	Kvring__V1__FetchResponse *body = answers_body(answers, &kvring__v1__fetch_response__descriptor);
	int error = body != NULL ? check_count(answers, body->n_results) : -EBADMSG;
	for (size_t i = 0; error == 0 && i < body->n_results; i++) {
		struct message *answer = append_answer(answers, MESSAGE_FETCHED);
		if (answer == NULL)
			return -ENOMEM;
		answer->status = status_of(body->results[i]->code);
		answer->fetched.object = slice(body->results[i]->object);
		answer->fetched.digest = body->results[i]->digest;
		answer->fetched.receiving = body->results[i]->receiving;
	}
	return error;
}

/* Entries that do not go on from key to key, all within the partition, would make the asking node miss some or never end. */
static int check_entries(const struct answers *answers, const Kvring__V1__ScanResponse *body)
{
	struct rpc_slice last = answers->question->key;
	uint16_t partition = key_partition(last);
	if (body->n_entries > LIMIT_SCAN_ENTRIES) {
		snprintf(answers->error_out->text, sizeof answers->error_out->text,
			 "%zu entries of a scan, %d are the most", body->n_entries, LIMIT_SCAN_ENTRIES);
		return -EBADMSG;
	}
	for (size_t i = 0; i < body->n_entries; i++) {
		struct rpc_slice key = slice(body->entries[i]->key);
		size_t common = key.size < last.size ? key.size : last.size;
		int order = common > 0 ? memcmp(last.data, key.data, common) : 0;
		if (key.size < KEY_MIN || key_partition(key) != partition || order > 0 ||
		    (order == 0 && key.size <= last.size)) {
			snprintf(answers->error_out->text, sizeof answers->error_out->text,
				 "entry %zu of a scan is not behind the one before it, or of another partition", i);
			return -EBADMSG;
		}
		last = key;
	}
	return 0;
}

static int decode_scanned(struct answers *answers)
{
	Kvring__V1__ScanResponse *body = answers_body(answers, &kvring__v1__scan_response__descriptor);
	int error = body != NULL ? check_count(answers, 1) : -EBADMSG;
	if (error == 0)
		error = check_entries(answers, body);
	if (error < 0)
		return error;
	struct message *answer = append_answer(answers, MESSAGE_SCANNED);
	struct scanned_entry *entries = rpc_arena_alloc(answers->arena, (body->n_entries + 1) * sizeof *entries);
	if (answer == NULL || entries == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < body->n_entries; i++)
		entries[i] = (struct scanned_entry){.key = slice(body->entries[i]->key),
						    .object = slice(body->entries[i]->object),
						    .digest = body->entries[i]->digest,
						    .size = body->entries[i]->size};
	answer->status = status_of(body->code);
	answer->scanned = (struct scanned_body){.entries = entries,
						.count = (uint32_t)body->n_entries,
						.done = body->done,
						.same = body->same,
						.root = body->root,
						.receiving = body->receiving};
	return 0;
}

static int decode_forwarded(struct answers *answers)
{
	Kvring__V1__ForwardResponse *body = answers_body(answers, &kvring__v1__forward_response__descriptor);
	int error = body != NULL ? check_count(answers, body->n_results) : -EBADMSG;
	for (size_t i = 0; error == 0 && i < body->n_results; i++) {
		const Kvring__V1__PutResponse *put = body->results[i];
		struct message *answer = append_answer(answers, MESSAGE_FORWARDED);
		if (answer == NULL)
			return -ENOMEM;
		bool known = put->outcome >= KVRING__V1__OUTCOME__DONE && put->outcome <= KVRING__V1__OUTCOME__REFUSED;
		answer->forwarded.result = (struct client_result){
			.outcome = known ? (enum outcome)put->outcome : OUTCOME_IN_DOUBT,
			.code = (uint32_t)put->code,
			.message = put->message,
			.acks_owners = put->acks_owners,
			.acks_fallbacks = put->acks_fallbacks,
			.synced = put->synced,
			.needed = put->needed,
			.context = slice(put->context),
		};
	}
	return error;
}

static int decode_gossiped(struct answers *answers)
{
	return codec_gossiped_decode(answers->question, answers->response, answers->arena, &answers->first,
				     answers->error_out);
}

static int decode_voted(struct answers *answers)
{
	struct message *answer = append_answer(answers, MESSAGE_VOTED);
	if (answer == NULL)
		return -ENOMEM;
	return codec_voted_decode(answers->response, answers->arena, &answer->voted, answers->error_out);
}

/* ---- methods ------------------------------------------------------------------------------------------------ */

static const struct peer_method {
	enum method method;
	enum message_type question, answer;
	int (*encode)(const struct message *, uint32_t count, const struct rpc_request *, struct arena *scratch,
		      struct rpc_message **);
	int (*decode)(struct list *, const struct rpc_request *, struct rpc_error *);
	int (*encode_answers)(struct message *const *, uint32_t count, const struct rpc_response *,
			      struct arena *scratch, struct rpc_message **);
	int (*decode_answers)(struct answers *);
} methods[] = {
	{METHOD_STORE, MESSAGE_STORE, MESSAGE_STORED, encode_store, decode_store, encode_stored, decode_stored},
	{METHOD_FETCH, MESSAGE_FETCH, MESSAGE_FETCHED, encode_fetch, decode_fetch, encode_fetched, decode_fetched},
	{METHOD_SCAN, MESSAGE_SCAN, MESSAGE_SCANNED, encode_scan, decode_scan, encode_scanned, decode_scanned},
	{METHOD_FORWARD, MESSAGE_FORWARD, MESSAGE_FORWARDED, encode_forward, decode_forward, encode_forwarded,
	 decode_forwarded},
	{METHOD_GOSSIP, MESSAGE_GOSSIP, MESSAGE_GOSSIPED, encode_gossip, decode_gossip, encode_gossiped,
	 decode_gossiped},
	{METHOD_VOTE, MESSAGE_VOTE, MESSAGE_VOTED, encode_vote, decode_vote, encode_voted, decode_voted},
};

enum { PEER_METHODS = sizeof methods / sizeof methods[0] };

static const struct peer_method *find_method(enum method method)
{
	uint32_t i = 0;
	while (i < PEER_METHODS && methods[i].method != method)
		i++;
	assert(i < PEER_METHODS); /* inbound.c: only methods of Peer come here */
	return &methods[i];
}

static const struct peer_method *method_of(const struct message *question)
{
	uint32_t i = 0;
	while (i < PEER_METHODS && methods[i].question != question->type)
		i++;
	assert(i < PEER_METHODS); /* all others stay on their node */
	return &methods[i];
}

enum method codec_peer_method(const struct message *question)
{
	return method_of(question)->method;
}

uint32_t codec_peer_fitting(const struct message *first, uint32_t max)
{
	uint32_t count = 0;
	size_t size = 0;
	if (first->type == MESSAGE_GOSSIP || first->type == MESSAGE_VOTE || first->type == MESSAGE_SCAN)
		return 1;
	for (const struct message *question = first; question != NULL; question = question->next) {
		size += OPERATION_OVERHEAD + message_size(question);
		if (count == max || count == LIMIT_PEER_BATCH_OPERATIONS || (count > 0 && size > LIMIT_PEER_BATCH_SIZE))
			break;
		count++;
	}
	assert(count <= max);
	assert(count <= LIMIT_PEER_BATCH_OPERATIONS);
	return count;
}

int codec_peer_encode(const struct message *first, uint32_t count, uint32_t deadline_ms, uint64_t sent_us,
		      struct arena *scratch, struct rpc_message **out)
{
	const struct peer_method *method = method_of(first);
	assert(count > 0);
	const char *name = codec_method_name(method->method);
	struct rpc_request head = {
		.protocol_version = RPC_PROTOCOL_VERSION,
		.method = {(const uint8_t *)name, strlen(name)},
		.deadline_ms = deadline_ms,
		.ring_epoch = first->epoch,
		.sent_us = sent_us,
	};
	return method->encode(first, count, &head, scratch, out);
}

int codec_peer_decode(enum method method, const struct rpc_request *request, void *call, uint64_t deadline_us,
		      struct arena *arena, struct message **first_out, uint32_t *count_out, struct rpc_error *error_out)
{
	struct list list = {.arena = arena, .call = call, .epoch = request->ring_epoch, .deadline_us = deadline_us};
	list.last = &list.first;
	error_out->text[0] = 0;
	int error = find_method(method)->decode(&list, request, error_out);
	if (error < 0) {
		discard(list.first);
		if (error == -EINVAL && error_out->text[0] == 0)
			snprintf(error_out->text, sizeof error_out->text,
				 "%s: operation %u has no valid key or operation id", codec_method_name(method),
				 list.count - 1);
		return error;
	}
	if (list.count == 0) {
		snprintf(error_out->text, sizeof error_out->text, "%s: no operations", codec_method_name(method));
		return -EINVAL;
	}
	*first_out = list.first;
	*count_out = list.count;
	return 0;
}

int codec_peer_encode_answers(enum method method, struct message *const *answers, uint32_t count, uint64_t ring_epoch,
			      struct arena *scratch, struct rpc_message **out)
{
	struct rpc_response head = {.protocol_version = RPC_PROTOCOL_VERSION, .ring_epoch = ring_epoch};
	assert(count > 0);
	return find_method(method)->encode_answers(answers, count, &head, scratch, out);
}

int codec_peer_decode_answers(enum method method, const struct message *questions, const struct rpc_response *response,
			      struct arena *arena, struct message **first_out, struct rpc_error *error_out)
{
	struct answers answers = {.question = questions, .response = response, .arena = arena, .error_out = error_out};
	answers.last = &answers.first;
	error_out->text[0] = 0;
	if (response->code != KVRING__V1__CODE__OK) {
		snprintf(error_out->text, sizeof error_out->text, "%s: code %u: %.*s", codec_method_name(method),
			 response->code, (int)(response->message.size < 100 ? response->message.size : 100),
			 (const char *)response->message.data);
		/* Refused before anything was done (inbound.c: admit), unlike all others. */
		return response->code == KVRING__V1__CODE__RESOURCE_EXHAUSTED ? -EAGAIN : -EREMOTEIO;
	}
	int error = find_method(method)->decode_answers(&answers);
	if (error < 0) {
		discard(answers.first);
		return error;
	}
	*first_out = answers.first;
	return 0;
}

struct message *codec_peer_failed(const struct message *question, enum replica_status status, struct arena *arena)
{
	if (question->type == MESSAGE_GOSSIP || question->type == MESSAGE_VOTE)
		return NULL;
	struct message *answer = message_answer(question, arena, method_of(question)->answer);
	if (answer == NULL)
		return NULL;
	answer->status = status;
	if (answer->type == MESSAGE_FORWARDED) {
		answer->forwarded.result.outcome = status == REPLICA_LOST ? OUTCOME_IN_DOUBT : OUTCOME_REFUSED;
		answer->forwarded.result.code = KVRING__V1__CODE__UNAVAILABLE;
		answer->forwarded.result.message = "the owner that it was forwarded to did not answer";
	}
	return answer;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Peer: what is encoded decodes to the same, what does not fit is refused with a text. */
#include "tests/node/wire/codec_support.h"
#include <errno.h>
#include "node/object/limit.h"
#include "proto/kv.pb-c.h"
#include "proto/peer.pb-c.h"

static struct message *question(enum message_type type, struct message *next, uint64_t correlation)
{
	struct message *message = message_create(arena, type);

	message->next = next;
	message->correlation = correlation;
	message->epoch = 4;
	message->from = (struct address){1, ACTOR_COORDINATOR, 0};
	message->to = (struct address){2, ACTOR_REPLICA, 0};
	return message;
}

static struct rpc_request send(const struct message *first, uint32_t expected_count)
{
	struct rpc_message *message;
	struct rpc_request request;
	struct rpc_slice bytes;
	uint32_t count;

	count = codec_peer_fitting(first, UINT32_MAX);
	assert_int_equal(codec_peer_encode(first, count, 250, 7, arena, &message), 0);
	assert_int_equal(count, expected_count);
	bytes = rpc_message_bytes(message);
	bytes.data = rpc_arena_copy(arena, bytes.data, bytes.size);
	rpc_message_free(message);
	assert_int_equal(rpc_request_decode(bytes, &request, &error), 0);
	assert_int_equal(request.deadline_ms, 250);
	assert_int_equal(request.ring_epoch, 4);
	return request;
}

static struct message *receive(const struct rpc_request *request, uint32_t expected_count)
{
	struct message *first;
	uint32_t count, i = 0;

	if (codec_peer_decode(codec_method(request->method), request, &arena, 99, arena, &first, &count, &error))
		fail_msg("%s", error.text);
	assert_int_equal(count, expected_count);
	for (struct message *at = first; at != NULL; at = at->next) {
		assert_ptr_equal(at->call, &arena);
		assert_int_equal(at->call_index, i++);
		assert_int_equal(at->deadline_us, 99);
		assert_int_equal(at->epoch, 4);
		assert_int_equal(at->from.node_id, 0);
	}
	assert_int_equal(i, count);
	return first;
}

static void test_store_batch_round_trip(void **state)
{
	struct message *second = question(MESSAGE_STORE, NULL, 11), *first = question(MESSAGE_STORE, second, 10);
	struct message *in, *out, *answers[2];
	struct rpc_message *encoded;
	struct rpc_response response;

	(void)state;
	first->key = slice("\0\1key one");
	first->key.size = 9;
	first->store.object = slice("object one");
	second->key = slice("k2");
	second->store.object = slice("");
	second->store.hint_for = 77;
	struct rpc_request request = send(first, 2);
	in = receive(&request, 2);
	assert_slice_equal(in->key, first->key);
	assert_slice_equal(in->store.object, slice("object one"));
	assert_int_equal(in->next->store.hint_for, 77);
	answers[0] = message_answer(in, arena, MESSAGE_STORED);
	answers[0]->status = REPLICA_OK;
	answers[1] = NULL; /* could not be made */
	assert_int_equal(codec_peer_encode_answers(METHOD_STORE, answers, 2, 8, arena, &encoded), 0);
	response = answered(encoded);
	assert_int_equal(response.ring_epoch, 8);
	assert_int_equal(codec_peer_decode_answers(METHOD_STORE, first, &response, arena, &out, &error), 0);
	assert_int_equal(out->type, MESSAGE_STORED);
	assert_int_equal(out->status, REPLICA_OK);
	assert_int_equal(out->correlation, 10);
	assert_int_equal(out->from.node_id, 2);
	assert_int_equal(out->to.node_id, 1);
	assert_int_equal(out->epoch, 8); /* of the ring of whoever answers */
	assert_int_equal(out->next->status, REPLICA_ERROR);
	assert_int_equal(out->next->correlation, 11);
	assert_null(out->next->next);
}

static void test_fetch_batch_round_trip(void **state)
{
	struct message *second = question(MESSAGE_FETCH, NULL, 11), *first = question(MESSAGE_FETCH, second, 10);
	struct message *in, *out, *answers[2];
	struct rpc_message *encoded;
	struct rpc_response response;

	(void)state;
	first->key = slice("k1");
	second->key = slice("k2");
	second->fetch.digest_only = true;
	struct rpc_request request = send(first, 2);
	in = receive(&request, 2);
	assert_false(in->fetch.digest_only);
	assert_true(in->next->fetch.digest_only);
	answers[0] = message_answer(in, arena, MESSAGE_FETCHED);
	answers[0]->status = REPLICA_ABSENT;
	answers[1] = message_answer(in->next, arena, MESSAGE_FETCHED);
	answers[1]->status = REPLICA_OK;
	answers[1]->fetched.object = slice("bytes");
	answers[1]->fetched.digest = UINT64_MAX;
	assert_int_equal(codec_peer_encode_answers(METHOD_FETCH, answers, 2, 8, arena, &encoded), 0);
	response = answered(encoded);
	assert_int_equal(codec_peer_decode_answers(METHOD_FETCH, first, &response, arena, &out, &error), 0);
	assert_int_equal(out->status, REPLICA_ABSENT);
	assert_slice_equal(out->next->fetched.object, slice("bytes"));
	assert_true(out->next->fetched.digest == UINT64_MAX);
}

static void test_forward_batch_round_trip(void **state)
{
	struct message *second = question(MESSAGE_FORWARD, NULL, 11), *first = question(MESSAGE_FORWARD, second, 10);
	struct message *in, *out, *answers[2];
	struct client_operation *operation = &first->forward.operation;
	struct rpc_message *encoded;
	struct rpc_response response;

	(void)state;
	*operation = (struct client_operation){.kind = OPERATION_PUT,
					       .attempt = 1,
					       .bucket = slice("b"),
					       .key = slice("k"),
					       .value = slice("v"),
					       .context = slice("c"),
					       .quorum = 2,
					       .level = LEVEL_EACH_QUORUM,
					       .tombstone = true,
					       .expires_ms = 9,
					       .operation_id = {4, 5, 6}};
	second->forward.operation = *operation;
	second->forward.operation.key = slice("other");
	struct rpc_request request = send(first, 2);
	in = receive(&request, 2);
	assert_slice_equal(in->forward.operation.key, slice("k"));
	assert_slice_equal(in->forward.operation.context, slice("c"));
	assert_true(in->forward.operation.tombstone);
	assert_int_equal(in->forward.operation.quorum, 2);
	assert_int_equal(in->forward.operation.level, LEVEL_EACH_QUORUM);
	assert_int_equal(in->forward.operation.expires_ms, 9);
	assert_memory_equal(in->forward.operation.operation_id, operation->operation_id, RPC_OPERATION_ID_SIZE);
	assert_slice_equal(in->next->forward.operation.key, slice("other"));
	answers[0] = message_answer(in, arena, MESSAGE_FORWARDED);
	answers[0]->forwarded.result =
		(struct client_result){.outcome = OUTCOME_REFUSED, .code = 9, .message = "no", .needed = 2};
	answers[1] = message_answer(in->next, arena, MESSAGE_FORWARDED);
	answers[1]->forwarded.result =
		(struct client_result){.outcome = OUTCOME_IN_DOUBT, .code = 4, .message = "perhaps"};
	assert_int_equal(codec_peer_encode_answers(METHOD_FORWARD, answers, 2, 8, arena, &encoded), 0);
	response = answered(encoded);
	assert_int_equal(codec_peer_decode_answers(METHOD_FORWARD, first, &response, arena, &out, &error), 0);
	assert_int_equal(out->forwarded.result.outcome, OUTCOME_REFUSED);
	assert_int_equal(out->forwarded.result.code, 9);
	assert_string_equal(out->forwarded.result.message, "no");
	assert_int_equal(out->next->forwarded.result.outcome, OUTCOME_IN_DOUBT);
	assert_string_equal(out->next->forwarded.result.message, "perhaps");
}

static void test_batches_are_cut_by_count_and_by_size(void **state)
{
	static uint8_t big[LIMIT_PEER_BATCH_SIZE];
	struct message *first = NULL;

	(void)state;
	for (uint32_t i = 0; i < LIMIT_PEER_BATCH_OPERATIONS + 1; i++) {
		first = question(MESSAGE_FETCH, first, i);
		first->key = slice("kk");
	}
	(void)send(first, LIMIT_PEER_BATCH_OPERATIONS);
	first = NULL;
	for (uint32_t i = 0; i < 3; i++) {
		first = question(MESSAGE_STORE, first, i);
		first->key = slice("kk");
		first->store.object = (struct rpc_slice){big, sizeof big / 2 - 100};
	}
	(void)send(first, 2);
	first->store.object.size = sizeof big; /* too large for a batch: goes alone */
	(void)send(first, 1);
}

static void test_fetched_objects_that_do_not_fit_one_message_are_refused_one_by_one(void **state)
{
	static uint8_t big[LIMIT_OBJECT_SIZE];
	struct message *answers[3];
	struct rpc_message *encoded;
	Kvring__V1__FetchResponse *body;

	(void)state;
	for (uint32_t i = 0; i < 3; i++) {
		answers[i] = message_create(arena, MESSAGE_FETCHED);
		answers[i]->status = REPLICA_OK;
		answers[i]->fetched.object = (struct rpc_slice){big, i == 2 ? 100 : sizeof big};
	}
	assert_int_equal(codec_peer_encode_answers(METHOD_FETCH, answers, 3, 1, arena, &encoded), 0);
	assert_in_range(rpc_message_bytes(encoded).size, sizeof big, RPC_PEER_MESSAGE_MAX);
	body = rpc_body_decode(&kvring__v1__fetch_response__descriptor, answered(encoded).body, arena, &error);
	assert_int_equal(body->results[0]->code, KVRING__V1__REPLICA_CODE__REPLICA_OK);
	assert_int_equal(body->results[1]->code, KVRING__V1__REPLICA_CODE__REPLICA_OVERLOADED);
	assert_int_equal(body->results[2]->object.len, 100);
}

static void test_answers_that_do_not_fit_the_questions_are_refused(void **state)
{
	struct message *second = question(MESSAGE_STORE, NULL, 11), *first = question(MESSAGE_STORE, second, 10);
	Kvring__V1__ReplicaCode codes[3] = {1, 1, 1};
	Kvring__V1__StoreResponse body = KVRING__V1__STORE_RESPONSE__INIT;
	struct rpc_response head = {.protocol_version = 1}, response;
	struct rpc_message *encoded;
	struct message *out;

	(void)state;
	body.codes = codes;
	for (body.n_codes = 0; body.n_codes <= 3; body.n_codes++) {
		assert_int_equal(rpc_response_encode(&head, &body.base, &encoded), 0);
		response = answered(encoded);
		assert_int_equal(codec_peer_decode_answers(METHOD_STORE, first, &response, arena, &out, &error),
				 body.n_codes == 2 ? 0 : -EBADMSG);
	}
	codes[0] = (Kvring__V1__ReplicaCode)99; /* of a later version: never an acknowledgement */
	codes[1] = KVRING__V1__REPLICA_CODE__REPLICA_UNSPECIFIED;
	body.n_codes = 2;
	assert_int_equal(rpc_response_encode(&head, &body.base, &encoded), 0);
	response = answered(encoded);
	assert_int_equal(codec_peer_decode_answers(METHOD_STORE, first, &response, arena, &out, &error), 0);
	assert_int_equal(out->status, REPLICA_ERROR);
	assert_int_equal(out->next->status, REPLICA_ERROR);
}

static void test_vote_round_trip(void **state)
{
	struct message *first = question(MESSAGE_VOTE, NULL, 10), *in, *out, *answer;
	Kvring__V1__VoteResponse newer = KVRING__V1__VOTE_RESPONSE__INIT;
	struct rpc_response head = {.protocol_version = 1}, response;
	struct rpc_message *encoded;

	(void)state;
	first->to.kind = ACTOR_GOSSIP;
	first->next = question(MESSAGE_VOTE, NULL, 11); /* goes by itself */
	first->vote = (struct vote_body){
		.parent_epoch = 5, .parent_hash = UINT64_MAX, .ballot = {6, 7}, .document = slice("document")};
	struct rpc_request request = send(first, 1);
	in = receive(&request, 1);
	assert_int_equal(in->type, MESSAGE_VOTE);
	assert_int_equal(in->to.kind, ACTOR_GOSSIP);
	assert_int_equal(in->vote.parent_epoch, 5);
	assert_true(in->vote.parent_hash == UINT64_MAX);
	assert_int_equal(in->vote.ballot.counter, 6);
	assert_int_equal(in->vote.ballot.node_id, 7);
	assert_slice_equal(in->vote.document, slice("document"));
	first->next = NULL;
	answer = message_answer(in, arena, MESSAGE_VOTED);
	answer->voted = (struct voted_body){.outcome = VOTE_PROMISED,
					    .epoch = 9,
					    .promised = {6, 7},
					    .accepted = {3, 4},
					    .document = slice("before"),
					    .text = "why"};
	assert_int_equal(codec_peer_encode_answers(METHOD_VOTE, &answer, 1, 8, arena, &encoded), 0);
	response = answered(encoded);
	assert_int_equal(codec_peer_decode_answers(METHOD_VOTE, first, &response, arena, &out, &error), 0);
	assert_int_equal(out->type, MESSAGE_VOTED);
	assert_int_equal(out->from.node_id, 2);
	assert_int_equal(out->correlation, 10);
	assert_int_equal(out->voted.outcome, VOTE_PROMISED);
	assert_int_equal(out->voted.epoch, 9);
	assert_int_equal(out->voted.promised.counter, 6);
	assert_int_equal(out->voted.promised.node_id, 7);
	assert_int_equal(out->voted.accepted.counter, 3);
	assert_int_equal(out->voted.accepted.node_id, 4);
	assert_slice_equal(out->voted.document, slice("before"));
	assert_string_equal(out->voted.text, "why");

	newer.outcome = 77; /* what a newer node means by it is not known, so it is no vote */
	assert_int_equal(rpc_response_encode(&head, &newer.base, &encoded), 0);
	response = answered(encoded);
	assert_int_equal(codec_peer_decode_answers(METHOD_VOTE, first, &response, arena, &out, &error), 0);
	assert_int_equal(out->voted.outcome, VOTE_REFUSED);
	answer = NULL; /* could not be made */
	assert_int_equal(codec_peer_encode_answers(METHOD_VOTE, &answer, 1, 8, arena, &encoded), -ENOMEM);
	request.body = slice("\x0a\xff");
	uint32_t count;
	assert_int_equal(codec_peer_decode(METHOD_VOTE, &request, NULL, 1, arena, &out, &count, &error), -EBADMSG);
	assert_null(codec_peer_failed(first, REPLICA_LOST, arena)); /* it is asked again */
}

static void test_a_refused_batch_is_no_answer(void **state)
{
	struct message *first = question(MESSAGE_FETCH, NULL, 10), *out;
	struct rpc_response refused = {
		.protocol_version = 1, .code = KVRING__V1__CODE__RESOURCE_EXHAUSTED, .message = slice("busy")};

	(void)state;
	assert_true(codec_peer_decode_answers(METHOD_FETCH, first, &refused, arena, &out, &error) < 0);
	assert_non_null(strstr(error.text, "busy"));
}

static void test_malformed_batches_are_refused(void **state)
{
	struct message *first = question(MESSAGE_STORE, NULL, 1), *out;
	struct rpc_request request;
	uint32_t count;

	(void)state;
	first->key = slice("k"); /* no room for a partition */
	first->store.object = slice("o");
	request = send(first, 1);
	assert_int_equal(codec_peer_decode(METHOD_STORE, &request, NULL, 1, arena, &out, &count, &error), -EINVAL);
	assert_non_null(strstr(error.text, "operation 0"));
	request.body = slice("\x0a\xff");
	assert_int_equal(codec_peer_decode(METHOD_STORE, &request, NULL, 1, arena, &out, &count, &error), -EBADMSG);
	assert_int_equal(codec_peer_decode(METHOD_GOSSIP, &request, NULL, 1, arena, &out, &count, &error), -EBADMSG);
}

/* REFUSED only when surely nothing happened (house rule 3). */
static void test_nobody_answered(void **state)
{
	struct message *store = question(MESSAGE_STORE, NULL, 1), *fetch = question(MESSAGE_FETCH, NULL, 2);
	struct message *forward = question(MESSAGE_FORWARD, NULL, 3), *gossip = question(MESSAGE_GOSSIP, NULL, 4);

	(void)state;
	assert_int_equal(codec_peer_failed(store, REPLICA_LOST, arena)->status, REPLICA_LOST);
	assert_int_equal(codec_peer_failed(fetch, REPLICA_UNREACHABLE, arena)->status, REPLICA_UNREACHABLE);
	assert_int_equal(codec_peer_failed(forward, REPLICA_UNREACHABLE, arena)->forwarded.result.outcome,
			 OUTCOME_REFUSED);
	assert_int_equal(codec_peer_failed(forward, REPLICA_LOST, arena)->forwarded.result.outcome, OUTCOME_IN_DOUBT);
	assert_null(codec_peer_failed(gossip, REPLICA_LOST, arena));
}

/* One in an envelope, however many wait. */
static void test_scan_round_trip(void **state)
{
	struct message *second = question(MESSAGE_SCAN, NULL, 11), *first = question(MESSAGE_SCAN, second, 10);
	struct message *in, *out, *answer;
	struct rpc_message *encoded;
	struct scanned_entry entries[2] = {{.digest = UINT64_MAX, .size = 70000}, {.size = 5}};

	(void)state;
	first->key = slice("\1\2");
	first->scan = (struct scan_body){.bytes_max = 4711, .digest_only = true, .root = UINT64_MAX - 1};
	struct rpc_request request = send(first, 1);
	in = receive(&request, 1);
	assert_int_equal(in->to.kind, ACTOR_REPLICA);
	assert_slice_equal(in->key, first->key);
	assert_int_equal(in->scan.bytes_max, 4711);
	assert_true(in->scan.digest_only);
	assert_true(in->scan.root == UINT64_MAX - 1);
	answer = message_answer(in, arena, MESSAGE_SCANNED);
	answer->status = REPLICA_OK;
	entries[0].key = slice("\1\2one");
	entries[1].key = slice("\1\2two");
	entries[1].object = slice("bytes");
	answer->scanned = (struct scanned_body){entries, 2, true, false, 77};
	assert_int_equal(codec_peer_encode_answers(METHOD_SCAN, &answer, 1, 8, arena, &encoded), 0);
	struct rpc_response response = answered(encoded);
	first->next = NULL;
	assert_int_equal(codec_peer_decode_answers(METHOD_SCAN, first, &response, arena, &out, &error), 0);
	assert_int_equal(out->status, REPLICA_OK);
	assert_int_equal(out->correlation, 10);
	assert_int_equal(out->scanned.count, 2);
	assert_true(out->scanned.done && !out->scanned.same);
	assert_int_equal(out->scanned.root, 77);
	for (int i = 0; i < 2; i++) {
		assert_slice_equal(out->scanned.entries[i].key, entries[i].key);
		assert_slice_equal(out->scanned.entries[i].object, entries[i].object);
		assert_true(out->scanned.entries[i].digest == entries[i].digest);
		assert_int_equal(out->scanned.entries[i].size, entries[i].size);
	}
	answer = NULL; /* could not be made */
	assert_int_equal(codec_peer_encode_answers(METHOD_SCAN, &answer, 1, 8, arena, &encoded), 0);
	response = answered(encoded);
	assert_int_equal(codec_peer_decode_answers(METHOD_SCAN, first, &response, arena, &out, &error), 0);
	assert_int_equal(out->status, REPLICA_ERROR);
	assert_int_equal(codec_peer_failed(first, REPLICA_LOST, arena)->status, REPLICA_LOST);
}

static int decode_entries(const char *const *keys, uint32_t count)
{
	struct message *ask = question(MESSAGE_SCAN, NULL, 10), *answer, *out;
	struct scanned_entry *entries = rpc_arena_zalloc(arena, (count + 1) * sizeof *entries);
	struct rpc_message *encoded;

	ask->key = slice("\1\2m");
	answer = message_answer(ask, arena, MESSAGE_SCANNED);
	answer->status = REPLICA_OK;
	answer->scanned = (struct scanned_body){.entries = entries, .count = count};
	for (uint32_t i = 0; i < count; i++)
		entries[i].key = keys != NULL ? slice(keys[i]) : slice("\1\2n");
	assert_int_equal(codec_peer_encode_answers(METHOD_SCAN, &answer, 1, 8, arena, &encoded), 0);
	struct rpc_response response = answered(encoded);
	error.text[0] = 0;
	return codec_peer_decode_answers(METHOD_SCAN, ask, &response, arena, &out, &error);
}

/* Who answers so would be asked for ever, or make the copy skip keys. */
static void test_a_scan_goes_on_from_key_to_key(void **state)
{
	static const char *const right[] = {"\1\2ma", "\1\2mb", "\1\2n"};
	static const char *const wrong[][2] = {
		{"\1\2l", "\1\2n"}, /* before the cursor */
		{"\1\2m", "\1\2n"}, /* the cursor */
		{"\1\2n", "\1\2n"}, {"\1\2o", "\1\2n"}, {"\1\2n", "\1\3n"}, {"\1\2n", "\1"}, {"\1\2n", ""},
	};

	(void)state;
	assert_int_equal(decode_entries(right, 3), 0);
	assert_int_equal(decode_entries(right, 0), 0);
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		assert_int_equal(decode_entries(wrong[i], 2), -EBADMSG);
		assert_non_null(strstr(error.text, "of a scan"));
	}
	assert_int_equal(decode_entries(NULL, LIMIT_SCAN_ENTRIES + 1), -EBADMSG);
	assert_non_null(strstr(error.text, "the most"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_store_batch_round_trip),
		cmocka_unit_test(test_fetch_batch_round_trip),
		cmocka_unit_test(test_forward_batch_round_trip),
		cmocka_unit_test(test_batches_are_cut_by_count_and_by_size),
		cmocka_unit_test(test_fetched_objects_that_do_not_fit_one_message_are_refused_one_by_one),
		cmocka_unit_test(test_answers_that_do_not_fit_the_questions_are_refused),
		cmocka_unit_test(test_vote_round_trip),
		cmocka_unit_test(test_a_refused_batch_is_no_answer),
		cmocka_unit_test(test_malformed_batches_are_refused),
		cmocka_unit_test(test_nobody_answered),
		cmocka_unit_test(test_scan_round_trip),
		cmocka_unit_test(test_a_scan_goes_on_from_key_to_key),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}

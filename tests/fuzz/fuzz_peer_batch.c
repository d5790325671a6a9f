/* SPDX-License-Identifier: Apache-2.0 */
/* Batches of peers, questions and answers: the first byte says which. What decodes has as many messages as it says, and
 * is encoded again without loss of any. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "node/wire/codec.h"

static void check(bool holds)
{
	if (!holds)
		abort();
}

static void discard(struct message *message)
{
	for (struct message *next; message != NULL; message = next) {
		next = message->next;
		message_free(message);
	}
}

static uint32_t count_of(const struct message *message)
{
	uint32_t count = 0;

	for (; message != NULL; message = message->next)
		count++;
	return count;
}

static void try_question(enum method method, struct rpc_slice body, struct arena *arena)
{
	struct rpc_request request = {.protocol_version = 1, .body = body};
	struct message *first;
	struct rpc_message *encoded;
	struct rpc_error error = {""};
	uint32_t count, fits;

	if (codec_peer_decode(method, &request, NULL, 1, arena, &first, &count, &error)) {
		check(error.text[0] != 0);
		return;
	}
	check(count_of(first) == count);
	if (count > 0) {
		check(codec_peer_method(first) == method);
		fits = codec_peer_fitting(first, UINT32_MAX);
		check(codec_peer_encode(first, fits, 1, 7, arena, &encoded) == 0);
		check(fits > 0 && fits <= count);
		rpc_message_free(encoded);
	}
	discard(first);
}

static void try_answer(enum method method, struct rpc_slice body, struct arena *arena)
{
	static const enum message_type types[] = {MESSAGE_STORE,  MESSAGE_FETCH, MESSAGE_FORWARD,
						  MESSAGE_GOSSIP, MESSAGE_VOTE,  MESSAGE_SCAN};
	struct message *questions = message_create(arena, types[method - METHOD_STORE]), *first;
	struct rpc_response response = {.protocol_version = 1, .body = body};
	struct rpc_error error = {""};

	if (method == METHOD_SCAN)
		questions->key = (struct rpc_slice){(const uint8_t *)"\x01\x02", 2};
	else if (method != METHOD_GOSSIP && method != METHOD_VOTE)
		questions->next = message_create(arena, questions->type);
	if (codec_peer_decode_answers(method, questions, &response, arena, &first, &error)) {
		check(error.text[0] != 0);
	} else {
		check(count_of(first) == count_of(questions));
		discard(first);
	}
	discard(questions);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena *arena;
	enum method method;

	if (size == 0)
		return 0;
	method = data[0] & 16 ? METHOD_SCAN : data[0] & 8 ? METHOD_VOTE : METHOD_STORE + (data[0] & 3);
	arena = rpc_arena_create(4096, SIZE_MAX);
	if (data[0] & 4)
		try_answer(method, (struct rpc_slice){data + 1, size - 1}, arena);
	else
		try_question(method, (struct rpc_slice){data + 1, size - 1}, arena);
	rpc_arena_unref(arena);
	return 0;
}

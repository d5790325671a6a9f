/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/client/client_reply.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "tools/client/client_internal.h"
#include "tools/client/client_method.h"

enum {
	ARENA_FIRST_SIZE = 2048,  /* bytes */
	ARENA_BASE = 1024 * 1024, /* bytes that any answer may take in memory */
	ARENA_FACTOR = 40,        /* and bytes per byte of it */
};

/* ---- codes and texts ------------------------------------------------------------------------------------------- */

static uint32_t code_from_status(int status)
{
	switch (status) {
	case 0:
		return KVRING__V1__CODE__OK;
	case -ETIMEDOUT:
		return KVRING__V1__CODE__DEADLINE_EXCEEDED;
	case -EHOSTUNREACH:
		return KVRING__V1__CODE__UNAVAILABLE;
	case -EAGAIN:
	case -ENOMEM:
		return KVRING__V1__CODE__RESOURCE_EXHAUSTED;
	case -EINVAL:
	case -EMSGSIZE:
		return KVRING__V1__CODE__INVALID_ARGUMENT;
	case -EBADMSG:
		return KVRING__V1__CODE__DATA_LOSS;
	case -ECANCELED:
		return KVRING__V1__CODE__CANCELLED;
	default:
		return KVRING__V1__CODE__UNKNOWN;
	}
}

int kv_client_reply_status_of(uint32_t code)
{
	switch (code) {
	case KVRING__V1__CODE__OK:
		return 0;
	case KVRING__V1__CODE__INVALID_ARGUMENT:
		return -EINVAL;
	case KVRING__V1__CODE__DEADLINE_EXCEEDED:
		return -ETIMEDOUT;
	case KVRING__V1__CODE__RESOURCE_EXHAUSTED:
		return -EAGAIN;
	case KVRING__V1__CODE__UNAVAILABLE:
		return -EHOSTUNREACH;
	default:
		return -EREMOTEIO;
	}
}

static const char *code_name(uint32_t code)
{
	const ProtobufCEnumValue *value =
		protobuf_c_enum_descriptor_get_value(&kvring__v1__code__descriptor, (int)code);
	return value == NULL ? "unknown code" : value->name;
}

const char *kv_client_reply_transport_text(int status)
{
	switch (status) {
	case -ETIMEDOUT:
		return "no answer in time";
	case -EHOSTUNREACH:
		return "not connected; is the node running there, and is this its client port?";
	case -ECONNRESET:
		return "the connection was lost while waiting for the answer";
	case -EAGAIN:
		return "too many calls under way";
	case -ECANCELED:
		return "the client was closed";
	case -EMSGSIZE:
		return "the request is larger than the 17 MiB a node takes; a value may have 8 MiB";
	default:
		return strerror(-status);
	}
}

void kv_client_reply_say(struct kv_client_reply *reply, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	int size = vsnprintf(reply->text, sizeof reply->text, format, arguments);
	va_end(arguments);
	if (size >= (int)sizeof reply->text)
		memcpy(reply->text + sizeof reply->text - 4, "...", 4);
}

static const char *address_of(const struct kv_client_call *call)
{
	return call->client->endpoints[call->reply.endpoint].address;
}

/* ---- no answer ------------------------------------------------------------------------------------------------- */

void kv_client_reply_fail(struct kv_client_call *call, int status)
{
	struct kv_client_reply *reply = &call->reply;
	const struct kv_client_method_row *method = kv_client_method_row(call->method);
	bool executed_perhaps =
		status == -ETIMEDOUT || status == -ECONNRESET || status == -ECANCELED || status == -EBADMSG;
	reply->status = status;
	reply->code = code_from_status(status);
	reply->in_doubt = method->writes && (reply->in_doubt || (executed_perhaps && reply->attempts > 0));
	kv_client_reply_say(reply, "%s at %s: %s%s", method->name, address_of(call),
			    kv_client_reply_transport_text(status),
			    reply->in_doubt ? "; it may have been executed" : "");
}

/* ---- an answer ------------------------------------------------------------------------------------------------- */

/* Every node would refuse such a write, so that none has executed it. */
static bool all_refuse(uint32_t code)
{
	return code == KVRING__V1__CODE__INVALID_ARGUMENT || code == KVRING__V1__CODE__PERMISSION_DENIED ||
	       code == KVRING__V1__CODE__UNAUTHENTICATED || code == KVRING__V1__CODE__UNIMPLEMENTED;
}

/* A node that refuses a write speaks for itself, not for another that was asked before and may have executed it. */
static void doubt_refusal(Kvring__V1__PutResponse *put)
{
	if (put->outcome == KVRING__V1__OUTCOME__REFUSED && !all_refuse(put->code))
		put->outcome = KVRING__V1__OUTCOME__IN_DOUBT;
}

static void doubt_refusals(const struct kv_client_call *call, ProtobufCMessage *body)
{
	if (call->method == CLIENT_PUT || call->method == CLIENT_DELETE) {
		doubt_refusal((Kvring__V1__PutResponse *)body);
	} else if (call->method == CLIENT_BATCH_PUT) {
		Kvring__V1__BatchPutResponse *batch = (Kvring__V1__BatchPutResponse *)body;
		for (size_t i = 0; i < batch->n_results; i++)
			doubt_refusal(batch->results[i]);
	}
}

static int decode(struct kv_client_call *call, const struct rpc_response *response, struct rpc_error *error_out)
{
	struct kv_client_reply *reply = &call->reply;
	reply->arena = rpc_arena_create(ARENA_FIRST_SIZE, ARENA_BASE + ARENA_FACTOR * response->body.size);
	if (reply->arena == NULL)
		return -ENOMEM;
	ProtobufCMessage *body =
		rpc_body_decode(kv_client_method_row(call->method)->response, response->body, reply->arena, error_out);
	if (body == NULL) {
		kv_client_reply_release(reply);
		return -EBADMSG;
	}
	if (reply->in_doubt)
		doubt_refusals(call, body);
	reply->body = body;
	return 0;
}

void kv_client_reply_take(struct kv_client_call *call, struct rpc_slice bytes)
{
	struct kv_client_reply *reply = &call->reply;
	const struct kv_client_method_row *method = kv_client_method_row(call->method);
	struct rpc_response response;
	struct rpc_error error = {""};
	int status = rpc_response_decode(bytes, &response, &error);
	if (status == 0 && (response.code == KVRING__V1__CODE__OK || response.body.size > 0))
		status = decode(call, &response, &error);
	if (status < 0) {
		kv_client_reply_fail(call, status);
		kv_client_reply_say(reply, "%s at %s: the answer does not decode: %s", method->name, address_of(call),
				    error.text);
		return;
	}
	reply->ring_epoch = response.ring_epoch;
	reply->code = response.code;
	reply->status = kv_client_reply_status_of(response.code);
	reply->text[0] = '\0';
	/* A node that ran out of time may have written; one that answers anything else says what it did. */
	reply->in_doubt = method->writes && reply->status < 0 && !all_refuse(response.code) &&
			  (reply->in_doubt || response.code == KVRING__V1__CODE__DEADLINE_EXCEEDED);
	if (reply->status < 0)
		kv_client_reply_say(reply, "%s at %s: %s: %s%.*s", method->name, address_of(call),
				    code_name(response.code), reply->in_doubt ? "it may have been executed: " : "",
				    (int)response.message.size, (const char *)response.message.data);
}

void kv_client_reply_release(struct kv_client_reply *reply)
{
	rpc_arena_unref(reply->arena);
	reply->arena = NULL;
	reply->body = NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "node/observe/watch.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include "node/wire/codec.h"
#include "node/wire/codec_event.h"
#include "proto/kv.pb-c.h"
#include "node/object/limit.h"
#include "node/driver/runtime.h"

enum {
	SLOW_US = 500 * 1000,
	INTERVAL_US = 10 * 1000 * 1000,
	DISK_INTERVAL_US = 60 * 1000 * 1000, /* a full disk stays full for a while */
	KEY_SHOWN = 64,                      /* bytes of a key */
};

/* ---- text --------------------------------------------------------------------------------------------------- */

struct shown_key {
	char text[4 * KEY_SHOWN + 4];
};

/* Keys are bytes: what is no plain character is written as \xNN, and so is the quote that ends them. */
static struct shown_key show(struct rpc_slice key)
{
	struct shown_key shown;
	size_t length = 0;
	for (size_t i = 0; i < key.size && i < KEY_SHOWN; i++) {
		bool plain = key.data[i] >= ' ' && key.data[i] < 0x7f && key.data[i] != '"' && key.data[i] != '\\';
		length += (size_t)snprintf(shown.text + length, sizeof shown.text - length, plain ? "%c" : "\\x%02x",
					   key.data[i]);
	}
	snprintf(shown.text + length, sizeof shown.text - length, "%s", key.size > KEY_SHOWN ? "..." : "");
	return shown;
}

/* The method and trace id of a call that is still unanswered. */
static void read_envelope(const struct rpc_call *call, const char **method_out, uint64_t *trace_id_out)
{
	struct rpc_request request;
	struct rpc_error why;
	*method_out = "?";
	*trace_id_out = 0;
	if (call->request == NULL || rpc_request_decode(rpc_message_bytes(call->request), &request, &why) < 0)
		return;
	*method_out = codec_method_name(codec_method(request.method));
	*trace_id_out = request.trace_id;
}

/* ---- requests ----------------------------------------------------------------------------------------------- */

void watch_request(struct worker *worker, const struct message *message)
{
	const struct client_request *request = message->client.request;
	uint32_t suppressed;
	for (uint32_t i = 0; i < request->count; i++) {
		const struct client_operation *operation = &request->operations[i];
		if (operation->value.size <= LIMIT_VALUE_WARN_SIZE)
			continue;
		if (!log_limit_pass(&worker->watch.large_value, worker->now_us, INTERVAL_US, &suppressed))
			continue;
		log_warn("coordinator: large value key=\"%s\" bytes=%zu warn_above=%d limit=%d suppressed=%u; large "
			 "values delay "
			 "others, split them",
			 show(operation->key).text, operation->value.size, LIMIT_VALUE_WARN_SIZE, LIMIT_VALUE_SIZE,
			 suppressed);
	}
}

static void tell_slow(struct worker *worker, const struct rpc_call *call, uint64_t micros)
{
	uint32_t suppressed;
	const char *method;
	uint64_t trace_id;
	if (!log_limit_pass(&worker->watch.slow, worker->now_us, INTERVAL_US, &suppressed))
		return;
	read_envelope(call, &method, &trace_id);
	log_warn("coordinator: slow request method=%s ms=%" PRIu64 " trace=%016" PRIx64 " suppressed=%u", method,
		 micros / 1000, trace_id, suppressed);
	runtime_tell(
		worker->runtime,
		&(struct node_event){.type = NODE_EVENT_SLOW_REQUEST, .name = method, .count = micros, .id = trace_id});
}

static void tell_overload(struct worker *worker, const struct client_result *result, uint32_t refused)
{
	uint32_t suppressed;
	const char *what = result->message ? result->message : "resource exhausted";
	if (!log_limit_pass(&worker->watch.overload, worker->now_us, INTERVAL_US, &suppressed))
		return;
	log_warn("coordinator: overload refused=%u suppressed=%u why=\"%.200s\"", refused, suppressed, what);
	runtime_tell(worker->runtime, &(struct node_event){.type = NODE_EVENT_OVERLOAD,
							   .name = what,
							   .count = (uint64_t)refused + suppressed});
}

static void tell_siblings(struct worker *worker, const struct client_operation *operation, uint32_t siblings)
{
	uint32_t suppressed;
	if (!log_limit_pass(&worker->watch.many_siblings, worker->now_us, INTERVAL_US, &suppressed))
		return;
	log_warn("coordinator: many siblings key=\"%s\" siblings=%u warn_above=%d limit=%d suppressed=%u; put with the "
		 "context of a get "
		 "to resolve them",
		 show(operation->key).text, siblings, LIMIT_SIBLINGS_WARN, LIMIT_SIBLINGS, suppressed);
}

void watch_answer(struct worker *worker, const struct message *done)
{
	const struct rpc_call *call = done->call;
	const struct client_request *request = done->client.request;
	const struct client_result *refused = NULL;
	uint32_t refused_count = 0;
	uint64_t micros = worker->now_us > call->received_us ? worker->now_us - call->received_us : 0;
	if (micros > SLOW_US)
		tell_slow(worker, call, micros);
	for (uint32_t i = 0; i < request->count; i++) {
		const struct client_result *result = &request->results[i];
		if (result->sibling_count > LIMIT_SIBLINGS_WARN)
			tell_siblings(worker, &request->operations[i], result->sibling_count);
		if (result->code == KVRING__V1__CODE__RESOURCE_EXHAUSTED) {
			refused = result;
			refused_count++;
		}
	}
	if (refused != NULL)
		tell_overload(worker, refused, refused_count);
}

/* ---- the disk ----------------------------------------------------------------------------------------------- */

static const char *shard_text(const struct worker *worker)
{
	const char *text = shard_error(engine_shard(worker->runtime->node->engine, worker->index));
	return text[0] ? text : "no detail";
}

void watch_store(struct worker *worker)
{
	struct watch *watch = &worker->watch;
	const struct replica_counters *counters = replica_counters(worker->runtime->node->replicas[worker->index]);
	uint64_t jobs = atomic_load_explicit(&counters->job_errors, memory_order_relaxed);
	uint64_t store = atomic_load_explicit(&counters->store_errors, memory_order_relaxed);
	uint32_t batches; /* with errors, that were not told: the counts below say more */
	if (jobs != watch->job_errors && log_limit_pass(&watch->jobs, worker->now_us, DISK_INTERVAL_US, &batches)) {
		log_error("replica: flush or compaction failed shard=%u times=%" PRIu64
			  " why=\"%.900s\"; it is tried again, the data is "
			  "safe, and writes stop when memory for them is full",
			  worker->index, jobs - watch->job_errors, shard_text(worker));
		watch->job_errors = jobs;
	}
	if (store != watch->store_errors && log_limit_pass(&watch->store, worker->now_us, DISK_INTERVAL_US, &batches)) {
		log_error("replica: reads or writes failed shard=%u times=%" PRIu64 " why=\"%.900s\"", worker->index,
			  store - watch->store_errors, shard_text(worker));
		watch->store_errors = store;
	}
}

void watch_clashes(struct worker *worker, uint64_t clashes)
{
	struct watch *watch = &worker->watch;
	uint32_t batches;
	if (clashes == watch->clashes || !log_limit_pass(&watch->clash, worker->now_us, INTERVAL_US, &batches))
		return;
	log_error("%s: one version stands for two writes times=%" PRIu64
		  "; both values are kept as siblings. A node has used a "
		  "version twice: is a data directory in use that was restored or copied? Stop that node and tell the "
		  "developers",
		  worker->kind == ACTOR_REPLICA ? "replica" : "coordinator", clashes - watch->clashes);
	watch->clashes = clashes;
}

void watch_quarantine(struct worker *worker, uint32_t quarantined)
{
	if (quarantined == worker->watch.quarantined)
		return;
	worker->watch.quarantined = quarantined;
	if (quarantined == 0)
		log_info("replica: no partition is quarantined any more shard=%u", worker->index);
	else
		log_error("replica: data is damaged shard=%u quarantined_partitions=%u why=\"%.900s\"; this node "
			  "answers error for them, the other replicas serve them, and everything else goes on; "
			  "`kvengine release "
			  "--help` says how to end it",
			  worker->index, quarantined,
			  shard_quarantine_reason(engine_shard(worker->runtime->node->engine, worker->index)));
}

void watch_log_failed(struct worker *worker, int error)
{
	uint32_t suppressed;
	if (error == -ENOSPC || error == -ENOMEM) {
		if (log_limit_pass(&worker->watch.log, worker->now_us, DISK_INTERVAL_US, &suppressed))
			log_error("replica: no %s for the log shard=%u suppressed=%u; writes are refused until there "
				  "is, reads go on",
				  error == -ENOSPC ? "space" : "memory", worker->index, suppressed);
		return;
	}
	log_error("replica: log failed shard=%u error=\"%s\" why=\"%.900s\"; its unacknowledged writes are in doubt "
		  "and it answers "
		  "nothing more: check the disk and restart the node",
		  worker->index, strerror(-error), shard_text(worker));
}

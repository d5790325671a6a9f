/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/kvctl/batches.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PAUSE_MIN_MS = 10, PAUSE_MAX_MS = 1000 };

/* One run: the same code for puts and gets. */
struct run {
	struct batches *batches;
	bool is_put;
	void *operations; /* array of PutRequest or GetRequest */
	size_t count;
	bool *settled; /* per operation */
	batches_on_put *on_put;
	batches_on_get *on_get;
	void *arg;
	bool too_large; /* a call of this round was */
	/* under lock */
	pthread_mutex_t lock;
	pthread_cond_t all_back;
	size_t under_way;
};

/* One call of a run. */
struct batch_call {
	struct kv_client_call call;
	struct run *run;
	size_t *indexes; /* of its operations in the run */
	size_t count;
	union {
		Kvring__V1__BatchPutRequest puts;
		Kvring__V1__BatchGetRequest gets;
	};
	void **pointers; /* to the operations: the repeated field */
	struct batch_call *next;
};

enum batches_verdict batches_judge(Kvring__V1__Outcome outcome, uint32_t code)
{
	if (outcome == KVRING__V1__OUTCOME__IN_DOUBT)
		return BATCHES_AGAIN;
	switch (code) {
	case KVRING__V1__CODE__UNAVAILABLE:
	case KVRING__V1__CODE__RESOURCE_EXHAUSTED:
	case KVRING__V1__CODE__DEADLINE_EXCEEDED:
	case KVRING__V1__CODE__ABORTED:
		return BATCHES_AGAIN;
	default:
		return BATCHES_STOP;
	}
}

static void *checked(void *memory)
{
	if (memory == NULL)
		abort();
	return memory;
}

/* ---- building calls ------------------------------------------------------------------------------------------- */

static void *operation_at(const struct run *run, size_t index)
{
	if (run->is_put)
		return (Kvring__V1__PutRequest *)run->operations + index;
	return (Kvring__V1__GetRequest *)run->operations + index;
}

/* The approximate size of an operation in the message; a get counts a little for its answer. */
static size_t size_of(const struct run *run, size_t index)
{
	if (!run->is_put)
		return 64;
	const Kvring__V1__PutRequest *put = operation_at(run, index);
	return put->key.len + put->value.len + put->context.len + put->bucket.len + 64;
}

static void call_done(struct kv_client_call *call)
{
	struct run *run = ((struct batch_call *)call)->run;
	pthread_mutex_lock(&run->lock);
	if (--run->under_way == 0)
		pthread_cond_signal(&run->all_back);
	pthread_mutex_unlock(&run->lock);
}

/* Takes unsettled operations from *from on, up to the limits of one call. NULL: none is left. */
static struct batch_call *build_call(struct run *run, size_t *from)
{
	struct batch_call *batch = checked(calloc(1, sizeof *batch));
	size_t size = 0, max = run->batches->operations;
	batch->run = run;
	batch->indexes = checked(malloc(max * sizeof *batch->indexes));
	batch->pointers = checked(malloc(max * sizeof *batch->pointers));
	for (; *from < run->count && batch->count < max; ++*from) {
		if (run->settled[*from])
			continue;
		size += size_of(run, *from);
		if (batch->count && size > BATCHES_CALL_SIZE_MAX)
			break;
		batch->pointers[batch->count] = operation_at(run, *from);
		batch->indexes[batch->count++] = *from;
	}
	if (run->is_put) {
		kvring__v1__batch_put_request__init(&batch->puts);
		batch->puts.n_puts = batch->count;
		batch->puts.puts = (Kvring__V1__PutRequest **)batch->pointers;
	} else {
		kvring__v1__batch_get_request__init(&batch->gets);
		batch->gets.n_gets = batch->count;
		batch->gets.gets = (Kvring__V1__GetRequest **)batch->pointers;
	}
	batch->call.method = run->is_put ? CLIENT_BATCH_PUT : CLIENT_BATCH_GET;
	batch->call.request = run->is_put ? &batch->puts.base : &batch->gets.base;
	batch->call.endpoint = CLIENT_ANY_ENDPOINT;
	batch->call.done = call_done;
	return batch;
}

static void free_calls(struct batch_call *first)
{
	while (first != NULL) {
		struct batch_call *next = first->next;
		kv_client_reply_release(&first->call.reply);
		free(first->indexes);
		free(first->pointers);
		free(first);
		first = next;
	}
}

/* ---- one round ------------------------------------------------------------------------------------------------ */

static void start(struct run *run, struct batch_call *batch)
{
	pthread_mutex_lock(&run->lock);
	run->under_way++;
	pthread_mutex_unlock(&run->lock);
	int error = kv_client_start(run->batches->client, &batch->call);
	if (error == 0)
		return;
	memset(&batch->call.reply, 0, sizeof batch->call.reply);
	batch->call.reply.status = error;
	snprintf(batch->call.reply.text, sizeof batch->call.reply.text, "%s",
		 error == -EHOSTUNREACH ? "no node of the list could be reached" : strerror(-error));
	call_done(&batch->call);
}

static struct batch_call *start_round(struct run *run)
{
	struct batch_call *first = NULL, **last = &first;
	for (size_t from = 0; from < run->count;) {
		struct batch_call *batch = build_call(run, &from);
		*last = batch;
		last = &batch->next;
		if (batch->count)
			start(run, batch);
	}
	return first;
}

static void wait_round(struct run *run)
{
	pthread_mutex_lock(&run->lock);
	while (run->under_way)
		pthread_cond_wait(&run->all_back, &run->lock);
	pthread_mutex_unlock(&run->lock);
}

/* A call that got no answer: 0 to ask again, or the error to give up with. */
static int judge_call(struct run *run, const struct batch_call *batch)
{
	const struct kv_client_reply *reply = &batch->call.reply;
	if (reply->status == -EMSGSIZE || reply->code == KVRING__V1__CODE__RESOURCE_EXHAUSTED)
		run->too_large = true;
	switch (reply->status) {
	case -EHOSTUNREACH:
	case -ETIMEDOUT:
	case -ECONNRESET:
	case -EAGAIN:
		return 0;
	case -EMSGSIZE: /* smaller calls may go through */
		return 0;
	default:
		return reply->status;
	}
}

static enum batches_verdict deliver_one(struct run *run, const struct batch_call *batch, size_t i)
{
	if (run->is_put)
		return run->on_put(run->arg, batch->indexes[i], batch->call.reply.batch_put->results[i]);
	return run->on_get(run->arg, batch->indexes[i], batch->call.reply.batch_get->results[i]);
}

static size_t result_count(const struct run *run, const struct batch_call *batch)
{
	return run->is_put ? batch->call.reply.batch_put->n_results : batch->call.reply.batch_get->n_results;
}

/* A call that is wrong as a whole and holds one operation: that one is refused, and the others are not concerned. */
static bool is_refused_alone(const struct batch_call *batch)
{
	int status = batch->call.reply.status;
	return batch->count == 1 && (status == -EMSGSIZE || status == -EINVAL);
}

static int refuse_alone(struct run *run, const struct batch_call *batch, size_t *settled_inout)
{
	Kvring__V1__PutResponse put = KVRING__V1__PUT_RESPONSE__INIT;
	Kvring__V1__GetResponse get = KVRING__V1__GET_RESPONSE__INIT;
	put.outcome = get.outcome = KVRING__V1__OUTCOME__REFUSED;
	put.code = get.code = KVRING__V1__CODE__INVALID_ARGUMENT;
	put.message = get.message =
		batch->call.reply.status == -EMSGSIZE
			? (char *)"the record is larger than a request may be; a value may have 8 MiB"
			: (char *)batch->call.reply.text;
	enum batches_verdict verdict = run->is_put ? run->on_put(run->arg, batch->indexes[0], &put)
						   : run->on_get(run->arg, batch->indexes[0], &get);
	if (verdict != BATCHES_SETTLED)
		return -ECANCELED;
	run->settled[batch->indexes[0]] = true;
	++*settled_inout;
	return 0;
}

/* Gives the results of a call to the callback. */
static int deliver(struct run *run, const struct batch_call *batch, size_t *settled_inout, struct rpc_error *error_out)
{
	if (is_refused_alone(batch))
		return refuse_alone(run, batch, settled_inout);
	if (batch->call.reply.status < 0) {
		snprintf(error_out->text, sizeof error_out->text, "%.*s", (int)sizeof error_out->text - 1,
			 batch->call.reply.text);
		return judge_call(run, batch);
	}
	if (result_count(run, batch) != batch->count) {
		snprintf(error_out->text, sizeof error_out->text, "a node answered %zu operations with %zu results",
			 batch->count, result_count(run, batch));
		return -EBADMSG;
	}
	for (size_t i = 0; i < batch->count; i++) {
		switch (deliver_one(run, batch, i)) {
		case BATCHES_SETTLED:
			run->settled[batch->indexes[i]] = true;
			++*settled_inout;
			break;
		case BATCHES_AGAIN:
			break;
		case BATCHES_STOP:
			return -ECANCELED;
		}
	}
	return 0;
}

/* Smaller calls after a round in which one was too large, larger ones again after the others. */
static void adapt(const struct run *run)
{
	struct batches *batches = run->batches;
	if (run->too_large)
		batches->operations = (batches->operations + 1) / 2;
	else if (batches->operations < batches->operations_max)
		batches->operations = 2 * batches->operations < batches->operations_max ? 2 * batches->operations
											: batches->operations_max;
}

/* Asks all unsettled operations once. */
static int ask_round(struct run *run, size_t *settled_inout, struct rpc_error *error_out)
{
	run->too_large = false;
	struct batch_call *first = start_round(run);
	wait_round(run);
	int error = 0;
	for (struct batch_call *batch = first; batch != NULL && error == 0; batch = batch->next)
		if (batch->count)
			error = deliver(run, batch, settled_inout, error_out);
	free_calls(first);
	adapt(run);
	return error;
}

static void pause_before_next(struct run *run, uint32_t pause_ms)
{
	nanosleep(&(struct timespec){.tv_sec = pause_ms / 1000, .tv_nsec = pause_ms % 1000 * 1000000L}, NULL);
	/* without a connection every call would fail at once: the result only ends the wait early */
	if (kv_client_wait_connected(run->batches->client, 1, PAUSE_MAX_MS) < 0)
		return;
}

static int ask_all(struct run *run, struct rpc_error *error_out)
{
	struct batches *batches = run->batches;
	size_t settled = 0;
	uint32_t pause_ms = PAUSE_MIN_MS;
	uint64_t progress_us = rpc_now_us();
	snprintf(error_out->text, sizeof error_out->text, "the nodes refused for now, or could not tell in time");
	while (settled < run->count) {
		size_t before = settled;
		int error = ask_round(run, &settled, error_out);
		if (error < 0 || settled == run->count)
			return error;
		batches->repeated += run->count - settled;
		if (settled > before) {
			progress_us = rpc_now_us();
			pause_ms = PAUSE_MIN_MS;
		}
		if (rpc_now_us() - progress_us > (uint64_t)batches->patience_ms * 1000)
			return -ETIMEDOUT;
		pause_before_next(run, pause_ms);
		pause_ms = pause_ms * 2 > PAUSE_MAX_MS ? PAUSE_MAX_MS : pause_ms * 2;
	}
	return 0;
}

static int run_all(struct run *run, struct rpc_error *error_out)
{
	assert(run->batches->operations_max >= 1 && run->batches->operations_max <= BATCHES_OPERATIONS_MAX);
	if (!run->batches->operations)
		run->batches->operations = run->batches->operations_max;
	run->settled = checked(calloc(run->count + 1, sizeof *run->settled));
	pthread_mutex_init(&run->lock, NULL);
	pthread_cond_init(&run->all_back, NULL);
	int error = ask_all(run, error_out);
	pthread_cond_destroy(&run->all_back);
	pthread_mutex_destroy(&run->lock);
	free(run->settled);
	return error;
}

int batches_put(struct batches *batches, Kvring__V1__PutRequest *puts, size_t count, batches_on_put *on_put, void *arg,
		struct rpc_error *error_out)
{
	struct run run = {
		.batches = batches, .is_put = true, .operations = puts, .count = count, .on_put = on_put, .arg = arg};
	return run_all(&run, error_out);
}

int batches_get(struct batches *batches, Kvring__V1__GetRequest *gets, size_t count, batches_on_get *on_get, void *arg,
		struct rpc_error *error_out)
{
	struct run run = {.batches = batches, .operations = gets, .count = count, .on_get = on_get, .arg = arg};
	return run_all(&run, error_out);
}

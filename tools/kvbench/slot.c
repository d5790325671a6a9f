/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/kvbench/slot.h"
#include "rpc/operation_id.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	ATTEMPTS_MAX = 50, /* of a load or prepare request */
	REDRAWS_MAX = 32,  /* of a key that cannot be taken */
};

static void on_answer(struct kv_client_call *);

static void *zeroed(size_t count, size_t size)
{
	void *memory = calloc(count, size);
	if (memory == NULL)
		abort();
	return memory;
}

void slot_init(struct slot *slot, struct phase *phase, struct kv_client *client, uint32_t index)
{
	uint32_t batch = phase->options->batch;
	*slot = (struct slot){.phase = phase, .client = client, .seen_size = 4};
	random_seed(&slot->random, phase->options->seed + (uint64_t)phase->kind * 1000003 + index);
	while (slot->seen_size < 2 * batch)
		slot->seen_size *= 2;
	slot->items = zeroed(batch, sizeof *slot->items);
	slot->values = zeroed(batch, phase->options->value_size);
	slot->seen = zeroed(slot->seen_size, sizeof *slot->seen);
	slot->puts = zeroed(batch, sizeof *slot->puts);
	slot->gets = zeroed(batch, sizeof *slot->gets);
	slot->put_pointers = zeroed(batch, sizeof *slot->put_pointers);
	slot->get_pointers = zeroed(batch, sizeof *slot->get_pointers);
	for (uint32_t i = 0; i < batch; i++) {
		slot->put_pointers[i] = &slot->puts[i];
		slot->get_pointers[i] = &slot->gets[i];
	}
	slot->call.endpoint = CLIENT_ANY_ENDPOINT;
	slot->call.done = on_answer;
}

void slot_fini(struct slot *slot)
{
	for (uint32_t i = 0; i < slot->phase->options->batch; i++)
		free(slot->items[i].context);
	free(slot->items);
	free(slot->values);
	free(slot->seen);
	free(slot->puts);
	free(slot->gets);
	free(slot->put_pointers);
	free(slot->get_pointers);
}

/* ---- choosing keys -------------------------------------------------------------------------------------------- */

/* False: the key is in this request already; two writes of one key in one request would stand beside each other. */
static bool mark(struct slot *slot, uint64_t number)
{
	uint32_t mask = slot->seen_size - 1, at = (uint32_t)(number * 0x9e3779b97f4a7c15 >> 32) & mask;
	for (; slot->seen[at]; at = (at + 1) & mask)
		if (slot->seen[at] == number + 1)
			return false;
	slot->seen[at] = number + 1;
	return true;
}

/* A key for the next item. An update takes one that no other update holds; when keys are too few for that, any. */
static void choose_key(struct slot *slot, struct slot_item *item)
{
	struct contexts *contexts = slot->phase->contexts;
	item->number = chooser_next(slot->phase->chooser, &slot->random);
	item->claimed = slot->step != PHASE_READ && contexts_claim(contexts, item->number);
	for (unsigned i = 0; slot->step != PHASE_READ && !item->claimed && i < REDRAWS_MAX; i++) {
		item->number = random_below(&slot->random, slot->phase->options->key_count);
		item->claimed = contexts_claim(contexts, item->number);
	}
}

static void release_claims(struct slot *slot)
{
	for (uint32_t i = 0; i < slot->count; i++) {
		if (slot->items[i].claimed)
			contexts_release(slot->phase->contexts, slot->items[i].number);
		slot->items[i].claimed = false;
	}
}

static void choose_random(struct slot *slot)
{
	const struct phase_options *options = slot->phase->options;
	memset(slot->seen, 0, slot->seen_size * sizeof *slot->seen);
	uint32_t wanted = options->batch < options->key_count ? options->batch : (uint32_t)options->key_count;
	for (slot->count = 0; slot->count < wanted;) {
		struct slot_item *item = &slot->items[slot->count];
		choose_key(slot, item);
		while (!mark(slot, item->number)) {
			if (item->claimed)
				contexts_release(slot->phase->contexts, item->number);
			item->claimed = false;
			item->number = random_below(&slot->random, options->key_count);
		}
		slot->count++;
	}
}

static void choose_next(struct slot *slot)
{
	const struct phase_options *options = slot->phase->options;
	uint64_t first = atomic_fetch_add(&slot->phase->next_key, options->batch);
	for (slot->count = 0; slot->count < options->batch && first + slot->count < options->key_count; slot->count++)
		slot->items[slot->count].number = first + slot->count;
}

static enum phase_step choose_step(struct slot *slot)
{
	const uint32_t *percent = slot->phase->options->percent;
	uint64_t dice = random_below(&slot->random, 100);
	if (dice < percent[PHASE_READ])
		return PHASE_READ;
	return dice < percent[PHASE_READ] + percent[PHASE_UPDATE] ? PHASE_UPDATE : PHASE_MODIFY;
}

/* False: the phase is over. */
static bool choose(struct slot *slot)
{
	const struct phase *phase = slot->phase;
	if (phase->gave_up)
		return false;
	if (phase->kind == PHASE_RUN) {
		if (rpc_now_us() >= phase->end_us)
			return false;
		slot->step = choose_step(slot);
		choose_random(slot);
	} else {
		slot->step = phase->kind == PHASE_LOAD ? PHASE_UPDATE : PHASE_READ;
		choose_next(slot);
	}
	for (uint32_t i = 0; i < slot->count; i++) {
		payload_key(slot->items[i].number, slot->items[i].key);
		slot->items[i].settled = false;
	}
	return slot->count > 0;
}

/* ---- requests ------------------------------------------------------------------------------------------------- */

static ProtobufCBinaryData bucket_of(const struct slot *slot)
{
	const char *bucket = slot->phase->options->bucket;
	return (ProtobufCBinaryData){strlen(bucket), (uint8_t *)bucket};
}

static void build_puts(struct slot *slot)
{
	const struct phase_options *options = slot->phase->options;
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	uint64_t unix_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
	for (uint32_t i = 0; i < slot->count; i++) {
		struct slot_item *item = &slot->items[i];
		Kvring__V1__PutRequest *put = &slot->puts[i];
		uint8_t *value = slot->values + (size_t)i * options->value_size;
		uint64_t id[2] = {random_next(&slot->random), random_next(&slot->random)};
		rpc_operation_id_make(unix_ms, (const uint8_t *)id, item->operation_id);
		payload_fill(item->number, &slot->random, value, options->value_size);
		item->context_size =
			contexts_get(slot->phase->contexts, item->number, &item->context, &item->context_room);
		kvring__v1__put_request__init(put);
		put->bucket = bucket_of(slot);
		put->key = (ProtobufCBinaryData){PAYLOAD_KEY_SIZE, item->key};
		put->value = (ProtobufCBinaryData){options->value_size, value};
		put->context = (ProtobufCBinaryData){item->context_size, item->context};
		put->operation_id = (ProtobufCBinaryData){sizeof item->operation_id, item->operation_id};
		put->attempt = 1;
		put->w = options->w;
	}
	kvring__v1__batch_put_request__init(&slot->batch_put);
	slot->batch_put.n_puts = slot->count;
	slot->batch_put.puts = slot->put_pointers;
	slot->call.method = options->batch > 1 ? CLIENT_BATCH_PUT : CLIENT_PUT;
	slot->call.request = options->batch > 1 ? &slot->batch_put.base : &slot->puts[0].base;
	slot->writing = true;
}

static void build_gets(struct slot *slot)
{
	const struct phase_options *options = slot->phase->options;
	for (uint32_t i = 0; i < slot->count; i++) {
		struct slot_item *item = &slot->items[i];
		Kvring__V1__GetRequest *get = &slot->gets[i];
		item->version = contexts_version(slot->phase->contexts, item->number);
		kvring__v1__get_request__init(get);
		get->bucket = bucket_of(slot);
		get->key = (ProtobufCBinaryData){PAYLOAD_KEY_SIZE, item->key};
		get->r = options->r;
	}
	kvring__v1__batch_get_request__init(&slot->batch_get);
	slot->batch_get.n_gets = slot->count;
	slot->batch_get.gets = slot->get_pointers;
	slot->call.method = options->batch > 1 ? CLIENT_BATCH_GET : CLIENT_GET;
	slot->call.request = options->batch > 1 ? &slot->batch_get.base : &slot->gets[0].base;
	slot->writing = false;
}

static void become_idle(struct slot *slot)
{
	struct phase *phase = slot->phase;
	pthread_mutex_lock(&phase->lock);
	if (--phase->busy == 0)
		pthread_cond_signal(&phase->idle);
	pthread_mutex_unlock(&phase->lock);
}

static void park(struct slot *slot)
{
	struct phase *phase = slot->phase;
	pthread_mutex_lock(&phase->lock);
	slot->next_parked = phase->parked;
	phase->parked = slot;
	pthread_mutex_unlock(&phase->lock);
}

static void note_error(struct phase *phase, const char *text)
{
	if (!atomic_exchange(&phase->error_noted, true))
		snprintf(phase->result->first_error, sizeof phase->result->first_error, "%s", text);
}

static void send_request(struct slot *slot)
{
	int error = kv_client_start(slot->client, &slot->call);
	if (error == 0)
		return;
	note_error(slot->phase, error == -EHOSTUNREACH ? "no node is connected" : strerror(-error));
	if (slot->phase->kind == PHASE_RUN) {
		slot->phase->result->failed += slot->count;
		slot->attempts = 0;
	}
	park(slot);
}

static void next_request(struct slot *slot)
{
	release_claims(slot);
	if (!choose(slot)) {
		become_idle(slot);
		return;
	}
	slot->attempts = 0;
	if (slot->step == PHASE_UPDATE)
		build_puts(slot);
	else
		build_gets(slot);
	slot->start_us = rpc_now_us();
	send_request(slot);
}

void slot_start(struct slot *slot)
{
	next_request(slot);
}

static void end_once(struct slot *);

void slot_resume(struct slot *slot)
{
	if (slot->phase->kind == PHASE_RUN)
		next_request(slot);
	else if (slot->phase->gave_up)
		end_once(slot);
	else
		send_request(slot);
}

/* ---- answers -------------------------------------------------------------------------------------------------- */

static void raise_max(_Atomic uint64_t *max, uint64_t value)
{
	uint64_t seen = *max;
	while (value > seen && !atomic_compare_exchange_weak(max, &seen, value))
		;
}

static bool count_outcome(struct phase *phase, Kvring__V1__Outcome outcome, const char *message)
{
	if (outcome == KVRING__V1__OUTCOME__DONE)
		return true;
	if (phase->kind == PHASE_RUN || outcome == KVRING__V1__OUTCOME__ABSENT)
		(*(outcome == KVRING__V1__OUTCOME__ABSENT     ? &phase->result->absent
		   : outcome == KVRING__V1__OUTCOME__IN_DOUBT ? &phase->result->in_doubt
							      : &phase->result->refused))++;
	if (outcome != KVRING__V1__OUTCOME__ABSENT)
		note_error(phase, message != NULL && *message ? message : "no quorum");
	return outcome == KVRING__V1__OUTCOME__ABSENT;
}

static void take_put(struct slot *slot, uint32_t index, const Kvring__V1__PutResponse *put)
{
	struct slot_item *item = &slot->items[index];
	item->settled |= count_outcome(slot->phase, put->outcome, put->message);
	if (put->outcome == KVRING__V1__OUTCOME__DONE)
		contexts_set_written(slot->phase->contexts, item->number, put->context.data, put->context.len);
}

static void check_values(struct phase *phase, const struct slot_item *item, const Kvring__V1__GetResponse *get)
{
	for (size_t i = 0; i < get->n_siblings; i++) {
		const char *wrong =
			payload_check(item->number, get->siblings[i]->value.data, get->siblings[i]->value.len);
		if (wrong == NULL)
			continue;
		char text[128];
		snprintf(text, sizeof text, "value of key %.16s: %s", (const char *)item->key, wrong);
		note_error(phase, text);
		phase->result->corrupt++;
	}
	if (get->n_siblings > 1) {
		phase->result->siblings++;
		raise_max(&phase->result->siblings_max, get->n_siblings);
	}
}

static void take_get(struct slot *slot, uint32_t index, const Kvring__V1__GetResponse *get)
{
	struct slot_item *item = &slot->items[index];
	item->settled = count_outcome(slot->phase, get->outcome, get->message);
	if (!item->settled)
		return;
	contexts_set_read(slot->phase->contexts, item->number, get->context.data, get->context.len, item->version);
	check_values(slot->phase, item, get);
}

/* False: no usable answer came. */
static bool take_answer(struct slot *slot)
{
	const struct kv_client_reply *reply = &slot->call.reply;
	if (reply->status < 0) {
		note_error(slot->phase, reply->text);
		return false;
	}
	if (slot->phase->options->batch == 1) {
		if (slot->writing)
			take_put(slot, 0, reply->put);
		else
			take_get(slot, 0, reply->get);
		return true;
	}
	size_t results = slot->writing ? reply->batch_put->n_results : reply->batch_get->n_results;
	if (results != slot->count) {
		note_error(slot->phase, "an answer has another number of results than the request has operations");
		return false;
	}
	for (uint32_t i = 0; i < slot->count; i++) {
		if (slot->writing)
			take_put(slot, i, reply->batch_put->results[i]);
		else
			take_get(slot, i, reply->batch_get->results[i]);
	}
	return true;
}

static bool all_settled(const struct slot *slot)
{
	for (uint32_t i = 0; i < slot->count; i++)
		if (!slot->items[i].settled)
			return false;
	return true;
}

static void end_once(struct slot *slot)
{
	struct phase_result *result = slot->phase->result;
	for (uint32_t i = 0; i < slot->count; i++)
		*(slot->items[i].settled ? &result->operations : &result->failed) += 1;
	result->requests++;
	histogram_record(&result->latency[slot->step], rpc_now_us() - slot->start_us);
	next_request(slot);
}

/* Load and prepare: a request is repeated, puts with the same operation ids, until every key is settled. */
static void after_once(struct slot *slot)
{
	bool settled = all_settled(slot);
	if (settled)
		slot->phase->settled_us = rpc_now_us();
	if (settled || ++slot->attempts == ATTEMPTS_MAX || slot->phase->gave_up) {
		end_once(slot);
		return;
	}
	slot->phase->result->repeated++;
	park(slot);
}

static void after_run(struct slot *slot, bool answered)
{
	struct phase_result *result = slot->phase->result;
	if (!answered) {
		result->failed += slot->count;
	} else if (slot->step == PHASE_MODIFY && !slot->writing) {
		build_puts(slot);
		send_request(slot);
		return;
	} else {
		result->operations += slot->count;
		result->requests++;
		histogram_record(&result->latency[slot->step], rpc_now_us() - slot->start_us);
	}
	next_request(slot);
}

static void on_answer(struct kv_client_call *call)
{
	struct slot *slot = (struct slot *)call;
	bool answered = take_answer(slot);
	kv_client_reply_release(&call->reply);
	if (slot->phase->kind == PHASE_RUN)
		after_run(slot, answered);
	else
		after_once(slot);
}

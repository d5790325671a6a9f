/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "node/object/bytes.h"
#include "node/object/key.h"
#include "node/object/limit.h"
#include "node/membership/behind.h"
#include "node/membership/standing.h"
#include "node/object/object.h"
#include "node/replica/durable.h"
#include "node/replica/identity.h"
#include "node/replica/replica.h"
#include "node/replica/scan.h"
#include "node/replica/tell.h"

enum { MAINTAIN_RETRY_US = 1000 * 1000, SCAN_ARENA_SIZE = 64 * 1024 };

struct replica {
	struct replica_options options;
	struct identity identity;
	struct engine_batch *batch;
	struct durable durable;
	_Atomic bool quiet;
	uint32_t jobs_out;
	uint64_t maintain_after_us;
	uint64_t told_epoch;    /* behind_notice */
	uint64_t renewed_epoch; /* of the ring under which it took a new actor to drop partitions; 0: none */
	struct replica_counters counters;
	struct replica_tell tell;
};

static void count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* ---- failures of the store ---------------------------------------------------------------------------------- */

static void count_store_error(struct replica *self)
{
	count(&self->counters.store_errors, 1);
	self->tell.store_errors++;
}

static void count_job_error(struct replica *self)
{
	count(&self->counters.job_errors, 1);
	self->tell.job_errors++;
}

/* The store could not do it: counted for who watches. -EAGAIN and -ENOMEM only say that there is no room in memory now. */
static enum replica_status store_failed(struct replica *self, int error)
{
	if (error != -EAGAIN && error != -ENOMEM)
		count_store_error(self);
	return durable_status_of(error);
}

/* ---- reading and writing one object --------------------------------------------------------------------------- */

static struct engine_slice engine_slice(struct rpc_slice slice)
{
	return (struct engine_slice){slice.data, slice.size};
}

/* The stored object, empty when there is none. Its values point into *pinned, which the caller releases. */
static int read_object(struct replica *self, struct rpc_slice key, struct arena *arena, struct object *out,
		       struct engine_value *pinned)
{
	*out = (struct object){0};
	int found = shard_get(self->options.shard, engine_slice(key), pinned);
	if (found <= 0)
		return found;
	struct rpc_error why;
	int error = object_decode((struct rpc_slice){pinned->data, pinned->size}, arena, out, &why);
	if (error < 0)
		engine_value_release(pinned);
	return error < 0 ? error : 1;
}

static uint64_t tree_hash(struct rpc_slice key, const struct object *object)
{
	return object->vector.count ? object_tree_hash(key, object) : 0;
}

int replica_hash_entry(void *unused, struct engine_slice key, struct engine_slice value, uint64_t *hash_out)
{
	struct arena *arena = rpc_arena_create(4096, SIZE_MAX);
	struct object object;
	struct rpc_error why;
	(void)unused;
	if (arena == NULL)
		return -ENOMEM;
	int error = object_decode((struct rpc_slice){value.data, value.size}, arena, &object, &why);
	if (error == 0)
		*hash_out = tree_hash((struct rpc_slice){key.data, key.size}, &object);
	rpc_arena_unref(arena);
	return error;
}

/* Writes `fresh` (encoded in *encoded_out) in place of `old`; visible at once, durable with the open generation. */
static int write_object(struct replica *self, struct rpc_slice key, const struct object *old,
			const struct object *fresh, struct arena *arena, struct rpc_slice *encoded_out)
{
	int error = object_encode(fresh, arena, encoded_out);
	if (error < 0)
		return error;
	engine_batch_clear(self->batch);
	error = engine_batch_put(self->batch, engine_slice(key), engine_slice(*encoded_out),
				 tree_hash(key, old) ^ tree_hash(key, fresh));
	if (error < 0)
		return error;
	error = durable_reserve(&self->durable);
	if (error < 0)
		return error;
	error = shard_write(self->options.shard, self->batch);
	if (error < 0)
		return error;
	durable_add(&self->durable, key);
	return 0;
}

/* ---- questions ------------------------------------------------------------------------------------------------ */

static void answer_stored(struct replica *self, const struct message *question, enum replica_status status,
			  struct effects *out)
{
	struct message *answer = message_answer(question, out->arena, MESSAGE_STORED);
	if (answer == NULL)
		return; /* out of memory: the sender's timeout speaks */
	answer->status = status;
	assert(question->type == MESSAGE_STORE);
	if (status != REPLICA_OK) {
		count(&self->counters.errors, 1);
		effects_send(out, answer);
	} else {
		durable_answer(&self->durable, question->key, answer, out);
	}
}

static uint64_t context_actor_counter(const struct context *context, uint64_t actor)
{
	uint64_t counter = version_counter(&context->vector, actor);
	for (uint32_t i = 0; i < context->dot_count; i++)
		if (context->dots[i].actor == actor && context->dots[i].counter > counter)
			counter = context->dots[i].counter;
	return counter;
}

/* Attempts of these are refused by their age alone. */
static void forget_past(const struct replica *self, struct object *object, uint64_t now_ms)
{
	uint64_t window_ms = self->options.retry_window_ms;
	if (window_ms > 0 && now_ms > window_ms)
		past_forget(&object->past, now_ms - window_ms);
}

static enum replica_status merge_into_store(struct replica *self, const struct message *question, uint64_t now_ms,
					    struct effects *out)
{
	struct object incoming, stored, merged;
	struct engine_value pinned = {0};
	struct rpc_error why;
	int error = object_decode(question->store.object, out->arena, &incoming, &why);
	if (error < 0)
		return REPLICA_ERROR;
	error = identity_note(&self->identity, object_actor_counter(&incoming, self->identity.actor));
	if (error < 0)
		return store_failed(self, error);
	int found = read_object(self, question->key, out->arena, &stored, &pinned);
	if (found < 0)
		return store_failed(self, found);
	bool changed = true;
	error = object_merge(&stored, &incoming, out->arena, &merged, &changed);
	if (error == 0 && changed) {
		struct rpc_slice encoded;
		forget_past(self, &merged, now_ms);
		error = write_object(self, question->key, &stored, &merged, out->arena, &encoded);
	}
	if (found > 0)
		engine_value_release(&pinned);
	count(&self->counters.merges, 1);
	if (error < 0)
		return store_failed(self, error);
	count(&self->counters.clashes, merged.clash_count);
	if (merged.clash_count > 0)
		effects_note(out, &(struct note){.kind = NOTE_CLASH, .count = merged.clash_count, .name = "replica"});
	return merged.clash_count > 0 ? REPLICA_ERROR : REPLICA_OK; /* both are kept, but something is wrong */
}

static void on_store(struct replica *self, struct message *question, uint64_t now_ms, struct effects *out)
{
	answer_stored(self, question, merge_into_store(self, question, now_ms, out), out);
	message_free(question);
}

/* May this node's disk have gone back in time, or has its ring been replaced where the question comes from? Then what it lacks proves
 * nothing: it may have been elsewhere meanwhile, or have been an owner only before. */
static bool is_receiving(const struct replica *self, const struct message *question, bool lacks)
{
	const struct ring_view *view = ring_view_acquire(self->options.ring);
	bool receiving = view->document != NULL && view->self >= 0 && view->status[view->self].unproven;
	receiving |= lacks && view->document != NULL && question->epoch > ring_epoch(view->document);
	ring_view_release(self->options.ring, view);
	return receiving;
}

static void on_fetch(struct replica *self, struct message *question, struct effects *out)
{
	struct message *answer = message_answer(question, out->arena, MESSAGE_FETCHED);
	if (answer == NULL) {
		message_free(question);
		return;
	}
	struct object object;
	struct engine_value pinned = {0};
	int found = read_object(self, question->key, out->arena, &object, &pinned);
	count(&self->counters.fetches, 1);
	answer->fetched.receiving = is_receiving(self, question, found == 0);
	if (found > 0) {
		answer->status = REPLICA_OK;
		answer->fetched.digest = object_digest(&object);
		if (question->fetch.digest_only) {
			engine_value_release(&pinned);
		} else {
			answer->value = pinned; /* released with the message: the value is not copied */
			answer->fetched.object = (struct rpc_slice){pinned.data, pinned.size};
		}
	} else {
		answer->status = found == 0 ? REPLICA_ABSENT : REPLICA_ERROR;
		if (found < 0) {
			count(&self->counters.errors, 1);
			count_store_error(self);
		}
	}
	durable_answer(&self->durable, question->key, answer, out);
	message_free(question);
}

/* The answer is as durable as what it tells: the asking node counts on it. */
static void on_scan(struct replica *self, struct message *question, struct effects *out)
{
	struct arena *arena = rpc_arena_create(SCAN_ARENA_SIZE, SIZE_MAX);
	struct message *answer = arena != NULL ? message_answer(question, arena, MESSAGE_SCANNED) : NULL;
	rpc_arena_unref(arena);
	if (answer == NULL) {
		message_free(question);
		return;
	}
	int error = scan_read(self->options.shard, question, &answer->scanned, arena);
	count(&self->counters.scans, 1);
	answer->status = REPLICA_OK;
	if (error < 0) {
		answer->status = store_failed(self, error);
		answer->scanned = (struct scanned_body){0};
		count(&self->counters.errors, 1);
	}
	answer->scanned.receiving = is_receiving(self, question, false);
	durable_answer_all(&self->durable, answer, out);
	message_free(question);
}

/* An actor that goes on after its data went would issue dots that hide what it does not have any more (identity.h). One renewal does for
 * all that goes under one ring: of partitions that it does not own no dot is issued. */
static int drop(struct replica *self, const struct scan_spare *spare, uint64_t epoch)
{
	int error = self->renewed_epoch == epoch ? 0 : identity_renew(&self->identity);
	if (error < 0)
		return error;
	self->renewed_epoch = epoch;
	return scan_drop(self->options.shard, spare);
}

static void on_drop(struct replica *self, struct message *question, struct effects *out)
{
	struct message *answer = message_answer(question, out->arena, MESSAGE_DROPPED);
	struct scan_spare spare = {0};
	if (answer == NULL) {
		message_free(question);
		return;
	}
	const struct ring_view *view = ring_view_acquire(self->options.ring);
	answer->status = scan_find_spare(self->options.shard, view, question->epoch, self->options.self.index,
					 self->options.shard_count, &spare);
	ring_view_release(self->options.ring, view);
	answer->dropped.left = spare.left;
	if (answer->status == REPLICA_OK && spare.count > 0 && !question->drop.only_count) {
		int error = drop(self, &spare, question->epoch);
		if (error < 0)
			answer->status = store_failed(self, error);
		else
			answer->dropped = (struct dropped_body){.left = spare.left - spare.count, .count = spare.count};
	}
	effects_send(out, answer);
	message_free(question);
}

static void answer_coordinated(const struct message *question, enum replica_status status, struct rpc_slice object,
			       struct dot dot, struct mark mark, struct effects *out)
{
	struct message *answer = message_answer(question, out->arena, MESSAGE_COORDINATED);
	if (answer == NULL)
		return;
	answer->status = status;
	answer->coordinated.object = object;
	answer->coordinated.dot = dot;
	answer->coordinated.mark = mark;
	effects_send(out, answer);
}

/* The stored object may know dots that this actor believes to be new: its counter went back in time. Another name has
 * none. */
static int put_with_fresh_dot(struct replica *self, const struct object *stored, const struct context *context,
			      struct sibling *sibling, const struct object_terms *terms, struct arena *arena,
			      struct object *fresh_out, enum object_put_result *result_out, struct dot *dot_out,
			      uint32_t *truncated_out)
{
	sibling->dot = identity_next(&self->identity);
	int error = object_put(stored, context, sibling, terms, arena, fresh_out, result_out, dot_out, truncated_out);
	if (error != -EEXIST)
		return error;
	error = identity_renew(&self->identity);
	if (error < 0)
		return error;
	sibling->dot = identity_next(&self->identity);
	return object_put(stored, context, sibling, terms, arena, fresh_out, result_out, dot_out, truncated_out);
}

static struct sibling sibling_of(const struct client_operation *operation, uint64_t now_ms)
{
	struct sibling sibling = {
		.flags = operation->tombstone ? SIBLING_TOMBSTONE : 0,
		.repeated = operation->attempt != 1,
		.written_ms = now_ms,
		.expires_ms = operation->expires_ms,
		.value = operation->tombstone ? (struct rpc_slice){0} : operation->value,
	};
	memcpy(sibling.operation_id, operation->operation_id, sizeof sibling.operation_id);
	return sibling;
}

/* Of a put that wrote nothing; REPLICA_OK: because it was applied before. */
static enum replica_status status_of_put(enum object_put_result result)
{
	switch (result) {
	case OBJECT_PUT_SIBLING_LIMIT:
		return REPLICA_SIBLING_LIMIT;
	case OBJECT_PUT_TOO_OLD:
		return REPLICA_TOO_OLD;
	case OBJECT_PUT_EARLY:
		return REPLICA_EARLY;
	case OBJECT_PUT_OWN_CONTEXT:
		return REPLICA_OWN_CONTEXT;
	case OBJECT_PUT_DUPLICATE:
	case OBJECT_PUT_SUPERSEDED:
	case OBJECT_PUT_ADDED:
		break;
	}
	return REPLICA_OK;
}

/* Dynamo 4.4 with dots: the new version takes the place of every sibling that the client had seen. */
static enum replica_status add_version(struct replica *self, const struct message *question, struct object *stored,
				       struct sibling *sibling, struct effects *out, struct rpc_slice *object_out,
				       struct dot *dot_out)
{
	struct object_terms terms = {
		.now_ms = sibling->written_ms,
		.window_ms = self->options.retry_window_ms,
		.repeated = sibling->repeated,
	};
	int error = identity_note(&self->identity,
				  context_actor_counter(&question->coordinate.context, self->identity.actor));
	if (error < 0)
		return store_failed(self, error);
	struct object fresh;
	enum object_put_result result;
	uint32_t truncated = 0;
	error = put_with_fresh_dot(self, stored, &question->coordinate.context, sibling, &terms, out->arena, &fresh,
				   &result, dot_out, &truncated);
	if (error < 0)
		return store_failed(self, error);
	enum replica_status status = status_of_put(result);
	if (status != REPLICA_OK)
		return status;
	count(result == OBJECT_PUT_ADDED ? &self->counters.puts : &self->counters.duplicates, 1);
	count(&self->counters.truncations, truncated);
	if (result == OBJECT_PUT_ADDED)
		forget_past(self, &fresh, terms.now_ms);
	if (result == OBJECT_PUT_ADDED || fresh.repeat_noted)
		error = write_object(self, question->key, stored, &fresh, out->arena, object_out);
	else
		error = object_encode(stored, out->arena, object_out);
	if (error == -E2BIG)
		return REPLICA_SIBLING_LIMIT; /* no single value is larger than an object may be */
	return error < 0 ? store_failed(self, error) : REPLICA_OK;
}

static void on_coordinate(struct replica *self, struct message *question, uint64_t now_ms, struct effects *out)
{
	struct object stored;
	struct engine_value pinned = {0};
	struct rpc_slice object = {0};
	struct dot dot = {0};
	struct sibling sibling = sibling_of(&question->coordinate.operation, now_ms);
	enum replica_status status;
	int found = read_object(self, question->key, out->arena, &stored, &pinned);
	if (found < 0) {
		/* The put goes to another owner. Nothing is ever written over what cannot be read, so the dots of this
		 * actor under the key stay true; what drops damaged data has to renew the identity. */
		status = store_failed(self, found);
	} else {
		status = add_version(self, question, &stored, &sibling, out, &object, &dot);
		if (found > 0)
			engine_value_release(&pinned);
	}
	answer_coordinated(question, status, object, dot, sibling_mark(&sibling), out);
	if (status == REPLICA_OK) {
		struct message *stored_answer = message_answer(question, out->arena, MESSAGE_STORED);
		if (stored_answer != NULL) {
			stored_answer->status = REPLICA_OK;
			durable_answer(&self->durable, question->key, stored_answer, out);
		}
	} else {
		count(&self->counters.errors, 1);
	}
	message_free(question);
}

/* ---- refusing before anything is done -------------------------------------------------------------------------- */

static enum message_type answer_type(enum message_type question)
{
	return question == MESSAGE_COORDINATE ? MESSAGE_COORDINATED
	       : question == MESSAGE_STORE    ? MESSAGE_STORED
	       : question == MESSAGE_SCAN     ? MESSAGE_SCANNED
	       : question == MESSAGE_DROP     ? MESSAGE_DROPPED
					      : MESSAGE_FETCHED;
}

static void refuse(struct replica *self, struct message *question, enum replica_status status, struct effects *out)
{
	count(&self->counters.errors, 1);
	struct message *answer = message_answer(question, out->arena, answer_type(question->type));
	if (answer != NULL) {
		answer->status = status;
		effects_send(out, answer);
	}
	message_free(question);
}

/* Only owners hold objects, and only by the ring of this epoch or a newer one (ALGORITHMS.md, Stale ring). A key under a partition
 * that is not its own would be stored where nobody looks for it. */
static enum replica_status check_ring(const struct replica *self, const struct message *question, uint16_t partition,
				      struct rpc_slice bucket, struct rpc_slice name)
{
	enum replica_status status = REPLICA_OK;
	const struct ring_view *view = ring_view_acquire(self->options.ring);
	if (view->document == NULL || view->self < 0)
		status = REPLICA_NOT_OWNER;
	else if (standing_refusal(view) != NULL)
		status = REPLICA_ERROR;
	else if (question->epoch < ring_epoch(view->document))
		status = REPLICA_STALE_RING;
	else if (partition >= ring_partition_count(view->document) ||
		 !ring_owns(view->document, partition, (uint32_t)view->self))
		status = REPLICA_NOT_OWNER;
	else if (ring_partition_of(view->document, bucket.data, bucket.size, name.data, name.size) != partition)
		status = REPLICA_ERROR;
	ring_view_release(self->options.ring, view);
	return status;
}

/* A scan is a source of another node's copy: of exactly the ring under which that copies, so that no write of an older one comes
 * after it. Where it is older here, it is asked again later. */
static enum replica_status check_scan(const struct replica *self, const struct message *question, uint16_t partition)
{
	enum replica_status status = REPLICA_OK;
	const struct ring_view *view = ring_view_acquire(self->options.ring);
	if (view->document == NULL || view->self < 0)
		status = REPLICA_NOT_OWNER;
	else if (standing_refusal(view) != NULL)
		status = REPLICA_ERROR;
	else if (question->epoch != ring_epoch(view->document))
		status = question->epoch < ring_epoch(view->document) ? REPLICA_STALE_RING : REPLICA_OVERLOADED;
	else if (partition >= ring_partition_count(view->document) ||
		 !ring_owns(view->document, partition, (uint32_t)view->self))
		status = REPLICA_NOT_OWNER;
	ring_view_release(self->options.ring, view);
	return status;
}

static enum replica_status check(const struct replica *self, const struct message *question, uint64_t now_us)
{
	struct rpc_slice key = question->key;
	struct rpc_slice bucket, name;
	uint16_t partition;
	if (self->durable.dead)
		return REPLICA_ERROR;
	if (question->deadline_us != 0 && question->deadline_us <= now_us)
		return REPLICA_OVERLOADED; /* nobody waits for it any more */
	if (question->type == MESSAGE_SCAN || question->type == MESSAGE_DROP) {
		if (key.size > ENGINE_KEY_MAX ||
		    key_partition(key) % self->options.shard_count != self->options.self.index)
			return REPLICA_ERROR;
		return question->type == MESSAGE_SCAN ? check_scan(self, question, key_partition(key)) : REPLICA_OK;
	}
	if (key_decode(key, &partition, &bucket, &name) < 0)
		return REPLICA_ERROR;
	if (partition % self->options.shard_count != self->options.self.index)
		return REPLICA_ERROR;
	return check_ring(self, question, partition, bucket, name);
}

static void on_message(struct replica *self, struct message *question, const struct event *event, struct effects *out)
{
	assert(message_receiver(question->type) == ACTOR_REPLICA);
	behind_notice(&self->told_epoch, self->options.ring, self->options.self, question->epoch, 0, out);
	enum replica_status status = check(self, question, event->now_us);
	if (status != REPLICA_OK) {
		refuse(self, question, status, out);
	} else if (question->type == MESSAGE_COORDINATE) {
		on_coordinate(self, question, event->now_ms, out);
	} else if (question->type == MESSAGE_STORE) {
		on_store(self, question, event->now_ms, out);
	} else if (question->type == MESSAGE_SCAN) {
		on_scan(self, question, out);
	} else if (question->type == MESSAGE_DROP) {
		on_drop(self, question, out);
	} else {
		on_fetch(self, question, out);
	}
}

/* ---- commits and background jobs ---------------------------------------------------------------------------- */

static void on_synced(struct replica *self, const struct event *event, struct effects *out)
{
	int status = event->status;
	count(&self->counters.syncs, 1);
	if (status < 0)
		replica_tell_log(&self->tell, status, out);
	durable_end(&self->durable, event, out);
	atomic_store_explicit(&self->counters.full, status == -ENOSPC, memory_order_relaxed);
	atomic_store_explicit(&self->counters.dead, self->durable.dead, memory_order_relaxed);
}

static uint64_t next_timer(const struct replica *self, const struct event *event)
{
	uint64_t timer_us = UINT64_MAX;
	if (self->maintain_after_us > event->now_us)
		timer_us = self->maintain_after_us;
	if (self->durable.retry_after_us > event->now_us && self->durable.retry_after_us < timer_us)
		timer_us = self->durable.retry_after_us;
	if (self->tell.figures_us > event->now_us && self->tell.figures_us < timer_us)
		timer_us = self->tell.figures_us;
	return timer_us;
}

static void maintain(struct replica *self, const struct event *event, struct effects *out)
{
	if (self->durable.dead || atomic_load_explicit(&self->quiet, memory_order_relaxed) ||
	    event->now_us < self->maintain_after_us)
		return;
	while (self->jobs_out < self->options.job_limit && out->job_count < EFFECTS_JOBS_MAX) {
		struct engine_job *job = NULL;
		if (shard_maintain(self->options.shard, &job) < 0) {
			count_job_error(self);
			self->maintain_after_us = event->now_us + MAINTAIN_RETRY_US;
			break;
		}
		if (job == NULL)
			break;
		self->jobs_out++;
		out->jobs[out->job_count++] = job;
	}
}

static void on_job_done(struct replica *self, const struct event *event, struct effects *out)
{
	struct engine_job *job = event->job;
	assert(job != NULL);
	assert(self->jobs_out > 0);
	self->jobs_out--;
	if (shard_install(self->options.shard, &job) < 0) {
		/* A full disk or a damaged table: the store is as it was. Try again after a while, not in a loop. */
		count_job_error(self);
		self->maintain_after_us = event->now_us + MAINTAIN_RETRY_US;
	}
	maintain(self, event, out);
}

static void replica_check(const struct replica *self)
{
	durable_check(&self->durable);
	assert(self->jobs_out <= self->options.job_limit);
}

void replica_step(struct replica *self, const struct event *event, struct effects *out)
{
	switch (event->type) {
	case EVENT_MESSAGE:
		on_message(self, event->message, event, out);
		break;
	case EVENT_BATCH_END:
		durable_begin(&self->durable, event, out);
		maintain(self, event, out);
		break;
	case EVENT_SYNCED:
		on_synced(self, event, out);
		break;
	case EVENT_JOB_DONE:
		on_job_done(self, event, out);
		break;
	case EVENT_START:
	case EVENT_TIMER:
		durable_begin(&self->durable, event, out);
		maintain(self, event, out);
		break;
	}
	replica_tell_failures(&self->tell, out);
	replica_tell_figures(&self->tell, event, out);
	out->timer_us = next_timer(self, event);
	replica_check(self);
}

/* ---- life --------------------------------------------------------------------------------------------------- */

int replica_create(const struct replica_options *options, struct replica **out, struct rpc_error *error_out)
{
	struct replica *self = calloc(1, sizeof *self);
	if (self == NULL)
		return -ENOMEM;
	assert(options->shard != NULL);
	assert(options->self.index < options->shard_count);
	self->options = *options;
	self->tell = (struct replica_tell){.shard = options->shard, .index = options->self.index};
	int error = engine_batch_create(&self->batch);
	if (error == 0)
		error = identity_open(&self->identity, options->shard, options->seed, options->first_dot, error_out);
	if (error < 0) {
		replica_destroy(&self);
		return error;
	}
	*out = self;
	return 0;
}

void replica_destroy(struct replica **self)
{
	if (*self == NULL)
		return;
	durable_fini(&(*self)->durable);
	engine_batch_destroy(&(*self)->batch);
	free(*self);
	*self = NULL;
}

void replica_quiesce(struct replica *self)
{
	atomic_store_explicit(&self->quiet, true, memory_order_relaxed);
}

struct dot replica_next_dot(const struct replica *self)
{
	return (struct dot){self->identity.actor, self->identity.counter_next};
}

const struct replica_figures *replica_figures(const struct replica *self)
{
	return &self->tell.figures;
}

const struct replica_counters *replica_counters(const struct replica *self)
{
	return &self->counters;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "node/upkeep/upkeep.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include "node/upkeep/spare.h"
#include "node/upkeep/transfer.h"

enum { AGAIN_US = 1000 * 1000 }; /* without memory */

struct upkeep {
	struct upkeep_options options;
	uint64_t epoch, hash; /* of the ring that it works under; 0: none */
	bool is_member;       /* of that ring */
	bool is_told;         /* READY, of that ring */
	uint64_t again_us;    /* to look at the ring once more; UINT64_MAX: not */
	struct transfer transfer;
	struct spare spare;
	struct upkeep_figures figures;
};

/* Takes over what the ring in force asks for. */
static void begin(struct upkeep *self, const struct ring_document *document, int member, uint64_t now_us,
		  struct effects *out)
{
	transfer_end(&self->transfer);
	spare_end(&self->spare);
	self->again_us = UINT64_MAX;
	self->is_member = member >= 0;
	self->is_told = false;
	self->epoch = ring_epoch(document);
	self->hash = ring_hash(document);
	if (!self->is_member)
		return;
	if (ring_transition(document) == RING_STABLE)
		spare_begin(&self->spare, self->epoch, now_us);
	else if (ring_transition(document) == RING_WRITE_BOTH_READ_OLD &&
		 transfer_begin(&self->transfer, document, (uint32_t)member, now_us, out) < 0) {
		self->epoch = self->hash = 0;
		self->again_us = now_us + AGAIN_US;
	}
}

static void look(struct upkeep *self, uint64_t now_us, struct effects *out)
{
	struct ring_document *document = NULL;
	const struct ring_view *view = ring_view_acquire(self->options.ring);
	int member = view->self;
	if (view->document != NULL &&
	    (ring_epoch(view->document) != self->epoch || ring_hash(view->document) != self->hash))
		document = ring_document_ref(view->document);
	ring_view_release(self->options.ring, view);
	if (document != NULL)
		begin(self, document, member, now_us, out);
	ring_document_destroy(&document);
}

/* U1. */
static void tell_ready(struct upkeep *self, uint64_t now_us, struct effects *out)
{
	if (self->is_told || self->epoch == 0 || !self->is_member ||
	    (self->transfer.document != NULL && !transfer_is_done(&self->transfer)))
		return;
	struct message *ready = message_create(out->arena, MESSAGE_READY);
	if (ready == NULL) {
		self->again_us = now_us + AGAIN_US;
		return;
	}
	ready->from = self->options.self;
	ready->to = (struct address){self->options.self.node_id, ACTOR_GOSSIP, 0};
	ready->ready = (struct ready_body){self->epoch, self->hash};
	effects_send(out, ready);
	self->is_told = true;
}

static void on_message(struct upkeep *self, struct message *message, uint64_t now_us, struct effects *out)
{
	assert(message_is_for(message->type, ACTOR_UPKEEP));
	if (message->type == MESSAGE_DROPPED) {
		spare_take(&self->spare, message, now_us, out);
	} else if (message->type == MESSAGE_RING) {
		look(self, now_us, out);
		message_free(message);
	} else {
		transfer_take(&self->transfer, message, now_us, out);
	}
}

static void publish(struct upkeep *self)
{
	const struct transfer *transfer = &self->transfer;
	atomic_store_explicit(&self->figures.incoming_partitions, transfer->left, memory_order_relaxed);
	atomic_store_explicit(&self->figures.incoming_total, transfer->count, memory_order_relaxed);
	atomic_store_explicit(&self->figures.copied_bytes, transfer->copied_bytes, memory_order_relaxed);
}

static uint64_t earliest(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

void upkeep_step(struct upkeep *self, const struct event *event, struct effects *out)
{
	uint64_t now_us = event->now_us;
	if (event->type == EVENT_MESSAGE)
		on_message(self, event->message, now_us, out);
	if (event->type == EVENT_START || now_us >= self->again_us) {
		self->again_us = UINT64_MAX;
		look(self, now_us, out);
	}
	uint64_t timer_us = transfer_run(&self->transfer, now_us, out);
	timer_us = earliest(timer_us, spare_run(&self->spare, now_us, out));
	tell_ready(self, now_us, out);
	publish(self);
	out->timer_us = earliest(timer_us, self->again_us);
}

int upkeep_create(const struct upkeep_options *options, struct upkeep **out)
{
	struct upkeep *self = calloc(1, sizeof *self);
	if (self == NULL)
		return -ENOMEM;
	struct transfer_options transfer = {
		.self = options->self,
		.ring = options->ring,
		.data_dir = options->data_dir,
		.bytes_per_s = options->transfer_bytes_per_s,
		.distrusted = options->distrusted,
		.read_busy = options->read_busy,
		.read_busy_arg = options->read_busy_arg,
	};
	self->options = *options;
	self->again_us = UINT64_MAX;
	transfer_init(&self->transfer, &transfer);
	spare_init(&self->spare, options->self, options->ring, options->shard_count);
	*out = self;
	return 0;
}

void upkeep_destroy(struct upkeep **self)
{
	if (*self == NULL)
		return;
	transfer_fini(&(*self)->transfer);
	free(*self);
	*self = NULL;
}

const struct upkeep_figures *upkeep_figures(const struct upkeep *self)
{
	return &self->figures;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "node/driver/outbound.h"

#include <errno.h>
#include <stdlib.h>
#include "node/driver/hub.h"
#include "node/driver/peers.h"
#include "node/driver/worker.h"

/* A batch of the exchange on a link. */
struct carried {
	struct rpc_pending pending;
	struct worker *worker;
	uint64_t number;
};

/* Answers that nobody gave are events of their own: no step runs inside another. */
static void post_all(struct worker *worker, struct message_list *answers)
{
	struct message *answer;
	while ((answer = message_list_take(answers)) != NULL)
		worker_post(worker, answer);
}

void outbound_add(struct worker *worker, struct message *question)
{
	struct message_list answers = {0};
	exchange_ask(&worker->exchange, question, worker_arena(worker), &answers);
	post_all(worker, &answers);
}

/* On an NNG thread: enqueue, nothing else. */
static void on_done(struct rpc_pending *pending)
{
	struct carried *carried = caa_container_of(pending, struct carried, pending);
	struct mailbox *mailbox = &carried->worker->mailbox;
	mailbox_put(mailbox, MAIL_PENDING, &pending->mail);
	mailbox_wake(mailbox);
}

static int carry(struct worker *worker, struct rpc_link *link, const struct exchange_batch *batch)
{
	struct carried *carried = malloc(sizeof *carried);
	if (carried == NULL) {
		rpc_message_free(batch->request);
		return -ENOMEM;
	}
	*carried = (struct carried){.pending.done = on_done, .worker = worker, .number = batch->number};
	int error = rpc_link_call(link, batch->request, batch->timeout_ms, &carried->pending);
	if (error < 0)
		free(carried);
	return error;
}

/* What the link does not take now it would not take a moment later: the whole queue fails with the batch. */
static void send_batch(struct worker *worker, uint32_t queue, struct rpc_link *link, struct message_list *answers)
{
	struct exchange *exchange = &worker->exchange;
	struct exchange_batch batch;
	struct rpc_error why;
	if (!exchange_pack(exchange, queue, rpc_now_us(), rpc_sent_us(), worker_arena(worker), &batch, answers))
		return;
	int error = carry(worker, link, &batch);
	if (error == 0)
		return;
	(void)!exchange_complete(exchange, batch.number, error, (struct rpc_slice){0}, worker_arena(worker), answers,
				 &why);
	exchange_refuse(exchange, queue, error, worker_arena(worker), answers);
}

void outbound_flush(struct worker *worker)
{
	struct message_list answers = {0};
	uint32_t queue;
	uint64_t peer;
	while (exchange_next(&worker->exchange, &queue, &peer)) {
		struct rpc_link *link = peers_link(worker->hub->peers, peer);
		if (link != NULL)
			send_batch(worker, queue, link, &answers);
		else
			exchange_refuse(&worker->exchange, queue, -EHOSTUNREACH, worker_arena(worker), &answers);
	}
	post_all(worker, &answers);
}

void outbound_complete(struct worker *worker, struct rpc_pending *pending)
{
	struct carried *carried = caa_container_of(pending, struct carried, pending);
	struct message_list answers = {0};
	struct message *answer;
	struct rpc_slice response = {0};
	struct rpc_error why;
	if (pending->status == 0)
		response = rpc_message_bytes(pending->response);
	(void)!exchange_complete(&worker->exchange, carried->number, pending->status, response, worker_arena(worker),
				 &answers, &why);
	if (pending->status == 0)
		rpc_message_free(pending->response);
	free(carried);
	while ((answer = message_list_take(&answers)) != NULL) {
		worker_charge(worker, answer);
		worker_post(worker, answer);
	}
}

void outbound_discard(struct rpc_pending *pending)
{
	if (pending->status == 0)
		rpc_message_free(pending->response);
	free(caa_container_of(pending, struct carried, pending));
}

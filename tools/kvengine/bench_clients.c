/* SPDX-License-Identifier: Apache-2.0 */
/* fillsync16: clients that each wait for their write to be synced, served by one owner. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "tools/kvengine/bench_worker.h"

enum { CLIENTS = 16 };

struct mailbox {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct kv_client *first, **last; /* those that wait */
	unsigned running;
};

struct kv_client {
	struct kv_client *next;
	struct mailbox *mailbox;
	struct worker worker;
	uint64_t number; /* of the key to write */
	bool done;
	pthread_cond_t answered;
	pthread_t thread;
};

static void write_through(struct kv_client *client, struct mailbox *mailbox)
{
	pthread_mutex_lock(&mailbox->lock);
	client->next = NULL;
	client->done = false;
	*mailbox->last = client;
	mailbox->last = &client->next;
	pthread_cond_signal(&mailbox->changed);
	while (!client->done)
		pthread_cond_wait(&client->answered, &mailbox->lock);
	pthread_mutex_unlock(&mailbox->lock);
}

static void *run_client(void *arg)
{
	struct kv_client *client = arg;
	struct mailbox *mailbox = client->mailbox;

	for (uint64_t i = 0; i < client->worker.operations; i++) {
		uint64_t begin = bench_now_ns();

		client->number = worker_random_number(&client->worker);
		write_through(client, mailbox);
		histogram_record(&client->worker.histogram, bench_now_ns() - begin);
	}
	pthread_mutex_lock(&mailbox->lock);
	mailbox->running--;
	pthread_cond_signal(&mailbox->changed);
	pthread_mutex_unlock(&mailbox->lock);
	return NULL;
}

/* Those that wait, or NULL when all clients are done. */
static struct kv_client *collect(struct mailbox *mailbox)
{
	struct kv_client *list;

	pthread_mutex_lock(&mailbox->lock);
	while (mailbox->first == NULL && mailbox->running)
		pthread_cond_wait(&mailbox->changed, &mailbox->lock);
	list = mailbox->first;
	mailbox->first = NULL;
	mailbox->last = &mailbox->first;
	pthread_mutex_unlock(&mailbox->lock);
	return list;
}

static void answer(struct mailbox *mailbox, struct kv_client *list)
{
	pthread_mutex_lock(&mailbox->lock);
	while (list != NULL) {
		struct kv_client *client = list;

		list = client->next;
		client->done = true;
		pthread_cond_signal(&client->answered);
	}
	pthread_mutex_unlock(&mailbox->lock);
}

/* All writes that wait become one batch, one commit, one sync: what a replica does with its mailbox. */
static int serve(struct worker *worker, struct mailbox *mailbox, struct engine_batch *batch)
{
	struct kv_client *list;
	int error = 0;

	while (error == 0 && (list = collect(mailbox)) != NULL) {
		engine_batch_clear(batch);
		for (struct kv_client *client = list; error == 0 && client != NULL; client = client->next)
			error = worker_add(worker, batch, client->number);
		if (error == 0)
			error = worker_write(worker, batch, ENGINE_SYNC_EACH);
		if (error == 0)
			error = jobs_tend(worker->bench->jobs, worker->shard, false);
		answer(mailbox, list);
	}
	return error;
}

static int start_clients(struct kv_client *clients, struct mailbox *mailbox, const struct worker *like)
{
	mailbox->running = CLIENTS;
	for (unsigned i = 0; i < CLIENTS; i++) {
		clients[i].mailbox = mailbox;
		clients[i].worker = *like;
		clients[i].worker.random.state += i * 7919 + 1;
		clients[i].worker.operations = like->operations / CLIENTS + (i < like->operations % CLIENTS);
		pthread_cond_init(&clients[i].answered, NULL);
		if (pthread_create(&clients[i].thread, NULL, run_client, &clients[i]))
			return -EAGAIN;
	}
	return 0;
}

void bench_fillsync16(struct worker *worker)
{
	struct mailbox mailbox = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
	struct kv_client *clients = calloc(CLIENTS, sizeof *clients);
	struct engine_batch *batch = NULL;
	int error = clients != NULL ? engine_batch_create(&batch) : -ENOMEM;

	mailbox.last = &mailbox.first;
	if (error == 0)
		error = start_clients(clients, &mailbox, worker);
	if (error == 0)
		error = serve(worker, &mailbox, batch);
	if (error) { /* clients are under way: leave them nothing to stumble over */
		worker_fail(worker, error, "write");
		exit(1);
	}
	for (unsigned i = 0; i < CLIENTS; i++) {
		pthread_join(clients[i].thread, NULL);
		histogram_add(&worker->histogram, &clients[i].worker.histogram);
		pthread_cond_destroy(&clients[i].answered);
	}
	engine_batch_destroy(&batch);
	free(clients);
}

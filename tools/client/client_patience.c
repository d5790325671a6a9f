/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/client/client_patience.h"

#include <signal.h>

/* The call that is due first; NULL: none is set. */
static struct kv_client_call *first_due(struct kv_client *client) REQUIRES(client->lock)
{
	struct kv_client_call *first = NULL, *call;
	cds_list_for_each_entry(call, &client->patience.calls, patience_link)
	{
		if (first == NULL || call->patience_us < first->patience_us)
			first = call;
	}
	return first;
}

/* clang knows nothing of what a pointer points to. */
static NOT_CHECKED void give_to_owner(struct kv_client *client, struct kv_client_call *call) RELEASES(client->lock)
{
	client->patience.on_due(client, call);
}

static void *run(void *arg)
{
	struct kv_client *client = arg;
	struct kv_client_patience *self = &client->patience;
	lock_take(&client->lock);
	while (!self->stopping) {
		struct kv_client_call *call = first_due(client);
		if (call != NULL && call->patience_us <= rpc_now_us()) {
			kv_client_patience_clear(client, call);
			give_to_owner(client, call);
			lock_take(&client->lock);
			continue;
		}
		self->wake_us = call == NULL ? UINT64_MAX : call->patience_us;
		if (call == NULL)
			lock_wait(&client->lock, &self->wake);
		else
			(void)lock_wait_until(&client->lock, &self->wake, client_timespec(self->wake_us));
	}
	lock_release(&client->lock);
	return NULL;
}

int kv_client_patience_start(struct kv_client *client, void (*on_due)(struct kv_client *, struct kv_client_call *))
{
	struct kv_client_patience *self = &client->patience;
	sigset_t all, before;
	self->on_due = on_due;
	/* The program's signals are for the program's own threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int error = pthread_create(&self->thread, NULL, run, client);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	self->started = error == 0;
	return -error;
}

void kv_client_patience_stop(struct kv_client *client)
{
	struct kv_client_patience *self = &client->patience;
	if (!self->started)
		return;
	lock_take(&client->lock);
	self->stopping = true;
	pthread_cond_signal(&self->wake);
	lock_release(&client->lock);
	pthread_join(self->thread, NULL);
	self->started = false;
}

void kv_client_patience_set(struct kv_client *client, struct kv_client_call *call, uint64_t due_us)
{
	struct kv_client_patience *self = &client->patience;
	kv_client_patience_clear(client, call);
	call->patience_us = due_us;
	cds_list_add_tail(&call->patience_link, &self->calls);
	if (due_us < self->wake_us) {
		self->wake_us = due_us;
		pthread_cond_signal(&self->wake);
	}
}

void kv_client_patience_clear(struct kv_client *client, struct kv_client_call *call)
{
	(void)client;
	if (call->patience_us == 0)
		return;
	call->patience_us = 0;
	cds_list_del(&call->patience_link);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/client/client_patience.h"

#include <signal.h>

/* Under lock. The call that is due first; NULL: none is set. */
static struct kv_client_call *first_due(struct kv_client_patience *self)
{
	struct kv_client_call *first = NULL, *call;
	cds_list_for_each_entry(call, &self->calls, patience_link)
	{
		if (first == NULL || call->patience_us < first->patience_us)
			first = call;
	}
	return first;
}

static void *run(void *arg)
{
	struct kv_client *client = arg;
	struct kv_client_patience *self = &client->patience;
	pthread_mutex_lock(&client->lock);
	while (!self->stopping) {
		struct kv_client_call *call = first_due(self);
		if (call != NULL && call->patience_us <= rpc_now_us()) {
			kv_client_patience_clear(call);
			self->on_due(call);
			pthread_mutex_lock(&client->lock);
			continue;
		}
		self->wake_us = call == NULL ? UINT64_MAX : call->patience_us;
		if (call == NULL) {
			pthread_cond_wait(&self->wake, &client->lock);
		} else {
			struct timespec until = client_timespec(self->wake_us);
			pthread_cond_timedwait(&self->wake, &client->lock, &until);
		}
	}
	pthread_mutex_unlock(&client->lock);
	return NULL;
}

int kv_client_patience_start(struct kv_client *client, void (*on_due)(struct kv_client_call *))
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
	pthread_mutex_lock(&client->lock);
	self->stopping = true;
	pthread_cond_signal(&self->wake);
	pthread_mutex_unlock(&client->lock);
	pthread_join(self->thread, NULL);
	self->started = false;
}

void kv_client_patience_set(struct kv_client_call *call, uint64_t due_us)
{
	struct kv_client_patience *self = &call->client->patience;
	kv_client_patience_clear(call);
	call->patience_us = due_us;
	cds_list_add_tail(&call->patience_link, &self->calls);
	if (due_us < self->wake_us) {
		self->wake_us = due_us;
		pthread_cond_signal(&self->wake);
	}
}

void kv_client_patience_clear(struct kv_client_call *call)
{
	if (call->patience_us == 0)
		return;
	call->patience_us = 0;
	cds_list_del(&call->patience_link);
}

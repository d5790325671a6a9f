/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/client/client.h"

#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "tools/client/client_call.h"
#include "tools/client/client_patience.h"
#include "tools/client/client_reply.h"

enum {
	TIMEOUT_MS_DEFAULT = 5000,
	CONNECT_MS_DEFAULT = 2000,
	OUTSTANDING_DEFAULT = 1024,
};

static void on_connection(void *arg, bool connected)
{
	(void)connected;
	struct kv_client *client = arg;
	lock_take(&client->lock);
	pthread_cond_broadcast(&client->changed);
	lock_release(&client->lock);
}

unsigned kv_client_endpoint_count(const struct kv_client *client)
{
	return client->endpoint_count;
}

const char *kv_client_endpoint(const struct kv_client *client, unsigned index)
{
	assert(index < client->endpoint_count);
	return client->endpoints[index].address;
}

bool kv_client_endpoint_connected(const struct kv_client *client, unsigned index)
{
	assert(index < client->endpoint_count);
	return rpc_link_connected(client->endpoints[index].link);
}

/* The message of the resolver for the host of an address, NULL when it resolves. */
static const char *resolver_error(const char *address)
{
	const char *colon = strrchr(address, ':');
	bool bracketed = address[0] == '[';
	size_t size = colon == NULL ? strlen(address) : (size_t)(colon - address);
	char *host = strndup(address + bracketed, size - 2 * (size_t)bracketed);
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
	int error = host == NULL ? EAI_MEMORY : getaddrinfo(host, NULL, &hints, &found);
	free(host);
	if (error != 0)
		return gai_strerror(error);
	freeaddrinfo(found);
	return NULL;
}

void kv_client_endpoint_explain(const struct kv_client *client, unsigned index, char text_out[CLIENT_EXPLAIN_SIZE])
{
	const char *address = kv_client_endpoint(client, index);
	if (kv_client_endpoint_connected(client, index)) {
		snprintf(text_out, CLIENT_EXPLAIN_SIZE, "%s: connected", address);
		return;
	}
	const char *error = resolver_error(address);
	if (error != NULL)
		snprintf(text_out, CLIENT_EXPLAIN_SIZE, "%s: the host name does not resolve (%s): is it spelt right?",
			 address, error);
	else
		snprintf(text_out, CLIENT_EXPLAIN_SIZE, "%s: %s", address,
			 kv_client_reply_transport_text(-EHOSTUNREACH));
}

static unsigned connected_count(const struct kv_client *client)
{
	unsigned count = 0;
	for (unsigned i = 0; i < client->endpoint_count; i++)
		count += kv_client_endpoint_connected(client, i);
	return count;
}

int kv_client_wait_connected(struct kv_client *client, unsigned count, uint32_t timeout_ms)
{
	struct timespec until = client_timespec(rpc_now_us() + (uint64_t)timeout_ms * 1000);
	int status = 0;
	if (count > client->endpoint_count)
		count = client->endpoint_count;
	lock_take(&client->lock);
	while (connected_count(client) < count && status == 0)
		status = -lock_wait_until(&client->lock, &client->changed, until);
	if (connected_count(client) >= count)
		status = 0;
	lock_release(&client->lock);
	return status;
}

/* Opens the link to one "HOST:PORT" of the list. */
static int endpoint_open(struct kv_client *client, char *address, struct rpc_error *error_out)
{
	struct endpoint *endpoint = &client->endpoints[client->endpoint_count];
	struct rpc_link_options options = {
		.address = address,
		.message_max = RPC_CLIENT_MESSAGE_MAX,
		.outstanding_max = client->options.outstanding_max,
		.on_connection = on_connection,
		.arg = client,
	};
	int status = rpc_link_open(&options, &endpoint->link, error_out);
	if (status < 0)
		return status;
	endpoint->address = strdup(address);
	client->endpoint_count++;
	return endpoint->address == NULL ? -ENOMEM : 0;
}

static char *trim(char *text)
{
	text += strspn(text, " \t");
	size_t size = strlen(text);
	while (size > 0 && strchr(" \t", text[size - 1]) != NULL)
		size--;
	text[size] = '\0';
	return text;
}

static int endpoints_open(struct kv_client *client, struct rpc_error *error_out)
{
	char *list = strdup(client->options.endpoints), *rest = list, *address;
	int status = list == NULL ? -ENOMEM : 0;
	while (status == 0 && (address = strsep(&rest, ",")) != NULL) {
		address = trim(address);
		if (strpbrk(address, " \t") != NULL) {
			snprintf(error_out->text, sizeof error_out->text,
				 "\"%.80s\": put a comma, and no blank, between two addresses", address);
			status = -EINVAL;
		} else if (client->endpoint_count == CLIENT_ENDPOINTS_MAX) {
			snprintf(error_out->text, sizeof error_out->text, "more than %d endpoints",
				 CLIENT_ENDPOINTS_MAX);
			status = -EINVAL;
		} else {
			status = endpoint_open(client, address, error_out);
		}
	}
	if (status == -ENOMEM)
		snprintf(error_out->text, sizeof error_out->text, "out of memory");
	free(list);
	return status;
}

static void options_fill(struct kv_client_options *options)
{
	if (options->timeout_ms == 0)
		options->timeout_ms = TIMEOUT_MS_DEFAULT;
	if (options->connect_ms == 0)
		options->connect_ms = CONNECT_MS_DEFAULT;
	if (options->outstanding_max == 0)
		options->outstanding_max = OUTSTANDING_DEFAULT;
}

NOT_CHECKED int kv_client_open(const struct kv_client_options *options, struct kv_client **out,
			       struct rpc_error *error_out)
{
	struct rpc_error ignored;
	struct rpc_error *error = error_out == NULL ? &ignored : error_out;
	struct kv_client *client = calloc(1, sizeof *client);
	char *endpoints = strdup(options->endpoints == NULL ? "" : options->endpoints);
	if (client == NULL || endpoints == NULL) {
		free(client);
		free(endpoints);
		snprintf(error->text, sizeof error->text, "out of memory");
		return -ENOMEM;
	}
	client->options = *options;
	client->options.endpoints = endpoints;
	options_fill(&client->options);
	pthread_condattr_t attributes;
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC); /* that of rpc_now_us */
	pthread_cond_init(&client->changed, &attributes);
	pthread_cond_init(&client->patience.wake, &attributes);
	pthread_condattr_destroy(&attributes);
	lock_init(&client->lock);
	CDS_INIT_LIST_HEAD(&client->patience.calls);
	int status = endpoints_open(client, error);
	if (status == 0 && client->endpoint_count > 1 && !client->options.patient) {
		status = kv_client_patience_start(client, kv_client_call_on_due);
		if (status < 0)
			snprintf(error->text, sizeof error->text, "cannot start a thread: %s", strerror(-status));
	}
	if (status < 0) {
		kv_client_close(&client);
		return status;
	}
	*out = client;
	return 0;
}

void kv_client_close(struct kv_client **pointer)
{
	struct kv_client *client = *pointer;
	if (client == NULL)
		return;
	*pointer = NULL;
	kv_client_patience_stop(client);
	/* The links stay in place until all are closed: a call that fails on one may look at the next. */
	for (unsigned i = 0; i < client->endpoint_count; i++)
		rpc_link_stop(client->endpoints[i].link);
	for (unsigned i = 0; i < client->endpoint_count; i++) {
		rpc_link_close(&client->endpoints[i].link);
		free(client->endpoints[i].address);
	}
	pthread_cond_destroy(&client->patience.wake);
	pthread_cond_destroy(&client->changed);
	lock_fini(&client->lock);
	free((char *)client->options.endpoints);
	free(client);
}

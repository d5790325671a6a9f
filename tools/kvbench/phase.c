/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/kvbench/phase.h"
#include "tools/kvbench/payload.h"
#include "tools/kvbench/slot.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	RETRY_MS = 5,
	CONNECT_MS = 5000,
	STALL_MS = 10 * 1000, /* at least, and so many timeouts: */
	STALL_TIMEOUTS = 4,
};

static void explain(const struct kv_client *client, unsigned index, struct rpc_error *error_out)
{
	char why[CLIENT_EXPLAIN_SIZE];
	kv_client_endpoint_explain(client, index, why);
	snprintf(error_out->text, sizeof error_out->text, "no connection within %d ms to %.450s", CONNECT_MS, why);
}

static void open_failed(const struct kv_client *client, struct rpc_error *error_out)
{
	for (unsigned i = 0; i < kv_client_endpoint_count(client); i++)
		if (!kv_client_endpoint_connected(client, i))
			explain(client, i, error_out);
}

static int open_clients(const struct phase_options *options, struct kv_client **clients, struct rpc_error *error_out)
{
	struct kv_client_options kv_client_options = {
		.endpoints = options->endpoints,
		.timeout_ms = options->timeout_ms,
		.outstanding_max = options->in_flight / options->client_count + 1,
		.spread = true,
		.patient =
			true, /* the load is the number in flight that the report states, however slow the nodes are */
	};
	for (uint32_t i = 0; i < options->client_count; i++) {
		int error = kv_client_open(&kv_client_options, &clients[i], error_out);
		if (error < 0)
			return error;
	}
	for (uint32_t i = 0; i < options->client_count; i++) {
		int error = kv_client_wait_connected(clients[i], kv_client_endpoint_count(clients[i]), CONNECT_MS);
		if (error < 0) {
			open_failed(clients[i], error_out);
			return error;
		}
	}
	return 0;
}

static void close_clients(const struct phase_options *options, struct kv_client **clients)
{
	for (uint32_t i = 0; i < options->client_count; i++)
		if (clients[i] != NULL)
			kv_client_close(&clients[i]);
}

/* A load that settles nothing for so long ends: the nodes are gone, hang, or are no nodes of ours. */
static uint64_t stall_us(const struct phase *phase)
{
	uint64_t ms = STALL_TIMEOUTS * (uint64_t)phase->options->timeout_ms;
	return (ms > STALL_MS ? ms : STALL_MS) * 1000;
}

/* Starts the slots, starts those again that could not send, and waits until all are idle. */
static void drive(struct phase *phase, struct slot *slots, uint32_t slot_count)
{
	for (uint32_t i = 0; i < slot_count; i++)
		slot_start(&slots[i]);
	pthread_mutex_lock(&phase->lock);
	while (phase->busy) {
		struct timespec until;
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += RETRY_MS * 1000000L;
		until.tv_sec += until.tv_nsec / 1000000000L;
		until.tv_nsec %= 1000000000L;
		pthread_cond_timedwait(&phase->idle, &phase->lock, &until);
		struct slot *parked = phase->parked;
		phase->parked = NULL;
		pthread_mutex_unlock(&phase->lock);
		if (phase->kind != PHASE_RUN && rpc_now_us() > phase->settled_us + stall_us(phase))
			phase->gave_up = true;
		while (parked != NULL) {
			struct slot *next = parked->next_parked;
			slot_resume(parked);
			parked = next;
		}
		pthread_mutex_lock(&phase->lock);
	}
	pthread_mutex_unlock(&phase->lock);
}

static int check_load(const struct phase *phase, struct rpc_error *error_out)
{
	const struct phase_result *result = phase->result;
	uint64_t lost = result->in_doubt + result->refused + result->failed;
	if (phase->kind == PHASE_RUN || !lost)
		return 0;
	if (phase->gave_up) {
		snprintf(error_out->text, sizeof error_out->text,
			 "gave up: no key could be %s for %" PRIu64 " s: %.400s",
			 phase->kind == PHASE_LOAD ? "stored" : "read", stall_us(phase) / 1000000, result->first_error);
		return -EIO;
	}
	snprintf(error_out->text, sizeof error_out->text, "%" PRIu64 " of %" PRIu64 " keys could not be %s: %.400s",
		 lost, phase->options->key_count, phase->kind == PHASE_LOAD ? "stored" : "read", result->first_error);
	return -EIO;
}

static int run_slots(struct phase *phase, struct kv_client **clients, struct rpc_error *error_out)
{
	const struct phase_options *options = phase->options;
	uint32_t slot_count = options->in_flight;
	struct slot *slots = calloc(slot_count, sizeof *slots);
	if (slots == NULL)
		abort();
	for (uint32_t i = 0; i < slot_count; i++)
		slot_init(&slots[i], phase, clients[i % options->client_count], i);
	phase->busy = slot_count;
	uint64_t start_us = rpc_now_us();
	phase->settled_us = start_us;
	phase->end_us = start_us + (uint64_t)options->duration_ms * 1000;
	drive(phase, slots, slot_count);
	phase->result->seconds = (double)(rpc_now_us() - start_us) / 1e6;
	for (uint32_t i = 0; i < slot_count; i++)
		slot_fini(&slots[i]);
	free(slots);
	return check_load(phase, error_out);
}

int phase_run(enum phase_kind kind, const struct phase_options *options, const struct chooser *chooser,
	      struct contexts *contexts, struct phase_result *result_out, struct rpc_error *error_out)
{
	memset(result_out, 0, sizeof *result_out);
	struct phase phase = {
		.kind = kind, .options = options, .chooser = chooser, .contexts = contexts, .result = result_out};
	struct kv_client **clients = calloc(options->client_count, sizeof(struct kv_client *));
	if (clients == NULL)
		abort();
	pthread_mutex_init(&phase.lock, NULL);
	pthread_cond_init(&phase.idle, NULL);
	int error = open_clients(options, clients, error_out);
	if (error == 0)
		error = run_slots(&phase, clients, error_out);
	close_clients(options, clients);
	pthread_cond_destroy(&phase.idle);
	pthread_mutex_destroy(&phase.lock);
	free(clients);
	return error;
}

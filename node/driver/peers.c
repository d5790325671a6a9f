/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "node/object/limit.h"
#include "node/driver/peers.h"

struct peer {
	_Atomic uint64_t node_id; /* 0: free. Set last. */
	_Atomic(struct rpc_link *) link;
	char address[RING_ADDRESS_MAX]; /* main thread's */
};

struct peers {
	struct peer table[2 * PEERS_MAX]; /* open addressing, never more than half full */
	struct rpc_link **retired;        /* replaced, perhaps still in somebody's hand */
	uint32_t count, retired_count;
	struct rpc_budget *answers; /* borrowed */
};

static struct peer *find(struct peers *self, uint64_t node_id)
{
	uint32_t mask = 2 * PEERS_MAX - 1;
	_Static_assert((PEERS_MAX & (PEERS_MAX - 1)) == 0, "the mask needs a power of two");
	for (uint32_t at = (uint32_t)(node_id * UINT64_C(0x9E3779B97F4A7C15) >> 40) & mask;; at = (at + 1) & mask) {
		uint64_t id = atomic_load_explicit(&self->table[at].node_id, memory_order_acquire);
		if (id == node_id || id == 0)
			return &self->table[at];
	}
}

int peers_create(struct rpc_budget *answers, struct peers **out)
{
	*out = calloc(1, sizeof **out);
	if (*out == NULL)
		return -ENOMEM;
	(*out)->answers = answers;
	return 0;
}

static int retire(struct peers *self, struct rpc_link *link)
{
	struct rpc_link **retired = realloc(self->retired, (self->retired_count + 1) * sizeof *retired);
	if (retired == NULL)
		return -ENOMEM;
	self->retired = retired;
	retired[self->retired_count++] = link;
	return 0;
}

int peers_set(struct peers *self, uint64_t node_id, const char *address, struct rpc_error *error_out)
{
	assert(node_id != 0);
	struct peer *peer = find(self, node_id);
	struct rpc_link *old = atomic_load(&peer->link);
	if (old != NULL && strcmp(peer->address, address) == 0)
		return 0;
	if (old == NULL && self->count == PEERS_MAX) {
		snprintf(error_out->text, sizeof error_out->text, "more than %d peers", PEERS_MAX);
		return -ENOSPC;
	}
	if (old != NULL && retire(self, old) < 0)
		return -ENOMEM;
	struct rpc_link_options options = {
		.address = address,
		.message_max = RPC_PEER_MESSAGE_MAX,
		.outstanding_max = LIMIT_PEER_OUTSTANDING,
		.silence_ms = LIMIT_PEER_SILENCE_MS,
		.budget = self->answers,
	};
	struct rpc_link *link;
	int error = rpc_link_open(&options, &link, error_out);
	if (error < 0) {
		self->retired_count -= old != NULL;
		return error;
	}
	snprintf(peer->address, sizeof peer->address, "%s", address);
	atomic_store(&peer->link, link);
	atomic_store_explicit(&peer->node_id, node_id, memory_order_release);
	self->count += old == NULL;
	if (old != NULL)
		rpc_link_stop(old); /* its connection and files go now, its memory at the end */
	return 0;
}

struct rpc_link *peers_link(struct peers *self, uint64_t node_id)
{
	struct peer *peer = find(self, node_id);
	/* The free slot may just be filled for another node: its link comes first, its id last. */
	bool known = node_id != 0 && atomic_load_explicit(&peer->node_id, memory_order_acquire) == node_id;
	return known ? atomic_load(&peer->link) : NULL;
}

void peers_close(struct peers **out)
{
	struct peers *self = *out;
	if (self == NULL)
		return;
	for (uint32_t i = 0; i < 2 * PEERS_MAX; i++) {
		struct rpc_link *link = atomic_load(&self->table[i].link);
		if (link != NULL)
			rpc_link_close(&link);
	}
	for (uint32_t i = 0; i < self->retired_count; i++)
		rpc_link_close(&self->retired[i]);
	free(self->retired);
	free(self);
	*out = NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "node/driver/hub.h"

#include <stdatomic.h>
#include <time.h>
#include "node/driver/peers.h"
#include "node/object/key.h"
#include "node/wire/codec.h"

static struct hosted *find_actor(struct hub *self, enum actor_kind kind, uint32_t index)
{
	return &self->actors[placement_find(&self->placement, kind, index)];
}

struct hosted *hub_coordinator(struct hub *self, uint32_t index)
{
	return find_actor(self, ACTOR_COORDINATOR, index % self->node->coordinator_count);
}

struct hosted *hub_replica(struct hub *self, uint32_t index)
{
	return find_actor(self, ACTOR_REPLICA, index);
}

struct hosted *hub_gossip(struct hub *self)
{
	return find_actor(self, ACTOR_GOSSIP, 0);
}

struct hosted *hub_actor_for(struct hub *self, const struct message *message)
{
	switch (message->to.kind) {
	case ACTOR_REPLICA:
		return hub_replica(self, node_shard_of(self->node, key_partition(message->key)));
	case ACTOR_COORDINATOR:
		return hub_coordinator(self, message->to.index);
	case ACTOR_UPKEEP:
		return find_actor(self, ACTOR_UPKEEP, 0);
	default:
		return hub_gossip(self);
	}
}

bool hub_is_connected(void *arg, uint64_t node_id)
{
	struct hub *self = arg;
	const struct rpc_link *link = peers_link(self->peers, node_id);
	return link != NULL && rpc_link_connected(link);
}

uint64_t hub_unix_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void hub_tell(struct hub *self, const struct node_event *event)
{
	struct rpc_message *message;
	struct node_event whole = *event;
	if (event->cluster_id != 0)
		atomic_store_explicit(&self->cluster_id, event->cluster_id, memory_order_relaxed);
	whole.node_id = self->node->id;
	whole.cluster_id = atomic_load_explicit(&self->cluster_id, memory_order_relaxed);
	whole.unix_ms = hub_unix_ms();
	if (codec_event_encode(&whole, &message) == 0)
		rpc_bus_send(self->bus, message);
}

void hub_broadcast(struct hub *self, struct message *message)
{
	struct rpc_message *event;
	struct arena *scratch = rpc_arena_create(4096, SIZE_MAX);
	if (scratch != NULL && codec_bus_encode(message, hub_unix_ms(), scratch, &event) == 0)
		rpc_bus_send(self->bus, event);
	rpc_arena_unref(scratch);
	message_free(message);
}

/* ---- figures ------------------------------------------------------------------------------------------------------ */

void hub_self(struct hub *self, struct gossip_row *row_out)
{
	*row_out = self->self;
	node_figures(self->node, &row_out->figures);
}

void hub_health(struct hub *self, struct shard_health *shards_out)
{
	for (uint32_t i = 0; i < self->node->shard_count; i++) {
		const struct replica_counters *counters = replica_counters(self->node->replicas[i]);
		shards_out[i] = (struct shard_health){
			.dead = atomic_load_explicit(&counters->dead, memory_order_relaxed),
			.full = atomic_load_explicit(&counters->full, memory_order_relaxed),
			.quarantined = atomic_load_explicit(&replica_figures(self->node->replicas[i])->quarantined,
							    memory_order_relaxed),
		};
	}
}

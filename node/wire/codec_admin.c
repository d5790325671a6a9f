/* SPDX-License-Identifier: Apache-2.0 */
/* Admin and Health: questions of operators, answered from a ring view and the node's own row. */
#include "node/wire/codec.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "proto/kv.pb-c.h"
#include "node/object/limit.h"
#include "node/membership/ring_change.h"
#include "node/membership/standing.h"
#include "node/wire/answer.h"
#include "node/wire/figures.h"

enum { FALLBACKS_SHOWN = 16, VIOLATIONS_SHOWN = 64, VIOLATION_TEXT_SIZE = 256 };

/* ---- Describe, Status --------------------------------------------------------------------------------------- */

/* The source of an answer: all that it is made from. */
struct source {
	const struct admin_picture *picture;
	const struct ring_view *view;
	const struct ring_document *document; /* NULL: in no cluster yet */
	const struct gossip_row *self;
	struct arena *scratch;
};

static uint64_t age(uint64_t now, uint64_t then)
{
	return then && now > then ? now - then : 0;
}

/* The addresses of a member: the document's, and what it announces where that is another. */
static void pack_addresses(const struct ring_member *member, const char *client, const char *peer, const char *bus,
			   Kvring__V1__NodeStatus *out)
{
	out->client_address = (char *)member->client_address;
	out->peer_address = (char *)member->peer_address;
	out->bus_address = (char *)member->bus_address;
	if (client[0] != '\0' && strcmp(client, member->client_address) != 0)
		out->announced_client_address = (char *)client;
	if (peer[0] != '\0' && strcmp(peer, member->peer_address) != 0)
		out->announced_peer_address = (char *)peer;
	if (bus[0] != '\0' && strcmp(bus, member->bus_address) != 0)
		out->announced_bus_address = (char *)bus;
}

/* May its answers be missing something? For ever so, or until its start is confirmed. */
static void pack_trust(const struct ring_member_status *status, Kvring__V1__NodeStatus *out)
{
	out->receiving = status->receiving;
	out->unproven = status->unproven && !status->receiving;
}

/* Borrowed from the view. */
static void pack_unheard(const struct ring_member_status *status, Kvring__V1__NodeStatus *out)
{
	assert(status->unheard_count <= RING_SUSPICIONS_MAX);
	out->unheard = (uint64_t *)status->unheard;
	out->n_unheard = status->unheard_count;
}

static char *member_state(const struct source *source, uint32_t index)
{
	return (char *)ring_change_state_name(ring_member(source->document, index)->state);
}

static void pack_self(const struct source *source, Kvring__V1__NodeStatus *out)
{
	const struct gossip_row *self = source->self;

	kvring__v1__node_status__init(out);
	out->node_id = self->node_id;
	out->name = (char *)self->name;
	out->client_address = (char *)self->client_address;
	out->peer_address = (char *)self->peer_address;
	out->bus_address = (char *)self->bus_address;
	out->datacenter = (char *)self->datacenter;
	out->rack = (char *)self->rack;
	out->weight = self->weight;
	out->state = source->document != NULL ? "up" : "starting";
	figures_pack_status(&self->figures, out);
	out->uptime_ms = age(source->picture->now_ms, self->started_ms);
	out->version = (char *)self->version;
	out->shard_count = self->shard_count;
	if (source->document != NULL && source->view->self >= 0) {
		pack_trust(&source->view->status[source->view->self], out);
		pack_unheard(&source->view->status[source->view->self], out);
	}
	out->heard = out->linked = true;
	out->ready_epoch = self->ready_epoch;
	if (source->document != NULL && source->view->self >= 0) {
		out->member_state = member_state(source, (uint32_t)source->view->self);
		pack_addresses(ring_member(source->document, (uint32_t)source->view->self), self->client_address,
			       self->peer_address, self->bus_address, out);
	}
	if (source->document != NULL) {
		out->cluster_id = ring_cluster_id(source->document);
		out->epoch = ring_epoch(source->document);
	} else {
		out->cluster_id = self->cluster_id;
	}
}

static const char *reachability_name(enum ring_reachability reachability)
{
	switch (reachability) {
	case RING_UP:
		return "up";
	case RING_UNREACHABLE:
		return "unreachable";
	case RING_DOWN:
		return "down";
	case RING_UNKNOWN:
		break;
	}
	return "unknown";
}

static void pack_member(const struct source *source, uint32_t index, Kvring__V1__NodeStatus *out)
{
	const struct ring_member *member = ring_member(source->document, index);
	const struct ring_member_status *status = &source->view->status[index];

	kvring__v1__node_status__init(out);
	out->node_id = member->id;
	out->name = (char *)member->name;
	pack_addresses(member, status->client_address, status->peer_address, status->bus_address, out);
	out->datacenter = (char *)member->datacenter;
	out->rack = (char *)member->rack;
	out->weight = member->weight;
	out->state = (char *)reachability_name(status->reachability);
	out->epoch = status->epoch;
	out->ready_epoch = status->ready_epoch;
	out->member_state = member_state(source, index);
	figures_pack_status(&status->figures, out);
	out->uptime_ms = age(source->picture->now_ms, status->started_ms);
	out->version = (char *)status->version;
	out->cluster_id = ring_cluster_id(source->document);
	out->shard_count = status->shard_count;
	pack_trust(status, out);
	pack_unheard(status, out);
	out->state_ms = age(source->picture->now_us, status->since_us) / 1000;
	out->heard = status->heard_us != 0;
	out->linked = source->picture->linked[index];
	out->last_seen_ms = age(source->picture->now_us, status->heard_us) / 1000;
}

static uint32_t own_datacenter(const struct source *source)
{
	return source->view->self < 0 ? 0 : ring_member_datacenter(source->document, (uint32_t)source->view->self);
}

static uint32_t replica_count(const struct source *source)
{
	return ring_datacenter(source->document, own_datacenter(source))->replica_count;
}

static int answer_describe(const struct source *source, struct rpc_message **out)
{
	Kvring__V1__NodeStatus body;

	pack_self(source, &body);
	return answer_body(&body.base, body.epoch, out);
}

static const char *transition_name(enum ring_transition transition)
{
	switch (transition) {
	case RING_WRITE_BOTH_READ_OLD:
		return "copying";
	case RING_WRITE_BOTH_READ_NEW:
		return "switching";
	case RING_STABLE:
		break;
	}
	return "stable";
}

/* A node in no cluster shows itself alone. */
static int answer_status(const struct source *source, struct rpc_message **out)
{
	Kvring__V1__StatusResponse body = KVRING__V1__STATUS_RESPONSE__INIT;
	uint32_t count = source->document != NULL ? ring_member_count(source->document) : 1;
	Kvring__V1__NodeStatus *members = rpc_arena_alloc(source->scratch, count * sizeof *members);

	body.members = rpc_arena_alloc(source->scratch, count * sizeof *body.members);
	if (members == NULL || body.members == NULL)
		return -ENOMEM;
	body.n_members = count;
	for (uint32_t i = 0; i < count; i++) {
		if (source->document == NULL || (int)i == source->view->self)
			pack_self(source, &members[i]);
		else
			pack_member(source, i, &members[i]);
		body.members[i] = &members[i];
	}
	body.answered_by = source->self->node_id;
	if (source->document != NULL) {
		body.cluster_id = ring_cluster_id(source->document);
		body.epoch = ring_epoch(source->document);
		body.ring_hash = ring_hash(source->document);
		body.partition_count = ring_partition_count(source->document);
		body.replica_count = replica_count(source);
		body.transition = (char *)transition_name(ring_transition(source->document));
	}
	return answer_body(&body.base, body.epoch, out);
}

/* ---- Ring --------------------------------------------------------------------------------------------------- */

static uint64_t *ids_of(const struct source *source, const uint16_t *members, uint32_t count)
{
	uint64_t *ids = rpc_arena_alloc(source->scratch, (count + 1) * sizeof *ids);

	assert(count <= ring_member_count(source->document));
	for (uint32_t i = 0; ids != NULL && i < count; i++)
		ids[i] = ring_member(source->document, members[i])->id;
	return ids;
}

static int show_key(const struct source *source, const Kvring__V1__RingRequest *query, Kvring__V1__RingResponse *out)
{
	ProtobufCBinaryData bucket = query->bucket.len ? query->bucket : (ProtobufCBinaryData){7, (uint8_t *)"default"};
	uint32_t datacenter = own_datacenter(source);
	uint16_t fallbacks[FALLBACKS_SHOWN];
	const uint16_t *owners;

	out->partition = ring_partition_of(source->document, bucket.data, bucket.len, query->key.data, query->key.len);
	out->n_preference = ring_owners(source->document, out->partition, datacenter, &owners);
	out->preference = ids_of(source, owners, (uint32_t)out->n_preference);
	out->n_fallbacks = ring_fallbacks(source->document, out->partition, datacenter, fallbacks, FALLBACKS_SHOWN);
	out->fallbacks = ids_of(source, fallbacks, (uint32_t)out->n_fallbacks);
	return out->preference != NULL && out->fallbacks != NULL ? 0 : -ENOMEM;
}

/* Row by row; 0 where there are fewer owners than replicas asked for. */
static int show_owners(const struct source *source, Kvring__V1__RingResponse *out)
{
	uint32_t partitions = out->partition_count, replicas = out->replica_count;

	assert(partitions > 0);
	assert(replicas > 0 && replicas <= RING_REPLICAS_MAX);
	out->owners = rpc_arena_zalloc(source->scratch, (size_t)partitions * replicas * sizeof *out->owners);
	if (out->owners == NULL)
		return -ENOMEM;
	out->n_owners = (size_t)partitions * replicas;
	for (uint32_t p = 0; p < partitions; p++) {
		const uint16_t *owners;
		uint32_t count = ring_owners(source->document, p, own_datacenter(source), &owners);

		for (uint32_t i = 0; i < count && i < replicas; i++)
			out->owners[(size_t)p * replicas + i] = ring_member(source->document, owners[i])->id;
	}
	return 0;
}

static int show_members(const struct source *source, Kvring__V1__RingResponse *out)
{
	uint32_t count = ring_member_count(source->document);
	Kvring__V1__RingMember *members = rpc_arena_alloc(source->scratch, count * sizeof *members);

	out->members = rpc_arena_alloc(source->scratch, count * sizeof *out->members);
	if (members == NULL || out->members == NULL)
		return -ENOMEM;
	out->n_members = count;
	for (uint32_t i = 0; i < count; i++) {
		const struct ring_member *member = ring_member(source->document, i);

		kvring__v1__ring_member__init(&members[i]);
		members[i].node_id = member->id;
		members[i].name = (char *)member->name;
		members[i].datacenter = (char *)member->datacenter;
		members[i].rack = (char *)member->rack;
		members[i].weight = member->weight;
		members[i].replicas = ring_member_replicas(source->document, i);
		members[i].primaries = ring_member_primaries(source->document, i);
		out->members[i] = &members[i];
	}
	return 0;
}

static int show_violations(const struct source *source, Kvring__V1__RingResponse *out)
{
	char text[VIOLATION_TEXT_SIZE];

	out->violations = rpc_arena_alloc(source->scratch, VIOLATIONS_SHOWN * sizeof *out->violations);
	if (out->violations == NULL)
		return -ENOMEM;
	while (out->n_violations < VIOLATIONS_SHOWN &&
	       ring_violation(source->document, (uint32_t)out->n_violations, text, sizeof text)) {
		char *copy = rpc_arena_printf(source->scratch, "%s", text);

		if (copy == NULL)
			return -ENOMEM;
		out->violations[out->n_violations++] = copy;
	}
	return 0;
}

static int answer_ring(const struct source *source, const struct rpc_request *request, struct rpc_message **out,
		       struct rpc_error *error_out)
{
	Kvring__V1__RingResponse body = KVRING__V1__RING_RESPONSE__INIT;
	Kvring__V1__RingRequest *query =
		rpc_body_decode(&kvring__v1__ring_request__descriptor, request->body, source->scratch, error_out);
	int status;

	if (query == NULL)
		return -EBADMSG;
	if (query->key.len > LIMIT_KEY_SIZE || query->bucket.len > LIMIT_BUCKET_SIZE) {
		snprintf(error_out->text, sizeof error_out->text, "key must have at most %d bytes, bucket at most %d",
			 LIMIT_KEY_SIZE, LIMIT_BUCKET_SIZE);
		return -EINVAL;
	}
	if (source->document == NULL)
		return answer_refusal(KVRING__V1__CODE__UNAVAILABLE, standing_refusal(source->view), 0, out);
	body.epoch = ring_epoch(source->document);
	body.partition_count = ring_partition_count(source->document);
	body.replica_count = replica_count(source);
	status = query->key.len ? show_key(source, query, &body) : show_owners(source, &body);
	if (!status)
		status = show_members(source, &body);
	if (!status)
		status = show_violations(source, &body);
	return status ? status : answer_body(&body.base, body.epoch, out);
}

/* ---- Health ------------------------------------------------------------------------------------------------- */

static const char *shard_state(const struct shard_health *shard)
{
	return shard->dead ? "dead" : shard->full ? "full" : "serving";
}

static int show_shards(const struct source *source, Kvring__V1__HealthResponse *out)
{
	uint32_t count = source->self->shard_count;
	Kvring__V1__ShardHealth *shards = rpc_arena_alloc(source->scratch, (count + 1) * sizeof *shards);

	out->shards = rpc_arena_alloc(source->scratch, (count + 1) * sizeof *out->shards);
	if (shards == NULL || out->shards == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++) {
		kvring__v1__shard_health__init(&shards[i]);
		shards[i].index = i;
		shards[i].state = (char *)shard_state(&source->picture->shards[i]);
		shards[i].quarantined_partitions = source->picture->shards[i].quarantined;
		out->shards[i] = &shards[i];
	}
	out->n_shards = count;
	return 0;
}

/* "shard 0 is dead, shard 1 is full", or NULL. */
static char *shard_troubles(const struct source *source)
{
	char *text = NULL;

	for (uint32_t i = 0; i < source->self->shard_count; i++) {
		const struct shard_health *shard = &source->picture->shards[i];
		char *more = NULL;

		if (shard->dead || shard->full)
			more = rpc_arena_printf(source->scratch, "%s%sshard %u is %s", text != NULL ? text : "",
						text != NULL ? ", " : "", i, shard_state(shard));
		else if (shard->quarantined)
			more = rpc_arena_printf(source->scratch, "%s%sshard %u has %u damaged partitions",
						text != NULL ? text : "", text != NULL ? ", " : "", i,
						shard->quarantined);
		text = more != NULL ? more : text;
	}
	return text;
}

static int answer_health(const struct source *source, struct rpc_message **out)
{
	Kvring__V1__HealthResponse body = KVRING__V1__HEALTH_RESPONSE__INIT;
	const char *refusal = standing_refusal(source->view);
	char *troubles = shard_troubles(source);
	uint32_t dead = 0;

	for (uint32_t i = 0; i < source->self->shard_count; i++)
		dead += source->picture->shards[i].dead;
	if (show_shards(source, &body))
		return -ENOMEM;
	if (refusal != NULL)
		body.detail = (char *)refusal;
	else if (troubles != NULL)
		body.detail = rpc_arena_printf(source->scratch, "%s; the node's log says why and what to do", troubles);
	body.serving = refusal == NULL && (dead == 0 || dead < source->self->shard_count);
	if (body.detail == NULL)
		return -ENOMEM;
	return answer_body(&body.base, source->document != NULL ? ring_epoch(source->document) : 0, out);
}

int codec_admin_answer(enum method method, const struct rpc_request *request, const struct admin_picture *picture,
		       struct arena *scratch, struct rpc_message **out, struct rpc_error *error_out)
{
	struct source source = {picture, picture->view, picture->view->document, picture->self, scratch};

	if (method == METHOD_DESCRIBE)
		return answer_describe(&source, out);
	if (method == METHOD_STATUS)
		return answer_status(&source, out);
	if (method == METHOD_RING)
		return answer_ring(&source, request, out, error_out);
	if (method == METHOD_HEALTH)
		return answer_health(&source, out);
	snprintf(error_out->text, sizeof error_out->text, "%.*s is not a method of this port",
		 (int)(request->method.size < 64 ? request->method.size : 64), (const char *)request->method.data);
	return -ENOSYS;
}

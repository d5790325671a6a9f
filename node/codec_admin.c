/* Operators: answers made of this node's ring view, without asking anyone. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include "codec.h"
#include "kv.pb-c.h"

enum { VIOLATIONS_MAX = 64, VIOLATION_SIZE = 256 };

static void *body(const struct rpc_request *request, const ProtobufCMessageDescriptor *descriptor, struct arena *arena,
		  struct rpc_error *error_out)
{
	return rpc_body_decode(descriptor, request->body, arena, error_out);
}

/* ---- cluster init ---------------------------------------------------------------------------------------------------- */

/* A text from the request into a fixed field; -EINVAL names what is missing or too long. */
static int take_text(char *into, size_t size, const char *from, const char *what, bool required, struct rpc_error *error_out)
{
	size_t length = strlen(from);
	if ((required && length == 0) || length >= size) {
		snprintf(error_out->text, sizeof error_out->text, "member's %s has %zu bytes: it must have %d to %zu", what, length,
			 required ? 1 : 0, size - 1);
		return -EINVAL;
	}
	memcpy(into, from, length + 1);
	return 0;
}

static int take_member(const Kvring__V1__NodeStatus *from, struct ring_member *into, struct rpc_error *error_out)
{
	*into = (struct ring_member){
		.id = from->node_id,
		.weight = from->weight ? from->weight : RING_WEIGHT_DEFAULT,
		.state = RING_MEMBER_ACTIVE,
	};
	int error = take_text(into->name, sizeof into->name, from->name, "name", true, error_out);
	if (error == 0)
		error = take_text(into->client_address, sizeof into->client_address, from->client_address, "client address", true,
				  error_out);
	if (error == 0)
		error = take_text(into->peer_address, sizeof into->peer_address, from->peer_address, "peer address", true, error_out);
	if (error == 0)
		error = take_text(into->bus_address, sizeof into->bus_address, from->bus_address, "bus address", true, error_out);
	if (error == 0)
		error = take_text(into->datacenter, sizeof into->datacenter, from->datacenter, "datacenter", true, error_out);
	if (error == 0)
		error = take_text(into->rack, sizeof into->rack, from->rack, "rack", false, error_out);
	return error;
}

int codec_init_decode(const struct rpc_request *request, struct arena *arena, struct message **out,
		      struct rpc_error *error_out)
{
	Kvring__V1__InitRequest *init = body(request, &kvring__v1__init_request__descriptor, arena, error_out);
	if (init == NULL)
		return -EBADMSG;
	if (init->n_members == 0 || init->n_members > RING_MEMBERS_MAX) {
		snprintf(error_out->text, sizeof error_out->text, "%zu members: a cluster has 1 to %d", init->n_members,
			 RING_MEMBERS_MAX);
		return -EINVAL;
	}
	struct ring_member *members = arena_alloc(arena, init->n_members * sizeof *members);
	int error = members ? 0 : -ENOMEM;
	for (size_t i = 0; error == 0 && i < init->n_members; i++)
		error = take_member(init->members[i], &members[i], error_out);
	struct message *message = error == 0 ? message_create(arena, MESSAGE_INIT_CLUSTER) : NULL;
	if (message == NULL)
		return error ? error : -ENOMEM;
	message->to.kind = ACTOR_GOSSIP;
	message->init_cluster.members = members;
	message->init_cluster.member_count = (uint32_t)init->n_members;
	message->init_cluster.partition_count = init->partition_count;
	message->init_cluster.replica_count = init->replica_count;
	*out = message;
	return 0;
}

int codec_init_encode(const struct message *inited, uint64_t ring_epoch, struct arena *scratch, struct rpc_message **out)
{
	(void)scratch;
	Kvring__V1__InitResponse init = KVRING__V1__INIT_RESPONSE__INIT;
	const char *text = inited->cluster_inited.text ? inited->cluster_inited.text : "";
	struct rpc_response head = {
		.protocol_version = RPC_PROTOCOL_VERSION,
		.code = inited->cluster_inited.code,
		.message = {(const uint8_t *)text, strlen(text)},
		.ring_epoch = ring_epoch,
	};
	init.cluster_id = inited->cluster_inited.cluster_id;
	init.epoch = inited->cluster_inited.epoch;
	return rpc_response_encode(&head, &init.base, out);
}

/* ---- one node --------------------------------------------------------------------------------------------------------- */

static void fill_self(const struct gossip_row *self, const struct ring_view *view, uint64_t now_ms,
		      Kvring__V1__NodeStatus *out)
{
	kvring__v1__node_status__init(out);
	out->node_id = self->node_id;
	out->name = (char *)self->name;
	out->client_address = (char *)self->client_address;
	out->peer_address = (char *)self->peer_address;
	out->bus_address = (char *)self->bus_address;
	out->datacenter = (char *)self->datacenter;
	out->rack = (char *)self->rack;
	out->weight = self->weight;
	out->state = view->document ? "up" : "starting";
	out->epoch = view->document ? ring_epoch(view->document) : 0;
	out->cluster_id = view->document ? ring_cluster_id(view->document) : self->cluster_id;
	out->keys = self->keys;
	out->disk_bytes = self->disk_bytes;
	out->memory_bytes = self->memory_bytes;
	out->puts = self->puts;
	out->gets = self->gets;
	out->load = self->load_permille / 1000.0;
	out->uptime_ms = now_ms > self->started_ms ? now_ms - self->started_ms : 0;
	out->version = (char *)self->version;
	out->shard_count = self->shard_count;
}

static const char *state_name(const struct ring_member_status *status)
{
	switch (status->reachability) {
	case RING_UP:
		return "up";
	case RING_UNREACHABLE:
		return "unreachable";
	default:
		return "down";
	}
}

static void fill_member(const struct ring_member *member, const struct ring_member_status *status, uint64_t cluster_id,
			uint64_t now_us, uint64_t now_ms, Kvring__V1__NodeStatus *out)
{
	kvring__v1__node_status__init(out);
	out->node_id = member->id;
	out->name = (char *)member->name;
	out->client_address = (char *)member->client_address;
	out->peer_address = (char *)member->peer_address;
	out->bus_address = (char *)member->bus_address;
	out->datacenter = (char *)member->datacenter;
	out->rack = (char *)member->rack;
	out->weight = member->weight;
	out->state = (char *)state_name(status);
	out->epoch = status->epoch;
	out->cluster_id = cluster_id;
	out->keys = status->keys;
	out->disk_bytes = status->disk_bytes;
	out->memory_bytes = status->memory_bytes;
	out->puts = status->puts;
	out->gets = status->gets;
	out->load = status->load_permille / 1000.0;
	out->uptime_ms = status->started_ms && now_ms > status->started_ms ? now_ms - status->started_ms : 0;
	out->version = (char *)status->version;
	out->shard_count = status->shard_count;
	out->last_seen_ms = now_us > status->heard_us ? (now_us - status->heard_us) / 1000 : 0;
}

/* ---- answers ----------------------------------------------------------------------------------------------------------- */

struct answer {
	const struct rpc_request *request;
	const struct ring_view *view;
	const struct gossip_row *self;
	uint64_t now_us, now_ms;
	struct arena *scratch;
	struct rpc_response head;
	struct rpc_message **out;
	struct rpc_error *error_out;
};

static int refuse(const struct answer *answer, uint32_t code, const char *text)
{
	struct rpc_response head = answer->head;
	head.code = code;
	head.message = (struct rpc_slice){(const uint8_t *)text, strlen(text)};
	return rpc_response_encode(&head, NULL, answer->out);
}

static int answer_no_cluster(const struct answer *answer)
{
	return refuse(answer, KVRING__V1__CODE__FAILED_PRECONDITION,
		      "this node is in no cluster yet: form one with `kvctl cluster init`");
}

static int answer_describe(const struct answer *answer)
{
	Kvring__V1__NodeStatus status;
	fill_self(answer->self, answer->view, answer->now_ms, &status);
	return rpc_response_encode(&answer->head, &status.base, answer->out);
}

static int answer_health(const struct answer *answer)
{
	Kvring__V1__HealthResponse health = KVRING__V1__HEALTH_RESPONSE__INIT;
	health.serving = answer->view->document != NULL && answer->view->self >= 0;
	if (!health.serving)
		health.detail = answer->view->document ? "not a member of the cluster's ring" : "in no cluster yet";
	return rpc_response_encode(&answer->head, &health.base, answer->out);
}

static int answer_status(const struct answer *answer)
{
	const struct ring_document *document = answer->view->document;
	if (document == NULL)
		return answer_no_cluster(answer);
	uint32_t count = ring_member_count(document);
	Kvring__V1__NodeStatus *members = arena_alloc(answer->scratch, count * sizeof *members);
	Kvring__V1__StatusResponse status = KVRING__V1__STATUS_RESPONSE__INIT;
	status.members = arena_alloc(answer->scratch, count * sizeof *status.members);
	if (members == NULL || status.members == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++) {
		if ((int)i == answer->view->self)
			fill_self(answer->self, answer->view, answer->now_ms, &members[i]);
		else
			fill_member(ring_member(document, i), &answer->view->status[i], ring_cluster_id(document), answer->now_us,
				    answer->now_ms, &members[i]);
		status.members[i] = &members[i];
	}
	status.n_members = count;
	status.cluster_id = ring_cluster_id(document);
	status.epoch = ring_epoch(document);
	status.ring_hash = ring_hash(document);
	status.partition_count = ring_partition_count(document);
	status.replica_count = ring_datacenter(document, 0)->replica_count;
	status.answered_by = answer->self->node_id;
	return rpc_response_encode(&answer->head, &status.base, answer->out);
}

/* ---- the ring ----------------------------------------------------------------------------------------------------------- */

static int fill_ring_members(const struct answer *answer, Kvring__V1__RingResponse *ring)
{
	const struct ring_document *document = answer->view->document;
	uint32_t count = ring_member_count(document);
	Kvring__V1__RingMember *members = arena_alloc(answer->scratch, count * sizeof *members);
	ring->members = arena_alloc(answer->scratch, count * sizeof *ring->members);
	if (members == NULL || ring->members == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++) {
		const struct ring_member *member = ring_member(document, i);
		kvring__v1__ring_member__init(&members[i]);
		members[i].node_id = member->id;
		members[i].name = (char *)member->name;
		members[i].datacenter = (char *)member->datacenter;
		members[i].rack = (char *)member->rack;
		members[i].weight = member->weight;
		members[i].replicas = ring_member_replicas(document, i);
		members[i].primaries = ring_member_primaries(document, i);
		ring->members[i] = &members[i];
	}
	ring->n_members = count;
	return 0;
}

static int fill_violations(const struct answer *answer, Kvring__V1__RingResponse *ring)
{
	char text[VIOLATION_SIZE];
	ring->violations = arena_alloc(answer->scratch, VIOLATIONS_MAX * sizeof *ring->violations);
	if (ring->violations == NULL)
		return -ENOMEM;
	while (ring->n_violations < VIOLATIONS_MAX &&
	       ring_violation(answer->view->document, (uint32_t)ring->n_violations, text, sizeof text)) {
		char *copy = arena_copy(answer->scratch, text, strlen(text) + 1);
		if (copy == NULL)
			return -ENOMEM;
		ring->violations[ring->n_violations++] = copy;
	}
	return 0;
}

/* Node ids of these members, appended. */
static void append_ids(const struct ring_document *document, const uint16_t *members, uint32_t count, uint64_t *ids,
		       size_t *id_count)
{
	for (uint32_t i = 0; i < count; i++)
		ids[(*id_count)++] = ring_member(document, members[i])->id;
}

static int fill_key(const struct answer *answer, uint32_t datacenter, const Kvring__V1__RingRequest *request,
		    Kvring__V1__RingResponse *ring)
{
	const struct ring_document *document = answer->view->document;
	const uint16_t *owners;
	uint16_t fallbacks[RING_REPLICAS_MAX];
	ring->partition = ring_partition_of(document, request->bucket.data, request->bucket.len, request->key.data, request->key.len);
	uint32_t count = ring_owners(document, ring->partition, datacenter, &owners);
	uint32_t fallback_count = ring_fallbacks(document, ring->partition, datacenter, fallbacks, RING_REPLICAS_MAX);
	ring->preference = arena_alloc(answer->scratch, RING_REPLICAS_MAX * sizeof *ring->preference);
	ring->fallbacks = arena_alloc(answer->scratch, RING_REPLICAS_MAX * sizeof *ring->fallbacks);
	if (ring->preference == NULL || ring->fallbacks == NULL)
		return -ENOMEM;
	append_ids(document, owners, count, ring->preference, &ring->n_preference);
	append_ids(document, fallbacks, fallback_count, ring->fallbacks, &ring->n_fallbacks);
	return 0;
}

static int fill_owners(const struct answer *answer, uint32_t datacenter, Kvring__V1__RingResponse *ring)
{
	const struct ring_document *document = answer->view->document;
	ring->owners = arena_alloc(answer->scratch, (size_t)ring->partition_count * RING_REPLICAS_MAX * sizeof *ring->owners);
	if (ring->owners == NULL)
		return -ENOMEM;
	for (uint32_t partition = 0; partition < ring->partition_count; partition++) {
		const uint16_t *owners;
		uint32_t count = ring_owners(document, partition, datacenter, &owners);
		append_ids(document, owners, count, ring->owners, &ring->n_owners);
	}
	return 0;
}

static int answer_ring(const struct answer *answer)
{
	const struct ring_document *document = answer->view->document;
	if (document == NULL)
		return answer_no_cluster(answer);
	Kvring__V1__RingRequest *request =
		body(answer->request, &kvring__v1__ring_request__descriptor, answer->scratch, answer->error_out);
	if (request == NULL)
		return -EBADMSG;
	Kvring__V1__RingResponse ring = KVRING__V1__RING_RESPONSE__INIT;
	uint32_t datacenter = answer->view->self >= 0 ? ring_member_datacenter(document, (uint32_t)answer->view->self) : 0;
	ring.epoch = ring_epoch(document);
	ring.partition_count = ring_partition_count(document);
	ring.replica_count = ring_datacenter(document, datacenter)->replica_count;
	int error = fill_ring_members(answer, &ring);
	if (error == 0)
		error = fill_violations(answer, &ring);
	if (error == 0)
		error = request->key.len ? fill_key(answer, datacenter, request, &ring) : fill_owners(answer, datacenter, &ring);
	return error < 0 ? error : rpc_response_encode(&answer->head, &ring.base, answer->out);
}

int codec_admin_answer(enum method method, const struct rpc_request *request, const struct ring_view *view,
		       const struct gossip_row *self, uint64_t now_us, uint64_t now_ms, struct arena *scratch,
		       struct rpc_message **out, struct rpc_error *error_out)
{
	struct answer answer = {
		.request = request,
		.view = view,
		.self = self,
		.now_us = now_us,
		.now_ms = now_ms,
		.scratch = scratch,
		.head = {.protocol_version = RPC_PROTOCOL_VERSION, .ring_epoch = view->document ? ring_epoch(view->document) : 0},
		.out = out,
		.error_out = error_out,
	};
	error_out->text[0] = 0;
	switch (method) {
	case METHOD_DESCRIBE:
		return answer_describe(&answer);
	case METHOD_STATUS:
		return answer_status(&answer);
	case METHOD_RING:
		return answer_ring(&answer);
	case METHOD_HEALTH:
		return answer_health(&answer);
	default:
		return -ENOSYS;
	}
}

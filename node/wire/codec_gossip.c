/* SPDX-License-Identifier: Apache-2.0 */
/* Gossip rows on the bus and by push-pull. A row that this version cannot represent (a name too long) is left out; the
 * others count. */
#include "node/wire/codec_gossip.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "proto/event.pb-c.h"
#include "node/wire/figures.h"
#include "proto/peer.pb-c.h"

/* ---- rows --------------------------------------------------------------------------------------------------- */

static void pack_row(const struct gossip_row *row, Kvring__V1__MemberRow *out)
{
	kvring__v1__member_row__init(out);
	out->node_id = row->node_id;
	out->incarnation = row->incarnation;
	out->heartbeat = row->heartbeat;
	out->cluster_id = row->cluster_id;
	out->epoch = row->epoch;
	out->ring_hash = row->ring_hash;
	out->name = (char *)row->name;
	out->client_address = (char *)row->client_address;
	out->peer_address = (char *)row->peer_address;
	out->bus_address = (char *)row->bus_address;
	out->datacenter = (char *)row->datacenter;
	out->rack = (char *)row->rack;
	out->weight = row->weight;
	out->shard_count = row->shard_count;
	figures_pack_row(&row->figures, out);
	out->started_ms = row->started_ms;
	out->version = (char *)row->version;
	out->boot = row->boot;
	out->life = row->life;
	out->receiving = row->receiving;
	out->unproven = row->unproven;
	out->revision = row->revision;
	out->ready_epoch = row->ready_epoch;
}

static int pack_suspicions(const struct gossip_row *row, struct arena *scratch, Kvring__V1__MemberRow *out)
{
	Kvring__V1__Suspicion *packed;

	if (row->suspicion_count == 0)
		return 0;
	packed = rpc_arena_alloc(scratch, row->suspicion_count * sizeof *packed);
	out->suspicions = rpc_arena_alloc(scratch, row->suspicion_count * sizeof *out->suspicions);
	if (packed == NULL || out->suspicions == NULL)
		return -ENOMEM;
	assert(row->suspicion_count <= RING_SUSPICIONS_MAX);
	for (uint32_t i = 0; i < row->suspicion_count; i++) {
		kvring__v1__suspicion__init(&packed[i]);
		packed[i].node_id = row->suspicions[i].node_id;
		packed[i].incarnation = row->suspicions[i].incarnation;
		packed[i].heartbeat = row->suspicions[i].heartbeat;
		out->suspicions[i] = &packed[i];
	}
	out->n_suspicions = row->suspicion_count;
	return 0;
}

static int pack_rows(const struct gossip_rows *gossip, struct arena *scratch, Kvring__V1__MemberRow ***rows_out)
{
	Kvring__V1__MemberRow *rows = rpc_arena_alloc(scratch, (gossip->row_count + 1) * sizeof *rows);

	assert(gossip->row_count <= RING_MEMBERS_MAX); /* more are refused, all of them: see unpack */
	*rows_out = rpc_arena_alloc(scratch, (gossip->row_count + 1) * sizeof **rows_out);
	if (rows == NULL || *rows_out == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < gossip->row_count; i++) {
		pack_row(&gossip->rows[i], &rows[i]);
		if (pack_suspicions(&gossip->rows[i], scratch, &rows[i]) < 0)
			return -ENOMEM;
		(*rows_out)[i] = &rows[i];
	}
	return 0;
}

static bool copy_text(const char *text, char *out, size_t size)
{
	size_t length = strlen(text);

	if (length >= size)
		return false;
	memcpy(out, text, length + 1);
	return true;
}

static bool unpack_suspicions(const Kvring__V1__MemberRow *row, struct gossip_row *out)
{
	if (row->n_suspicions > RING_SUSPICIONS_MAX)
		return false;
	for (size_t i = 0; i < row->n_suspicions; i++)
		out->suspicions[out->suspicion_count++] = (struct suspicion){
			.node_id = row->suspicions[i]->node_id,
			.incarnation = row->suspicions[i]->incarnation,
			.heartbeat = row->suspicions[i]->heartbeat,
		};
	return true;
}

static bool unpack_row(const Kvring__V1__MemberRow *row, struct gossip_row *out)
{
	*out = (struct gossip_row){
		.node_id = row->node_id,
		.incarnation = row->incarnation,
		.heartbeat = row->heartbeat,
		.cluster_id = row->cluster_id,
		.epoch = row->epoch,
		.ring_hash = row->ring_hash,
		.weight = row->weight,
		.shard_count = row->shard_count,
		.boot = row->boot,
		.life = row->life,
		.receiving = row->receiving,
		.unproven = row->unproven,
		.revision = row->revision,
		.ready_epoch = row->ready_epoch,
		.started_ms = row->started_ms,
	};
	figures_unpack_row(row, &out->figures);
	return unpack_suspicions(row, out) && copy_text(row->name, out->name, sizeof out->name) &&
	       copy_text(row->client_address, out->client_address, sizeof out->client_address) &&
	       copy_text(row->peer_address, out->peer_address, sizeof out->peer_address) &&
	       copy_text(row->bus_address, out->bus_address, sizeof out->bus_address) &&
	       copy_text(row->datacenter, out->datacenter, sizeof out->datacenter) &&
	       copy_text(row->rack, out->rack, sizeof out->rack) &&
	       copy_text(row->version, out->version, sizeof out->version);
}

/* ---- beats -------------------------------------------------------------------------------------------------- */

static bool any_is_behind(const struct gossip_rows *gossip)
{
	for (uint32_t i = 0; i < gossip->beat_count; i++)
		if (gossip->beats[i].epochs_behind != 0)
			return true;
	return false;
}

static void fill_columns(const struct gossip_rows *gossip, Kvring__V1__Beats *out)
{
	for (uint32_t i = 0, last = 0; i < gossip->beat_count; last = gossip->beats[i++].member) {
		const struct gossip_beat *beat = &gossip->beats[i];

		assert(i == 0 || beat->member > last);
		out->steps[i] = beat->member - last;
		out->incarnations[i] = beat->incarnation;
		out->heartbeats[i] = beat->heartbeat;
		out->revisions[i] = beat->revision;
		if (out->n_epochs_behind > 0)
			out->epochs_behind[i] = beat->epochs_behind;
	}
}

/* Of none: NULL. */
static int pack_beats(const struct gossip_rows *gossip, struct arena *scratch, Kvring__V1__Beats **beats_out)
{
	size_t count = gossip->beat_count;
	Kvring__V1__Beats *beats;

	*beats_out = NULL;
	if (count == 0)
		return 0;
	beats = rpc_arena_alloc(scratch, sizeof *beats);
	if (beats == NULL)
		return -ENOMEM;
	kvring__v1__beats__init(beats);
	beats->epoch = gossip->epoch;
	beats->ring_hash = gossip->ring_hash;
	beats->steps = rpc_arena_alloc(scratch, count * sizeof *beats->steps);
	beats->incarnations = rpc_arena_alloc(scratch, count * sizeof *beats->incarnations);
	beats->heartbeats = rpc_arena_alloc(scratch, count * sizeof *beats->heartbeats);
	beats->revisions = rpc_arena_alloc(scratch, count * sizeof *beats->revisions);
	beats->epochs_behind = rpc_arena_alloc(scratch, count * sizeof *beats->epochs_behind);
	if (beats->steps == NULL || beats->incarnations == NULL || beats->heartbeats == NULL ||
	    beats->revisions == NULL || beats->epochs_behind == NULL)
		return -ENOMEM;
	beats->n_steps = beats->n_incarnations = beats->n_heartbeats = beats->n_revisions = count;
	beats->n_epochs_behind = any_is_behind(gossip) ? count : 0;
	fill_columns(gossip, beats);
	*beats_out = beats;
	return 0;
}

/* What is wrong with them, or NULL. */
static const char *check_beats(const Kvring__V1__Beats *beats)
{
	uint64_t member = 0;

	if (beats->n_incarnations != beats->n_steps || beats->n_heartbeats != beats->n_steps ||
	    beats->n_revisions != beats->n_steps ||
	    (beats->n_epochs_behind != 0 && beats->n_epochs_behind != beats->n_steps))
		return "columns of different lengths";
	for (size_t i = 0; i < beats->n_steps; i++) {
		if (i > 0 && beats->steps[i] == 0)
			return "a member twice";
		member += beats->steps[i];
		if (member >= RING_MEMBERS_MAX)
			return "a member past the largest cluster";
	}
	return NULL;
}

/* Epoch and hash become those of the beats: a sender has one document. */
static int unpack_beats(const Kvring__V1__Beats *beats, struct arena *arena, struct gossip_rows *out,
			struct rpc_error *error_out)
{
	const char *wrong = beats != NULL ? check_beats(beats) : NULL;
	uint32_t member = 0;

	if (wrong != NULL) {
		snprintf(error_out->text, sizeof error_out->text, "gossip: beats with %s", wrong);
		return -EBADMSG;
	}
	if (beats == NULL || beats->n_steps == 0)
		return 0;
	out->beats = rpc_arena_alloc(arena, beats->n_steps * sizeof *out->beats);
	if (out->beats == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < beats->n_steps; i++) {
		member += beats->steps[i];
		out->beats[i] = (struct gossip_beat){
			.member = member,
			.revision = beats->revisions[i],
			.incarnation = beats->incarnations[i],
			.heartbeat = beats->heartbeats[i],
			.epochs_behind = beats->n_epochs_behind > 0 ? beats->epochs_behind[i] : 0,
		};
	}
	out->beat_count = (uint32_t)beats->n_steps;
	out->epoch = beats->epoch;
	out->ring_hash = beats->ring_hash;
	return 0;
}

/* ---- what the three kinds have in common -------------------------------------------------------------------- */

/* As it came. */
struct packed_rows {
	Kvring__V1__MemberRow **rows;
	size_t row_count;
	const Kvring__V1__Beats *beats; /* NULL: none */
	ProtobufCBinaryData document;
	struct gossip_rows head; /* from, cluster, epoch, hash */
};

static int unpack(const struct packed_rows *packed, enum message_type type, struct arena *arena, struct message **out,
		  struct rpc_error *error_out)
{
	struct message *message;
	struct gossip_rows *gossip;

	if (packed->row_count > RING_MEMBERS_MAX) {
		snprintf(error_out->text, sizeof error_out->text, "gossip: %zu rows, the limit is %d",
			 packed->row_count, RING_MEMBERS_MAX);
		return -EBADMSG;
	}
	gossip = rpc_arena_alloc(arena, sizeof *gossip);
	if (gossip == NULL)
		return -ENOMEM;
	*gossip = packed->head;
	gossip->document = (struct rpc_slice){packed->document.data, packed->document.len};
	gossip->row_count = 0;
	gossip->rows = rpc_arena_alloc(arena, (packed->row_count + 1) * sizeof *gossip->rows);
	if (gossip->rows == NULL)
		return -ENOMEM;
	int error = unpack_beats(packed->beats, arena, gossip, error_out);
	if (error)
		return error;
	message = message_create(arena, type);
	if (message == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < packed->row_count; i++)
		gossip->row_count += unpack_row(packed->rows[i], &gossip->rows[gossip->row_count]);
	message->gossip = gossip;
	*out = message;
	return 0;
}

/* ---- push-pull ---------------------------------------------------------------------------------------------- */

int codec_gossip_encode(const struct message *question, struct arena *scratch, ProtobufCMessage **body_out)
{
	const struct gossip_rows *gossip = question->gossip;
	Kvring__V1__GossipRequest *body = rpc_arena_alloc(scratch, sizeof *body);

	if (body == NULL)
		return -ENOMEM;
	kvring__v1__gossip_request__init(body);
	body->from = gossip->from;
	body->cluster_id = gossip->cluster_id;
	body->epoch = gossip->epoch;
	body->ring_hash = gossip->ring_hash;
	body->brief = gossip->brief;
	body->document = (ProtobufCBinaryData){gossip->document.size, (uint8_t *)gossip->document.data};
	body->wanted = gossip->wanted;
	body->n_wanted = gossip->wanted_count;
	body->n_rows = gossip->row_count;
	*body_out = &body->base;
	int error = pack_rows(gossip, scratch, &body->rows);
	return error ? error : pack_beats(gossip, scratch, &body->beats);
}

int codec_gossip_decode(const struct rpc_request *request, struct arena *arena, struct message **out,
			struct rpc_error *error_out)
{
	Kvring__V1__GossipRequest *body =
		rpc_body_decode(&kvring__v1__gossip_request__descriptor, request->body, arena, error_out);
	int status;

	if (body == NULL)
		return -EBADMSG;
	if (body->n_wanted > GOSSIP_WANTED_MAX) {
		snprintf(error_out->text, sizeof error_out->text, "gossip: %zu rows are wanted, the limit is %d",
			 body->n_wanted, GOSSIP_WANTED_MAX);
		return -EBADMSG;
	}
	status = unpack(&(struct packed_rows){body->rows,
					      body->n_rows,
					      body->beats,
					      body->document,
					      {.from = body->from,
					       .wanted = body->wanted,
					       .wanted_count = (uint32_t)body->n_wanted,
					       .cluster_id = body->cluster_id,
					       .epoch = body->epoch,
					       .ring_hash = body->ring_hash,
					       .brief = body->brief}},
			MESSAGE_GOSSIP, arena, out, error_out);
	if (!status)
		(*out)->epoch = request->ring_epoch;
	return status;
}

int codec_gossiped_encode(const struct message *answer, struct arena *scratch, ProtobufCMessage **body_out)
{
	const struct gossip_rows *gossip = answer->gossip;
	Kvring__V1__GossipResponse *body = rpc_arena_alloc(scratch, sizeof *body);

	if (body == NULL)
		return -ENOMEM;
	kvring__v1__gossip_response__init(body);
	body->cluster_id = gossip->cluster_id;
	body->epoch = gossip->epoch;
	body->document = (ProtobufCBinaryData){gossip->document.size, (uint8_t *)gossip->document.data};
	body->kept_boot = gossip->kept_boot;
	body->kept_life = gossip->kept_life;
	body->n_rows = gossip->row_count;
	*body_out = &body->base;
	int error = pack_rows(gossip, scratch, &body->rows);
	return error ? error : pack_beats(gossip, scratch, &body->beats);
}

int codec_gossiped_decode(const struct message *question, const struct rpc_response *response, struct arena *arena,
			  struct message **out, struct rpc_error *error_out)
{
	Kvring__V1__GossipResponse *body =
		rpc_body_decode(&kvring__v1__gossip_response__descriptor, response->body, arena, error_out);
	struct message *answer;
	int status;

	if (body == NULL)
		return -EBADMSG;
	status = unpack(&(struct packed_rows){body->rows,
					      body->n_rows,
					      body->beats,
					      body->document,
					      {.from = question->to.node_id, /* 0 when it was a seed */
					       .cluster_id = body->cluster_id,
					       .epoch = body->epoch,
					       .kept_boot = body->kept_boot,
					       .kept_life = body->kept_life}},
			MESSAGE_GOSSIPED, arena, &answer, error_out);
	if (status)
		return status;
	answer->from = question->to;
	answer->to = question->from;
	answer->correlation = question->correlation;
	answer->call = question->call;
	answer->call_index = question->call_index;
	answer->epoch = response->ring_epoch;
	*out = answer;
	return 0;
}

/* ---- bus ---------------------------------------------------------------------------------------------------- */

int codec_bus_encode(const struct message *message, uint64_t unix_ms, struct arena *scratch, struct rpc_message **out)
{
	Kvring__V1__Heartbeats heartbeats = KVRING__V1__HEARTBEATS__INIT;
	Kvring__V1__Event event = KVRING__V1__EVENT__INIT;
	int status = pack_rows(message->gossip, scratch, &heartbeats.rows);

	if (!status)
		status = pack_beats(message->gossip, scratch, &heartbeats.beats);
	if (status)
		return status;
	heartbeats.n_rows = message->gossip->row_count;
	assert(message->type == MESSAGE_BUS);
	assert(message->gossip->from != 0);
	event.node_id = message->gossip->from;
	event.cluster_id = message->gossip->cluster_id;
	event.time_ms = unix_ms;
	event.what_case = KVRING__V1__EVENT__WHAT_HEARTBEATS;
	event.heartbeats = &heartbeats;
	return rpc_bare_encode(&event.base, out);
}

/* An event does not repeat what the sender's own row says. */
static void take_from_own_row(struct gossip_rows *gossip)
{
	for (uint32_t i = 0; i < gossip->row_count; i++)
		if (gossip->rows[i].node_id == gossip->from) {
			gossip->epoch = gossip->rows[i].epoch;
			gossip->ring_hash = gossip->rows[i].ring_hash;
		}
}

int codec_bus_decode(struct rpc_slice bytes, struct arena *arena, struct message **out, struct rpc_error *error_out)
{
	Kvring__V1__Event *event = rpc_body_decode(&kvring__v1__event__descriptor, bytes, arena, error_out);
	int status;

	if (event == NULL)
		return -EBADMSG;
	if (event->what_case != KVRING__V1__EVENT__WHAT_HEARTBEATS)
		return 0;
	status = unpack(&(struct packed_rows){event->heartbeats->rows,
					      event->heartbeats->n_rows,
					      event->heartbeats->beats,
					      {0},
					      {.from = event->node_id, .cluster_id = event->cluster_id}},
			MESSAGE_BUS, arena, out, error_out);
	if (status)
		return status;
	take_from_own_row((*out)->gossip);
	return 1;
}

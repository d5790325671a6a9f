/* SPDX-License-Identifier: Apache-2.0 */
/* Gossip and operators: rows on the wire, answers from a ring view. */
#include "tests/node/support.h"
#include <errno.h>
#include <stdlib.h>
#include "node/wire/codec.h"
#include "proto/event.pb-c.h"
#include "proto/kv.pb-c.h"

static struct arena *arena;
static struct rpc_error error;

static int set_up(void **state)
{
	(void)state;
	arena = rpc_arena_create(1 << 16, SIZE_MAX);
	ring_reader_register();
	return arena != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	ring_reader_unregister();
	rpc_arena_unref(arena);
	return 0;
}

static struct rpc_slice taken(struct rpc_message *message)
{
	struct rpc_slice bytes = rpc_message_bytes(message);

	bytes.data = rpc_arena_copy(arena, bytes.data, bytes.size);
	rpc_message_free(message);
	return bytes;
}

static void fill_row(uint64_t id, struct gossip_row *row)
{
	memset(row, 0, sizeof *row); /* padding too: rows are compared as bytes */
	row->node_id = id;
	row->incarnation = id + 1;
	row->heartbeat = id + 2;
	row->cluster_id = 3;
	row->epoch = id + 4;
	row->ring_hash = id + 5;
	row->weight = 6;
	row->shard_count = 7;
	row->figures.load_permille = 8;
	row->figures.keys = 9;
	row->figures.disk_bytes = 10;
	row->figures.memory_bytes = 11;
	row->figures.puts = 12;
	row->figures.gets = 13;
	row->figures.incoming_partitions = 21;
	row->figures.incoming_total = 22;
	row->figures.copied_bytes = 23;
	row->ready_epoch = 24;
	row->started_ms = 14;
	row->boot = 15;
	row->life = 16;
	row->receiving = true;
	row->revision = GOSSIP_REVISION_MAX;
	row->suspicions[0] = (struct suspicion){id + 17, 18, 19};
	row->suspicions[1] = (struct suspicion){id + 20, 0, 0};
	row->suspicion_count = 2;
	snprintf(row->name, sizeof row->name, "n%lu", (unsigned long)id);
	strcpy(row->client_address, "c:1");
	strcpy(row->peer_address, "p:2");
	strcpy(row->bus_address, "b:3");
	strcpy(row->datacenter, "dc1");
	strcpy(row->rack, "r1");
	strcpy(row->version, "0.1");
}

static struct message *gossip_message(enum message_type type, struct gossip_rows *gossip)
{
	struct message *message = message_create(arena, type);

	message->gossip = gossip;
	message->from = (struct address){7, ACTOR_GOSSIP, 0};
	message->to = (struct address){8, ACTOR_GOSSIP, 0};
	message->correlation = 99;
	return message;
}

static void assert_rows_equal(const struct gossip_rows *a, const struct gossip_rows *b)
{
	assert_int_equal(a->row_count, b->row_count);
	assert_memory_equal(a->rows, b->rows, a->row_count * sizeof *a->rows);
	assert_int_equal(a->from, b->from);
	assert_int_equal(a->cluster_id, b->cluster_id);
	assert_int_equal(a->epoch, b->epoch);
	assert_slice_equal(a->document, b->document);
	assert_int_equal(a->kept_boot, b->kept_boot);
	assert_int_equal(a->kept_life, b->kept_life);
	assert_int_equal(a->beat_count, b->beat_count);
	for (uint32_t i = 0; i < a->beat_count; i++)
		assert_memory_equal(&a->beats[i], &b->beats[i], sizeof *a->beats);
	assert_int_equal(a->wanted_count, b->wanted_count);
	if (a->wanted_count > 0)
		assert_memory_equal(a->wanted, b->wanted, a->wanted_count * sizeof *a->wanted);
}

static const struct gossip_beat beats_example[3] = {
	{.member = 0, .revision = 5, .incarnation = 6, .heartbeat = 7},
	{.member = 1, .revision = GOSSIP_REVISION_MAX, .incarnation = UINT64_MAX, .heartbeat = UINT64_MAX},
	{.member = RING_MEMBERS_MAX - 1, .incarnation = 1, .epochs_behind = 3},
};

static void test_bus_round_trip(void **state)
{
	struct gossip_row rows[2];
	struct gossip_rows gossip = {
		.from = 20, .cluster_id = 3, .epoch = 24, .ring_hash = 25, .rows = rows, .row_count = 2};
	struct rpc_message *encoded;
	struct message *out;

	(void)state;
	fill_row(10, &rows[0]);
	fill_row(20, &rows[1]);
	assert_int_equal(codec_bus_encode(gossip_message(MESSAGE_BUS, &gossip), 5, arena, &encoded), 0);
	assert_int_equal(codec_bus_decode(taken(encoded), arena, &out, &error), 1);
	assert_int_equal(out->type, MESSAGE_BUS);
	assert_rows_equal(out->gossip, &gossip); /* epoch and hash from the sender's own row */
	assert_int_equal(out->gossip->ring_hash, 25);
}

/* Epoch and hash come with the beats where there is no row of the sender. */
static void test_beats_travel_by_the_bus(void **state)
{
	struct gossip_rows gossip = {.from = 20,
				     .cluster_id = 3,
				     .epoch = 24,
				     .ring_hash = 25,
				     .beats = (struct gossip_beat *)beats_example};
	struct rpc_message *encoded;
	struct message *out;

	(void)state;
	for (gossip.beat_count = 1; gossip.beat_count <= 3; gossip.beat_count++) {
		assert_int_equal(codec_bus_encode(gossip_message(MESSAGE_BUS, &gossip), 5, arena, &encoded), 0);
		assert_int_equal(codec_bus_decode(taken(encoded), arena, &out, &error), 1);
		assert_rows_equal(out->gossip, &gossip);
		assert_int_equal(out->gossip->ring_hash, 25);
	}
}

static int decode_beats(Kvring__V1__Beats *beats)
{
	Kvring__V1__Heartbeats heartbeats = KVRING__V1__HEARTBEATS__INIT;
	Kvring__V1__Event event = KVRING__V1__EVENT__INIT;
	struct rpc_message *encoded;
	struct message *out;

	heartbeats.beats = beats;
	event.what_case = KVRING__V1__EVENT__WHAT_HEARTBEATS;
	event.heartbeats = &heartbeats;
	assert_int_equal(rpc_bare_encode(&event.base, &encoded), 0);
	return codec_bus_decode(taken(encoded), arena, &out, &error);
}

static void assert_beats_refused(Kvring__V1__Beats *beats, const char *says)
{
	assert_int_equal(decode_beats(beats), -EBADMSG);
	if (strstr(error.text, says) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", error.text, says);
}

static void test_bad_beats_are_refused(void **state)
{
	Kvring__V1__Beats beats = KVRING__V1__BEATS__INIT;
	uint32_t steps[2] = {1, 1}, revisions[2] = {1, 1};
	uint64_t numbers[2] = {1, 1};
	size_t *const counts[] = {&beats.n_steps, &beats.n_incarnations, &beats.n_heartbeats, &beats.n_revisions};

	(void)state;
	beats.steps = steps;
	beats.revisions = revisions;
	beats.incarnations = beats.heartbeats = beats.epochs_behind = numbers;
	for (uint32_t i = 0; i < 4; i++)
		*counts[i] = 2;
	assert_int_equal(decode_beats(&beats), 1);
	for (uint32_t i = 0; i < 4; i++) {
		*counts[i] = 1;
		assert_beats_refused(&beats, "columns of different lengths");
		*counts[i] = 2;
	}
	beats.n_epochs_behind = 1;
	assert_beats_refused(&beats, "columns of different lengths");
	beats.n_epochs_behind = 2;
	assert_int_equal(decode_beats(&beats), 1);
	steps[1] = 0;
	assert_beats_refused(&beats, "a member twice");
	steps[1] = RING_MEMBERS_MAX - 1;
	assert_beats_refused(&beats, "a member past the largest cluster");
	steps[0] = steps[1] = UINT32_MAX; /* their sum must not wrap */
	assert_beats_refused(&beats, "a member past the largest cluster");
	steps[0] = 0;
	steps[1] = RING_MEMBERS_MAX - 1;
	assert_int_equal(decode_beats(&beats), 1);
}

static void test_other_events_are_not_for_nodes(void **state)
{
	Kvring__V1__Event event = KVRING__V1__EVENT__INIT;
	Kvring__V1__RingChanged changed = KVRING__V1__RING_CHANGED__INIT;
	struct rpc_message *encoded;
	struct message *out;

	(void)state;
	assert_int_equal(rpc_bare_encode(&event.base, &encoded), 0);
	assert_int_equal(codec_bus_decode(taken(encoded), arena, &out, &error), 0);
	event.what_case = KVRING__V1__EVENT__WHAT_RING_CHANGED;
	event.ring_changed = &changed;
	assert_int_equal(rpc_bare_encode(&event.base, &encoded), 0);
	assert_int_equal(codec_bus_decode(taken(encoded), arena, &out, &error), 0);
	assert_int_equal(codec_bus_decode(slice("\xff\xff"), arena, &out, &error), -EBADMSG);
}

static void test_push_pull_round_trip(void **state)
{
	struct gossip_row row;
	struct gossip_rows ask = {.from = 7,
				  .cluster_id = 3,
				  .epoch = 4,
				  .ring_hash = 5,
				  .rows = &row,
				  .row_count = 1,
				  .document = slice("a document"),
				  .beats = (struct gossip_beat *)beats_example,
				  .beat_count = 3,
				  .wanted = (uint64_t[]){40, UINT64_MAX},
				  .wanted_count = 2,
				  .brief = true};
	struct gossip_rows told = {.from = 8,
				   .cluster_id = 3,
				   .epoch = 6,
				   .rows = &row,
				   .row_count = 1,
				   .beats = (struct gossip_beat *)beats_example,
				   .beat_count = 2,
				   .document = slice("newer")};
	struct message *question = gossip_message(MESSAGE_GOSSIP, &ask), *in, *answer, *out;
	struct rpc_request request;
	struct rpc_response response;
	struct rpc_message *encoded;
	uint32_t count;

	(void)state;
	fill_row(7, &row);
	assert_int_equal(codec_peer_encode(question, 1, 100, 7, arena, &encoded), 0);
	assert_int_equal(rpc_request_decode(taken(encoded), &request, &error), 0);
	assert_int_equal(codec_method(request.method), METHOD_GOSSIP);
	assert_int_equal(codec_peer_decode(METHOD_GOSSIP, &request, &arena, 50, arena, &in, &count, &error), 0);
	assert_int_equal(count, 1);
	assert_int_equal(in->type, MESSAGE_GOSSIP);
	assert_int_equal(in->to.kind, ACTOR_GOSSIP);
	assert_rows_equal(in->gossip, &ask);
	assert_int_equal(in->gossip->ring_hash, 5);
	assert_true(in->gossip->brief);
	answer = message_answer(in, arena, MESSAGE_GOSSIPED);
	told.kept_boot = 21;
	told.kept_life = 22;
	answer->gossip = &told;
	assert_ptr_equal(answer->call, &arena);
	assert_int_equal(codec_peer_encode_answers(METHOD_GOSSIP, &answer, 1, 6, arena, &encoded), 0);
	assert_int_equal(rpc_response_decode(taken(encoded), &response, &error), 0);
	assert_int_equal(codec_peer_decode_answers(METHOD_GOSSIP, question, &response, arena, &out, &error), 0);
	assert_int_equal(out->type, MESSAGE_GOSSIPED);
	assert_int_equal(out->to.node_id, 7);
	assert_int_equal(out->correlation, 99);
	assert_rows_equal(out->gossip, &told);
}

/* A question for one row more than the limit is refused, and says so. */
static void test_too_many_wanted_rows_are_refused(void **state)
{
	static uint64_t wanted[GOSSIP_WANTED_MAX + 1];
	struct gossip_rows ask = {.from = 7, .wanted = wanted, .wanted_count = GOSSIP_WANTED_MAX};
	struct rpc_request request;
	struct rpc_message *encoded;
	struct message *in;
	uint32_t count;

	(void)state;
	for (; ask.wanted_count <= GOSSIP_WANTED_MAX + 1; ask.wanted_count++) {
		bool fits = ask.wanted_count <= GOSSIP_WANTED_MAX;

		assert_int_equal(codec_peer_encode(gossip_message(MESSAGE_GOSSIP, &ask), 1, 100, 7, arena, &encoded),
				 0);
		assert_int_equal(rpc_request_decode(taken(encoded), &request, &error), 0);
		assert_int_equal(codec_peer_decode(METHOD_GOSSIP, &request, &arena, 50, arena, &in, &count, &error),
				 fits ? 0 : -EBADMSG);
	}
	assert_non_null(strstr(error.text, "257 rows are wanted, the limit is 256"));
}

static void test_rows_that_do_not_fit_are_left_out(void **state)
{
	static Kvring__V1__MemberRow *list[RING_MEMBERS_MAX + 1];
	Kvring__V1__MemberRow row = KVRING__V1__MEMBER_ROW__INIT, good = row;
	Kvring__V1__Heartbeats heartbeats = KVRING__V1__HEARTBEATS__INIT;
	Kvring__V1__Event event = KVRING__V1__EVENT__INIT;
	char name[RING_NAME_MAX + 1];
	struct rpc_message *encoded;
	struct message *out;

	(void)state;
	memset(name, 'x', RING_NAME_MAX);
	name[RING_NAME_MAX] = 0;
	row.name = name;
	row.node_id = 5;
	good.node_id = 6;
	list[0] = list[2] = &row;
	list[1] = &good;
	heartbeats.rows = list;
	heartbeats.n_rows = 3;
	event.what_case = KVRING__V1__EVENT__WHAT_HEARTBEATS;
	event.heartbeats = &heartbeats;
	assert_int_equal(rpc_bare_encode(&event.base, &encoded), 0);
	assert_int_equal(codec_bus_decode(taken(encoded), arena, &out, &error), 1);
	assert_int_equal(out->gossip->row_count, 1);
	assert_int_equal(out->gossip->rows[0].node_id, 6);
	for (uint32_t i = 0; i <= RING_MEMBERS_MAX; i++)
		list[i] = &good;
	heartbeats.n_rows = RING_MEMBERS_MAX;
	assert_int_equal(rpc_bare_encode(&event.base, &encoded), 0);
	assert_int_equal(codec_bus_decode(taken(encoded), arena, &out, &error), 1);
	assert_int_equal(out->gossip->row_count, RING_MEMBERS_MAX);
	heartbeats.n_rows = RING_MEMBERS_MAX + 1;
	assert_int_equal(rpc_bare_encode(&event.base, &encoded), 0);
	assert_int_equal(codec_bus_decode(taken(encoded), arena, &out, &error), -EBADMSG);
	assert_non_null(strstr(error.text, "16385 rows"));
}

static void test_the_largest_rows_fit_a_bus_message(void **state)
{
	static struct gossip_row rows[GOSSIP_BUS_ROWS_MAX];
	static struct gossip_beat beats[GOSSIP_BUS_BEATS_MAX];
	struct gossip_rows gossip = {.from = UINT64_MAX,
				     .rows = rows,
				     .row_count = GOSSIP_BUS_ROWS_MAX,
				     .beats = beats,
				     .beat_count = GOSSIP_BUS_BEATS_MAX};
	struct rpc_message *encoded;

	(void)state;
	for (uint32_t i = 0; i < GOSSIP_BUS_ROWS_MAX; i++) {
		struct gossip_row *row = &rows[i];
		char *const texts[] = {row->name,       row->client_address, row->peer_address, row->bus_address,
				       row->datacenter, row->rack,           row->version};
		const size_t sizes[] = {sizeof row->name,        sizeof row->client_address, sizeof row->peer_address,
					sizeof row->bus_address, sizeof row->datacenter,     sizeof row->rack,
					sizeof row->version};

		memset(row, 0xff, sizeof *row);
		row->receiving = row->unproven = true;
		row->suspicion_count = RING_SUSPICIONS_MAX;
		for (size_t j = 0; j < 7; j++) {
			memset(texts[j], 'x', sizes[j]);
			texts[j][sizes[j] - 1] = 0;
		}
	}
	for (uint32_t i = 0; i < GOSSIP_BUS_BEATS_MAX; i++) {
		memset(&beats[i], 0xff, sizeof beats[i]);
		beats[i].member = RING_MEMBERS_MAX - GOSSIP_BUS_BEATS_MAX + i;
		beats[i].revision = GOSSIP_REVISION_MAX;
	}
	gossip.cluster_id = gossip.epoch = gossip.ring_hash = UINT64_MAX;
	assert_int_equal(codec_bus_encode(gossip_message(MESSAGE_BUS, &gossip), UINT64_MAX, arena, &encoded), 0);
	assert_in_range(taken(encoded).size, GOSSIP_BUS_ROWS_MAX * 1000, LIMIT_BUS_MESSAGE_SIZE);
}

/* ---- operators ---------------------------------------------------------------------------------------------- */

enum { MEMBERS = 4 };

static struct ring_document *document;
static struct ring_member_status statuses[MEMBERS];

static struct ring_view view_of(int self)
{
	struct ring_member members[MEMBERS] = {0};
	struct ring_datacenter dc = {.name = "dc1", .replica_count = 3};
	struct ring_plan plan = {.cluster_id = 0xc1,
				 .hash_seed = 2,
				 .partition_count = 16,
				 .datacenters = &dc,
				 .datacenter_count = 1,
				 .members = members,
				 .member_count = MEMBERS};
	struct ring_error why;

	for (uint32_t i = 0; i < MEMBERS; i++) {
		members[i] = (struct ring_member){.id = 100 + i, .weight = 100, .state = RING_MEMBER_ACTIVE};
		snprintf(members[i].name, sizeof members[i].name, "n%u", i);
		strcpy(members[i].datacenter, "dc1");
		snprintf(members[i].rack, sizeof members[i].rack, "r%u", i);
		strcpy(members[i].client_address, "h:1");
		strcpy(members[i].peer_address, "h:2");
		strcpy(members[i].bus_address, "h:3");
		statuses[i] = (struct ring_member_status){
			.heard_us = 5000000, .ready_epoch = 30 + i, .figures = {.keys = 10 + i, .load_permille = 250}};
	}
	statuses[3].figures.incoming_partitions = 3;
	statuses[3].figures.incoming_total = 9;
	statuses[3].figures.copied_bytes = 77;
	statuses[2].reachability = RING_UNREACHABLE;
	statuses[1].reachability = RING_UNKNOWN;
	statuses[1].heard_us = 0;
	statuses[1].figures.dead_shards = 3;
	if (ring_claim(NULL, &plan, &document, &why))
		fail_msg("%s", why.text);
	return (struct ring_view){.document = document, .status = statuses, .self = self, .self_id = 100};
}

enum { SHARDS = 2 };
static bool linked[MEMBERS];
static struct shard_health shards[SHARDS];

/* The decoded body, or NULL and the response's code. */
static void *ask(enum method method, const ProtobufCMessage *body, const struct ring_view *view,
		 const ProtobufCMessageDescriptor *answer, uint32_t *code_out)
{
	struct rpc_request head = {.protocol_version = 1, .method = slice(codec_method_name(method))}, request;
	struct rpc_response response;
	struct rpc_message *encoded;
	struct gossip_row self;

	fill_row(100, &self);
	self.started_ms = 1000;
	assert_int_equal(rpc_request_encode(&head, body, &encoded), 0);
	assert_int_equal(rpc_request_decode(taken(encoded), &request, &error), 0);
	self.shard_count = SHARDS;
	struct admin_picture picture = {
		.view = view, .self = &self, .linked = linked, .shards = shards, .now_us = 6000000, .now_ms = 4000};
	if (codec_admin_answer(method, &request, &picture, arena, &encoded, &error))
		fail_msg("%s", error.text);
	assert_int_equal(rpc_response_decode(taken(encoded), &response, &error), 0);
	*code_out = response.code;
	return response.code ? NULL : rpc_body_decode(answer, response.body, arena, &error);
}

static void test_a_node_in_no_cluster_describes_itself(void **state)
{
	struct ring_view none = {.self = -1, .self_id = 100};
	Kvring__V1__NodeStatus *self;
	Kvring__V1__StatusResponse *status;
	Kvring__V1__HealthResponse *health;
	uint32_t code;

	(void)state;
	self = ask(METHOD_DESCRIBE, NULL, &none, &kvring__v1__node_status__descriptor, &code);
	assert_int_equal(self->node_id, 100);
	assert_string_equal(self->state, "starting");
	assert_string_equal(self->member_state, "");
	assert_int_equal(self->epoch, 0);
	assert_int_equal(self->uptime_ms, 3000);
	status = ask(METHOD_STATUS, NULL, &none, &kvring__v1__status_response__descriptor, &code);
	assert_int_equal(status->n_members, 1);
	assert_int_equal(status->cluster_id, 0);
	health = ask(METHOD_HEALTH, NULL, &none, &kvring__v1__health_response__descriptor, &code);
	assert_false(health->serving);
	assert_true(health->detail[0] != 0);
	assert_null(ask(METHOD_RING, NULL, &none, &kvring__v1__ring_response__descriptor, &code));
	assert_int_equal(code, KVRING__V1__CODE__UNAVAILABLE); /* clients ask another node */
}

static void test_status_shows_every_member(void **state)
{
	struct ring_view view = view_of(0);
	Kvring__V1__StatusResponse *status;
	Kvring__V1__HealthResponse *health;
	uint32_t code;

	(void)state;
	linked[1] = true;
	status = ask(METHOD_STATUS, NULL, &view, &kvring__v1__status_response__descriptor, &code);
	assert_int_equal(status->cluster_id, 0xc1);
	assert_int_equal(status->epoch, 1);
	assert_int_equal(status->partition_count, 16);
	assert_int_equal(status->replica_count, 3);
	assert_int_equal(status->answered_by, 100);
	assert_int_equal(status->n_members, MEMBERS);
	for (uint32_t i = 0; i < MEMBERS; i++) {
		const struct ring_member *member = ring_member(document, i);

		assert_int_equal(status->members[i]->node_id, member->id);
		assert_string_equal(status->members[i]->state, i == 2 ? "unreachable" : i == 1 ? "unknown" : "up");
		assert_int_equal(status->members[i]->heard, i != 1);
		assert_int_equal(status->members[i]->linked, (int)i == view.self || i == 1);
		assert_int_equal(status->members[i]->dead_shards, i == 1 ? 3 : 0);
		if ((int)i != view.self && i != 1)
			assert_int_equal(status->members[i]->last_seen_ms, 1000);
	}
	assert_string_equal(status->transition, "stable");
	for (uint32_t i = 0; i < MEMBERS; i++) {
		assert_string_equal(status->members[i]->member_state, "active");
		assert_int_equal(status->members[i]->ready_epoch, i == 0 ? 24 : 30 + i); /* this node: its row's */
	}
	assert_int_equal(status->members[3]->incoming_partitions, 3);
	assert_int_equal(status->members[3]->incoming_total, 9);
	assert_int_equal(status->members[3]->copied_bytes, 77);
	assert_int_equal(status->members[1]->keys, 11);
	assert_true(status->members[1]->load == 0.25);
	health = ask(METHOD_HEALTH, NULL, &view, &kvring__v1__health_response__descriptor, &code);
	assert_true(health->serving);
	view.self = -1;
	health = ask(METHOD_HEALTH, NULL, &view, &kvring__v1__health_response__descriptor, &code);
	assert_false(health->serving);
	ring_document_destroy(&document);
}

static void test_health_says_how_each_shard_is(void **state)
{
	struct ring_view view = view_of(0);
	Kvring__V1__HealthResponse *health;
	uint32_t code;

	(void)state;
	shards[0] = (struct shard_health){.dead = true};
	shards[1] = (struct shard_health){.full = true, .quarantined = 3};
	health = ask(METHOD_HEALTH, NULL, &view, &kvring__v1__health_response__descriptor, &code);
	assert_true(health->serving); /* reads of one half of the keys */
	assert_non_null(strstr(health->detail, "shard 0 is dead, shard 1 is full"));
	assert_int_equal(health->n_shards, SHARDS);
	assert_string_equal(health->shards[0]->state, "dead");
	assert_string_equal(health->shards[1]->state, "full");
	assert_int_equal(health->shards[1]->quarantined_partitions, 3);
	shards[1] = (struct shard_health){.dead = true};
	health = ask(METHOD_HEALTH, NULL, &view, &kvring__v1__health_response__descriptor, &code);
	assert_false(health->serving);
	assert_non_null(strstr(health->detail, "shard 1 is dead"));
	shards[0] = shards[1] = (struct shard_health){.quarantined = 1};
	health = ask(METHOD_HEALTH, NULL, &view, &kvring__v1__health_response__descriptor, &code);
	assert_true(health->serving);
	assert_non_null(strstr(health->detail, "shard 1 has 1 damaged"));
	shards[0] = shards[1] = (struct shard_health){0};
	health = ask(METHOD_HEALTH, NULL, &view, &kvring__v1__health_response__descriptor, &code);
	assert_true(health->serving);
	assert_string_equal(health->detail, "");
	ring_document_destroy(&document);
}

static void test_ring_shows_the_owners_of_a_key_or_of_all(void **state)
{
	struct ring_view view = view_of(0);
	Kvring__V1__RingRequest request = KVRING__V1__RING_REQUEST__INIT;
	Kvring__V1__RingResponse *ring;
	const uint16_t *owners;
	uint32_t code;

	(void)state;
	request.key = (ProtobufCBinaryData){3, (uint8_t *)"key"};
	ring = ask(METHOD_RING, &request.base, &view, &kvring__v1__ring_response__descriptor, &code);
	assert_int_equal(ring->partition, ring_partition_of(document, "default", 7, "key", 3));
	assert_int_equal(ring->n_preference, ring_owners(document, ring->partition, 0, &owners));
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(ring->preference[i], ring_member(document, owners[i])->id);
	assert_int_equal(ring->n_fallbacks, 1);
	assert_int_equal(ring->n_members, MEMBERS);
	request.key.len = 0;
	ring = ask(METHOD_RING, &request.base, &view, &kvring__v1__ring_response__descriptor, &code);
	assert_int_equal(ring->n_owners, 16 * 3);
	for (uint32_t p = 0; p < 16; p++) {
		assert_int_equal(ring_owners(document, p, 0, &owners), 3);
		for (uint32_t i = 0; i < 3; i++)
			assert_int_equal(ring->owners[p * 3 + i], ring_member(document, owners[i])->id);
	}
	ring_document_destroy(&document);
}

static int decode_init(Kvring__V1__InitRequest *body, struct message **out)
{
	struct rpc_request head = {.protocol_version = 1, .method = slice(codec_method_name(METHOD_INIT_CLUSTER))},
			   request;
	struct rpc_message *encoded;

	assert_int_equal(rpc_request_encode(&head, &body->base, &encoded), 0);
	assert_int_equal(rpc_request_decode(taken(encoded), &request, &error), 0);
	return codec_init_decode(&request, arena, out, &error);
}

static void test_init_round_trip(void **state)
{
	Kvring__V1__InitRequest body = KVRING__V1__INIT_REQUEST__INIT;
	Kvring__V1__NodeStatus node = KVRING__V1__NODE_STATUS__INIT, *nodes[1] = {&node};
	char name[RING_NAME_MAX + 1];
	struct rpc_message *encoded;
	struct rpc_response response;
	struct message *out;

	(void)state;
	node.node_id = 5;
	node.name = "n5";
	node.client_address = "h:1";
	node.peer_address = "h:2";
	node.bus_address = "h:3";
	node.datacenter = "dc1";
	node.weight = 50;
	body.members = nodes;
	body.n_members = 1;
	body.partition_count = 256;
	body.replica_count = 2;
	assert_int_equal(decode_init(&body, &out), 0);
	assert_int_equal(out->init_cluster.member_count, 1);
	assert_int_equal(out->init_cluster.members[0].id, 5);
	assert_string_equal(out->init_cluster.members[0].peer_address, "h:2");
	assert_int_equal(out->init_cluster.members[0].weight, 50);
	assert_int_equal(out->init_cluster.partition_count, 256);
	assert_int_equal(out->init_cluster.replica_count, 2);
	memset(name, 'x', RING_NAME_MAX);
	name[RING_NAME_MAX] = 0;
	node.name = name;
	assert_int_equal(decode_init(&body, &out), -EINVAL);
	assert_non_null(strstr(error.text, "name has 64 bytes"));

	out = message_create(arena, MESSAGE_CLUSTER_INITED);
	out->cluster_inited.code = KVRING__V1__CODE__FAILED_PRECONDITION;
	out->cluster_inited.text = "in a cluster already";
	assert_int_equal(codec_init_encode(out, 3, arena, &encoded), 0);
	assert_int_equal(rpc_response_decode(taken(encoded), &response, &error), 0);
	assert_int_equal(response.code, KVRING__V1__CODE__FAILED_PRECONDITION);
	assert_slice_equal(response.message, slice("in a cluster already"));
}

static int decode_rack(char *node, char *rack, struct message **out)
{
	struct rpc_request head = {.protocol_version = 1, .method = slice(codec_method_name(METHOD_SET_RACK))}, request;
	Kvring__V1__SetRackRequest body = KVRING__V1__SET_RACK_REQUEST__INIT;
	struct rpc_message *encoded;

	body.node = node;
	body.rack = rack;
	assert_int_equal(rpc_request_encode(&head, &body.base, &encoded), 0);
	assert_int_equal(rpc_request_decode(taken(encoded), &request, &error), 0);
	return codec_rack_decode(&request, arena, out, &error);
}

static void test_set_rack_is_decoded(void **state)
{
	char name[RING_NAME_MAX + 1];
	struct message *out;

	(void)state;
	assert_int_equal(decode_rack("n5", "r9", &out), 0);
	assert_int_equal(out->type, MESSAGE_SET_RACK);
	assert_int_equal(out->to.kind, ACTOR_GOSSIP);
	assert_string_equal(out->set_rack.node, "n5");
	assert_string_equal(out->set_rack.rack, "r9");
	memset(name, 'x', RING_NAME_MAX);
	name[RING_NAME_MAX] = 0;
	assert_int_equal(decode_rack("n5", name, &out), -EINVAL);
	assert_int_equal(decode_rack(name, "", &out), -EINVAL);
	assert_non_null(strstr(error.text, "at most 63 bytes"));
	name[RING_NAME_MAX - 1] = 0;
	assert_int_equal(decode_rack(name, name, &out), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bus_round_trip),
		cmocka_unit_test(test_other_events_are_not_for_nodes),
		cmocka_unit_test(test_push_pull_round_trip),
		cmocka_unit_test(test_beats_travel_by_the_bus),
		cmocka_unit_test(test_bad_beats_are_refused),
		cmocka_unit_test(test_too_many_wanted_rows_are_refused),
		cmocka_unit_test(test_rows_that_do_not_fit_are_left_out),
		cmocka_unit_test(test_the_largest_rows_fit_a_bus_message),
		cmocka_unit_test(test_a_node_in_no_cluster_describes_itself),
		cmocka_unit_test(test_status_shows_every_member),
		cmocka_unit_test(test_health_says_how_each_shard_is),
		cmocka_unit_test(test_ring_shows_the_owners_of_a_key_or_of_all),
		cmocka_unit_test(test_init_round_trip),
		cmocka_unit_test(test_set_rack_is_decoded),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}

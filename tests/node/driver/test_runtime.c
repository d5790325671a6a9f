/* SPDX-License-Identifier: Apache-2.0 */
/* A whole node on 127.0.0.1, and a member beside it that takes requests and never answers: what operators hear of it on the bus, what
 * it hears there, also in a flood, what its port of peers says, what clients hear when its memory for requests is used up, and
 * that it stops under load. At times the member answers what it is asked to store. */
#include <errno.h>
#include <ftw.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <nng/nng.h>
#include <nng/protocol/bus0/bus.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif
#include "proto/event.pb-c.h"
#include "proto/kv.pb-c.h"
#include "proto/peer.pb-c.h"
#include "node/driver/peers.h"
#include "node/driver/runtime.h"
#include "node/observe/log.h"
#include "node/wire/codec.h"
#include "tests/node/support.h"

enum { PATIENCE_MS = 20000, SLOW_MS = 700, NODE = 1, SILENT = 2 };

struct scene {
	char directory[64];
	char client[32], peer[32], bus[32], silent_peer[32], silent_bus[32];
	struct runtime *runtime;
	pthread_t runner;
	struct rpc_server *silent;
	struct rpc_link *link, *peer_link; /* to the node's ports of clients and of peers */
	nng_socket listener;
};

/* A port that was free a moment ago: others have to be told it before it is listened on. */
static void choose_address(char out[32])
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof address;
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
	snprintf(out, 32, "127.0.0.1:%u", ntohs(address.sin_port));
	close(fd);
}

static _Atomic bool stores; /* the member answers what it is asked to store */
static struct rpc_call *unanswered[64];
static _Atomic unsigned unanswered_count;

static void stay_silent(void *arg, struct rpc_call *call)
{
	static Kvring__V1__ReplicaCode ok = KVRING__V1__REPLICA_CODE__REPLICA_OK;
	Kvring__V1__StoreResponse body = KVRING__V1__STORE_RESPONSE__INIT;
	struct rpc_response head = {.protocol_version = RPC_PROTOCOL_VERSION};
	struct rpc_request request;
	struct rpc_message *response;
	struct rpc_error why;
	(void)arg;
	if (!atomic_load(&stores) || rpc_request_decode(rpc_message_bytes(call->request), &request, &why) < 0 ||
	    codec_method(request.method) != METHOD_STORE) {
		unsigned index = atomic_fetch_add(&unanswered_count, 1);
		assert_true(index < sizeof unanswered / sizeof *unanswered);
		unanswered[index] = call;
		return;
	}
	body.n_codes = 1;
	body.codes = &ok;
	if (rpc_response_encode(&head, &body.base, &response) == 0)
		rpc_call_reply(call, response);
}

static void *run(void *arg)
{
	(void)!runtime_run(arg);
	return NULL;
}

static uint32_t threads; /* of the actors, see placement.h */

static void open_node(struct scene *scene, uint64_t request_bytes)
{
	struct runtime_options options = {
		.node = {.directory = scene->directory,
			 .coordinator_count = 2,
			 .new_shard_count = 2,
			 .seed = 7,
			 .new_node_id = NODE},
		.client_listen = scene->client,
		.peer_listen = scene->peer,
		.bus_listen = scene->bus,
		.threads = threads,
		.job_threads = 1,
		.request_bytes = request_bytes,
	};
	struct gossip_row *self = &options.node.self;
	struct rpc_error why;
	strcpy(self->name, "n1");
	strcpy(self->datacenter, "dc1");
	strcpy(self->client_address, scene->client);
	strcpy(self->peer_address, scene->peer);
	strcpy(self->bus_address, scene->bus);
	self->weight = 100;
	if (runtime_open(&options, &scene->runtime, &why) < 0)
		fail_msg("%s", why.text);
	assert_int_equal(pthread_create(&scene->runner, NULL, run, scene->runtime), 0);
}

static void close_node(struct scene *scene)
{
	kill(getpid(), SIGTERM); /* blocked in every thread: runtime_run reads it */
	pthread_join(scene->runner, NULL);
	assert_int_equal(runtime_close(&scene->runtime), 0);
}

static void listen_to_bus(struct scene *scene)
{
	char url[64];
	snprintf(url, sizeof url, "tcp://%s", scene->bus);
	assert_int_equal(nng_bus0_open(&scene->listener), 0);
	assert_int_equal(nng_socket_set_ms(scene->listener, NNG_OPT_RECVTIMEO, PATIENCE_MS), 0);
	assert_int_equal(nng_socket_set_int(scene->listener, NNG_OPT_RECVBUF, 128), 0);
	assert_int_equal(nng_dial(scene->listener, url, NULL, 0), 0);
}

static void set_up(struct scene *scene, uint64_t request_bytes)
{
	struct rpc_error why;
	struct rpc_server_options silent = {.address = "127.0.0.1:0",
					    .message_max = 1 << 20,
					    .in_flight_max = sizeof unanswered / sizeof *unanswered,
					    .on_request = stay_silent};
	struct rpc_link_options link = {
		.address = scene->client, .message_max = RPC_CLIENT_MESSAGE_MAX, .outstanding_max = 64};
	*scene = (struct scene){.directory = "/tmp/kvring-test-XXXXXX"};
	assert_non_null(mkdtemp(scene->directory));
	choose_address(scene->client);
	choose_address(scene->peer);
	choose_address(scene->bus);
	choose_address(scene->silent_bus);
	assert_int_equal(rpc_server_open(&silent, &scene->silent, &why), 0);
	snprintf(scene->silent_peer, sizeof scene->silent_peer, "127.0.0.1:%u", rpc_server_port(scene->silent));
	open_node(scene, request_bytes);
	listen_to_bus(scene);
	assert_int_equal(rpc_link_open(&link, &scene->link, &why), 0);
	link.address = scene->peer;
	assert_int_equal(rpc_link_open(&link, &scene->peer_link, &why), 0);
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *where)
{
	(void)status;
	(void)type;
	(void)where;
	return remove(path);
}

static void tear_down(struct scene *scene)
{
	rpc_link_close(&scene->link);
	rpc_link_close(&scene->peer_link);
	atomic_store(&stores, false);
	/* The listener stays: nng_close of NNG 1.5.2 does not always return (rpc/README.md). */
	if (scene->runtime != NULL)
		close_node(scene);
	rpc_server_close(&scene->silent); /* no more calls arrive */
	while (unanswered_count > 0)
		rpc_call_refuse(unanswered[--unanswered_count], RPC_CODE_UNAVAILABLE, 0, "closed");
	assert_int_equal(nftw(scene->directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
}

/* ---- calls ---------------------------------------------------------------------------------------------------------- */

struct call {
	struct rpc_pending pending;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool done;
};

static void on_done(struct rpc_pending *pending)
{
	struct call *call = (struct call *)pending;
	pthread_mutex_lock(&call->lock);
	call->done = true;
	pthread_cond_signal(&call->changed);
	pthread_mutex_unlock(&call->lock);
}

/* Sends; -EHOSTUNREACH while the connection comes up is tried again. */
static uint32_t version = RPC_PROTOCOL_VERSION; /* of the next calls */

static void begin_at(struct rpc_link *link, struct call *call, const char *method, uint32_t deadline_ms,
		     const ProtobufCMessage *body)
{
	struct rpc_request head = {.protocol_version = version,
				   .method = slice(method),
				   .deadline_ms = deadline_ms,
				   .ring_epoch = 1,
				   .trace_id = 0xabc};
	uint64_t until = rpc_now_us() + PATIENCE_MS * 1000;
	int error;
	*call = (struct call){.pending.done = on_done};
	pthread_mutex_init(&call->lock, NULL);
	pthread_cond_init(&call->changed, NULL);
	do {
		struct rpc_message *request;
		assert_int_equal(rpc_request_encode(&head, body, &request), 0);
		error = rpc_link_call(link, request, PATIENCE_MS, &call->pending);
	} while (error == -EHOSTUNREACH && rpc_now_us() < until);
	assert_int_equal(error, 0);
}

static void begin(struct scene *scene, struct call *call, const char *method, uint32_t deadline_ms,
		  const ProtobufCMessage *body)
{
	begin_at(scene->link, call, method, deadline_ms, body);
}

static void wait_until_done(struct call *call)
{
	pthread_mutex_lock(&call->lock);
	while (!call->done)
		pthread_cond_wait(&call->changed, &call->lock);
	pthread_mutex_unlock(&call->lock);
}

static struct rpc_response await(struct call *call)
{
	struct rpc_response response;
	struct rpc_error why;
	wait_until_done(call);
	assert_int_equal(call->pending.status, 0);
	assert_int_equal(rpc_response_decode(rpc_message_bytes(call->pending.response), &response, &why), 0);
	return response;
}

/* The code of the call; its text goes to text_out. */
static uint32_t finish(struct call *call, char text_out[256])
{
	struct rpc_response response = await(call);
	uint32_t code = response.code;
	snprintf(text_out, 256, "%.*s", (int)response.message.size, (const char *)response.message.data);
	rpc_message_free(call->pending.response);
	return code;
}

static void form_cluster(struct scene *scene)
{
	Kvring__V1__NodeStatus node = KVRING__V1__NODE_STATUS__INIT, silent = KVRING__V1__NODE_STATUS__INIT;
	Kvring__V1__NodeStatus *members[] = {&node, &silent};
	Kvring__V1__InitRequest init = KVRING__V1__INIT_REQUEST__INIT;
	struct call call;
	char text[256];
	node.node_id = NODE;
	node.name = (char *)"n1";
	node.client_address = scene->client;
	node.peer_address = scene->peer;
	node.bus_address = scene->bus;
	node.datacenter = silent.datacenter = (char *)"dc1";
	silent.node_id = SILENT;
	silent.name = (char *)"n2";
	silent.client_address = (char *)"127.0.0.1:1";
	silent.peer_address = scene->silent_peer;
	silent.bus_address = scene->silent_bus;
	init.members = members;
	init.n_members = 2;
	init.partition_count = 8;
	init.replica_count = 2;
	begin(scene, &call, "kvring.v1.Admin/InitCluster", 5000, &init.base);
	if (finish(&call, text) != KVRING__V1__CODE__OK)
		fail_msg("%s", text);
	/* Without a connection the silent member would be found out at once. */
	for (uint64_t until = rpc_now_us() + PATIENCE_MS * 1000;;) {
		const struct rpc_link *link = peers_link(scene->runtime->hub.peers, SILENT);
		if (link != NULL && rpc_link_connected(link))
			return;
		assert_true(rpc_now_us() < until);
		sched_yield();
	}
}

static void begin_put(struct scene *scene, struct call *call, size_t value_size, uint32_t w, uint32_t deadline_ms)
{
	Kvring__V1__PutRequest put = KVRING__V1__PUT_REQUEST__INIT;
	put.key = (ProtobufCBinaryData){3, (uint8_t *)"key"};
	put.value = (ProtobufCBinaryData){value_size, calloc(1, value_size + 1)};
	put.w = w;
	begin(scene, call, "kvring.v1.Kv/Put", deadline_ms, &put.base);
	free(put.value.data);
}

/* ---- what the bus says ---------------------------------------------------------------------------------------------- */

/* The next event of this kind; heartbeats and others are passed over. Freed with kvring__v1__event__free_unpacked. */
static Kvring__V1__Event *hear(struct scene *scene, Kvring__V1__Event__WhatCase what)
{
	for (uint64_t until = rpc_now_us() + PATIENCE_MS * 1000; rpc_now_us() < until;) {
		nng_msg *message;
		assert_int_equal(nng_recvmsg(scene->listener, &message, 0), 0);
		Kvring__V1__Event *event = kvring__v1__event__unpack(NULL, nng_msg_len(message), nng_msg_body(message));
		nng_msg_free(message);
		assert_non_null(event);
		assert_int_equal(event->node_id, NODE);
		if (event->what_case == what)
			return event;
		kvring__v1__event__free_unpacked(event, NULL);
	}
	fail_msg("no event %d within %d ms", what, PATIENCE_MS);
	return NULL;
}

static void test_events_on_the_bus(void **state)
{
	struct scene scene;
	struct call call;
	char text[256];
	(void)state;
	set_up(&scene, 64 << 20);
	/* From its start on, before anybody has said anything to it. */
	kvring__v1__event__free_unpacked(hear(&scene, KVRING__V1__EVENT__WHAT_HEARTBEATS), NULL);
	form_cluster(&scene);
	Kvring__V1__Event *event = hear(&scene, KVRING__V1__EVENT__WHAT_RING_CHANGED);
	assert_int_equal(event->ring_changed->epoch, 1);
	assert_true(event->cluster_id != 0);
	assert_true(event->time_ms > 0);
	kvring__v1__event__free_unpacked(event, NULL);

	begin_put(&scene, &call, 5, 2, SLOW_MS); /* n2 counts as up for a while, and says nothing */
	event = hear(&scene, KVRING__V1__EVENT__WHAT_SLOW_REQUEST);
	assert_string_equal(event->slow_request->method, "kvring.v1.Kv/Put");
	assert_int_equal(event->slow_request->trace_id, 0xabc);
	assert_in_range(event->slow_request->micros, 500 * 1000, PATIENCE_MS * 1000);
	kvring__v1__event__free_unpacked(event, NULL);
	assert_int_equal(finish(&call, text), KVRING__V1__CODE__OK); /* of the call; its operation is in doubt */

	event = hear(&scene, KVRING__V1__EVENT__WHAT_MEMBER_CHANGED);
	assert_int_equal(event->member_changed->member, SILENT);
	assert_string_equal(event->member_changed->name, "n2");
	assert_string_equal(event->member_changed->state, "unreachable");
	kvring__v1__event__free_unpacked(event, NULL);
	tear_down(&scene);
}

/* ---- what the bus is told ---------------------------------------------------------------------------------------- */

/* What the node says of a member. */
static Kvring__V1__StatusResponse *ask_status(struct scene *scene, Kvring__V1__NodeStatus **silent_out)
{
	Kvring__V1__StatusRequest status = KVRING__V1__STATUS_REQUEST__INIT;
	struct rpc_response response;
	struct call call;
	begin(scene, &call, "kvring.v1.Admin/Status", 5000, &status.base);
	wait_until_done(&call);
	assert_int_equal(call.pending.status, 0);
	assert_int_equal(rpc_response_decode(rpc_message_bytes(call.pending.response), &response, NULL), 0);
	Kvring__V1__StatusResponse *body =
		kvring__v1__status_response__unpack(NULL, response.body.size, response.body.data);
	rpc_message_free(call.pending.response);
	assert_non_null(body);
	*silent_out = NULL;
	for (size_t i = 0; i < body->n_members; i++)
		if (body->members[i]->node_id == SILENT)
			*silent_out = body->members[i];
	assert_non_null(*silent_out);
	return body;
}

static void say_heartbeat(struct scene *scene, uint64_t cluster_id, uint64_t keys)
{
	Kvring__V1__MemberRow row = KVRING__V1__MEMBER_ROW__INIT, *rows[] = {&row};
	Kvring__V1__Heartbeats heartbeats = KVRING__V1__HEARTBEATS__INIT;
	Kvring__V1__Event event = KVRING__V1__EVENT__INIT;
	uint8_t bytes[512];
	row.node_id = event.node_id = SILENT;
	row.cluster_id = event.cluster_id = cluster_id;
	row.incarnation = 1;
	row.heartbeat = keys; /* each newer than those before */
	row.name = (char *)"n2";
	row.datacenter = (char *)"dc1";
	row.client_address = (char *)"127.0.0.1:1";
	row.peer_address = scene->silent_peer;
	row.bus_address = scene->silent_bus;
	row.keys = keys;
	heartbeats.rows = rows;
	heartbeats.n_rows = 1;
	event.what_case = KVRING__V1__EVENT__WHAT_HEARTBEATS;
	event.heartbeats = &heartbeats;
	assert_true(kvring__v1__event__get_packed_size(&event) <= sizeof bytes);
	size_t size = kvring__v1__event__pack(&event, bytes);
	assert_int_equal(nng_send(scene->listener, bytes, size, 0), 0);
}

/* The member answers no gossip, so there is no other way for its row. */
static void test_a_heartbeat_that_comes_by_the_bus_alone_is_heard(void **state)
{
	enum { KEYS = 12345 };
	struct scene scene;
	Kvring__V1__NodeStatus *silent;
	(void)state;
	set_up(&scene, 64 << 20);
	form_cluster(&scene);
	Kvring__V1__StatusResponse *status = ask_status(&scene, &silent);
	uint64_t cluster_id = status->cluster_id;
	assert_false(silent->heard);
	kvring__v1__status_response__free_unpacked(status, NULL);
	bool heard = false;
	for (uint64_t until = rpc_now_us() + PATIENCE_MS * 1000; !heard && rpc_now_us() < until;) {
		say_heartbeat(&scene, cluster_id, KEYS); /* again and again: the bus is best effort */
		status = ask_status(&scene, &silent);
		heard = silent->heard && silent->keys == KEYS;
		kvring__v1__status_response__free_unpacked(status, NULL);
	}
	assert_true(heard);
	tear_down(&scene);
}

/* ---- a flood of the bus -------------------------------------------------------------------------------------------- */

enum { STRANGERS = 2, ROWS = 150, HEARTBEATS = 5, EVENT_SIZE = 64 * 1024 };

/* A stranger on the bus, who tells of nodes that there are none of as fast as it is read. */
struct stranger {
	pthread_t thread;
	uint8_t frame[8 + EVENT_SIZE];
	size_t size;
	int fd;
	_Atomic uint64_t *said;
};

static void *flood(void *arg)
{
	struct stranger *self = arg;
	while (send(self->fd, self->frame, self->size, MSG_NOSIGNAL) == (ssize_t)self->size)
		atomic_fetch_add(self->said, 1);
	return NULL; /* shut down */
}

static void make_frame(struct stranger *self, uint64_t number, uint64_t cluster_id)
{
	static Kvring__V1__MemberRow rows[ROWS], *pointers[ROWS];
	Kvring__V1__Heartbeats heartbeats = KVRING__V1__HEARTBEATS__INIT;
	Kvring__V1__Event event = KVRING__V1__EVENT__INIT;
	for (unsigned i = 0; i < ROWS; i++) {
		pointers[i] = &rows[i];
		kvring__v1__member_row__init(&rows[i]);
		rows[i].node_id = 1000 * number + i;
		rows[i].cluster_id = cluster_id;
		rows[i].incarnation = rows[i].heartbeat = 1;
		rows[i].name = (char *)"stranger";
		rows[i].client_address = rows[i].peer_address = rows[i].bus_address = (char *)"127.0.0.1:1";
	}
	event.node_id = 1000 * number;
	event.cluster_id = cluster_id;
	heartbeats.rows = pointers;
	heartbeats.n_rows = ROWS;
	event.what_case = KVRING__V1__EVENT__WHAT_HEARTBEATS;
	event.heartbeats = &heartbeats;
	assert_true(kvring__v1__event__get_packed_size(&event) <= EVENT_SIZE);
	size_t size = kvring__v1__event__pack(&event, self->frame + 8);
	for (unsigned i = 0; i < 8; i++)
		self->frame[i] = (uint8_t)((uint64_t)size >> (56 - 8 * i));
	self->size = 8 + size;
}

static void start_flood(struct scene *scene, struct stranger *self, uint64_t number, uint64_t cluster_id)
{
	static const uint8_t hello[8] = {0, 'S', 'P', 0, 0, 0x70, 0, 0};
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	to.sin_port = htons((uint16_t)atoi(strchr(scene->bus, ':') + 1));
	make_frame(self, number, cluster_id);
	self->fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(self->fd, (struct sockaddr *)&to, sizeof to), 0);
	assert_int_equal(send(self->fd, hello, sizeof hello, MSG_NOSIGNAL), sizeof hello);
	assert_int_equal(pthread_create(&self->thread, NULL, flood, self), 0);
}

/* Each of them says more than the receiver takes; what members say is heard beside it. */
static void test_a_member_stays_up_while_strangers_flood_the_bus(void **state)
{
	struct scene scene;
	static struct stranger strangers[STRANGERS];
	static _Atomic uint64_t said;
	struct rpc_bus_counts counts;
	Kvring__V1__NodeStatus *silent;
	(void)state;
	set_up(&scene, 64 << 20);
	form_cluster(&scene);
	Kvring__V1__StatusResponse *status = ask_status(&scene, &silent);
	uint64_t cluster_id = status->cluster_id;
	kvring__v1__status_response__free_unpacked(status, NULL);
	for (unsigned i = 0; i < STRANGERS; i++) {
		strangers[i].said = &said;
		start_flood(&scene, &strangers[i], i + 1, cluster_id);
	}
	uint64_t until = rpc_now_us() + PATIENCE_MS * 1000;
	bool up = false;
	for (uint64_t keys = 1; keys <= HEARTBEATS || !up; keys++) {
		bool heard = false;
		while (!heard && rpc_now_us() < until) {
			say_heartbeat(&scene, cluster_id, keys);
			status = ask_status(&scene, &silent);
			heard = silent->keys == keys;
			up = strcmp(silent->state, "up") == 0;
			kvring__v1__status_response__free_unpacked(status, NULL);
		}
		assert_true(heard);
	}
	do
		rpc_bus_counts(scene.runtime->hub.bus, &counts);
	while (counts.unheard == 0 && atomic_load(&said) < UINT64_C(1000000)); /* it was a flood */
	assert_true(counts.unheard > 0);
	for (unsigned i = 0; i < STRANGERS; i++) {
		shutdown(strangers[i].fd, SHUT_RDWR);
		pthread_join(strangers[i].thread, NULL);
		close(strangers[i].fd);
	}
	tear_down(&scene);
}

/* A put travels to the other owner, and its answer back to the coordinator, long before the deadline. */
static void test_what_a_peer_stores_counts(void **state)
{
	struct scene scene;
	struct call call;
	(void)state;
	set_up(&scene, 64 << 20);
	form_cluster(&scene);
	atomic_store(&stores, true);
	begin_put(&scene, &call, 5, 2, PATIENCE_MS);
	struct rpc_response response = await(&call);
	assert_int_equal(response.code, KVRING__V1__CODE__OK);
	Kvring__V1__PutResponse *put = kvring__v1__put_response__unpack(NULL, response.body.size, response.body.data);
	assert_non_null(put);
	assert_int_equal(put->outcome, KVRING__V1__OUTCOME__DONE);
	assert_int_equal(put->acks_owners, 2);
	kvring__v1__put_response__free_unpacked(put, NULL);
	rpc_message_free(call.pending.response);
	tear_down(&scene);
}

/* The port of peers: a replica of this node is asked, and says something. */
static void test_a_peer_is_answered(void **state)
{
	struct scene scene;
	struct call call;
	Kvring__V1__FetchOperation key = KVRING__V1__FETCH_OPERATION__INIT, *keys[] = {&key, &key, &key};
	Kvring__V1__FetchRequest fetch = KVRING__V1__FETCH_REQUEST__INIT;
	uint8_t no_such_partition[] = {0xff, 0xff, 0, 'b', 'k'};
	(void)state;
	set_up(&scene, 64 << 20);
	form_cluster(&scene);
	key.key = (ProtobufCBinaryData){sizeof no_such_partition, no_such_partition};
	fetch.n_operations = 3;
	fetch.operations = keys;
	begin_at(scene.peer_link, &call, "kvring.v1.Peer/Fetch", 5000, &fetch.base);
	struct rpc_response response = await(&call);
	assert_int_equal(response.code, KVRING__V1__CODE__OK);
	assert_int_equal(response.ring_epoch, 1);
	Kvring__V1__FetchResponse *fetched =
		kvring__v1__fetch_response__unpack(NULL, response.body.size, response.body.data);
	assert_non_null(fetched);
	assert_int_equal(fetched->n_results, 3);
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(fetched->results[i]->code, KVRING__V1__REPLICA_CODE__REPLICA_ERROR);
	kvring__v1__fetch_response__free_unpacked(fetched, NULL);
	rpc_message_free(call.pending.response);
	tear_down(&scene);
}

/* What this node does not understand is answered, by name. */
static void test_what_is_not_understood_is_refused(void **state)
{
	struct scene scene;
	struct call call;
	Kvring__V1__HealthRequest health = KVRING__V1__HEALTH_REQUEST__INIT;
	char text[256];
	(void)state;
	set_up(&scene, 64 << 20);
	begin(&scene, &call, "kvring.v1.Kv/Invent", 5000, &health.base);
	assert_int_equal(finish(&call, text), KVRING__V1__CODE__UNIMPLEMENTED);
	assert_non_null(strstr(text, "kvring.v1.Kv/Invent"));
	version = RPC_PROTOCOL_VERSION + 1;
	begin(&scene, &call, "kvring.v1.Health/Check", 5000, &health.base);
	version = RPC_PROTOCOL_VERSION;
	assert_int_equal(finish(&call, text), KVRING__V1__CODE__INVALID_ARGUMENT);
	assert_non_null(strstr(text, "protocol version 2"));
	tear_down(&scene);
}

static void test_requests_past_the_budget_are_refused(void **state)
{
	struct scene scene;
	struct call call;
	char text[256];
	(void)state;
	set_up(&scene, 1 << 20);
	form_cluster(&scene);
	begin_put(&scene, &call, 256 * 1024, 1, 5000); /* with its copies more than the budget */
	assert_int_equal(finish(&call, text), KVRING__V1__CODE__RESOURCE_EXHAUSTED);
	assert_non_null(strstr(text, "request-mb 1"));
	Kvring__V1__Event *event = hear(&scene, KVRING__V1__EVENT__WHAT_OVERLOAD);
	assert_string_equal(event->overload->what, "request-mb");
	assert_int_equal(event->overload->refused, 1);
	kvring__v1__event__free_unpacked(event, NULL);
	begin_put(&scene, &call, 1024, 1, 5000); /* what fits is taken as before */
	assert_int_equal(finish(&call, text), KVRING__V1__CODE__OK);
	tear_down(&scene);
}

/* Puts that wait for the silent member fill the budget; an operator is answered all the same; and all of it is given back. */
static void test_a_full_budget_leaves_room_for_operators(void **state)
{
	enum { WAITING = 4 };
	struct scene scene;
	struct call waiting[WAITING], call;
	Kvring__V1__HealthRequest health = KVRING__V1__HEALTH_REQUEST__INIT;
	char text[256];
	(void)state;
	set_up(&scene, 1 << 20);
	form_cluster(&scene);
	for (uint32_t i = 0; i < WAITING; i++)
		begin_put(&scene, &waiting[i], 40 * 1024, 2, 2000);
	for (uint64_t until = rpc_now_us() + PATIENCE_MS * 1000;
	     atomic_load(&scene.runtime->hub.budget->used) < WAITING * 6 * 40 * 1024;)
		assert_true(rpc_now_us() < until);
	begin_put(&scene, &call, 40 * 1024, 1, 5000);
	assert_int_equal(finish(&call, text), KVRING__V1__CODE__RESOURCE_EXHAUSTED);
	begin(&scene, &call, "kvring.v1.Health/Check", 5000, &health.base);
	assert_int_equal(finish(&call, text), KVRING__V1__CODE__OK);
	for (uint32_t i = 0; i < WAITING; i++)
		assert_int_equal(finish(&waiting[i], text), KVRING__V1__CODE__OK);
	for (uint64_t until = rpc_now_us() + PATIENCE_MS * 1000; atomic_load(&scene.runtime->hub.budget->used) > 0;)
		assert_true(rpc_now_us() < until);
	begin_put(&scene, &call, 40 * 1024, 1, 5000);
	assert_int_equal(finish(&call, text), KVRING__V1__CODE__OK);
	tear_down(&scene);
}

/* Every request under way is answered before the node goes. */
static void test_stopping_answers_what_is_under_way(void **state)
{
	enum { WAITING = 32 };
	struct scene scene;
	struct call waiting[WAITING];
	char text[256];
	(void)state;
	set_up(&scene, 64 << 20);
	form_cluster(&scene);
	for (uint32_t i = 0; i < WAITING; i++)
		begin_put(&scene, &waiting[i], 100, 2, 300);
	for (uint64_t until = rpc_now_us() + PATIENCE_MS * 1000; atomic_load(&scene.runtime->hub.budget->used) == 0;)
		assert_true(rpc_now_us() < until);
	close_node(&scene);
	for (uint32_t i = 0; i < WAITING; i++) {
		uint32_t code = finish(&waiting[i], text);
		assert_true(code == KVRING__V1__CODE__OK || code == KVRING__V1__CODE__UNAVAILABLE);
	}
	tear_down(&scene);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_a_peer_stores_counts),
		cmocka_unit_test(test_a_peer_is_answered),
		cmocka_unit_test(test_events_on_the_bus),
		cmocka_unit_test(test_a_heartbeat_that_comes_by_the_bus_alone_is_heard),
		cmocka_unit_test(test_a_member_stays_up_while_strangers_flood_the_bus),
		cmocka_unit_test(test_what_is_not_understood_is_refused),
		cmocka_unit_test(test_requests_past_the_budget_are_refused),
		cmocka_unit_test(test_a_full_budget_leaves_room_for_operators),
		cmocka_unit_test(test_stopping_answers_what_is_under_way),
	};
	sigset_t signals;
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigprocmask(SIG_BLOCK, &signals, NULL); /* before any thread: all inherit it */
	log_open("test", LOG_LEVEL_ERROR);
	int failed = cmocka_run_group_tests_name("each actor on its own thread", tests, NULL, NULL);
	threads = 1;
	failed += cmocka_run_group_tests_name("all on one thread", tests, NULL, NULL);
	threads = 2;
	failed += cmocka_run_group_tests_name("coordinator beside replica, on two threads", tests, NULL, NULL);
#ifdef __SANITIZE_ADDRESS__
	__lsan_do_leak_check(); /* _exit does not */
#endif
	_exit(failed); /* as kvnode does: NNG 1.5.2 may crash in its exit handlers */
}

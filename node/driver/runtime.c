/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>
#include "engine/pool.h"
#include "node/driver/inbound.h"
#include "node/driver/loop.h"
#include "node/driver/peers.h"
#include "node/object/limit.h"
#include "node/observe/log.h"
#include "node/driver/runtime.h"
#include "node/driver/stop_guard.h"
#include "node/driver/ticker.h"
#include "node/driver/worker.h"

/* The part of request_bytes that values may take, beside it: at least 64 MiB, more than the largest object. */
enum { VALUES_PART = 2 };

enum { DRAIN_WAIT_MS = 5000, DRAIN_POLL_MS = 5, LOOK_MS = 1000 };

/* Busy share of the busiest worker since the last look. */
static void measure_load(struct runtime *self, uint64_t now_us)
{
	uint64_t most = 0;
	for (uint32_t i = 0; i < self->worker_count; i++) {
		uint64_t busy = atomic_load_explicit(&self->workers[i].busy_us, memory_order_relaxed);
		if (busy - self->load_busy_us[i] > most)
			most = busy - self->load_busy_us[i];
		self->load_busy_us[i] = busy;
	}
	uint64_t elapsed = now_us - self->load_us;
	if (elapsed > 0)
		atomic_store_explicit(&self->hub.node->load_permille,
				      (uint32_t)(most >= elapsed ? 1000 : most * 1000 / elapsed), memory_order_relaxed);
	self->load_us = now_us;
}

/* ---- the main thread ------------------------------------------------------------------------------------------------ */

/* At what changes without telling anybody. */
static void look(struct runtime *self)
{
	uint64_t now_us = rpc_now_us();
	if (now_us < self->load_us + LOOK_MS * 1000)
		return;
	measure_load(self, now_us);
	connector_tell(&self->connector, now_us);
}

void runtime_signals(sigset_t *out)
{
	sigemptyset(out);
	sigaddset(out, SIGHUP);
	sigaddset(out, SIGTERM);
	sigaddset(out, SIGINT);
	sigaddset(out, SIGPWR);       /* the power fails; a container is halted (LXC) */
	sigaddset(out, SIGRTMIN + 3); /* a container is halted (systemd's signal for it) */
	sigaddset(out, SIGXCPU);      /* the process has used up its time: SIGKILL is next */
}

int runtime_run(struct runtime *self)
{
	sigset_t signals;
	runtime_signals(&signals);
	int signal_fd = signalfd(-1, &signals, SFD_CLOEXEC);
	struct pollfd fds[2] = {{.fd = self->connector.control, .events = POLLIN}, {.fd = signal_fd, .events = POLLIN}};
	struct signalfd_siginfo info = {0};
	while (info.ssi_signo == 0) {
		if (poll(fds, 2, LOOK_MS) < 0 && errno != EINTR)
			break;
		look(self);
		if (fds[0].revents & POLLIN)
			connector_dial(&self->connector);
		if (fds[1].revents & POLLIN && read(signal_fd, &info, sizeof info) < 0)
			break;
	}
	close(signal_fd);
	return (int)info.ssi_signo;
}

static int open_sockets(struct runtime *self, const struct runtime_options *options, struct rpc_error *error_out)
{
	struct rpc_bus_options bus = {
		.address = options->bus_listen,
		.message_max = LIMIT_BUS_MESSAGE_SIZE,
		.silence_ms = LIMIT_PEER_SILENCE_MS, /* every node speaks each round, which is shorter */
		.on_message = inbound_on_bus,
		.arg = &self->hub,
	};
	struct rpc_server_options peer = {
		.address = options->peer_listen,
		.message_max = RPC_PEER_MESSAGE_MAX,
		.connections_max = options->peer_connections_max,
		.budget = self->hub.peer_budget,
		.in_flight_max = LIMIT_IN_FLIGHT,
		.on_request = inbound_on_peer,
		.on_full = inbound_on_full,
		.arg = &self->hub,
	};
	struct rpc_server_options client = {
		.address = options->client_listen,
		.message_max = RPC_CLIENT_MESSAGE_MAX,
		.in_flight_max = LIMIT_IN_FLIGHT,
		.in_flight_fair = LIMIT_IN_FLIGHT_FAIR,
		.heavy_max = LIMIT_HEAVY_BYTES,
		.connections_max = options->client_connections_max,
		.idle_ms = options->client_idle_ms,
		.budget = self->hub.budget,
		.on_request = inbound_on_client,
		.on_full = inbound_on_full,
		.arg = &self->hub,
	};
	int error = rpc_bus_open(&bus, &self->hub.bus, error_out);
	if (error == 0)
		error = rpc_server_open(&peer, &self->peer_server, error_out);
	if (error == 0)
		error = rpc_server_open(&client, &self->client_server, error_out);
	return error;
}

static int place_actors(struct runtime *self, uint32_t threads)
{
	struct hub *hub = &self->hub;
	struct node *node = hub->node;
	int error = placement_create(node->coordinator_count, node->shard_count, threads, &hub->placement);
	if (error < 0)
		return error;
	uint32_t count = hub->placement.thread_count;
	self->workers = calloc(count, sizeof *self->workers);
	hub->actors = calloc(hub->placement.actor_count, sizeof *hub->actors);
	self->load_busy_us = calloc(count, sizeof *self->load_busy_us);
	if (self->workers == NULL || hub->actors == NULL || self->load_busy_us == NULL)
		return -ENOMEM;
	return 0;
}

static int init_workers(struct runtime *self, uint32_t threads)
{
	struct hub *hub = &self->hub;
	int error = place_actors(self, threads);
	uint32_t count = hub->placement.thread_count;
	for (uint32_t i = 0; error == 0 && i < count; i++) {
		error = worker_init(&self->workers[i], hub, i, count, hub->placement.actor_count);
		self->worker_count += error == 0; /* what is to be taken down again */
	}
	for (uint32_t i = 0; error == 0 && i < hub->placement.actor_count; i++) {
		const struct placed *placed = &hub->placement.actors[i];
		hub->actors[i] = (struct hosted){.kind = placed->kind, .index = placed->index};
		worker_host(&self->workers[placed->thread], &hub->actors[i]);
	}
	if (error == 0)
		error = ticker_create(self->worker_count, &hub->ticker);
	for (uint32_t i = 0; error == 0 && i < self->worker_count; i++)
		ticker_attach(hub->ticker, i, &self->workers[i].mailbox);
	return error < 0 ? error : ticker_start(hub->ticker);
}

/* What an operator has to know of the store before it is read. */
static void tell_store(const struct node *node)
{
	const char *directory = data_dir_engine_directory(node->data_dir);
	if (node->lost_store)
		log_error("start: found no store in %s although this node is a member of a cluster, and made an empty "
			  "one. Is its "
			  "disk mounted? If the store is still somewhere, stop this node, put it back and start again. "
			  "If it is "
			  "lost, leave the node running: reads do not count it until you have got every key at r=N "
			  "(kvctl export "
			  "--r N) and started it once with --accept-restored",
			  directory);
	else if (data_dir_is_receiving(node->data_dir))
		log_warn("start: this node is receiving: its store lacks writes that it had acknowledged, so reads do "
			 "not count its "
			 "answers. Get every key at r=N, which brings them back (kvctl export --r N), then start it "
			 "once with "
			 "--accept-restored");
}

/* The names under which this process writes: versions in clocks and in the log carry them. */
static void tell_actors(const struct node *node)
{
	for (uint32_t i = 0; i < node->shard_count; i++)
		log_debug("replica: writes as actor=%016" PRIx64 " shard=%u", replica_next_dot(node->replicas[i]).actor,
			  i);
}

static int open_all(struct runtime *self, const struct runtime_options *options, struct rpc_error *error_out)
{
	struct hub *hub = &self->hub;
	struct node_options node = options->node;
	node.links = (struct coordinator_links){hub_is_connected, hub};
	int error = node_open(&node, &hub->node, error_out);
	if (error < 0)
		return error;
	hub->self = options->node.self;
	hub->self.node_id = hub->node->id;
	hub->self.cluster_id = data_dir_cluster_id(hub->node->data_dir);
	hub->self.incarnation = data_dir_incarnation(hub->node->data_dir);
	hub->self.shard_count = hub->node->shard_count;
	atomic_init(&hub->cluster_id, hub->self.cluster_id);
	hub->connector = &self->connector;
	tell_store(hub->node);
	tell_actors(hub->node);
	error = init_workers(self, options->threads);
	if (error == 0)
		error = peers_create(hub->values, &hub->peers);
	if (error == 0)
		error = engine_pool_start(options->job_threads, &hub->pool);
	/* A seed's link bears its number until the seed's node id is known. */
	for (uint32_t i = 0; error == 0 && i < options->node.seed_count; i++)
		error = peers_set(hub->peers, i + 1, options->node.seeds[i], error_out);
	if (error == 0)
		error = open_sockets(self, options, error_out);
	if (error == 0)
		error = connector_init(&self->connector, hub->peers, hub->bus);
	/* Last: from here on requests are worked on. What came before waits in the mailboxes. */
	for (uint32_t i = self->worker_count; error == 0 && i-- > 0;)
		error = loop_start(&self->workers[i]);
	return error;
}

int runtime_open(const struct runtime_options *options, struct runtime **out, struct rpc_error *error_out)
{
	struct runtime *self = calloc(1, sizeof *self);
	if (self == NULL)
		return -ENOMEM;
	self->load_us = rpc_now_us();
	self->hub.operation_seed = options->node.seed;
	self->hub.budget = rpc_budget_create(options->request_bytes);
	self->hub.peer_budget = rpc_budget_create(options->request_bytes);
	self->hub.values = rpc_budget_create(options->request_bytes / VALUES_PART);
	error_out->text[0] = 0;
	bool counted = self->hub.budget != NULL && self->hub.peer_budget != NULL && self->hub.values != NULL;
	int error = counted ? open_all(self, options, error_out) : -ENOMEM;
	if (error < 0) {
		(void)!runtime_close(&self);
		return error;
	}
	*out = self;
	return 0;
}

/* ---- stopping --------------------------------------------------------------------------------------------------------- */

static bool is_drained(struct runtime *self)
{
	struct rpc_server_counts counts;
	rpc_server_counts(self->client_server, &counts);
	return counts.in_flight == 0 && atomic_load(&self->hub.budget->unsent) == 0;
}

/* What an operator asked gossip for may wait for other nodes, longer than this one. Without memory it is left open. */
static void tell_gossip(struct runtime *self)
{
	struct arena *arena = rpc_arena_create(1024, SIZE_MAX);
	struct message *message = arena != NULL ? message_create(arena, MESSAGE_STOPPING) : NULL;
	struct mailbox *mailbox = &hub_gossip(&self->hub)->worker->mailbox;
	rpc_arena_unref(arena);
	if (message == NULL)
		return;
	message->to = (struct address){self->hub.node->id, ACTOR_GOSSIP, 0};
	mailbox_put(mailbox, MAIL_MESSAGE, &message->mail);
	mailbox_wake(mailbox);
}

/* Requests under way get their answers; new ones are refused. Bounded: a deadline may be far, and a client may read nothing. */
static void drain_clients(struct runtime *self)
{
	struct timespec pause = {.tv_nsec = DRAIN_POLL_MS * 1000000L};
	atomic_store(&self->hub.stopping, true);
	if (self->client_server != NULL)
		tell_gossip(self);
	for (int waited = 0; self->client_server != NULL && !is_drained(self) && waited < DRAIN_WAIT_MS;
	     waited += DRAIN_POLL_MS)
		nanosleep(&pause, NULL);
}

static void stop_workers(struct runtime *self)
{
	for (uint32_t i = 0;
	     self->hub.node != NULL && self->hub.node->replicas != NULL && i < self->hub.node->shard_count; i++)
		replica_quiesce(self->hub.node->replicas[i]);
	engine_pool_stop(self->hub.pool); /* what ran comes back as mail, which the replicas still install */
	for (uint32_t i = 0; i < self->worker_count; i++)
		loop_stop(&self->workers[i]);
	engine_pool_destroy(
		&self->hub.pool); /* not before: a replica may just have asked for a job, and comes with it late */
	ticker_stop(&self->hub.ticker);
}

static void close_servers(struct runtime *self)
{
	struct stop_guard guard;
	stop_guard_begin(&guard, "the connections of clients and peers", LIMIT_CLOSE_MS);
	rpc_server_close(&self->client_server);
	rpc_server_close(&self->peer_server);
	stop_guard_end(&guard);
}

static void close_links(struct runtime *self)
{
	struct stop_guard guard;
	stop_guard_begin(&guard, "the connections to peers", LIMIT_CLOSE_MS);
	peers_close(&self->hub.peers);
	if (self->hub.bus != NULL)
		rpc_bus_close(&self->hub.bus);
	stop_guard_end(&guard);
}

int runtime_close(struct runtime **out)
{
	struct runtime *self = *out;
	if (self == NULL)
		return 0;
	drain_clients(self);
	close_servers(self);
	stop_workers(self);
	/* Workers use links until they end; what is still under way completes into their mailboxes, which are emptied. */
	close_links(self);
	for (uint32_t i = 0; i < self->worker_count; i++) {
		loop_discard_mail(&self->workers[i]);
		worker_fini(&self->workers[i]);
	}
	int error = node_close(&self->hub.node);
	free(self->workers);
	free(self->hub.actors);
	placement_destroy(&self->hub.placement);
	free(self->load_busy_us);
	connector_fini(&self->connector);
	rpc_budget_unref(self->hub.budget);
	rpc_budget_unref(self->hub.peer_budget);
	rpc_budget_unref(self->hub.values);
	free(self);
	*out = NULL;
	return error;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The ring document in gossip: keeping it, installing it, making the first one, publishing it. */
#include "node/membership/gossip_state.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- publishing --------------------------------------------------------------------------------------------- */

static void fill_status(const struct gossip_row *row, uint64_t heard_us, struct ring_member_status *out)
{
	*out = (struct ring_member_status){
		.incarnation = row->incarnation,
		.heartbeat = row->heartbeat,
		.heard_us = heard_us,
		.epoch = row->epoch,
		.ready_epoch = row->ready_epoch,
		.figures = row->figures,
		.started_ms = row->started_ms,
		.shard_count = row->shard_count,
		.receiving = row->receiving,
		.unproven = row->unproven || row->receiving,
	};
	memcpy(out->version, row->version, sizeof out->version);
	memcpy(out->client_address, row->client_address, sizeof out->client_address);
	memcpy(out->peer_address, row->peer_address, sizeof out->peer_address);
	memcpy(out->bus_address, row->bus_address, sizeof out->bus_address);
}

/* The reports of this row that count. */
static void fill_unheard(const struct gossip *self, const struct gossip_row *row, struct ring_member_status *out)
{
	for (uint32_t i = 0; i < row->suspicion_count; i++) {
		int index = gossip_table_find(&self->table, row->suspicions[i].node_id);

		if (index >= 0 && self->table.peers[index].is_member && detector_reports(row, &self->table.rows[index]))
			out->unheard[out->unheard_count++] = row->suspicions[i].node_id;
	}
	assert(out->unheard_count <= RING_SUSPICIONS_MAX);
}

void gossip_publish(struct gossip *self, uint64_t now_us)
{
	if (self->document == NULL)
		return;
	gossip_prove(self);
	for (uint32_t i = 0; i < ring_member_count(self->document); i++) {
		uint64_t id = ring_member(self->document, i)->id;
		int index = gossip_table_find(&self->table, id);

		if (id == self->self.node_id) {
			fill_status(&self->self, now_us, &self->status[i]);
			self->status[i].displaced = self->displaced;
			self->status[i].held = gossip_is_held(self);
			fill_unheard(self, &self->self, &self->status[i]);
		} else if (index >= 0) {
			const struct gossip_peer *peer = &self->table.peers[index];

			fill_status(&self->table.rows[index], peer->heard ? peer->heard_us : 0, &self->status[i]);
			self->status[i].reachability = peer->reachability;
			self->status[i].since_us = peer->since_us;
			if (peer->reachability == RING_UP)
				fill_unheard(self, &self->table.rows[index], &self->status[i]);
		} else {
			self->status[i] = (struct ring_member_status){.reachability = RING_UNKNOWN};
		}
	}
	/* Out of memory: the readers keep the older view, and the next round tries again. */
	if (ring_table_publish(self->ring, self->document, self->status) == 0) {
		self->publish_now = false;
		gossip_count(&self->counters.publishes);
	}
}

/* ---- the document ------------------------------------------------------------------------------------------- */

static void row_of_member(const struct ring_member *member, struct gossip_row *out)
{
	*out = (struct gossip_row){.node_id = member->id, .weight = member->weight};
	memcpy(out->name, member->name, sizeof out->name);
	memcpy(out->client_address, member->client_address, sizeof out->client_address);
	memcpy(out->peer_address, member->peer_address, sizeof out->peer_address);
	memcpy(out->bus_address, member->bus_address, sizeof out->bus_address);
	memcpy(out->datacenter, member->datacenter, sizeof out->datacenter);
	memcpy(out->rack, member->rack, sizeof out->rack);
}

/* Every member has a row, so that it is dialled; incarnation 0 is older than anything it will say itself. */
static void enlist_members(struct gossip *self, uint64_t now_us)
{
	for (uint32_t i = 0; i < self->table.count; i++) {
		struct gossip_peer *peer = &self->table.peers[i];

		peer->is_member = ring_member_find(self->document, self->table.rows[i].node_id) >= 0;
		peer->forgotten &= !peer->is_member;
	}
	for (uint32_t i = 0; i < ring_member_count(self->document); i++) {
		const struct ring_member *member = ring_member(self->document, i);
		struct gossip_peer peer = {
			.heard_us = now_us, .since_us = now_us, .is_member = true, .reachability = RING_UNKNOWN};
		struct gossip_row row;

		if (member->id == self->self.node_id || gossip_table_find(&self->table, member->id) >= 0)
			continue;
		row_of_member(member, &row);
		if (gossip_table_insert(&self->table, &row, &peer) < 0)
			gossip_refuse(self, &self->counters.overflows, NOTE_OVERFLOW);
	}
}

static void forget_foreign(struct gossip *self)
{
	for (uint32_t i = self->table.count; i-- > 0;)
		if (gossip_is_foreign(self, self->table.rows[i].cluster_id))
			gossip_table_remove(&self->table, i);
}

/* Takes over the document and a copy of its bytes. */
static int adopt(struct gossip *self, struct ring_document *document, struct rpc_slice bytes, uint64_t now_us)
{
	assert(bytes.size > 0);
	assert(ring_epoch(document) > self->self.epoch); /* G2 */
	assert(!gossip_is_foreign(self, ring_cluster_id(document)));
	struct ring_member_status *status = calloc(ring_member_count(document) + 1, sizeof *status);
	uint8_t *copy = malloc(bytes.size);

	if (status == NULL || copy == NULL) {
		free(status);
		free(copy);
		return -ENOMEM;
	}
	memcpy(copy, bytes.data, bytes.size);
	free(self->document_bytes);
	free(self->status);
	ring_document_destroy(&self->document);
	self->document = document;
	self->document_bytes = copy;
	self->document_size = bytes.size;
	self->status = status;
	self->self.cluster_id = ring_cluster_id(document);
	self->self.epoch = ring_epoch(document);
	self->self.ring_hash = ring_hash(document);
	forget_foreign(self);
	enlist_members(self, now_us);
	self->publish_now = true;
	self->ring_changed = self->contacts_changed = true;
	self->refused_hash = 0;
	return 0;
}

/* G1: durable first. The ring before the cluster's id: gossip_create mends a crash between the two. */
static int keep(struct gossip *self, const struct ring_document *document, struct rpc_slice bytes,
		struct rpc_error *error_out)
{
	int status = data_dir_ring_store(self->data_dir, bytes, error_out);

	if (!status)
		status = data_dir_set_cluster(self->data_dir, ring_cluster_id(document), error_out);
	return status;
}

static int keep_and_adopt(struct gossip *self, struct ring_document *document, struct rpc_slice bytes, uint64_t now_us,
			  struct rpc_error *error_out)
{
	int status = keep(self, document, bytes, error_out);

	if (!status)
		status = adopt(self, document, bytes, now_us);
	if (status)
		gossip_refuse(self, &self->counters.store_errors, NOTE_RING_NOT_STORED);
	else
		gossip_count(&self->counters.installs);
	return status;
}

/* Out loud, with the name of who sent it: such a ring was forced, forked, or made by a faulty node. */
static void refuse_ring(struct gossip *self, const struct ring_document *document, uint64_t from, const char *why,
			struct effects *out)
{
	int row = gossip_table_find(&self->table, from);

	self->refused_hash = ring_hash(document);
	gossip_count(&self->counters.refused);
	effects_note(out,
		     &(struct note){.kind = NOTE_RING_REFUSED,
				    .count = 1,
				    .id = from,
				    .name = row < 0 ? "unknown"
						    : rpc_arena_printf(out->arena, "%s", self->table.rows[row].name),
				    .text = rpc_arena_printf(out->arena, "%s", why)});
}

/* G10. */
static bool may_follow(struct gossip *self, const struct ring_document *document, uint64_t from, struct effects *out)
{
	struct ring_error why;
	int error = self->document != NULL ? ring_verify(self->document, document, &why) : 0;

	if (error == -EINVAL)
		refuse_ring(self, document, from, why.text, out);
	return error == 0; /* without memory it comes again */
}

/* Whether a document that came in is to be installed; counts why not. */
static bool is_wanted(struct gossip *self, const struct ring_document *document, uint64_t from, struct effects *out)
{
	if (gossip_is_foreign(self, ring_cluster_id(document))) {
		gossip_refuse(self, &self->counters.foreign, NOTE_FOREIGN);
		return false;
	}
	if (self->self.cluster_id == 0 && ring_member_find(document, self->self.node_id) < 0)
		return false; /* a neighbour's ring, which does not name this node (yet) */
	bool other = ring_epoch(document) == self->self.epoch && ring_hash(document) != self->self.ring_hash;
	if (other || (self->document != NULL && !ring_document_same_cluster(self->document, document))) {
		gossip_refuse(self, &self->counters.conflicts, NOTE_CONFLICT);
		return false;
	}
	return ring_epoch(document) > self->self.epoch && may_follow(self, document, from, out); /* G2 */
}

void gossip_receive_document(struct gossip *self, struct rpc_slice bytes, uint64_t from, uint64_t now_us,
			     struct effects *out)
{
	struct ring_document *document;
	struct ring_error why;
	struct rpc_error error;

	if (bytes.size == 0)
		return;
	if (ring_document_decode(bytes.data, bytes.size, &document, &why)) {
		gossip_refuse(self, &self->counters.malformed, NOTE_MALFORMED);
		return;
	}
	if (!is_wanted(self, document, from, out) || keep_and_adopt(self, document, bytes, now_us, &error))
		ring_document_destroy(&document);
}

int gossip_install(struct gossip *self, struct rpc_slice bytes, uint64_t now_us, struct rpc_error *error_out)
{
	struct ring_document *document;
	struct ring_error why;
	int error = ring_document_decode(bytes.data, bytes.size, &document, &why);

	if (error)
		return error; /* out of memory: this node's acceptor has read it */
	assert(ring_ancestor_hash(document, self->self.epoch) == self->self.ring_hash);
	error = keep_and_adopt(self, document, bytes, now_us, error_out);
	if (error)
		ring_document_destroy(&document);
	return error;
}

/* ---- the first document ------------------------------------------------------------------------------------- */

static uint64_t draw_id(struct gossip *self)
{
	uint64_t id;

	do
		id = prng_next(&self->prng);
	while (id == 0);
	return id;
}

/* What is wrong with one, or NULL. */
static const char *check_member(const struct ring_member *member, uint32_t index, struct arena *arena)
{
	struct rpc_error why;

	if (member->id == 0 || !member->name[0] || !member->peer_address[0] || !member->bus_address[0])
		return rpc_arena_printf(arena, "member %u (%s): id, name, peer and bus address are needed", index,
					member->name[0] ? member->name : "unnamed");
	if (rpc_address_check(member->peer_address, &why) || rpc_address_check(member->bus_address, &why) ||
	    (member->client_address[0] && rpc_address_check(member->client_address, &why)))
		return rpc_arena_printf(arena, "member %u (%s): %s", index, member->name, why.text);
	return NULL;
}

/* What two cannot both have, or NULL. */
static const char *check_distinct(const struct ring_member *a, const struct ring_member *b, struct arena *arena)
{
	if (a->id == b->id)
		return rpc_arena_printf(arena,
					"members %s and %s have the same id %016" PRIx64
					": is one data directory a copy of the other?",
					a->name, b->name, a->id);
	if (strcmp(a->name, b->name) == 0)
		return rpc_arena_printf(arena, "two members are named %s: names must differ", a->name);
	if (strcmp(a->peer_address, b->peer_address) == 0)
		return rpc_arena_printf(arena, "members %s and %s have the same peer address %s", a->name, b->name,
					a->peer_address);
	return NULL;
}

/* For qsort of pointers to members; equal ones stay in the order of the list. */
static int in_order(int order, const struct ring_member *a, const struct ring_member *b)
{
	return order != 0 ? order : (a > b) - (a < b);
}

static int compare_ids(const void *a_in, const void *b_in)
{
	const struct ring_member *a = *(const struct ring_member *const *)a_in;
	const struct ring_member *b = *(const struct ring_member *const *)b_in;

	return in_order((a->id > b->id) - (a->id < b->id), a, b);
}

static int compare_names(const void *a_in, const void *b_in)
{
	const struct ring_member *a = *(const struct ring_member *const *)a_in;
	const struct ring_member *b = *(const struct ring_member *const *)b_in;

	return in_order(strcmp(a->name, b->name), a, b);
}

static int compare_peer_addresses(const void *a_in, const void *b_in)
{
	const struct ring_member *a = *(const struct ring_member *const *)a_in;
	const struct ring_member *b = *(const struct ring_member *const *)b_in;

	return in_order(strcmp(a->peer_address, b->peer_address), a, b);
}

/* What two of them cannot both have, or NULL. Such two are neighbours when the list is sorted; there may be thousands of members.
 * Leaves the list sorted by peer address. */
static const char *check_all_distinct(const struct ring_member **list, uint32_t count, struct arena *arena)
{
	int (*const orders[])(const void *, const void *) = {compare_ids, compare_names, compare_peer_addresses};

	for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
		qsort(list, count, sizeof *list, orders[i]);
		for (uint32_t j = 1; j < count; j++) {
			const char *wrong = check_distinct(list[j - 1], list[j], arena);

			if (wrong != NULL)
				return wrong;
		}
	}
	return NULL;
}

/* What is wrong with the members, or NULL. list: room for a pointer to each. */
static const char *check_members(const struct gossip *self, const struct ring_member *members, uint32_t member_count,
				 const struct ring_member **list, struct arena *arena)
{
	bool found_self = false;

	for (uint32_t i = 0; i < member_count; i++) {
		const char *wrong = check_member(&members[i], i, arena);

		if (wrong != NULL)
			return wrong;
		found_self |= members[i].id == self->self.node_id;
		list[i] = &members[i];
	}
	if (!found_self)
		return rpc_arena_printf(arena, "the members lack this node (%s): list it, or ask one that is listed",
					self->self.name);
	return check_all_distinct(list, member_count, arena);
}

/* The cluster of any node heard of, 0 for none. */
static uint64_t cluster_nearby(const struct gossip *self)
{
	uint64_t cluster_id = 0;

	for (uint32_t i = 0; i < self->table.count && cluster_id == 0; i++)
		cluster_id = self->table.rows[i].cluster_id;
	return cluster_id;
}

/* The member with that peer address, or NULL. list: sorted by them. */
static const struct ring_member *find_address(const struct ring_member **list, uint32_t count, const char *peer_address)
{
	uint32_t low = 0, high = count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		int order = strcmp(list[middle]->peer_address, peer_address);

		if (order == 0)
			return list[middle];
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

/* A cluster that this node has heard of has one of them, or had another node in its place (whose row may be from before there was
 * a cluster): a second cluster at that address would answer clients of the first with "not found". What stands in the way, or
 * NULL. list: the members, sorted by peer address. */
static const char *check_unclaimed(const struct gossip *self, const struct ring_member **list, uint32_t member_count,
				   struct arena *arena)
{
	uint64_t cluster_id = cluster_nearby(self);

	for (uint32_t i = 0; i < member_count && cluster_id != 0; i++) {
		int index = gossip_table_find(&self->table, list[i]->id);

		if (index >= 0 && self->table.rows[index].cluster_id != 0)
			return rpc_arena_printf(arena, "%s is in cluster %016" PRIx64 " already", list[i]->name,
						self->table.rows[index].cluster_id);
	}
	for (uint32_t i = 0; i < self->table.count && cluster_id != 0; i++) {
		const struct gossip_row *row = &self->table.rows[i];
		const struct ring_member *member = find_address(list, member_count, row->peer_address);

		if (member != NULL && member->id != row->node_id)
			return rpc_arena_printf(
				arena,
				"%s (%s) has the address of %s of cluster %016" PRIx64
				", but another id: was its data directory lost? Restore it. To use the address "
				"anew, stop that cluster and start this node again",
				member->name, member->peer_address, row->name, cluster_id);
	}
	return NULL;
}

static uint32_t collect_datacenters(const struct ring_member *members, uint32_t member_count, uint32_t replica_count,
				    struct ring_datacenter out[RING_DATACENTERS_MAX + 1])
{
	uint32_t dc_count = 0;

	for (uint32_t i = 0; i < member_count && dc_count <= RING_DATACENTERS_MAX; i++) {
		uint32_t known = 0;

		while (known < dc_count && strcmp(out[known].name, members[i].datacenter) != 0)
			known++;
		if (known < dc_count)
			continue;
		out[dc_count] = (struct ring_datacenter){.replica_count = replica_count};
		memcpy(out[dc_count].name, members[i].datacenter, sizeof out[dc_count].name);
		dc_count++;
	}
	return dc_count;
}

/* NULL and the document, or what is wrong. */
static const char *claim_first(struct gossip *self, const struct message *message, struct arena *arena,
			       struct ring_document **out)
{
	struct ring_datacenter datacenters[RING_DATACENTERS_MAX + 1];
	uint32_t replica_count = message->init_cluster.replica_count, member_count = message->init_cluster.member_count;
	struct ring_member *members =
		rpc_arena_copy(arena, message->init_cluster.members, member_count * sizeof *members);
	struct ring_error why;
	struct ring_plan plan = {
		.cluster_id = draw_id(self),
		.hash_seed = prng_next(&self->prng),
		.partition_count = message->init_cluster.partition_count,
		.datacenters = datacenters,
		.members = members,
		.member_count = member_count,
	};

	if (members == NULL)
		return "out of memory";
	if (plan.partition_count == 0)
		plan.partition_count = RING_PARTITIONS_DEFAULT;
	for (uint32_t i = 0; i < member_count; i++) {
		members[i].state = RING_MEMBER_ACTIVE;
		if (members[i].weight == 0)
			members[i].weight = RING_WEIGHT_DEFAULT;
	}
	plan.datacenter_count = collect_datacenters(members, member_count,
						    replica_count ? replica_count : RING_REPLICAS_DEFAULT, datacenters);
	if (plan.datacenter_count > RING_DATACENTERS_MAX)
		return rpc_arena_printf(arena, "more than %d datacenters", RING_DATACENTERS_MAX);
	if (ring_claim(NULL, &plan, out, &why))
		return rpc_arena_printf(arena, "%s", why.text);
	return NULL;
}

static struct gossip_verdict install_first(struct gossip *self, struct ring_document *document, uint64_t now_us,
					   struct arena *arena)
{
	struct rpc_error error = {"out of memory"};
	uint8_t *bytes;
	size_t size;
	int status = ring_document_encode(document, &bytes, &size);

	if (!status) {
		status = keep_and_adopt(self, document, (struct rpc_slice){bytes, size}, now_us, &error);
		free(bytes);
	}
	if (!status)
		return (struct gossip_verdict){RPC_CODE_OK, NULL};
	ring_document_destroy(&document);
	return (struct gossip_verdict){RPC_CODE_INTERNAL, rpc_arena_printf(arena, "%s", error.text)};
}

struct gossip_verdict gossip_init_cluster(struct gossip *self, const struct message *message, uint64_t now_us,
					  struct arena *arena)
{
	struct ring_document *document;
	const struct ring_member **list;
	uint32_t count = message->init_cluster.member_count;
	const char *wrong;

	if (self->self.cluster_id != 0)
		return (struct gossip_verdict){
			RPC_CODE_FAILED_PRECONDITION,
			rpc_arena_printf(arena, "%s is in cluster %016" PRIx64 " already (epoch %" PRIu64 ")",
					 self->self.name, self->self.cluster_id, self->self.epoch)};
	if (count == 0 || count > RING_MEMBERS_MAX)
		return (struct gossip_verdict){
			RPC_CODE_INVALID_ARGUMENT,
			rpc_arena_printf(arena, "%u members: a cluster has 1 to %d", count, RING_MEMBERS_MAX)};
	list = rpc_arena_alloc(arena, count * sizeof *list);
	if (list == NULL)
		return (struct gossip_verdict){RPC_CODE_INTERNAL, "out of memory"};
	wrong = check_members(self, message->init_cluster.members, count, list, arena);
	if (wrong != NULL)
		return (struct gossip_verdict){RPC_CODE_INVALID_ARGUMENT, wrong};
	wrong = check_unclaimed(self, list, count, arena);
	if (wrong != NULL)
		return (struct gossip_verdict){RPC_CODE_FAILED_PRECONDITION, wrong};
	wrong = claim_first(self, message, arena, &document);
	if (wrong != NULL)
		return (struct gossip_verdict){RPC_CODE_INVALID_ARGUMENT, wrong};
	return install_first(self, document, now_us, arena);
}

/* A member keeps its name: two processes that say different names of one member would be taken for two by people. */
static int check_name(const struct gossip *self, const struct ring_document *document, struct rpc_error *error_out)
{
	int index = ring_member_find(document, self->self.node_id);
	const char *name = index < 0 ? self->self.name : ring_member(document, (uint32_t)index)->name;

	if (strcmp(name, self->self.name) == 0)
		return 0;
	snprintf(error_out->text, sizeof error_out->text,
		 "%.120s: this data directory is that of node '%s', not '%s': start it with --name %s, or give '%s' "
		 "its own",
		 data_dir_ring_path(self->data_dir), name, self->self.name, name, self->self.name);
	return -EINVAL;
}

int gossip_load_document(struct gossip *self, struct rpc_error *error_out)
{
	struct ring_document *document = NULL;
	struct ring_error why;
	uint8_t *bytes;
	size_t size;
	int status = data_dir_ring_load(self->data_dir, &bytes, &size, error_out);

	if (status <= 0)
		return status;
	status = ring_document_decode(bytes, size, &document, &why);
	if (status)
		snprintf(error_out->text, sizeof error_out->text, "%.80s: %.70s; remove it to get it from the others",
			 data_dir_ring_path(self->data_dir), why.text);
	else
		status = check_name(self, document, error_out);
	if (!status)
		status = data_dir_set_cluster(self->data_dir, ring_cluster_id(document), error_out);
	if (!status)
		status = adopt(self, document, (struct rpc_slice){bytes, size}, 0);
	if (status)
		ring_document_destroy(&document);
	free(bytes);
	return status;
}

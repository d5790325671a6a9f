/* SPDX-License-Identifier: Apache-2.0 */
/* What the gossip worker tells: ring documents, members, links, and what it had to refuse. */
#include "node/observe/watch.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include "node/wire/codec_event.h"
#include "node/object/limit.h"
#include "node/driver/runtime.h"

enum {
	LINK_INTERVAL_US = 10 * 1000 * 1000,
	COUNTER_INTERVAL_US = 60 * 1000 * 1000,
};

void watch_cluster_init(struct watch_cluster *self, uint64_t cluster_id)
{
	*self = (struct watch_cluster){.cluster_id = cluster_id};
}

void watch_cluster_fini(struct watch_cluster *self)
{
	free(self->members);
	self->members = NULL;
	self->member_count = 0;
}

/* ---- members ------------------------------------------------------------------------------------------------ */

static void tell_member(struct runtime *runtime, const struct watch_member *member, const char *state)
{
	runtime_tell(runtime, &(struct node_event){.type = NODE_EVENT_MEMBER_CHANGED,
						   .id = member->id,
						   .name = member->name,
						   .state = state});
}

static void compare_member(struct runtime *runtime, struct watch_member *member, const struct ring_member_status *now)
{
	bool first = member->incarnation == 0 && now->incarnation != 0;
	bool restarted = member->incarnation != 0 && now->incarnation > member->incarnation;
	bool is_up = now->reachability == RING_UP, was_up = member->reachability == RING_UP;
	bool lost = now->reachability == RING_UNREACHABLE && member->reachability != RING_UNREACHABLE;
	if (is_up && restarted)
		log_info("gossip: member restarted peer=%s id=%016" PRIx64 " incarnation=%" PRIu64, member->name,
			 member->id, now->incarnation);
	else if (is_up && (first || (!was_up && now->incarnation != 0)))
		log_info("gossip: member up peer=%s id=%016" PRIx64 " incarnation=%" PRIu64, member->name, member->id,
			 now->incarnation);
	else if (lost)
		log_warn("gossip: member unreachable peer=%s id=%016" PRIx64 "%s", member->name, member->id,
			 now->heard_us == 0 ? " (not heard of since this node started)" : "");
	if (is_up && (first || restarted || (!was_up && now->incarnation != 0)))
		tell_member(runtime, member, "up");
	else if (lost)
		tell_member(runtime, member, "unreachable");
	member->incarnation = now->incarnation;
	member->reachability = now->reachability;
}

static const struct watch_member *find_member(const struct watch_cluster *self, uint64_t id)
{
	for (uint32_t i = 0; i < self->member_count; i++)
		if (self->members[i].id == id)
			return &self->members[i];
	return NULL;
}

/* The members of another document, with what is known of those that were in the last one. */
static bool take_members(struct watch_cluster *self, const struct ring_document *document)
{
	uint32_t count = ring_member_count(document);
	struct watch_member *members = calloc(count + 1, sizeof *members);
	if (members == NULL)
		return false;
	for (uint32_t i = 0; i < count; i++) {
		const struct ring_member *member = ring_member(document, i);
		const struct watch_member *known = find_member(self, member->id);
		if (known != NULL)
			members[i] = *known;
		else
			members[i].reachability = RING_UNKNOWN;
		members[i].id = member->id;
		memcpy(members[i].name, member->name, sizeof members[i].name);
	}
	free(self->members);
	self->members = members;
	self->member_count = count;
	return true;
}

/* ---- the ring ----------------------------------------------------------------------------------------------- */

static bool compare_document(struct runtime *runtime, const struct ring_document *document)
{
	struct watch_cluster *self = &runtime->watch_cluster;
	uint64_t epoch = ring_epoch(document), cluster_id = ring_cluster_id(document);
	if (epoch == self->epoch)
		return true;
	if (!take_members(self, document))
		return false;
	if (self->cluster_id == 0)
		log_info("gossip: joined cluster=%016" PRIx64, cluster_id);
	log_info("gossip: ring installed epoch=%" PRIu64 " hash=%016" PRIx64 " members=%u partitions=%u", epoch,
		 ring_hash(document), ring_member_count(document), ring_partition_count(document));
	self->cluster_id = cluster_id;
	atomic_store_explicit(&runtime->cluster_id, cluster_id, memory_order_relaxed);
	self->epoch = epoch;
	runtime_tell(runtime,
		     &(struct node_event){.type = NODE_EVENT_RING_CHANGED, .count = epoch, .id = ring_hash(document)});
	return true;
}

void watch_cluster_batch(struct runtime *runtime)
{
	struct watch_cluster *self = &runtime->watch_cluster;
	uint64_t publishes =
		atomic_load_explicit(&gossip_counters(runtime->node->gossip)->publishes, memory_order_relaxed);
	if (publishes == self->publishes)
		return;
	const struct ring_view *view = ring_view_acquire(runtime->node->ring);
	if (view->document != NULL && compare_document(runtime, view->document)) {
		self->publishes = publishes;
		for (uint32_t i = 0; i < self->member_count; i++)
			if ((int)i != view->self)
				compare_member(runtime, &self->members[i], &view->status[i]);
	}
	ring_view_release(runtime->node->ring, view);
}

/* ---- links and counters ------------------------------------------------------------------------------------- */

/* Looked at once a round rather than told by NNG's threads, which only enqueue. A link that flaps is told at most so
 * often, and its last state is always told. */
static void compare_links(struct runtime *runtime, uint64_t now_us)
{
	struct watch_cluster *self = &runtime->watch_cluster;
	for (uint32_t i = 0; i < self->member_count; i++) {
		struct watch_member *member = &self->members[i];
		const struct rpc_link *link = peers_link(runtime->peers, member->id);
		bool connected = link != NULL && rpc_link_connected(link);
		uint32_t rounds;
		if (connected == member->link_told || !log_limit_pass(&member->link, now_us, LINK_INTERVAL_US, &rounds))
			continue;
		member->link_told = connected;
		if (connected)
			log_info("peers: link connected peer=%s id=%016" PRIx64, member->name, member->id);
		else
			log_warn("peers: link lost peer=%s id=%016" PRIx64 "; it is dialled again", member->name,
				 member->id);
	}
}

static void compare_counters(struct runtime *runtime, uint64_t now_us)
{
	const struct gossip_counters *gossip = gossip_counters(runtime->node->gossip);
	const struct {
		const _Atomic uint64_t *counter;
		const char *text;
	} table[WATCH_TOLD_COUNT] = {
		{&gossip->foreign, "gossip: refused what a node of another cluster says; check seeds and addresses"},
		{&gossip->malformed, "gossip: ignored rows or documents that make no sense; is another version about?"},
		{&gossip->conflicts,
		 "gossip: refused a ring document that contradicts this node's; somebody forced something"},
		{&gossip->namesakes, "gossip: a node that is no member has the name or address of one; was its data "
				     "directory lost? Restore it"},
		{&gossip->impostors, "gossip: another node goes by the id of this one; is its data directory a copy?"},
		{&gossip->forgotten, "gossip: forgot nodes that are no members and were silent for a minute"},
		{&gossip->overflows, "gossip: more nodes than a cluster may have"},
		{&gossip->store_errors,
		 "gossip: a ring document could not be kept on disk, and so not installed; check the data directory"},
		{&runtime->budget.refused, "inbound: overload, requests refused: requests in work reached request-mb"},
	};
	for (uint32_t i = 0; i < WATCH_TOLD_COUNT; i++) {
		uint64_t count = atomic_load_explicit(table[i].counter, memory_order_relaxed);
		uint64_t news = count - runtime->watch_cluster.told[i].count;
		uint32_t rounds;
		if (news == 0 ||
		    !log_limit_pass(&runtime->watch_cluster.told[i].limit, now_us, COUNTER_INTERVAL_US, &rounds))
			continue;
		runtime->watch_cluster.told[i].count = count;
		log_warn("%s count=%" PRIu64, table[i].text, news);
		if (table[i].counter == &runtime->budget.refused)
			runtime_tell(
				runtime,
				&(struct node_event){.type = NODE_EVENT_OVERLOAD, .name = "request-mb", .count = news});
	}
}

void watch_cluster_round(struct runtime *runtime, uint64_t now_us)
{
	compare_links(runtime, now_us);
	compare_counters(runtime, now_us);
}

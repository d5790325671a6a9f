/* SPDX-License-Identifier: Apache-2.0 */
/* Gossip from anyone: the first byte says whether by bus or by push-pull (bit 0), whether to a node that has a ring document (bit
 * 1), and whether the sender then has the same one, so that its beats count (bit 2). A fresh actor takes it, and stays within its bounds. The checksum of a document is put right first, so that more is tested than
 * the checksum. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include "node/wire/codec_gossip.h"
#include "node/membership/gossip_table.h"
#include "tests/sim/sim_fs.h"

struct world {
	struct sim_fs *disk;
	struct data_dir *data_dir;
	struct ring_table *ring;
	struct gossip *gossip;
};

static void check(bool holds)
{
	if (!holds)
		abort();
}

/* Of the cluster and members of the corpus. */
static void store_ring(struct data_dir *data_dir)
{
	struct ring_member members[2] = {{.id = 1, .weight = 100}, {.id = 2, .weight = 100}};
	struct ring_datacenter datacenter = {"dc1", 2};
	struct ring_plan plan = {77, 0, RING_PARTITIONS_MIN, &datacenter, 1, members, 2};
	struct ring_document *document;
	struct rpc_error error;
	uint8_t *bytes;
	size_t size;

	for (int i = 0; i < 2; i++) {
		strcpy(members[i].name, i == 0 ? "n1" : "n2");
		strcpy(members[i].client_address, "h:1");
		strcpy(members[i].peer_address, i == 0 ? "h:2" : "h:4");
		strcpy(members[i].bus_address, "h:3");
		strcpy(members[i].datacenter, "dc1");
		members[i].state = RING_MEMBER_ACTIVE;
	}
	check(ring_claim(NULL, &plan, &document, NULL) == 0);
	check(ring_document_encode(document, &bytes, &size) == 0);
	check(data_dir_ring_store(data_dir, (struct rpc_slice){bytes, size}, &error) == 0);
	free(bytes);
	ring_document_destroy(&document);
}

static void open_world(struct world *world, bool with_ring)
{
	struct gossip_options options = {.self = {.node_id = 1, .incarnation = 1}, .seed = 1};
	struct rpc_error error;

	strcpy(options.self.name, "n1");
	strcpy(options.self.peer_address, "h:2");
	strcpy(options.self.bus_address, "h:3");
	sim_fs_create(1, &world->disk);
	check(data_dir_open(sim_fs_table(world->disk), "/n1", 1, &world->data_dir, &error) == 0);
	if (with_ring)
		store_ring(world->data_dir);
	check(ring_table_create(1, &world->ring) == 0);
	options.data_dir = world->data_dir;
	options.ring = world->ring;
	check(gossip_create(&options, &world->gossip, &error) == 0);
}

static void close_world(struct world *world)
{
	gossip_destroy(&world->gossip);
	ring_table_destroy(&world->ring);
	data_dir_close(&world->data_dir);
	sim_fs_destroy(&world->disk);
}

static void step(struct world *world, enum event_type type, struct message *message, uint64_t now_us)
{
	struct arena *arena = rpc_arena_create(4096, SIZE_MAX);
	struct event event = {.type = type, .now_us = now_us, .message = message};
	struct effects effects;

	effects_init(&effects, arena);
	gossip_step(world->gossip, &event, &effects);
	for (struct message *sent; (sent = message_list_take(&effects.messages)) != NULL;) {
		message_free(sent);
	}
	rpc_arena_unref(arena);
}

static void sign(struct gossip_rows *gossip, struct arena *arena)
{
	size_t size = gossip != NULL ? gossip->document.size : 0;
	uint8_t *bytes = size >= 8 ? rpc_arena_copy(arena, gossip->document.data, size) : NULL;
	uint64_t checksum;

	if (bytes == NULL)
		return;
	checksum = XXH3_64bits(bytes, size - 8);
	memcpy(bytes + size - 8, &checksum, 8);
	gossip->document.data = bytes;
}

static void pretend_same_document(const struct world *world, struct message *message)
{
	const struct ring_view *view = ring_view_acquire(world->ring);

	check(view->document != NULL);
	message->gossip->cluster_id = ring_cluster_id(view->document);
	message->gossip->epoch = ring_epoch(view->document);
	message->gossip->ring_hash = ring_hash(view->document);
	ring_view_release(world->ring, view);
}

static void run(struct message *message, bool with_ring, bool same)
{
	const struct gossip_row *rows;
	struct world world;
	uint32_t count;

	open_world(&world, with_ring);
	step(&world, EVENT_START, NULL, 1000);
	if (with_ring && same)
		pretend_same_document(&world, message);
	step(&world, EVENT_MESSAGE, message, 2000);
	step(&world, EVENT_TIMER, NULL, 10000000);
	count = gossip_rows(world.gossip, &rows);
	check(count <= GOSSIP_ROWS_MAX);
	for (uint32_t i = 0; i < count; i++)
		check(rows[i].node_id != 1 && (i == 0 || rows[i].node_id > rows[i - 1].node_id));
	close_world(&world);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool registered;
	struct rpc_request request = {.protocol_version = 1};
	struct rpc_error error = {""};
	struct message *message;
	struct arena *arena;
	int status;

	if (size == 0)
		return 0;
	if (!registered)
		ring_reader_register();
	registered = true;
	arena = rpc_arena_create(4096, SIZE_MAX);
	request.body = (struct rpc_slice){data + 1, size - 1};
	if (data[0] & 1)
		status = codec_bus_decode(request.body, arena, &message, &error) - 1;
	else
		status = codec_gossip_decode(&request, arena, &message, &error);
	if (status == 0) {
		sign(message->gossip, arena);
		run(message, data[0] & 2, data[0] & 4);
	} else {
		check(status == -1 || error.text[0]); /* -1: an event for others */
	}
	rpc_arena_unref(arena);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Starts: how a node learns that its data directory went back in time (a restored copy, a disk that lied).
 *
 * Every start of a node has a number from its data directory. The other members keep the number of the latest one, and the random id
 * of that process, in a file. At its start a node asks them all; each first keeps this start, unless it knows a later one, and
 * then says which one it keeps. Until a majority keeps this start the node is not proven: its replicas say so with each object
 * that they read, and no read counts them (ALGORITHMS.md, Versions).
 *
 * DIR/members is text, a line for each member:
 *
 *     kvring members 1                              what it is, and the format
 *     0123456789abcdef 12 0123456789abcdef          node id, number of its latest start, id of that process
 *     checksum 0123456789abcdef                     XXH3-64 of the lines above
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include "node/membership/gossip_state.h"

enum {
	HEAD_SIZE = 64, /* bytes, with the checksum's line */
	LINE_SIZE = 64, /* bytes, at most: two ids, a number, blanks */
};

static const char head[] = "kvring members 1\n";

/* ---- what this node keeps of the others --------------------------------------------------------------------- */

static bool is_kept(const struct gossip_peer *peer)
{
	return peer->is_member && peer->kept_life != 0;
}

static char *put_hex(uint64_t number, char *at)
{
	for (int shift = 60; shift >= 0; shift -= 4)
		*at++ = "0123456789abcdef"[number >> shift & 15];
	return at;
}

static char *put_decimal(uint64_t number, char *at)
{
	char digits[20];
	uint32_t count = 0;

	do
		digits[count++] = (char)('0' + number % 10);
	while ((number /= 10) > 0);
	while (count > 0)
		*at++ = digits[--count];
	return at;
}

/* What printf would write, in a tenth of the time: when a cluster of thousands starts, each node writes as many lines as often. */
static char *put_line(uint64_t id, uint64_t boot, uint64_t life, char *at)
{
	at = put_hex(id, at);
	*at++ = ' ';
	at = put_decimal(boot, at);
	*at++ = ' ';
	at = put_hex(life, at);
	*at++ = '\n';
	return at;
}

static int store(struct gossip *self)
{
	size_t room = HEAD_SIZE + (size_t)self->table.count * LINE_SIZE, size;
	char *text = malloc(room), *end;
	struct rpc_error why;

	if (text == NULL)
		return -ENOMEM;
	end = stpcpy(text, head);
	for (uint32_t i = 0; i < self->table.count; i++) {
		const struct gossip_peer *peer = &self->table.peers[i];

		if (is_kept(peer))
			end = put_line(self->table.rows[i].node_id, peer->kept_boot, peer->kept_life, end);
	}
	size = (size_t)(end - text);
	assert(size + HEAD_SIZE / 2 <= room);
	size += (size_t)snprintf(end, room - size, "checksum %016" PRIx64 "\n", (uint64_t)XXH3_64bits(text, size));
	int error = data_dir_members_store(self->data_dir, (struct rpc_slice){(uint8_t *)text, size}, &why);
	free(text);
	return error;
}

/* G7: a start that cannot be kept is as one never heard of. */
static void keep_start(struct gossip *self, struct gossip_peer *peer, const struct gossip_row *row)
{
	uint64_t boot = peer->kept_boot, life = peer->kept_life;

	if (!peer->is_member || row->life == 0 || row->boot <= boot)
		return;
	peer->kept_boot = row->boot;
	peer->kept_life = row->life;
	if (store(self) == 0)
		return;
	peer->kept_boot = boot;
	peer->kept_life = life;
	gossip_count(&self->counters.unkept);
}

void gossip_answer_start(struct gossip *self, const struct gossip_rows *question, struct gossip_rows *answer)
{
	int index = gossip_table_find(&self->table, question->from);

	if (index < 0)
		return;
	struct gossip_peer *peer = &self->table.peers[index];
	for (uint32_t i = 0; i < question->row_count && i < GOSSIP_ROWS_MAX; i++)
		if (question->rows[i].node_id == question->from)
			keep_start(self, peer, &question->rows[i]);
	answer->kept_boot = peer->kept_boot;
	answer->kept_life = peer->kept_life;
}

/* Takes the lines over. false: they are not what store writes. */
static bool parse(struct gossip *self, const char *text, size_t size)
{
	const char *end = text + size, *line = text + strlen(head);
	uint64_t id, boot, life;
	char last[HEAD_SIZE];
	int length;

	if (size < strlen(head) || memcmp(text, head, strlen(head)) != 0)
		return false;
	while (line < end &&
	       sscanf(line, "%16" SCNx64 " %" SCNu64 " %16" SCNx64 "\n%n", &id, &boot, &life, &length) == 3) {
		int index = gossip_table_find(&self->table, id);
		line += length;
		if (index < 0)
			continue;
		self->table.peers[index].kept_boot = boot;
		self->table.peers[index].kept_life = life;
	}
	snprintf(last, sizeof last, "checksum %016" PRIx64 "\n", (uint64_t)XXH3_64bits(text, (size_t)(line - text)));
	return strcmp(line, last) == 0;
}

int gossip_load_starts(struct gossip *self, struct rpc_error *error_out)
{
	uint8_t *bytes;
	size_t size;
	int status = data_dir_members_load(self->data_dir, &bytes, &size, error_out);

	if (status <= 0)
		return status;
	char *text = strndup((const char *)bytes, size); /* with a zero byte at the end */
	free(bytes);
	if (text == NULL)
		return -ENOMEM;
	bool good = strlen(text) == size && parse(self, text, size);
	free(text);
	if (good)
		return 0;
	snprintf(error_out->text, sizeof error_out->text,
		 "%.150s: damaged: restore it, or remove it if no other node's directory was restored of late",
		 data_dir_members_path(self->data_dir));
	return -EBADMSG;
}

/* ---- what the others keep of this node ---------------------------------------------------------------------- */

/* Is that start one that this node's directory does not know? A start of another process under this one's number is. */
static bool is_later(const struct gossip *self, uint64_t boot, uint64_t life)
{
	if (life == 0 || life == self->self.life)
		return false;
	return self->self.boot ? boot >= self->self.boot : boot > data_dir_boot(self->data_dir);
}

static bool is_known(const struct gossip *self, uint64_t boot, uint64_t life)
{
	return life == self->self.life || (self->self.boot == 0 && life != 0 && boot <= data_dir_boot(self->data_dir));
}

void gossip_prove(struct gossip *self)
{
	uint32_t confirmed = 1; /* this node */

	if (self->proven || self->document == NULL)
		return;
	for (uint32_t i = 0; i < self->table.count; i++)
		confirmed += self->table.peers[i].is_member && self->table.peers[i].confirmed;
	self->proven = confirmed > ring_member_count(self->document) / 2;
	self->self.unproven = !self->proven;
}

bool gossip_hear_start(struct gossip *self, uint64_t boot, uint64_t life)
{
	struct rpc_error why;

	if (!is_later(self, boot, life))
		return false;
	/* When the disk fails, the next start is told again: its number has not risen. */
	if (data_dir_set_receiving(self->data_dir, boot, &why) < 0)
		gossip_count(&self->counters.unkept);
	if (self->self.receiving)
		return true;
	self->self.receiving = true;
	self->publish_now = true;
	gossip_refuse(self, &self->counters.went_back, NOTE_WENT_BACK);
	return true;
}

void gossip_hear_kept(struct gossip *self, const struct gossip_rows *answer)
{
	int index = gossip_table_find(&self->table, answer->from);

	if (index < 0 || !self->table.peers[index].is_member)
		return;
	bool was_receiving = self->self.receiving;
	if (gossip_hear_start(self, answer->kept_boot, answer->kept_life)) {
		if (!was_receiving) /* it is told again in each round */
			gossip_hold(self);
		return;
	}
	self->table.peers[index].confirmed |= is_known(self, answer->kept_boot, answer->kept_life);
	bool proven = self->proven;
	gossip_prove(self);
	self->publish_now |= self->proven != proven;
}

uint32_t gossip_to_ask(struct gossip *self, bool suspected, uint64_t ids_out[GOSSIP_ASK_MAX])
{
	uint32_t start = self->table.count ? (uint32_t)prng_below(&self->prng, self->table.count) : 0, count = 0;

	for (uint32_t i = 0; i < self->table.count && count < GOSSIP_ASK_MAX; i++) {
		uint32_t index = (start + i) % self->table.count;

		if (self->table.peers[index].is_member && !self->table.peers[index].confirmed &&
		    (suspected || !self->table.peers[index].suspected))
			ids_out[count++] = self->table.rows[index].node_id;
	}
	return count;
}

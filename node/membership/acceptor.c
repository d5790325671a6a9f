/* SPDX-License-Identifier: Apache-2.0 */
/* DIR/register, integers in little endian:
 *
 *     offset  size  field
 *          0     8  "KVRVOTE1"
 *          8     8  epoch of the ring in force, whose register this is
 *         16     8  its hash
 *         24    16  ballot promised: counter, node id
 *         40    16  ballot accepted, zeros when none is
 *         56        the ring document accepted, nothing when none is
 *       last     8  XXH3-64 of all bytes before
 */
#include "node/membership/acceptor.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { HEAD_SIZE = 56, CHECKSUM_SIZE = 8 };

static const char magic[] = "KVRVOTE1";

/* ---- the file ----------------------------------------------------------------------------------------------- */

static uint8_t *put(uint8_t *at, uint64_t value)
{
	value = htole64(value);
	memcpy(at, &value, sizeof value);
	return at + sizeof value;
}

static uint64_t get(const uint8_t **at)
{
	uint64_t value;

	memcpy(&value, *at, sizeof value);
	*at += sizeof value;
	return le64toh(value);
}

static int store(const struct acceptor *state)
{
	size_t size = HEAD_SIZE + state->size + CHECKSUM_SIZE;
	uint8_t *bytes = malloc(size), *at = bytes;
	struct rpc_error why;
	int error;

	if (bytes == NULL)
		return -ENOMEM;
	memcpy(at, magic, strlen(magic));
	at = put(at + strlen(magic), state->parent_epoch);
	at = put(at, state->parent_hash);
	at = put(at, state->promised.counter);
	at = put(at, state->promised.node_id);
	at = put(at, state->accepted.counter);
	at = put(at, state->accepted.node_id);
	assert(at == bytes + HEAD_SIZE);
	if (state->size > 0)
		memcpy(at, state->bytes, state->size);
	put(at + state->size, XXH3_64bits(bytes, HEAD_SIZE + state->size));
	error = data_dir_register_store(state->data_dir, (struct rpc_slice){bytes, size}, &why);
	free(bytes);
	return error;
}

static int parse(struct acceptor *self, const uint8_t *bytes, size_t size)
{
	const uint8_t *at = bytes + strlen(magic), *end;

	if (size < HEAD_SIZE + CHECKSUM_SIZE || memcmp(bytes, magic, strlen(magic)) != 0)
		return -EBADMSG;
	end = bytes + size - CHECKSUM_SIZE;
	if (get(&end) != XXH3_64bits(bytes, size - CHECKSUM_SIZE))
		return -EBADMSG;
	self->parent_epoch = get(&at);
	self->parent_hash = get(&at);
	self->promised.counter = get(&at);
	self->promised.node_id = get(&at);
	self->accepted.counter = get(&at);
	self->accepted.node_id = get(&at);
	self->size = size - HEAD_SIZE - CHECKSUM_SIZE;
	if ((self->size > 0) != (self->accepted.counter > 0) || ballot_below(self->promised, self->accepted))
		return -EBADMSG;
	if (self->size == 0)
		return 0;
	self->bytes = malloc(self->size);
	if (self->bytes == NULL)
		return -ENOMEM;
	memcpy(self->bytes, at, self->size);
	return 0;
}

int acceptor_load(struct acceptor *self, struct data_dir *data_dir, struct rpc_error *error_out)
{
	uint8_t *bytes;
	size_t size;
	int status = data_dir_register_load(data_dir, &bytes, &size, error_out);

	*self = (struct acceptor){.data_dir = data_dir};
	if (status <= 0)
		return status;
	status = parse(self, bytes, size);
	free(bytes);
	if (status)
		acceptor_fini(self);
	if (status == -EBADMSG)
		snprintf(error_out->text, sizeof error_out->text,
			 "%.150s: damaged: restore it, or remove it while no change of the ring is under way",
			 data_dir_register_path(data_dir));
	return status;
}

void acceptor_fini(struct acceptor *self)
{
	free(self->bytes);
	*self = (struct acceptor){.data_dir = self->data_dir};
}

/* ---- voting ------------------------------------------------------------------------------------------------- */

static bool is_about(const struct acceptor *self, const struct ring_document *in_force)
{
	return self->parent_epoch == ring_epoch(in_force) && self->parent_hash == ring_hash(in_force);
}

uint64_t acceptor_counter(const struct acceptor *self, const struct ring_document *in_force)
{
	return is_about(self, in_force) ? self->promised.counter : 0;
}

static void refuse(struct voted_body *out, const char *text)
{
	out->outcome = VOTE_REFUSED;
	out->text = text;
}

/* What is wrong with the document, or NULL. */
static const char *check_document(const struct ring_document *in_force, struct rpc_slice bytes, struct arena *arena)
{
	const char *without_memory = "it is out of memory";
	struct ring_document *document;
	struct ring_error why;
	int error = ring_document_decode(bytes.data, bytes.size, &document, &why);

	if (!error) {
		error = ring_verify(in_force, document, &why);
		if (!error && ring_epoch(document) != ring_epoch(in_force) + 1) {
			snprintf(why.text, sizeof why.text, "epoch %" PRIu64 " does not follow %" PRIu64 ": plan again",
				 ring_epoch(document), ring_epoch(in_force));
			error = -EINVAL;
		}
		ring_document_destroy(&document);
	}
	if (!error)
		return NULL;
	const char *text = error != -ENOMEM ? rpc_arena_printf(arena, "%s", why.text) : NULL;
	return text != NULL ? text : without_memory;
}

/* V1: on disk, then in memory. Takes over next->bytes where they are new. */
static bool keep(struct acceptor *self, const struct acceptor *next)
{
	if (store(next) != 0)
		return false;
	if (self->bytes != next->bytes)
		free(self->bytes);
	*self = *next;
	return true;
}

static void promise(struct acceptor *self, const struct acceptor *current, struct ballot ballot, struct arena *arena,
		    struct voted_body *out)
{
	struct acceptor next = *current;

	next.promised = ballot;
	if (ballot_below(current->promised, ballot) && !keep(self, &next)) {
		refuse(out, "its vote cannot be written to its disk");
		return;
	}
	out->accepted = next.accepted;
	if (next.size > 0)
		out->document = (struct rpc_slice){rpc_arena_copy(arena, next.bytes, next.size), next.size};
	if (next.size > 0 && out->document.data == NULL)
		refuse(out, "it is out of memory");
	else
		out->outcome = VOTE_PROMISED;
}

static void accept_document(struct acceptor *self, const struct acceptor *current, const struct vote_body *question,
			    struct voted_body *out)
{
	struct acceptor next = *current;
	bool again = current->accepted.counter == question->ballot.counter &&
		     current->accepted.node_id == question->ballot.node_id;

	next.promised = next.accepted = question->ballot;
	next.size = question->document.size;
	next.bytes = again ? current->bytes : malloc(next.size);
	if (!again && next.bytes != NULL)
		memcpy(next.bytes, question->document.data, next.size);
	if (again || (next.bytes != NULL && keep(self, &next))) {
		out->outcome = VOTE_ACCEPTED;
		return;
	}
	free(next.bytes);
	refuse(out, "its vote cannot be written to its disk");
}

void acceptor_vote(struct acceptor *self, const struct ring_document *in_force, const struct vote_body *question,
		   struct arena *arena, struct voted_body *out)
{
	struct acceptor blank = {
		.data_dir = self->data_dir, .parent_epoch = ring_epoch(in_force), .parent_hash = ring_hash(in_force)};
	const struct acceptor *current = is_about(self, in_force) ? self : &blank;
	const char *wrong;

	*out = (struct voted_body){.epoch = ring_epoch(in_force), .promised = current->promised};
	if (question->parent_hash != ring_hash(in_force)) {
		out->outcome = VOTE_OTHER_RING;
	} else if (current == &blank && self->parent_epoch >= ring_epoch(in_force)) {
		refuse(out, "it has voted on a later ring, or on another of this epoch: if that was forced and is "
			    "gone, stop "
			    "it, remove the file 'register' from its data directory, and start it"); /* V4 */
	} else if (ballot_below(question->ballot, current->promised)) {
		out->outcome = VOTE_OUTBID; /* V2 */
	} else if (question->ballot.node_id == 0 ||
		   question->ballot.counter - current->promised.counter > BALLOT_STEP_MAX) {
		refuse(out, "the ballot is made up");
	} else if (question->document.size == 0) {
		promise(self, current, question->ballot, arena, out);
	} else if ((wrong = check_document(in_force, question->document, arena)) != NULL) {
		refuse(out, wrong); /* V3 */
	} else {
		accept_document(self, current, question, out);
	}
}

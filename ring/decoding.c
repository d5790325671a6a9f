/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a ring document from bytes that may be anything; the format stands in encoding.h. */
#include "ring/encoding.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

/* The first complaint sticks; after it every read gives 0, so that callers check once per part. */
struct reader {
	const uint8_t *bytes;
	size_t size; /* without the checksum */
	size_t offset;
	size_t field; /* where the field read last began: what complaints point at */
	bool failed;
	struct ring_error *error;
};

static void complain(struct reader *reader, const char *what)
{
	if (reader->failed)
		return;
	reader->failed = true;
	ring_error_set(reader->error, "ring document, byte %zu: %s", reader->field, what);
}

#define COMPLAIN(reader, ...)                                                                                          \
	do {                                                                                                           \
		char what_[160];                                                                                       \
		snprintf(what_, sizeof(what_), __VA_ARGS__);                                                           \
		complain(reader, what_);                                                                               \
	} while (0)

static const uint8_t *take(struct reader *reader, size_t size)
{
	const uint8_t *at = reader->bytes + reader->offset;

	if (reader->failed)
		return NULL;
	reader->field = reader->offset;
	if (size > reader->size - reader->offset) {
		COMPLAIN(reader, "cut short: %zu more bytes expected, %zu there", size, reader->size - reader->offset);
		return NULL;
	}
	reader->offset += size;
	return at;
}

static uint8_t get_u8(struct reader *reader)
{
	const uint8_t *at = take(reader, 1);

	return at != NULL ? *at : 0;
}

static uint16_t get_u16(struct reader *reader)
{
	const uint8_t *at = take(reader, 2);
	uint16_t value = 0;

	if (at != NULL)
		memcpy(&value, at, sizeof value);
	return le16toh(value);
}

static uint32_t get_u32(struct reader *reader)
{
	const uint8_t *at = take(reader, 4);
	uint32_t value = 0;

	if (at != NULL)
		memcpy(&value, at, sizeof value);
	return le32toh(value);
}

static uint64_t get_u64(struct reader *reader)
{
	const uint8_t *at = take(reader, 8);
	uint64_t value = 0;

	if (at != NULL)
		memcpy(&value, at, sizeof value);
	return le64toh(value);
}

static uint32_t get_u8_between(struct reader *reader, const char *what, uint32_t least, uint32_t most)
{
	uint32_t value = get_u8(reader);

	if (!reader->failed && (value < least || value > most))
		COMPLAIN(reader, "%s is %u, not %u to %u", what, value, least, most);
	return value;
}

static void get_string(struct reader *reader, const char *what, bool (*is_valid)(const char *, size_t), char *out)
{
	size_t start = reader->offset;
	size_t size = get_u8(reader);
	const char *text = (const char *)take(reader, size);

	if (text == NULL)
		return;
	reader->field = start;
	if (!is_valid(text, size)) {
		COMPLAIN(reader, "%s of %zu bytes is empty, too long or has a character it must not have", what, size);
		return;
	}
	memcpy(out, text, size);
	out[size] = 0;
}

static bool rack_is_valid(const char *text, size_t size)
{
	return size == 0 || name_is_valid(text, size);
}

struct counts {
	uint32_t partitions, datacenters, members, ancestors;
};

/* Bytes 40 to 47. */
static struct counts get_counts(struct reader *reader, enum ring_transition *transition_out)
{
	struct counts counts = {.ancestors = 0};

	counts.partitions = get_u32(reader);
	if (!reader->failed && (counts.partitions < RING_PARTITIONS_MIN || counts.partitions > RING_PARTITIONS_MAX ||
				(counts.partitions & (counts.partitions - 1))))
		COMPLAIN(reader, "%" PRIu32 " partitions: not a power of two from %d to %d", counts.partitions,
			 RING_PARTITIONS_MIN, RING_PARTITIONS_MAX);
	*transition_out = get_u8_between(reader, "transition", RING_STABLE, RING_WRITE_BOTH_READ_NEW);
	counts.datacenters = get_u8_between(reader, "datacenter count", 1, RING_DATACENTERS_MAX);
	counts.members = get_u16(reader);
	if (!reader->failed && (counts.members == 0 || counts.members > RING_MEMBERS_MAX))
		COMPLAIN(reader, "%" PRIu32 " members, not 1 to %d", counts.members, RING_MEMBERS_MAX);
	return counts;
}

/* What comes before cluster id: is this a document, of a version we know, unharmed? */
static int check_frame(struct reader *reader, uint32_t *version_out)
{
	size_t checked = reader->size;
	uint64_t checksum;
	const uint8_t *magic = take(reader, ENCODING_MAGIC_SIZE);
	uint32_t version;

	if (magic != NULL && memcmp(magic, ENCODING_MAGIC, ENCODING_MAGIC_SIZE))
		COMPLAIN(reader, "no ring document: it begins with %02x %02x %02x %02x, not \"KVRD\"", magic[0],
			 magic[1], magic[2], magic[3]);
	version = get_u32(reader);
	if (!reader->failed && version != ENCODING_VERSION_FIRST && version != ENCODING_VERSION)
		COMPLAIN(reader, "format version %" PRIu32 "; this program knows versions %d and %d: upgrade it",
			 version, ENCODING_VERSION_FIRST, ENCODING_VERSION);
	*version_out = version;
	if (reader->failed)
		return -EBADMSG;

	memcpy(&checksum, reader->bytes + checked, sizeof checksum);
	if (le64toh(checksum) != XXH3_64bits(reader->bytes, checked)) {
		reader->field = checked;
		COMPLAIN(reader, "the checksum does not match: the bytes were damaged or cut short");
		return -EBADMSG;
	}
	return 0;
}

static void get_datacenters(struct reader *reader, struct ring_document *document, uint32_t *widths,
			    uint32_t *old_widths)
{
	for (uint32_t i = 0; i < document->datacenter_count && !reader->failed; i++) {
		struct ring_datacenter *datacenter = &document->datacenters[i];
		size_t start = reader->offset;

		get_string(reader, "datacenter name", name_is_valid, datacenter->name);
		reader->field = start;
		if (!reader->failed && i > 0 && strcmp(document->datacenters[i - 1].name, datacenter->name) >= 0)
			COMPLAIN(reader, "datacenter '%s' stands twice or out of order", datacenter->name);
		datacenter->replica_count = get_u8_between(reader, "replica count", 1, RING_REPLICAS_MAX);
		widths[i] = get_u8_between(reader, "owners per partition", 0, datacenter->replica_count);
		old_widths[i] = get_u8_between(reader, "old owners per partition", 0,
					       document->transition == RING_STABLE ? 0 : RING_REPLICAS_MAX);
	}
}

static void get_members(struct reader *reader, struct ring_document *document)
{
	for (uint32_t i = 0; i < document->member_count && !reader->failed; i++) {
		struct ring_member *member = &document->members[i];
		uint32_t datacenter_index;

		member->id = get_u64(reader);
		if (!reader->failed && (member->id == 0 || (i > 0 && document->members[i - 1].id >= member->id)))
			COMPLAIN(reader, "member id %016" PRIx64 " is 0, stands twice or out of order", member->id);
		member->state = get_u8_between(reader, "member state", RING_MEMBER_ACTIVE, RING_MEMBER_LEAVING);
		datacenter_index = get_u8_between(reader, "datacenter index", 0, document->datacenter_count - 1);
		member->weight = get_u32(reader);
		if (!reader->failed && (member->weight == 0 || member->weight > RING_WEIGHT_MAX))
			COMPLAIN(reader, "weight %" PRIu32 ", not 1 to %d", member->weight, RING_WEIGHT_MAX);
		get_string(reader, "member name", name_is_valid, member->name);
		get_string(reader, "rack", rack_is_valid, member->rack);
		get_string(reader, "client address", address_is_valid, member->client_address);
		get_string(reader, "peer address", address_is_valid, member->peer_address);
		get_string(reader, "bus address", address_is_valid, member->bus_address);
		if (reader->failed)
			return;
		document->member_datacenter[i] = (uint8_t)datacenter_index;
		strcpy(member->datacenter, document->datacenters[datacenter_index].name);
	}
}

/* One owner; old: of the time before the transition. */
static void check_owner(struct reader *reader, const struct ring_document *document, uint32_t datacenter_index,
			const uint16_t *row, uint32_t position, bool old)
{
	uint16_t owner = row[position];

	if (owner == RING_NOBODY && old)
		return;
	if (owner >= document->member_count)
		COMPLAIN(reader, "owner %u, but there are %" PRIu32 " members", owner, document->member_count);
	else if (document->member_datacenter[owner] != datacenter_index)
		COMPLAIN(reader, "owner %s is not in datacenter %s", document->members[owner].name,
			 document->datacenters[datacenter_index].name);
	else if (!old && document->members[owner].state != RING_MEMBER_ACTIVE)
		COMPLAIN(reader, "owner %s is not an active member", document->members[owner].name);
	for (uint32_t i = 0; i < position; i++) {
		if (row[i] == RING_NOBODY)
			COMPLAIN(reader, "an owner after an empty place");
		else if (row[i] == owner)
			COMPLAIN(reader, "member %u owns the same partition twice", owner);
	}
}

static int get_table(struct reader *reader, const struct ring_document *document, uint32_t datacenter_index,
		     uint32_t width, bool old, struct owner_table *table)
{
	size_t need = (size_t)document->partition_count * width * sizeof(uint16_t);

	if (reader->failed)
		return -EBADMSG;
	reader->field = reader->offset;
	if (need > reader->size - reader->offset) { /* before anything of that size is allocated */
		COMPLAIN(reader, "cut short: %zu more bytes of owners expected, %zu there", need,
			 reader->size - reader->offset);
		return -EBADMSG;
	}
	if (owner_table_create(table, document->partition_count, width))
		return -ENOMEM;
	if (width == 0)
		return 0;
	for (uint32_t partition = 0; partition < document->partition_count; partition++) {
		uint16_t *row = table->rows + (size_t)partition * width;

		for (uint32_t i = 0; i < width && !reader->failed; i++) {
			row[i] = get_u16(reader);
			check_owner(reader, document, datacenter_index, row, i, old);
		}
	}
	return reader->failed ? -EBADMSG : 0;
}

static void check_names(struct reader *reader, const struct ring_document *document)
{
	for (uint32_t i = 1; i < document->member_count; i++) {
		const char *before = document->members[document->by_name[i - 1]].name;

		reader->field = ENCODING_HEADER_SIZE;
		if (!strcmp(before, document->members[document->by_name[i]].name)) {
			COMPLAIN(reader, "two members are named '%s'", before);
			return;
		}
	}
}

/* Before anything of that size is allocated: are there bytes enough for so many? */
static void check_room(struct reader *reader, const struct counts *counts)
{
	size_t hashes = counts->ancestors > 0 ? counts->ancestors - 1 : 0; /* the parent's stands in the header */
	size_t need = hashes * ENCODING_HASH_SIZE + (size_t)counts->datacenters * ENCODING_DATACENTER_SIZE_MIN +
		      (size_t)counts->members * ENCODING_MEMBER_SIZE_MIN;

	if (reader->failed || need <= reader->size - reader->offset)
		return;
	reader->field = reader->offset;
	COMPLAIN(reader,
		 "cut short: %zu ancestors, %" PRIu32 " datacenters and %" PRIu32
		 " members take %zu bytes at least, %zu there",
		 hashes, counts->datacenters, counts->members, need, reader->size - reader->offset);
}

static void get_ancestors(struct reader *reader, uint64_t parent_hash, struct ring_document *document)
{
	if (document->ancestor_count > 0)
		document->ancestors[0] = parent_hash;
	for (uint32_t i = 1; i < document->ancestor_count; i++)
		document->ancestors[i] = get_u64(reader);
}

static int get_body(struct reader *reader, struct ring_document *document)
{
	uint32_t widths[RING_DATACENTERS_MAX], old_widths[RING_DATACENTERS_MAX];
	int error = 0;

	get_datacenters(reader, document, widths, old_widths);
	get_members(reader, document);
	for (uint32_t i = 0; i < document->datacenter_count && !error; i++)
		error = get_table(reader, document, i, reader->failed ? 0 : widths[i], false, &document->owners[i]);
	for (uint32_t i = 0; i < document->datacenter_count && !error; i++)
		error = get_table(reader, document, i, reader->failed ? 0 : old_widths[i], true,
				  &document->old_owners[i]);
	if (error)
		return error;
	reader->field = reader->offset;
	if (reader->offset != reader->size)
		COMPLAIN(reader, "%zu bytes too many before the checksum", reader->size - reader->offset);
	return reader->failed ? -EBADMSG : 0;
}

/* Bytes 8 to 47. */
struct head {
	uint64_t cluster_id, epoch, parent_hash, hash_seed;
	enum ring_transition transition;
	struct counts counts;
};

static struct head get_head(struct reader *reader, uint32_t version)
{
	struct head head = {.cluster_id = get_u64(reader)};

	if (!head.cluster_id)
		COMPLAIN(reader, "cluster id 0");
	head.epoch = get_u64(reader);
	if (!head.epoch || head.epoch > RING_EPOCH_MAX)
		COMPLAIN(reader, "epoch %" PRIu64 ", not 1 to %" PRIu64, head.epoch, RING_EPOCH_MAX);
	else if (version != (head.epoch == 1 ? ENCODING_VERSION_FIRST : ENCODING_VERSION))
		COMPLAIN(reader,
			 "epoch %" PRIu64 " in format version %" PRIu32 ", but version %d is that of epoch 1 alone",
			 head.epoch, version, ENCODING_VERSION_FIRST);
	head.parent_hash = get_u64(reader);
	if (head.epoch == 1 && head.parent_hash)
		COMPLAIN(reader, "a parent in epoch 1, which is the first");
	head.hash_seed = get_u64(reader);
	head.counts = get_counts(reader, &head.transition);
	if (!reader->failed)
		head.counts.ancestors = document_ancestor_count(head.epoch);
	return head;
}

static int create_from_head(const struct head *head, struct ring_document **out)
{
	struct ring_document *document;
	int error = document_create(head->counts.partitions, head->counts.datacenters, head->counts.members, &document);

	if (error)
		return error;
	document->cluster_id = head->cluster_id;
	document->hash_seed = head->hash_seed;
	document->transition = head->transition;
	error = document_set_epoch(document, head->epoch);
	if (error)
		ring_document_destroy(&document);
	else
		*out = document;
	return error;
}

int ring_document_decode(const uint8_t *bytes, size_t size, struct ring_document **out, struct ring_error *error_out)
{
	struct reader reader = {.bytes = bytes, .error = error_out};
	struct ring_document *document;
	struct head head;
	uint32_t version;
	int error;

	if (size < ENCODING_HEADER_SIZE + ENCODING_CHECKSUM_SIZE) {
		ring_error_set(error_out, "ring document: %zu bytes are too few, the smallest has more than %d", size,
			       ENCODING_HEADER_SIZE + ENCODING_CHECKSUM_SIZE);
		return -EBADMSG;
	}
	if (size > RING_DOCUMENT_SIZE_MAX) {
		ring_error_set(error_out, "ring document: %zu bytes are too many, the largest has %d", size,
			       RING_DOCUMENT_SIZE_MAX);
		return -EBADMSG;
	}
	reader.size = size - ENCODING_CHECKSUM_SIZE;
	error = check_frame(&reader, &version);
	if (error)
		return error;
	head = get_head(&reader, version);
	check_room(&reader, &head.counts);
	if (reader.failed)
		return -EBADMSG;

	error = create_from_head(&head, &document);
	if (error)
		return error;
	get_ancestors(&reader, head.parent_hash, document);
	error = get_body(&reader, document);
	if (!error)
		error = document_seal(document);
	if (!error) {
		check_names(&reader, document);
		error = reader.failed ? -EBADMSG : 0;
	}
	if (error)
		ring_document_destroy(&document);
	else
		*out = document;
	return error;
}

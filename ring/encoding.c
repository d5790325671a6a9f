/* SPDX-License-Identifier: Apache-2.0 */
/* Writes a ring document as bytes; the format stands in encoding.h. */
#include "ring/encoding.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

static uint8_t *put_bytes(uint8_t *at, const void *bytes, size_t size)
{
	memcpy(at, bytes, size);
	return at + size;
}

static uint8_t *put_u8(uint8_t *at, uint8_t value)
{
	return put_bytes(at, &value, 1);
}

static uint8_t *put_u16(uint8_t *at, uint16_t value)
{
	value = htole16(value);
	return put_bytes(at, &value, sizeof value);
}

static uint8_t *put_u32(uint8_t *at, uint32_t value)
{
	value = htole32(value);
	return put_bytes(at, &value, sizeof value);
}

static uint8_t *put_u64(uint8_t *at, uint64_t value)
{
	value = htole64(value);
	return put_bytes(at, &value, sizeof value);
}

static uint8_t *put_string(uint8_t *at, const char *text)
{
	size_t size = strlen(text);

	assert(size <= UINT8_MAX);
	return put_bytes(put_u8(at, (uint8_t)size), text, size);
}

static uint8_t *put_header(uint8_t *at, const struct ring_document *document)
{
	at = put_bytes(at, ENCODING_MAGIC, ENCODING_MAGIC_SIZE);
	at = put_u32(at, document->epoch == 1 ? ENCODING_VERSION_FIRST : ENCODING_VERSION);
	at = put_u64(at, document->cluster_id);
	at = put_u64(at, document->epoch);
	at = put_u64(at, ring_parent_hash(document));
	at = put_u64(at, document->hash_seed);
	at = put_u32(at, document->partition_count);
	at = put_u8(at, (uint8_t)document->transition);
	at = put_u8(at, (uint8_t)document->datacenter_count);
	return put_u16(at, (uint16_t)document->member_count);
}

static uint8_t *put_ancestors(uint8_t *at, const struct ring_document *document)
{
	assert(document->ancestor_count == document_ancestor_count(document->epoch));
	for (uint32_t i = 1; i < document->ancestor_count; i++)
		at = put_u64(at, document->ancestors[i]);
	return at;
}

static uint8_t *put_member(uint8_t *at, const struct ring_member *member, uint8_t datacenter_index)
{
	at = put_u64(at, member->id);
	at = put_u8(at, (uint8_t)member->state);
	at = put_u8(at, datacenter_index);
	at = put_u32(at, member->weight);
	at = put_string(at, member->name);
	at = put_string(at, member->rack);
	at = put_string(at, member->client_address);
	at = put_string(at, member->peer_address);
	return put_string(at, member->bus_address);
}

static uint8_t *put_table(uint8_t *at, const struct owner_table *table, uint32_t partition_count)
{
	for (size_t i = 0; i < (size_t)partition_count * table->width; i++)
		at = put_u16(at, table->rows[i]);
	return at;
}

static size_t size_limit(const struct ring_document *document)
{
	size_t owners = 0;

	for (uint32_t i = 0; i < document->datacenter_count; i++)
		owners += document->owners[i].width + document->old_owners[i].width;
	return ENCODING_HEADER_SIZE + document->ancestor_count * (size_t)ENCODING_HASH_SIZE +
	       document->datacenter_count * (size_t)ENCODING_DATACENTER_SIZE_MAX +
	       document->member_count * (size_t)ENCODING_MEMBER_SIZE_MAX +
	       owners * document->partition_count * sizeof(uint16_t) + ENCODING_CHECKSUM_SIZE;
}

int ring_document_encode(const struct ring_document *document, uint8_t **bytes_out, size_t *size_out)
{
	size_t limit = size_limit(document);
	uint8_t *bytes = malloc(limit), *at = bytes;

	if (bytes == NULL)
		return -ENOMEM;
	at = put_header(at, document);
	assert(at == bytes + ENCODING_HEADER_SIZE);
	at = put_ancestors(at, document);
	for (uint32_t i = 0; i < document->datacenter_count; i++) {
		at = put_string(at, document->datacenters[i].name);
		at = put_u8(at, (uint8_t)document->datacenters[i].replica_count);
		at = put_u8(at, (uint8_t)document->owners[i].width);
		at = put_u8(at, (uint8_t)document->old_owners[i].width);
	}
	for (uint32_t i = 0; i < document->member_count; i++)
		at = put_member(at, &document->members[i], document->member_datacenter[i]);
	for (uint32_t i = 0; i < document->datacenter_count; i++)
		at = put_table(at, &document->owners[i], document->partition_count);
	for (uint32_t i = 0; i < document->datacenter_count; i++)
		at = put_table(at, &document->old_owners[i], document->partition_count);
	at = put_u64(at, XXH3_64bits(bytes, (size_t)(at - bytes)));

	*size_out = (size_t)(at - bytes);
	assert(*size_out <= limit);
	*bytes_out = bytes;
	return 0;
}

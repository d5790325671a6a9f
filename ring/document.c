/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/document.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

void ring_error_set(struct ring_error *error, const char *format, ...)
{
	va_list arguments;

	if (error == NULL)
		return;
	va_start(arguments, format);
	vsnprintf(error->text, sizeof(error->text), format, arguments);
	va_end(arguments);
}

bool name_is_valid(const char *text, size_t size)
{
	if (size == 0 || size >= RING_NAME_MAX)
		return false;
	for (size_t i = 0; i < size; i++) {
		char c = text[i];
		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
		      c == '_' || c == '-'))
			return false;
	}
	return true;
}

bool address_is_valid(const char *text, size_t size)
{
	if (size == 0 || size >= RING_ADDRESS_MAX)
		return false;
	for (size_t i = 0; i < size; i++)
		if (text[i] <= ' ' || text[i] > '~')
			return false;
	return true;
}

/* ---- life ------------------------------------------------------------------------------------------------------ */

static void free_tables(struct owner_table *tables, uint32_t count)
{
	if (tables == NULL)
		return;
	for (uint32_t i = 0; i < count; i++)
		free(tables[i].rows);
	free(tables);
}

static void document_free(struct ring_document *document)
{
	free_tables(document->owners, document->datacenter_count);
	free_tables(document->old_owners, document->datacenter_count);
	free(document->ancestors);
	free(document->datacenters);
	free(document->members);
	free(document->member_datacenter);
	free(document->member_rack);
	free(document->rack_count);
	free(document->by_name);
	free(document->replicas);
	free(document->primaries);
	free(document->holder_count);
	free(document);
}

int document_create(uint32_t partition_count, uint32_t datacenter_count, uint32_t member_count,
		    struct ring_document **out)
{
	struct ring_document *document = calloc(1, sizeof *document);

	if (document == NULL)
		return -ENOMEM;
	atomic_init(&document->reference_count, 1);
	document->partition_count = partition_count;
	document->datacenter_count = datacenter_count;
	document->member_count = member_count;
	document->datacenters = calloc(datacenter_count, sizeof *document->datacenters);
	document->members = calloc(member_count, sizeof *document->members);
	document->member_datacenter = calloc(member_count, sizeof *document->member_datacenter);
	document->member_rack = calloc(member_count, sizeof *document->member_rack);
	document->rack_count = calloc(datacenter_count, sizeof *document->rack_count);
	document->owners = calloc(datacenter_count, sizeof *document->owners);
	document->old_owners = calloc(datacenter_count, sizeof *document->old_owners);
	document->by_name = calloc(member_count, sizeof *document->by_name);
	document->replicas = calloc(member_count, sizeof *document->replicas);
	document->primaries = calloc(member_count, sizeof *document->primaries);
	document->holder_count = calloc(datacenter_count, sizeof *document->holder_count);
	if (document->datacenters == NULL || document->members == NULL || document->member_datacenter == NULL ||
	    document->member_rack == NULL || document->rack_count == NULL || document->owners == NULL ||
	    document->old_owners == NULL || document->by_name == NULL || document->replicas == NULL ||
	    document->primaries == NULL || document->holder_count == NULL) {
		document_free(document);
		return -ENOMEM;
	}
	*out = document;
	return 0;
}

int document_copy(const struct ring_document *from, struct ring_document **out)
{
	int error = document_create(from->partition_count, from->datacenter_count, from->member_count, out);

	if (error)
		return error;
	(*out)->cluster_id = from->cluster_id;
	(*out)->hash_seed = from->hash_seed;
	(*out)->transition = from->transition;
	memcpy((*out)->datacenters, from->datacenters, from->datacenter_count * sizeof *from->datacenters);
	memcpy((*out)->members, from->members, from->member_count * sizeof *from->members);
	memcpy((*out)->member_datacenter, from->member_datacenter,
	       from->member_count * sizeof *from->member_datacenter);
	return 0;
}

uint32_t document_ancestor_count(uint64_t epoch)
{
	assert(epoch > 0);
	return epoch - 1 < RING_ANCESTORS_MAX ? (uint32_t)(epoch - 1) : RING_ANCESTORS_MAX;
}

int document_set_epoch(struct ring_document *document, uint64_t epoch)
{
	uint32_t count = document_ancestor_count(epoch);

	assert(document->epoch == 0);
	assert(epoch <= RING_EPOCH_MAX);
	document->ancestors = calloc(count + 1, sizeof *document->ancestors);
	if (document->ancestors == NULL)
		return -ENOMEM;
	document->epoch = epoch;
	document->ancestor_count = count;
	return 0;
}

int document_follow(struct ring_document *document, const struct ring_document *parent)
{
	int error = document_set_epoch(document, parent != NULL ? parent->epoch + 1 : 1);

	if (error || parent == NULL)
		return error;
	assert(document->ancestor_count <= parent->ancestor_count + 1);
	document->ancestors[0] = parent->hash;
	memcpy(document->ancestors + 1, parent->ancestors,
	       (document->ancestor_count - 1) * sizeof *document->ancestors);
	return 0;
}

int owner_table_create(struct owner_table *table, uint32_t partition_count, uint32_t width)
{
	assert(!table->rows);
	table->width = width;
	if (width == 0)
		return 0;
	table->rows = malloc((size_t)partition_count * width * sizeof *table->rows);
	if (table->rows == NULL) {
		table->width = 0;
		return -ENOMEM;
	}
	memset(table->rows, 0xff, (size_t)partition_count * width * sizeof *table->rows); /* RING_NOBODY */
	return 0;
}

int owner_table_copy(struct owner_table *table, uint32_t partition_count, const struct owner_table *from)
{
	int error = owner_table_create(table, partition_count, from->width);

	if (!error && from->width)
		memcpy(table->rows, from->rows, (size_t)partition_count * from->width * sizeof *table->rows);
	return error;
}

void ring_document_destroy(struct ring_document **document)
{
	if (*document == NULL)
		return;
	assert(atomic_load_explicit(&(*document)->reference_count, memory_order_relaxed) > 0);
	if (atomic_fetch_sub_explicit(&(*document)->reference_count, 1, memory_order_acq_rel) == 1)
		document_free(*document);
	*document = NULL;
}

struct ring_document *ring_document_ref(const struct ring_document *document)
{
	struct ring_document *shared = (struct ring_document *)document; /* the count is not part of the document */
	unsigned before = atomic_fetch_add_explicit(&shared->reference_count, 1, memory_order_relaxed);

	assert(before > 0);
	return shared;
}

int document_check_epoch(const struct ring_document *document, struct ring_error *error_out)
{
	if (document->epoch < RING_EPOCH_MAX)
		return 0;
	ring_error_set(error_out,
		       "the ring's epoch %" PRIu64
		       " is the last there can be, and none may follow: take the ring from a backup of before",
		       document->epoch);
	return -EINVAL;
}

/* ---- fields ---------------------------------------------------------------------------------------------------- */

uint64_t ring_cluster_id(const struct ring_document *document)
{
	return document->cluster_id;
}

uint64_t ring_epoch(const struct ring_document *document)
{
	return document->epoch;
}

uint64_t ring_hash(const struct ring_document *document)
{
	return document->hash;
}

uint64_t ring_hash_seed(const struct ring_document *document)
{
	return document->hash_seed;
}

uint64_t ring_parent_hash(const struct ring_document *document)
{
	return document->ancestor_count > 0 ? document->ancestors[0] : 0;
}

uint64_t ring_ancestor_hash(const struct ring_document *document, uint64_t epoch)
{
	if (epoch == 0 || epoch >= document->epoch || document->epoch - epoch > document->ancestor_count)
		return 0;
	return document->ancestors[document->epoch - epoch - 1];
}

bool ring_document_same_cluster(const struct ring_document *a, const struct ring_document *b)
{
	return a->cluster_id == b->cluster_id && a->hash_seed == b->hash_seed &&
	       a->partition_count == b->partition_count;
}

enum ring_transition ring_transition(const struct ring_document *document)
{
	return document->transition;
}

uint32_t ring_partition_count(const struct ring_document *document)
{
	return document->partition_count;
}

uint32_t ring_datacenter_count(const struct ring_document *document)
{
	return document->datacenter_count;
}

const struct ring_datacenter *ring_datacenter(const struct ring_document *document, uint32_t datacenter_index)
{
	assert(datacenter_index < document->datacenter_count);
	return &document->datacenters[datacenter_index];
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A ring document from disk or from a peer. What is accepted must be canonical, and every lookup on it must hold.
 *
 * The checksum is put right first: otherwise nothing but the checksum would be tested.
 */
#include "ring/ring.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look_up_everything(const struct ring_document *document)
{
	uint16_t fallbacks[8];
	const uint16_t *row;
	char text[200];

	for (uint32_t line = 0; ring_violation(document, line, text, sizeof text); line++)
		assert(memchr(text, 0, sizeof text) != NULL);
	for (uint32_t datacenter = 0; datacenter < ring_datacenter_count(document); datacenter++) {
		for (uint32_t i = 0; i < 16; i++) {
			uint32_t partition = i * (ring_partition_count(document) - 1) / 15;
			uint32_t count = ring_owners(document, partition, datacenter, &row);

			for (uint32_t j = 0; j < count; j++)
				assert(ring_owns(document, partition, row[j]));
			count = ring_old_owners(document, partition, datacenter, &row);
			for (uint32_t j = 0; j < count; j++)
				assert(ring_owns(document, partition, row[j]));
			count = ring_fallbacks(document, partition, datacenter, fallbacks, 8);
			for (uint32_t j = 0; j < count; j++)
				assert(ring_member_datacenter(document, fallbacks[j]) == datacenter);
		}
	}
	for (uint32_t i = 0; i < ring_member_count(document); i++) {
		assert(ring_member_find(document, ring_member(document, i)->id) == (int)i);
		assert(ring_member_find_name(document, ring_member(document, i)->name) == (int)i);
	}
	assert(ring_partition_of(document, "b", 1, "k", 1) < ring_partition_count(document));
}

enum { CLAIM_MEMBERS_MAX = 24, CLAIM_PARTITIONS_MAX = 64 };

/* What was accepted can be followed: its members but the first make a next ring, whatever rows it had. */
static void claim_next(const struct ring_document *document)
{
	struct ring_member members[CLAIM_MEMBERS_MAX];
	struct ring_datacenter datacenters[RING_DATACENTERS_MAX];
	uint32_t count = ring_member_count(document), gone = count > 1;
	struct ring_plan plan = {ring_cluster_id(document),
				 0,
				 ring_partition_count(document),
				 datacenters,
				 ring_datacenter_count(document),
				 members,
				 count - gone};
	struct ring_document *next = NULL;
	struct ring_error error;
	int rc;

	if (ring_transition(document) != RING_STABLE || count > CLAIM_MEMBERS_MAX ||
	    ring_partition_count(document) > CLAIM_PARTITIONS_MAX || ring_epoch(document) == RING_EPOCH_MAX)
		return;
	plan.hash_seed = ring_hash_seed(document);
	for (uint32_t i = gone; i < count; i++)
		members[i - gone] = *ring_member(document, i);
	for (uint32_t i = 0; i < plan.datacenter_count; i++)
		datacenters[i] = *ring_datacenter(document, i);
	rc = ring_claim(document, &plan, &next, &error);
	assert(rc == 0 || rc == -ENOMEM);
	if (rc == 0) {
		look_up_everything(next);
		rc = ring_verify(document, next, &error);
		assert(rc == 0 || rc == -EINVAL || rc == -ENOMEM);
	}
	ring_document_destroy(&next);
}

static void check_accepted(const struct ring_document *document, const uint8_t *bytes, size_t size)
{
	uint8_t *again;
	size_t again_size;

	look_up_everything(document);
	claim_next(document);
	if (ring_document_encode(document, &again, &again_size))
		return;
	assert(again_size == size);
	assert(!memcmp(again, bytes, size));
	free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ring_document *document;
	struct ring_error error;
	uint8_t *bytes = malloc(size + !size);

	if (bytes == NULL)
		return 0;
	memcpy(bytes, data, size);
	if (size >= 8) {
		uint64_t checksum = XXH3_64bits(bytes, size - 8);
		memcpy(bytes + size - 8, &checksum, 8);
	}
	if (ring_document_decode(bytes, size, &document, &error) == 0) {
		check_accepted(document, bytes, size);
		ring_document_destroy(&document);
	}
	free(bytes);
	return 0;
}

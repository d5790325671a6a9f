/* SPDX-License-Identifier: Apache-2.0 */
/* Ring document in memory; private to ring/.
 *
 * Built in one thread by document_create(), filled with owners, then sealed: sealing computes everything that lookups
 * need.
 *
 * Threading   mutable until document_seal(), immutable after it. The reference count is atomic.
 * Ownership   one allocation per array, all freed with the last reference.
 * Errors      -ENOMEM.
 * Invariants  members ascend by id, datacenters by name (D1: one document, one encoding).
 */
#ifndef KVRING_RING_DOCUMENT_H
#define KVRING_RING_DOCUMENT_H

#include "ring/ring.h"

#include <stdatomic.h>

enum { RING_NOBODY = 0xffff }; /* in a row of old owners: that owner is no member any more */

/* One datacenter: partition_count rows of width member indexes, in order of preference. */
struct owner_table {
	uint32_t width;
	uint16_t *rows;
};

struct ring_document {
	atomic_uint reference_count;

	uint64_t cluster_id;
	uint64_t epoch;
	uint64_t hash_seed;
	uint32_t partition_count;
	enum ring_transition transition;
	uint32_t datacenter_count;
	uint32_t member_count;
	uint32_t ancestor_count; /* document_ancestor_count of the epoch */
	uint64_t *ancestors;     /* hashes of the documents before this one, its parent's first */
	struct ring_datacenter *datacenters;
	struct ring_member *members;
	uint8_t *member_datacenter;
	uint16_t *member_rack;          /* document_number_racks; RING_NOBODY for who is not ACTIVE */
	uint32_t *rack_count;           /* by datacenter: racks with ACTIVE members */
	struct owner_table *owners;     /* by datacenter */
	struct owner_table *old_owners; /* by datacenter; all of width 0 when STABLE */

	/* computed by document_seal */
	uint64_t hash;
	uint32_t partition_shift; /* partition = hash >> shift */
	uint16_t *by_name;        /* member indexes in order of name */
	uint32_t *replicas;       /* by member */
	uint32_t *primaries;      /* by member */
	uint32_t *holder_count;   /* by datacenter: members with at least one replica */
};

/* An unsealed document with zeroed members and datacenters and no owners. */
RING_OK int document_create(uint32_t partition_count, uint32_t datacenter_count, uint32_t member_count,
			    struct ring_document **out);
/* Everything but epoch, ancestors, owners, hash and reference count. */
RING_OK int document_copy(const struct ring_document *, struct ring_document **out);
/* How many ancestors a document of that epoch names. */
uint32_t document_ancestor_count(uint64_t epoch);
/* Sets the epoch of a document that has none, with room for its ancestors. */
RING_OK int document_set_epoch(struct ring_document *, uint64_t epoch);
/* Sets the epoch and the ancestors of a document that follows parent. parent NULL: it is the first. */
RING_OK int document_follow(struct ring_document *, const struct ring_document *parent);
RING_OK int owner_table_create(struct owner_table *, uint32_t partition_count, uint32_t width);
RING_OK int owner_table_copy(struct owner_table *, uint32_t partition_count, const struct owner_table *from);
/* Fills by_name. Of two members with one name the lower id is first. */
void document_sort_names(struct ring_document *);
/* Numbers the racks with ACTIVE members, from 0 in each datacenter. Uses by_name. */
void document_number_racks(struct ring_document *);
/* -EINVAL when nothing may follow this document. */
RING_OK int document_check_epoch(const struct ring_document *, struct ring_error *error_out);
RING_OK int document_seal(struct ring_document *);
/* Seals a document that was built without an error and hands it out; destroys it when there is one. Returns the error. */
RING_OK int document_finish(struct ring_document *, int error, struct ring_document **out);

/* A name is 1 to 63 letters, digits, '.', '_' or '-'; a rack may also be empty; an address is printable without blanks.
 */
bool name_is_valid(const char *text, size_t size);
bool address_is_valid(const char *text, size_t size);

__attribute__((format(printf, 2, 3))) void ring_error_set(struct ring_error *, const char *format, ...);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of a ring document, on disk and on the wire.
 *
 * Integers are little endian. A string is one byte of length and that many bytes, without a final 0. One document has
 * exactly one encoding: members ascend by id, datacenters by name, nothing is optional, nothing follows the checksum.
 * So equal bytes are equal documents, and the hash of the bytes is the identity of the document.
 *
 *     offset  size  field
 *          0     4  magic "KVRD"
 *          4     4  format version: 1 in epoch 1, 2 in later ones
 *          8     8  cluster id, not 0
 *         16     8  epoch, 1 to RING_EPOCH_MAX
 *         24     8  hash of the parent document, 0 in epoch 1
 *         32     8  hash seed
 *         40     4  partition count Q, a power of two, RING_PARTITIONS_MIN to RING_PARTITIONS_MAX
 *         44     1  transition (enum ring_transition)
 *         45     1  datacenter count D, 1 to RING_DATACENTERS_MAX
 *         46     2  member count M, 1 to RING_MEMBERS_MAX
 *         48        A - 1 hashes of the documents before the parent, the newest first. A = the smaller of epoch - 1 and
 *                   RING_ANCESTORS_MAX; none in epochs 1 and 2
 *                   D datacenters: string name
 *                                  u8 replica count N, 1 to RING_REPLICAS_MAX
 *                                  u8 owners per partition, 0 to N
 *                                  u8 old owners per partition, 0 to RING_REPLICAS_MAX; 0 when STABLE
 *                   M members: u64 id, not 0
 *                              u8 state
 *                              u8 datacenter index
 *                              u32 weight, 1 to RING_WEIGHT_MAX
 *                              strings name, rack, client address, peer address, bus address
 *                   D owner tables: Q rows of u16 member indexes in order of preference: distinct, ACTIVE, of that
 *                                   datacenter
 *                   D tables of old owners, likewise, but of any state, and 0xffff at the end of a row for those who
 *                                   are no members any more
 *       last     8  XXH3-64 of all bytes before
 */
#ifndef KVRING_RING_ENCODING_H
#define KVRING_RING_ENCODING_H

#include "ring/document.h"

enum {
	ENCODING_VERSION_FIRST = 1, /* of the first epoch, which has no ancestors */
	ENCODING_VERSION = 2,
	ENCODING_MAGIC_SIZE = 4,
	ENCODING_HEADER_SIZE = 48,
	ENCODING_CHECKSUM_SIZE = 8,
	ENCODING_HASH_SIZE = 8,
	ENCODING_DATACENTER_SIZE_MIN = 1 + 1 + 3, /* bytes: a name of one */
	ENCODING_DATACENTER_SIZE_MAX = RING_NAME_MAX + 3,
	ENCODING_MEMBER_SIZE_MIN = 14 + 2 + 1 + 3 * 2, /* no rack; name and addresses of one byte */
	ENCODING_MEMBER_SIZE_MAX = 14 + 2 * RING_NAME_MAX + 3 * RING_ADDRESS_MAX,
};

_Static_assert(ENCODING_HEADER_SIZE + RING_ANCESTORS_MAX * ENCODING_HASH_SIZE +
			       RING_DATACENTERS_MAX * ENCODING_DATACENTER_SIZE_MAX +
			       RING_MEMBERS_MAX * ENCODING_MEMBER_SIZE_MAX +
			       RING_DATACENTERS_MAX * 2 * RING_REPLICAS_MAX * RING_PARTITIONS_MAX * 2 +
			       ENCODING_CHECKSUM_SIZE <=
		       RING_DOCUMENT_SIZE_MAX,
	       "the largest document");

#define ENCODING_MAGIC "KVRD"

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/ring/cluster.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include <cmocka.h>

static struct cluster cluster;

/* The bytes of a document with 3 members, 1 datacenter and 8 partitions, for tests that damage them. Offsets:
 * ring/encoding.c. */
struct bytes {
	uint8_t *at;
	size_t size;
};

enum {
	AT_VERSION = 4,
	AT_CLUSTER = 8,
	AT_EPOCH = 16,
	AT_PARENT = 24,
	AT_PARTITIONS = 40,
	AT_TRANSITION = 44,
	AT_DATACENTERS = 45,
	AT_MEMBERS = 46,
	AT_DATACENTER = 48,            /* 3 "dc1" N owners old */
	AT_MEMBER = AT_DATACENTER + 7, /* id 8, state 1, datacenter 1, weight 4, 2 "n0", 2 "r1" ... */
	AT_MEMBER_NAME = AT_MEMBER + 14,
};

static struct ring_document *small_document(void)
{
	cluster_init(&cluster, 8, 2);
	for (uint32_t i = 0; i < 3; i++)
		cluster_add(&cluster, i, "r1", 100);
	return cluster_claim(&cluster, NULL);
}

static struct bytes encode(const struct ring_document *document)
{
	struct bytes bytes;

	assert_int_equal(ring_document_encode(document, &bytes.at, &bytes.size), 0);
	return bytes;
}

static struct bytes small_bytes(void)
{
	struct ring_document *document = small_document();
	struct bytes bytes = encode(document);

	ring_document_destroy(&document);
	return bytes;
}

static void sign(struct bytes *bytes)
{
	uint64_t checksum = XXH3_64bits(bytes->at, bytes->size - 8);

	for (int i = 0; i < 8; i++)
		bytes->at[bytes->size - 8 + (size_t)i] = (uint8_t)(checksum >> (8 * i));
}

/* Signs, so that the complaint is not about the checksum, and frees. */
static void refuse(struct bytes bytes, const char *text)
{
	struct ring_document *document = NULL;
	struct ring_error error = {""};

	sign(&bytes);
	assert_int_equal(ring_document_decode(bytes.at, bytes.size, &document, &error), -EBADMSG);
	assert_null(document);
	if (strstr(error.text, text) == NULL)
		fail_msg("'%s' does not say '%s'", error.text, text);
	free(bytes.at);
}

static void refuse_byte(size_t offset, uint8_t value, const char *text)
{
	struct bytes bytes = small_bytes();

	assert_true(offset < bytes.size - 8);
	assert_int_not_equal(bytes.at[offset], value);
	bytes.at[offset] = value;
	refuse(bytes, text);
}

/* ---- what comes back ------------------------------------------------------------------------------------------- */

static void same_document(const struct ring_document *a, const struct ring_document *b)
{
	assert_int_equal(ring_hash(a), ring_hash(b));
	assert_int_equal(ring_cluster_id(a), ring_cluster_id(b));
	assert_int_equal(ring_epoch(a), ring_epoch(b));
	assert_int_equal(ring_parent_hash(a), ring_parent_hash(b));
	assert_int_equal(ring_transition(a), ring_transition(b));
	assert_int_equal(ring_partition_count(a), ring_partition_count(b));
	assert_int_equal(ring_datacenter_count(a), ring_datacenter_count(b));
	assert_int_equal(ring_member_count(a), ring_member_count(b));
	for (uint32_t i = 0; i < ring_datacenter_count(a); i++) {
		assert_memory_equal(ring_datacenter(a, i), ring_datacenter(b, i), sizeof(struct ring_datacenter));
		for (uint32_t partition = 0; partition < ring_partition_count(a); partition++) {
			const uint16_t *left, *right;
			uint32_t count = ring_owners(a, partition, i, &left);
			assert_int_equal(ring_owners(b, partition, i, &right), count);
			assert_memory_equal(left, right, count * sizeof *left);
			count = ring_old_owners(a, partition, i, &left);
			assert_int_equal(ring_old_owners(b, partition, i, &right), count);
			if (count)
				assert_memory_equal(left, right, count * sizeof *left);
		}
	}
	for (uint32_t i = 0; i < ring_member_count(a); i++) {
		assert_memory_equal(ring_member(a, i), ring_member(b, i), sizeof(struct ring_member));
		assert_int_equal(ring_member_datacenter(a, i), ring_member_datacenter(b, i));
		assert_int_equal(ring_member_replicas(a, i), ring_member_replicas(b, i));
		assert_int_equal(ring_member_primaries(a, i), ring_member_primaries(b, i));
	}
}

static void there_and_back(const struct ring_document *document)
{
	struct bytes bytes = encode(document), again;
	struct ring_document *copy;
	struct ring_error error = {""};

	if (ring_document_decode(bytes.at, bytes.size, &copy, &error))
		fail_msg("%s", error.text);
	same_document(document, copy);
	again = encode(copy);
	assert_int_equal(bytes.size, again.size);
	assert_memory_equal(bytes.at, again.at, again.size);
	ring_document_destroy(&copy);
	free(bytes.at);
	free(again.at);
}

static void test_document_round_trip(void **state)
{
	struct ring_document *stable, *target, *changing;

	(void)state;
	cluster_init(&cluster, 64, 3);
	cluster_add_datacenter(&cluster, "far", 2);
	for (uint32_t i = 0; i < 9; i++)
		strcpy(cluster_add(&cluster, i, i % 2 ? "a" : "", 100 + i)->datacenter, i % 3 ? "dc1" : "far");
	stable = cluster_claim(&cluster, NULL);
	there_and_back(stable);
	cluster.members[2].state = RING_MEMBER_STANDBY;
	cluster.members[3].state = RING_MEMBER_LEAVING;
	target = cluster_claim(&cluster, stable);
	there_and_back(target);
	assert_int_equal(ring_transition_begin(stable, target, &changing, NULL), 0);
	there_and_back(changing); /* with old owners */
	ring_document_destroy(&stable);
	ring_document_destroy(&target);
	ring_document_destroy(&changing);
}

static void test_document_layout_is_fixed(void **state)
{
	static const uint8_t head[] = {'K', 'V', 'R', 'D', 1, 0, 0, 0, 0xc1, 0, 0, 0,   0,   0,    0,    0, 1, 0, 0,
				       0,   0,   0,   0,   0, 0, 0, 0, 0,    0, 0, 0,   0,   0xed, 0x5e, 0, 0, 0, 0,
				       0,   0,   8,   0,   0, 0, 0, 1, 3,    0, 3, 'd', 'c', '1',  2,    2, 0};
	struct bytes bytes = small_bytes();

	(void)state;
	assert_memory_equal(bytes.at, head, sizeof head);
	assert_int_equal(bytes.at[AT_MEMBER + 8], RING_MEMBER_ACTIVE);
	assert_int_equal(bytes.at[AT_MEMBER + 10], 100);
	assert_memory_equal(bytes.at + AT_MEMBER_NAME, "\2n", 2);
	free(bytes.at);
}

/* 1,030 epochs, so that the last documents no longer name the first ones. */
static void test_document_names_its_ancestors(void **state)
{
	enum { EPOCHS = RING_ANCESTORS_MAX + 6 };
	static uint64_t hashes[EPOCHS + 1];
	struct ring_document *document = small_document();

	(void)state;
	assert_int_equal(ring_parent_hash(document), 0);
	hashes[1] = ring_hash(document);
	for (uint64_t epoch = 2; epoch <= EPOCHS; epoch++) {
		struct ring_document *next = cluster_claim(&cluster, document);

		assert_int_equal(ring_epoch(next), epoch);
		assert_int_equal(ring_parent_hash(next), hashes[epoch - 1]);
		for (uint64_t ago = 1; ago < epoch; ago++)
			assert_int_equal(ring_ancestor_hash(next, epoch - ago),
					 ago <= RING_ANCESTORS_MAX ? hashes[epoch - ago] : 0);
		assert_int_equal(ring_ancestor_hash(next, 0), 0);
		assert_int_equal(ring_ancestor_hash(next, epoch), 0);
		assert_int_equal(ring_ancestor_hash(next, epoch + 1), 0);
		if (epoch < 5 || epoch > EPOCHS - 8)
			there_and_back(next);
		hashes[epoch] = ring_hash(next);
		ring_document_destroy(&document);
		document = next;
	}
	ring_document_destroy(&document);
}

/* Promised ancestors cost nothing before their bytes are there. */
static void test_decode_refuses_too_few_ancestors(void **state)
{
	struct ring_document *document = small_document(), *next = cluster_claim(&cluster, document);
	struct bytes bytes = encode(next);

	(void)state;
	bytes.at[AT_EPOCH + 1] = 4; /* epoch 1026, and a parent alone */
	refuse(bytes, "byte 48: cut short: 1023 ancestors, 1 datacenters and 3 members take 8258 bytes at least, ");
	ring_document_destroy(&document);
	ring_document_destroy(&next);
}

static void test_document_ref_shares(void **state)
{
	struct ring_document *document = small_document(), *shared = ring_document_ref(document);

	(void)state;
	assert_ptr_equal(document, shared);
	ring_document_destroy(&document);
	assert_null(document);
	ring_document_destroy(&document); /* harmless */
	assert_int_equal(ring_member_count(shared), 3);
	ring_document_destroy(&shared);
}

static void test_document_finds_members(void **state)
{
	struct ring_document *document;
	char name[16];

	(void)state;
	cluster_init(&cluster, 8, 3);
	for (uint32_t i = 0; i < 20; i++)
		cluster_add(&cluster, i, "", 100);
	document = cluster_claim(&cluster, NULL);
	for (uint32_t i = 0; i < 20; i++) {
		int index = ring_member_find(document, cluster.members[i].id);
		assert_in_range(index, 0, 19);
		snprintf(name, sizeof name, "n%u", i);
		assert_string_equal(ring_member(document, (uint32_t)index)->name, name);
		assert_int_equal(ring_member_find_name(document, name), index);
		assert_true(index == 0 || ring_member(document, (uint32_t)index - 1)->id <
						  ring_member(document, (uint32_t)index)->id);
	}
	assert_int_equal(ring_member_find(document, 12345), -1);
	assert_int_equal(ring_member_find(document, UINT64_MAX), -1);
	assert_int_equal(ring_member_find_name(document, "n20"), -1);
	assert_int_equal(ring_member_find_name(document, ""), -1);
	ring_document_destroy(&document);
}

/* ---- what is refused ------------------------------------------------------------------------------------------- */

static void test_decode_refuses_every_prefix(void **state)
{
	struct bytes bytes = small_bytes();
	struct ring_document *document = NULL;
	struct ring_error error;

	(void)state;
	for (size_t size = 0; size < bytes.size; size++) {
		uint8_t *exact = malloc(size + !size); /* so that ASan sees a read past the end */
		struct bytes prefix = {exact, size};

		memcpy(exact, bytes.at, size);
		error.text[0] = 0;
		assert_int_equal(ring_document_decode(exact, size, &document, &error), -EBADMSG);
		assert_true(error.text[0]);
		if (size >= 8) {
			sign(&prefix);
			assert_int_equal(ring_document_decode(exact, size, &document, &error), -EBADMSG);
		}
		free(exact);
	}
	assert_null(document);
	free(bytes.at);
}

static void test_decode_refuses_every_flipped_bit(void **state)
{
	struct bytes bytes = small_bytes();
	struct ring_document *document = NULL;
	struct ring_error error;

	(void)state;
	for (size_t bit = 0; bit < 8 * bytes.size; bit++) {
		bytes.at[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(ring_document_decode(bytes.at, bytes.size, &document, &error), -EBADMSG);
		bytes.at[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	free(bytes.at);
}

/* With the checksum put right: either it is refused, or it is another document that encodes to just these bytes. */
static void test_decode_of_signed_damage_is_canonical(void **state)
{
	struct bytes bytes = small_bytes();
	uint32_t accepted = 0, refused = 0;

	(void)state;
	for (size_t bit = 0; bit < 8 * (bytes.size - 8); bit++) {
		struct ring_document *document = NULL;
		struct ring_error error;
		struct bytes again;

		bytes.at[bit / 8] ^= (uint8_t)(1 << bit % 8);
		sign(&bytes);
		if (ring_document_decode(bytes.at, bytes.size, &document, &error)) {
			refused++;
		} else {
			again = encode(document);
			assert_int_equal(bytes.size, again.size);
			assert_memory_equal(bytes.at, again.at, again.size);
			free(again.at);
			ring_document_destroy(&document);
			accepted++;
		}
		bytes.at[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	assert_true(accepted > 100 && refused > 100);
	free(bytes.at);
}

static void test_decode_says_what_and_where(void **state)
{
	struct bytes bytes;

	(void)state;
	refuse_byte(0, 'X', "byte 0: no ring document: it begins with 58 56 52 44");
	refuse_byte(AT_VERSION, 3, "byte 4: format version 3; this program knows versions 1 and 2: upgrade it");
	refuse_byte(AT_VERSION, 2, "byte 16: epoch 1 in format version 2, but version 1 is that of epoch 1 alone");
	refuse_byte(AT_EPOCH, 2, "byte 16: epoch 2 in format version 1, but version 1 is that of epoch 1 alone");
	refuse_byte(AT_PARENT, 1, "byte 24: a parent in epoch 1, which is the first");
	refuse_byte(AT_CLUSTER, 0, "byte 8: cluster id 0");
	refuse_byte(AT_EPOCH, 0, "byte 16: epoch 0");
	refuse_byte(AT_EPOCH + 7, 0x40, "byte 16: epoch 4611686018427387905, not 1 to 4611686018427387904");
	refuse_byte(AT_PARTITIONS, 9, "byte 40: 9 partitions: not a power of two");
	refuse_byte(AT_PARTITIONS, 4, "byte 40: 4 partitions");
	refuse_byte(AT_PARTITIONS + 2, 2, "byte 40: 131080 partitions");
	refuse_byte(AT_PARTITIONS, 16, "owners expected");
	refuse_byte(AT_TRANSITION, 3, "byte 44: transition is 3, not 0 to 2");
	refuse_byte(AT_DATACENTERS, 0, "byte 45: datacenter count is 0, not 1 to 16");
	refuse_byte(AT_DATACENTERS, 17, "byte 45: datacenter count is 17");
	refuse_byte(AT_MEMBERS, 0, "byte 46: 0 members, not 1 to 16384");
	refuse_byte(AT_MEMBERS + 1, 0x41, "byte 46: 16643 members");
	refuse_byte(AT_MEMBERS + 1, 0x40 - 1,
		    "byte 48: cut short: 0 ancestors, 1 datacenters and 16131 members take 371018 bytes");
	refuse_byte(AT_DATACENTER, 0, "byte 48: datacenter name of 0 bytes");
	refuse_byte(AT_DATACENTER, 64, "byte 48: datacenter name of 64 bytes");
	refuse_byte(AT_DATACENTER, 255, "cut short: 255 more bytes expected");
	refuse_byte(AT_DATACENTER + 2, '/',
		    "byte 48: datacenter name of 3 bytes is empty, too long or has a character");
	refuse_byte(AT_DATACENTER + 4, 0, "byte 52: replica count is 0");
	refuse_byte(AT_DATACENTER + 4, 9, "byte 52: replica count is 9, not 1 to 8");
	refuse_byte(AT_DATACENTER + 5, 3, "byte 53: owners per partition is 3, not 0 to 2");
	refuse_byte(AT_DATACENTER + 5, 1, "bytes too many before the checksum");
	refuse_byte(AT_DATACENTER + 6, 1, "byte 54: old owners per partition is 1, not 0 to 0");
	refuse_byte(AT_MEMBER + 7, 0xff, "stands twice or out of order");
	refuse_byte(AT_MEMBER + 8, 0, "byte 63: member state is 0");
	refuse_byte(AT_MEMBER + 8, RING_MEMBER_STANDBY, "is not an active member");
	refuse_byte(AT_MEMBER + 9, 1, "byte 64: datacenter index is 1, not 0 to 0");
	refuse_byte(AT_MEMBER + 10, 0, "byte 65: weight 0, not 1 to 10000");
	refuse_byte(AT_MEMBER_NAME + 1, ' ', "byte 69: member name of 2 bytes");

	bytes = small_bytes();
	bytes.at[bytes.size - 9] = 9; /* the last owner: 0x09.. */
	refuse(bytes, "owner 23");
	bytes = small_bytes();
	memcpy(bytes.at + bytes.size - 10, bytes.at + bytes.size - 12, 2);
	refuse(bytes, "owns the same partition twice");
}

static void test_decode_refuses_same_name(void **state)
{
	struct bytes bytes = small_bytes();
	uint8_t *found[3];
	uint32_t count = 0;

	(void)state;
	for (uint8_t *at = bytes.at + AT_MEMBER; at + 4 < bytes.at + bytes.size && count < 3; at++)
		if (at[0] == 2 && at[1] == 'n' && at[3] == 2 && at[4] == 'r')
			found[count++] = at;
	assert_int_equal(count, 3);
	found[2][2] = found[0][2];
	refuse(bytes, "two members are named 'n");
}

static void test_decode_refuses_owner_of_other_datacenter(void **state)
{
	struct ring_document *document;
	struct bytes bytes;

	(void)state;
	cluster_init(&cluster, 8, 1);
	cluster_add_datacenter(&cluster, "dc2", 1);
	cluster_add(&cluster, 1, "", 100);
	strcpy(cluster_add(&cluster, 2, "", 100)->datacenter, "dc2");
	document = cluster_claim(&cluster, NULL);
	bytes = encode(document);
	bytes.at[bytes.size - 10] ^= 1; /* the last row belongs to dc2 */
	refuse(bytes, "is not in datacenter dc2");
	ring_document_destroy(&document);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_document_round_trip),
		cmocka_unit_test(test_document_layout_is_fixed),
		cmocka_unit_test(test_document_names_its_ancestors),
		cmocka_unit_test(test_decode_refuses_too_few_ancestors),
		cmocka_unit_test(test_document_ref_shares),
		cmocka_unit_test(test_document_finds_members),
		cmocka_unit_test(test_decode_refuses_every_prefix),
		cmocka_unit_test(test_decode_refuses_every_flipped_bit),
		cmocka_unit_test(test_decode_of_signed_damage_is_canonical),
		cmocka_unit_test(test_decode_says_what_and_where),
		cmocka_unit_test(test_decode_refuses_same_name),
		cmocka_unit_test(test_decode_refuses_owner_of_other_datacenter),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Changes of the members as operators ask for them, and the plans that they get. */
#include <errno.h>
#include "node/membership/ring_change.h"
#include "node/object/limit.h"
#include "proto/kv.pb-c.h"
#include "tests/node/wire/codec_support.h"

static struct rpc_request request_of(enum method method, const ProtobufCMessage *body)
{
	struct rpc_request head = {.protocol_version = 1,
				   .method = {(const uint8_t *)codec_method_name(method),
					      strlen(codec_method_name(method))}},
			   request;
	struct rpc_message *encoded;
	struct rpc_slice bytes;

	assert_int_equal(rpc_request_encode(&head, body, &encoded), 0);
	bytes = rpc_message_bytes(encoded);
	bytes.data = rpc_arena_copy(arena, bytes.data, bytes.size);
	rpc_message_free(encoded);
	assert_int_equal(rpc_request_decode(bytes, &request, &error), 0);
	return request;
}

static int decode(enum method method, Kvring__V1__MemberChange **changes, size_t count, struct message **out)
{
	Kvring__V1__ChangeRequest body = KVRING__V1__CHANGE_REQUEST__INIT;

	body.changes = changes;
	body.n_changes = count;
	body.parent_hash = 0xaa;
	body.plan_hash = 0xbb;
	body.allow_violations = true;
	struct rpc_request request = request_of(method, &body.base);
	return codec_change_decode(method, &request, arena, out, &error);
}

static void test_changes_are_decoded(void **state)
{
	Kvring__V1__MemberChange join = KVRING__V1__MEMBER_CHANGE__INIT, replace = join, *both[2] = {&join, &replace};
	struct message *out;

	(void)state;
	join.kind = KVRING__V1__CHANGE_KIND__JOIN;
	join.node = "n4";
	join.weight = 50;
	replace.kind = KVRING__V1__CHANGE_KIND__REPLACE;
	replace.node = "n1";
	replace.replacement = "n5";
	assert_int_equal(decode(METHOD_PLAN_CHANGE, both, 2, &out), 0);
	assert_int_equal(out->type, MESSAGE_PLAN_CHANGE);
	assert_int_equal(out->to.kind, ACTOR_GOSSIP);
	assert_int_equal(out->change.change_count, 2);
	assert_int_equal(out->change.changes[0].kind, CHANGE_JOIN);
	assert_string_equal(out->change.changes[0].node, "n4");
	assert_int_equal(out->change.changes[0].weight, 50);
	assert_int_equal(out->change.changes[1].kind, CHANGE_REPLACE);
	assert_string_equal(out->change.changes[1].replacement, "n5");
	assert_int_equal(out->change.parent_hash, 0xaa);
	assert_int_equal(out->change.plan_hash, 0xbb);
	assert_true(out->change.allow_violations);
	assert_int_equal(decode(METHOD_COMMIT_CHANGE, both, 1, &out), 0);
	assert_int_equal(out->type, MESSAGE_COMMIT_CHANGE);
}

static void test_bad_changes_are_refused(void **state)
{
	static Kvring__V1__MemberChange *many[LIMIT_CHANGES + 1];
	Kvring__V1__MemberChange one = KVRING__V1__MEMBER_CHANGE__INIT, *list[1] = {&one};
	char name[RING_NAME_MAX + 1];
	struct message *out;

	(void)state;
	one.kind = KVRING__V1__CHANGE_KIND__LEAVE;
	assert_int_equal(decode(METHOD_PLAN_CHANGE, NULL, 0, &out), -EINVAL);
	assert_non_null(strstr(error.text, "0 changes: a plan has 1 to 1024"));
	for (size_t i = 0; i <= LIMIT_CHANGES; i++)
		many[i] = &one;
	assert_int_equal(decode(METHOD_PLAN_CHANGE, many, LIMIT_CHANGES + 1, &out), -EINVAL);
	assert_int_equal(decode(METHOD_PLAN_CHANGE, many, LIMIT_CHANGES, &out), 0);
	memset(name, 'x', RING_NAME_MAX);
	name[RING_NAME_MAX] = 0;
	one.node = name;
	assert_int_equal(decode(METHOD_PLAN_CHANGE, list, 1, &out), -EINVAL);
	assert_non_null(strstr(error.text, "change 1: a name of a node has at most 63 bytes"));
	one.node = "n1";
	one.replacement = name;
	assert_int_equal(decode(METHOD_PLAN_CHANGE, list, 1, &out), -EINVAL);
	one.replacement = "";
	one.kind = (Kvring__V1__ChangeKind)77;
	assert_int_equal(decode(METHOD_PLAN_CHANGE, list, 1, &out), -EINVAL);
	assert_non_null(strstr(error.text, "knows no change of kind 77"));
	one.kind = KVRING__V1__CHANGE_KIND__CHANGE_UNSPECIFIED;
	assert_int_equal(decode(METHOD_PLAN_CHANGE, list, 1, &out), -EINVAL);
}

static void test_an_abort_is_decoded(void **state)
{
	Kvring__V1__AbortRequest body = KVRING__V1__ABORT_REQUEST__INIT;
	struct message *out;

	(void)state;
	body.epoch = 12;
	struct rpc_request request = request_of(METHOD_ABORT_CHANGE, &body.base);
	assert_int_equal(codec_abort_decode(&request, arena, &out, &error), 0);
	assert_int_equal(out->type, MESSAGE_ABORT_CHANGE);
	assert_int_equal(out->to.kind, ACTOR_GOSSIP);
	assert_int_equal(out->abort_change.epoch, 12);
}

static void test_what_is_lost_is_decoded(void **state)
{
	Kvring__V1__ForceRequest body = KVRING__V1__FORCE_REQUEST__INIT;
	char *lost[2] = {"n1", "n2"};
	struct message *out;

	(void)state;
	body.ring_hash = 0xcc;
	struct rpc_request request = request_of(METHOD_FORCE_RING, &body.base);
	assert_int_equal(codec_force_decode(&request, arena, &out, &error), -EINVAL);
	assert_non_null(strstr(error.text, "0 lost members"));
	body.lost = lost;
	body.n_lost = 2;
	request = request_of(METHOD_FORCE_RING, &body.base);
	assert_int_equal(codec_force_decode(&request, arena, &out, &error), 0);
	assert_int_equal(out->type, MESSAGE_FORCE_RING);
	assert_int_equal(out->force.lost_count, 2);
	assert_string_equal(out->force.lost[1], "n2");
	assert_int_equal(out->force.ring_hash, 0xcc);
}

static void test_a_plan_is_encoded(void **state)
{
	struct planned_member members[2] = {
		{1, "n1", "dc1", "r1", 100, 50, "active", "leaving", 64, 0, 20, 0},
		{2, "n2", "dc1", "", 0, 70, "", "active", 0, 64, 0, 20},
	};
	struct planned_link links[1] = {{.from = 1, .to = 2, .partitions = 64, .bytes = 99, .estimated_ms = 3}};
	const char *violations[1] = {"too few racks"};
	struct change_plan plan = {
		.epoch = 5,
		.parent_hash = 6,
		.plan_hash = 7,
		.members = members,
		.member_count = 2,
		.links = links,
		.link_count = 1,
		.violations = violations,
		.violation_count = 1,
		.moves = 64,
		.minimum_moves = 63,
		.bytes = 99,
		.estimated_ms = 3,
	};
	struct message *answer = message_create(arena, MESSAGE_CHANGE_PLAN);
	struct rpc_message *encoded;

	(void)state;
	answer->change_plan = (struct change_plan_body){.plan = &plan};
	assert_int_equal(codec_plan_encode(answer, 4, arena, &encoded), 0);
	struct rpc_response response = answered(encoded);
	assert_int_equal(response.code, KVRING__V1__CODE__OK);
	Kvring__V1__ChangePlan *body =
		rpc_body_decode(&kvring__v1__change_plan__descriptor, response.body, arena, &error);
	assert_int_equal(body->epoch, 5);
	assert_int_equal(body->parent_hash, 6);
	assert_int_equal(body->plan_hash, 7);
	assert_int_equal(body->n_members, 2);
	assert_string_equal(body->members[0]->name, "n1");
	assert_string_equal(body->members[0]->rack, "r1");
	assert_string_equal(body->members[0]->state_after, "leaving");
	assert_int_equal(body->members[0]->weight_after, 50);
	assert_int_equal(body->members[0]->partitions_before, 64);
	assert_int_equal(body->members[1]->partitions_after, 64);
	assert_int_equal(body->members[1]->primaries_after, 20);
	assert_string_equal(body->members[1]->state_before, "");
	assert_int_equal(body->n_links, 1);
	assert_int_equal(body->links[0]->from, 1);
	assert_int_equal(body->links[0]->to, 2);
	assert_int_equal(body->links[0]->partitions, 64);
	assert_int_equal(body->links[0]->bytes, 99);
	assert_int_equal(body->links[0]->estimated_ms, 3);
	assert_int_equal(body->moves, 64);
	assert_int_equal(body->minimum_moves, 63);
	assert_string_equal(body->violations[0], "too few racks");
	assert_int_equal(body->bytes, 99);
	assert_int_equal(body->estimated_ms, 3);

	answer = message_create(arena, MESSAGE_CHANGE_PLAN);
	answer->change_plan =
		(struct change_plan_body){.code = KVRING__V1__CODE__FAILED_PRECONDITION, .text = "plan again"};
	assert_int_equal(codec_plan_encode(answer, 4, arena, &encoded), 0);
	response = answered(encoded);
	assert_int_equal(response.code, KVRING__V1__CODE__FAILED_PRECONDITION);
	assert_int_equal(response.ring_epoch, 4);
	assert_memory_equal(response.message.data, "plan again", response.message.size);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_changes_are_decoded), cmocka_unit_test(test_bad_changes_are_refused),
		cmocka_unit_test(test_an_abort_is_decoded), cmocka_unit_test(test_what_is_lost_is_decoded),
		cmocka_unit_test(test_a_plan_is_encoded),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
